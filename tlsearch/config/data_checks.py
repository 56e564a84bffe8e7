"""Contradictions within the section `data`, as far as they show before files are read."""

from collections.abc import Iterator
from math import ceil

from tlsearch.config.catalog import CATALOGUE, TIMM, BackboneFacts, groups
from tlsearch.config.cost import dimension, head_alone_trains
from tlsearch.config.schema import StudyConfig
from tlsearch.config.sources import Digits, EmbeddedSource, known_facts, source_name
from tlsearch.config.space import Fixed, highest, raw
from tlsearch.config.validation import Fault, clash
from tlsearch.errors import nearest, shown

_FRACTIONS = ("data.split.validation", "data.split.test")
_NEEDS = {"group": "groups", "stratified_group": "groups", "given": "parts", "time": "times"}


def data_contradictions(config: StudyConfig) -> Iterator[Fault]:
    """What cannot go together under `data`."""
    yield from _fractions(config)
    yield from _strategy(config)
    yield from _planted(config)
    yield from _gap(config)


def _fractions(config: StudyConfig) -> Iterator[Fault]:
    split, source = config.data.split, known_facts(config.data.source)
    held_out = split.test
    held_out += (1 - split.test) / split.folds if split.folds else split.validation
    if held_out >= 1 - 1e-9:
        rule = f"validation + test = {held_out:g} leaves nothing to train on"
        written = {"validation": split.validation, "test": split.test}
        remedy = "lower one of them, to a sum below 1"
        involved = tuple(tuple(field.split(".")) for field in _FRACTIONS)
        yield Fault(("data", "split"), shown(written), rule, remedy, involved)
        return
    labels = config.data.labels_per_class
    if source is None or labels is None:
        return
    most = source.smallest_class
    if split.strategy == "stratified":
        # Rounding to whole images may take one from the class.
        most = max(1, int(most * (1 - held_out) + 1e-9))
    if labels > most:
        rule = f"the training part has {most} images of its smallest class"
        others = (*_FRACTIONS, "data.split.strategy", "data.source")
        remedy = f"take {most} or less, or null for all"
        yield clash("data.labels_per_class", labels, rule, remedy, *others)


def _gap(config: StudyConfig) -> Iterator[Fault]:
    split, source = config.data.split, known_facts(config.data.source)
    if split.strategy != "time" or source is None:
        return
    before_test = source.images - round(source.images * split.test) - split.gap
    held = round(source.images * split.validation)
    if split.folds:
        held = before_test // (split.folds + 1) * split.folds
    if before_test - held - split.gap < 1:
        rule = f"leaves none of {source.images} images to train on"
        others = (*_FRACTIONS, "data.split.folds", "data.split.strategy", "data.source")
        yield clash("data.split.gap", split.gap, rule, "lower it, or validate on less", *others)


def _strategy(config: StudyConfig) -> Iterator[Fault]:
    split, source = config.data.split, config.data.source
    if split.gap and split.strategy != "time":
        rule = f"a split that is {split.strategy} has no order in time to leave a gap in"
        remedy = "write strategy: time, or drop the gap"
        yield clash("data.split.gap", split.gap, rule, remedy, "data.split.strategy")
    needed = _NEEDS.get(split.strategy)
    has_times = isinstance(source, Digits) and needed == "times"
    has_parts = config.data.planted is not None and needed == "parts"
    if needed and isinstance(source, EmbeddedSource) and not (has_times or has_parts):
        rule = f"the source {source_name(source)} tells no {needed}"
        remedy = "write strategy: stratified, or give a manifest that has them"
        yield clash("data.split.strategy", split.strategy, rule, remedy, "data.source")


def _planted(config: StudyConfig) -> Iterator[Fault]:
    planted, split, source = config.data.planted, config.data.split, config.data.source
    if planted is None:
        return
    field, value = "data.planted", planted.model_dump(mode="json")
    if not isinstance(source, EmbeddedSource):
        rule = (
            "defects are planted into a source that tlsearch carries, and into no images of yours"
        )
        remedy = "drop it, or take digits, glyphs, letters or textures"
        yield clash(field, value, rule, remedy, "data.source")
    if split.strategy != "given":
        rule = "parts are drawn, stratified, before anything is planted, and stand as given"
        remedy = "write data.split.strategy: given"
        yield clash(field, value, rule, remedy, "data.split.strategy")
    if split.folds:
        rule = "each image would validate once, those with planted defects too"
        yield clash(field, value, rule, "write data.split.folds: null", "data.split.folds")
    if not planted.label_noise and not planted.duplicates:
        rule, remedy = "plants nothing", "set label_noise or duplicates, or write null"
        yield clash(field, value, rule, remedy)


# What needs images of the task that the weights were trained on, and whether there are any.


_REMEDY = "write backbone.source: {folder: PATH}, labelled images of that task"


def knows_source(config: StudyConfig) -> bool:
    """Whether images of the source task are at hand: the embedded weights know theirs."""
    return config.backbone.weights == "glyphs" or config.backbone.source is not None


def source_contradictions(config: StudyConfig) -> Iterator[Fault]:
    """What asks for source images that are not there, and what they would not change."""
    backbone = config.backbone
    if backbone.weights == "glyphs" and backbone.source is not None:
        value = backbone.model_dump(mode="json")["source"]
        rule = "the weights glyphs know their source: printed characters"
        remedy = "drop it, or give every network weights of one source"
        yield clash("backbone.source", value, rule, remedy, "backbone.weights")
    yield from _adaptation(config)
    yield from _second_task(config)


def _adaptation(config: StudyConfig) -> Iterator[Fault]:
    chosen = [name for name in config.space.adaptation.names if name != "none"]
    if chosen and not knows_source(config):
        verb = "takes" if len(chosen) == 1 else "take"
        rule = f"{' and '.join(chosen)} {verb} images towards the source's, and none are known"
        yield clash("space.adaptation", chosen, rule, _REMEDY, "backbone.source")
    dimensions = config.space.dimensions()
    for name in ("fourier.band", *(f"{kind}.strength" for kind in chosen)):
        found = dimensions.get(f"adaptation.{name}", Fixed(1.0))
        if highest(found) == 0:
            remedy = "raise it, or write space.adaptation: none"
            yield clash(f"space.adaptation.{name}", raw(found), "0 changes no image", remedy)
    if "style" not in chosen:
        return
    if config.backbone.weights == "none":
        rule = "a network that has learnt nothing tells no style"
        remedy = "take fourier or moments, or pretrained weights"
        yield clash("space.adaptation", "style", rule, remedy, "backbone.weights")
    body = groups(config.backbone.facts)[:-1]
    layers = dimensions["adaptation.style.layers"]
    if highest(layers) > len(body):
        rule = f"{config.backbone.name} has {len(body)} layer groups before its head"
        field = "space.adaptation.style.layers"
        yield clash(field, raw(layers), rule, f"take 1 to {len(body)}", "backbone.name")


def _second_task(config: StudyConfig) -> Iterator[Fault]:
    field, weight, value = dimension(config, "source_task_weight")
    if highest(weight) <= 0:
        return
    if not knows_source(config):
        rule = "no images of the source task are known"
        yield clash(field, value, rule, _REMEDY, "backbone.source")
    if head_alone_trains(config):
        rule = "the head alone trains, so that both tasks share nothing that learns"
        others = ("space.freeze_depth", "space.unfreeze_every_epochs", "space.trained")
        yield clash(field, value, rule, "write 0, or let more train", *others)


# Networks that cannot take the study's images, or whose weights nobody has.


def backbone_contradictions(config: StudyConfig) -> Iterator[Fault]:
    """What cannot go together in the section `backbone`, and with `data.size`."""
    networks = [CATALOGUE[name] for name in config.backbone.names]
    yield from _mapping(config)
    given = config.backbone.given_weights
    for facts in networks:
        yield from _size(config, facts)
        if isinstance(given, str):
            yield from _published("backbone.weights", given, facts)
        elif facts.name in given:
            yield from _published(f"backbone.weights.{facts.name}", given[facts.name], facts)
    if isinstance(given, str) and given.endswith(".safetensors") and len(networks) > 1:
        rule = "one file cannot hold the weights of several networks"
        remedy = f"write a mapping, such as {{{networks[0].name}: {given}, …}}"
        yield clash("backbone.weights", given, rule, remedy, "backbone.name")


def _mapping(config: StudyConfig) -> Iterator[Fault]:
    given, names = config.backbone.given_weights, config.backbone.names
    if isinstance(given, str):
        return
    missing = [name for name in names if name not in given]
    if missing:
        rule = f"names no weights for {', '.join(missing)}"
        remedy = "add them: glyphs, none, a name of torchvision's or a .safetensors file"
        yield clash("backbone.weights", dict(given), rule, remedy, "backbone.name")
    for name in given:
        if name not in names:
            rule = "is no network of this study"
            remedy = nearest(name, names) or f"drop it, or add {name} to backbone.name"
            yield clash(f"backbone.weights.{name}", given[name], rule, remedy, "backbone.name")


def _size(config: StudyConfig, facts: BackboneFacts) -> Iterator[Fault]:
    size, by = config.data.size, max(1, facts.size_multiple)
    least = ceil(facts.min_size / by) * by
    if size < least:
        rule = f"{facts.name} needs images of at least {least} pixels"
        yield clash("data.size", size, rule, f"write {least} or more", "backbone.name")
    elif size % by:
        rule = f"{facts.name} cuts images into patches of {by} pixels"
        lower, upper = max(least, size // by * by), (size // by + 1) * by
        yield clash("data.size", size, rule, f"write {lower} or {upper}", "backbone.name")


def _published(field: str, weights: str, facts: BackboneFacts) -> Iterator[Fault]:
    if weights in ("none", "glyphs", *facts.weights) or weights.endswith(".safetensors"):
        return
    publisher = "timm" if facts.name in TIMM else "torchvision"
    rule = f"{publisher} has no such weights for {facts.name}"
    known = f"known: {', '.join(facts.weights)}"
    if not facts.weights:
        rule = f"nobody has published weights for {facts.name}"
        known = "write glyphs, none, or a .safetensors file"
    remedy = nearest(weights, facts.weights)
    remedy = f"{remedy} ({known})" if remedy and len(facts.weights) > 1 else remedy or known
    yield clash(field, weights, rule, remedy, "backbone.name")
