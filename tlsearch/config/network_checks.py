"""Networks that nobody has, that cannot take the study's images, or whose weights nobody has."""

from collections.abc import Iterator
from math import ceil

from tlsearch.config.catalog import CATALOGUE, BackboneFacts, NetworkError
from tlsearch.config.packaged import PACKAGED, packaged_for
from tlsearch.config.schema import StudyConfig, is_weights_file
from tlsearch.config.validation import Fault, clash
from tlsearch.errors import nearest


def undescribed(config: StudyConfig) -> Iterator[Fault]:
    """Describe what the catalogue lacks; what is wrong with a user's own network, or with one of
    timm's that this timm lacks. Before all that asks for facts.
    """
    backbone = config.backbone
    given = [name for name in ("layer_groups", "head", "mean", "std") if getattr(backbone, name)]
    if backbone.module is None:
        for name in given:
            rule, remedy = "is said of a network of your own alone", "drop it, or name its module"
            yield clash(config, f"backbone.{name}", rule, remedy, "backbone.module")
    elif backbone.names != (backbone.module,):
        rule, remedy = "names the network, and so does backbone.name", "drop one of them"
        yield clash(config, "backbone.module", rule, remedy, "backbone.name")
        return
    for name in backbone.names:
        if ":" in name and backbone.module is None:
            rule = "is a network of your own"
            yield clash(config, "backbone.name", rule, f"write backbone.module: {name}", value=name)
        elif ":" in name or name not in CATALOGUE:
            try:
                CATALOGUE.describe(backbone.spec(name, image_size=config.data.size))
            except NetworkError as error:
                field, *others = f"backbone.{error.field}", "backbone.module", "backbone.name"
                yield clash(config, field, error.rule, error.remedy, *others, value=error.value)


def network_contradictions(config: StudyConfig) -> Iterator[Fault]:
    """Networks that cannot take the study's images, or whose weights nobody has."""
    names, given = config.backbone.names, config.backbone.given_weights
    if not isinstance(given, str):
        if missing := [name for name in names if name not in given]:
            rule = f"names no weights for {', '.join(missing)}"
            remedy = "add them: imagenet, glyphs, none, the name of published weights or a file"
            yield clash(config, "backbone.weights", rule, remedy, "backbone.name")
        for name in (name for name in given if name not in names):
            rule = "is no network of this study"
            remedy = nearest(name, names) or f"drop it, or add {name} to backbone.name"
            yield clash(config, f"backbone.weights.{name}", rule, remedy, "backbone.name")
    for name in names:
        yield from _size(config, CATALOGUE[name])
        if isinstance(given, str):
            yield from _published(config, "backbone.weights", given, CATALOGUE[name])
        elif name in given:
            field = f"backbone.weights.{name}"
            yield from _published(config, field, given[name], CATALOGUE[name])
    if isinstance(given, str) and is_weights_file(given) and len(names) > 1:
        rule = "one file cannot hold the weights of several networks"
        remedy = f"write a mapping, such as {{{names[0]}: {given}, …}}"
        yield clash(config, "backbone.weights", rule, remedy, "backbone.name")


def _size(config: StudyConfig, facts: BackboneFacts) -> Iterator[Fault]:
    size, by = config.data.size, facts.size_multiple
    least = ceil(facts.min_size / by) * by
    if size < least:
        rule = f"{facts.name} needs images of at least {least} pixels"
        yield clash(config, "data.size", rule, f"write {least} or more", "backbone.name")
    elif size % by:
        rule = f"{facts.name} takes images whose side is a multiple of {by} pixels"
        lower, upper = max(least, size // by * by), (size // by + 1) * by
        yield clash(config, "data.size", rule, f"write {lower} or {upper}", "backbone.name")


def _published(
    config: StudyConfig, field: str, weights: str, facts: BackboneFacts
) -> Iterator[Fault]:
    carried = packaged_for(facts.name)
    if weights in ("none", "glyphs", *facts.weights, *carried) or is_weights_file(weights):
        return
    if weights == "imagenet" and (facts.weights or carried):
        return
    if weights in PACKAGED:
        rule = f"this package's weights are of {PACKAGED[weights].network}"
        remedy = f"write imagenet, or backbone.name: {PACKAGED[weights].network}"
    elif not facts.weights:
        rule = f"nobody has published weights for {facts.name}"
        remedy = "write glyphs, none, or a file"
    else:
        publisher = "timm" if facts.is_timm else "torchvision"
        rule = f"{publisher} has no such weights for {facts.name}"
        words = (*facts.weights, "imagenet", "glyphs", "none")
        meant, remedy = nearest(weights, words), f"known: {', '.join(facts.weights)}"
        if meant:
            remedy = f"{meant} ({remedy})" if len(facts.weights) > 1 else meant
    yield clash(config, field, rule, remedy, "backbone.name")
