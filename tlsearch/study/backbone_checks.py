"""Networks that cannot take the study's images, or whose weights nobody has."""

from collections.abc import Iterator
from math import ceil

from tlsearch.errors import nearest
from tlsearch.study.backbones import BackboneFacts
from tlsearch.study.config import StudyConfig
from tlsearch.study.contradiction import Contradiction, clash
from tlsearch.study.timm_backbones import CATALOGUE, TIMM


def backbone_contradictions(config: StudyConfig) -> Iterator[Contradiction]:
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


def _mapping(config: StudyConfig) -> Iterator[Contradiction]:
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


def _size(config: StudyConfig, facts: BackboneFacts) -> Iterator[Contradiction]:
    size, by = config.data.size, max(1, facts.size_multiple)
    least = ceil(facts.min_size / by) * by
    if size < least:
        rule = f"{facts.name} needs images of at least {least} pixels"
        yield clash("data.size", size, rule, f"write {least} or more", "backbone.name")
    elif size % by:
        rule = f"{facts.name} cuts images into patches of {by} pixels"
        lower, upper = max(least, size // by * by), (size // by + 1) * by
        yield clash("data.size", size, rule, f"write {lower} or {upper}", "backbone.name")


def _published(field: str, weights: str, facts: BackboneFacts) -> Iterator[Contradiction]:
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
