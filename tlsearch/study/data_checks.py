"""Contradictions within the section `data`, as far as they show before files are read."""

from collections.abc import Iterator

from tlsearch.study.complaints import shown
from tlsearch.study.config import StudyConfig
from tlsearch.study.contradiction import Contradiction, clash
from tlsearch.study.sources import Digits, EmbeddedSource, known_facts, source_name

_FRACTIONS = ("data.split.validation", "data.split.test")
_NEEDS = {"group": "groups", "stratified_group": "groups", "given": "parts", "time": "times"}


def data_contradictions(config: StudyConfig) -> Iterator[Contradiction]:
    """What cannot go together under `data`."""
    yield from _fractions(config)
    yield from _strategy(config)
    yield from _planted(config)
    yield from _gap(config)


def _fractions(config: StudyConfig) -> Iterator[Contradiction]:
    split, source = config.data.split, known_facts(config.data.source)
    held_out = split.test
    held_out += (1 - split.test) / split.folds if split.folds else split.validation
    if held_out >= 1 - 1e-9:
        rule = f"validation + test = {held_out:g} leaves nothing to train on"
        written = {"validation": split.validation, "test": split.test}
        remedy = "lower one of them, to a sum below 1"
        yield Contradiction("data.split", shown(written), rule, remedy, _FRACTIONS)
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


def _gap(config: StudyConfig) -> Iterator[Contradiction]:
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


def _strategy(config: StudyConfig) -> Iterator[Contradiction]:
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


def _planted(config: StudyConfig) -> Iterator[Contradiction]:
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
