"""Augmentation that does nothing, or that may make another class of an image."""

from collections.abc import Iterator

from tlsearch.study.config import StudyConfig
from tlsearch.study.contradiction import Contradiction, clash
from tlsearch.study.dimensions import Dimension, Fixed, highest, lowest, raw
from tlsearch.study.sources import TorchvisionSet, source_name

TRIVIAL_SHIFT = 32
"""Pixels by which TrivialAugment shifts at the most, whatever the size (arXiv:2103.10158)."""

_BASIC = "augmentation.basic."
_CHARACTERS = ("digits", "glyphs", "letters")
_CHARACTER_SETS = ("MNIST", "EMNIST", "KMNIST", "QMNIST", "USPS", "SVHN", "Omniglot")


def augmentation_contradictions(config: StudyConfig) -> Iterator[Contradiction]:
    """A choice of `basic` that leaves every image as it is."""
    found = _basic(config)
    if found and all(_is_off(name, dimension) for name, dimension in found.items()):
        strengths = ", ".join(found)
        rule = f"changes nothing: all its strengths are off ({strengths})"
        yield clash("space.augmentation", "basic", rule, "write none, or raise one of them")


def augmentation_notes(config: StudyConfig) -> list[str]:
    """What may make another class of an image, or none: a sentence each."""
    return [*_flip_notes(config), *_trivial_notes(config)]


def _flip_notes(config: StudyConfig) -> list[str]:
    flips = {n: d for n, d in _basic(config).items() if n.endswith("flip") and highest(d) > 0}
    if not flips or not _shows_characters(config):
        return []
    fields = " and ".join(f"space.{_BASIC}{n} = {raw(d)}" for n, d in flips.items())
    zeros = ", ".join(f"{name}: 0" for name in flips)
    return [f"{fields}: a flipped character is another one, or none; write {zeros}"]


def _trivial_notes(config: StudyConfig) -> list[str]:
    if "trivial" not in config.space.augmentation.names:
        return []
    found = []
    if config.data.size < 2 * TRIVIAL_SHIFT:
        share = min(1.0, TRIVIAL_SHIFT / config.data.size)
        found.append(f"shifts some images by up to {TRIVIAL_SHIFT} pixels, {share:.0%} of the side")
    if _shows_characters(config):
        found.append("turns some by up to 135 degrees, and a 6 may be read as a 9")
    told = " and ".join(found)
    return [f"space.augmentation: trivial {told}; basic keeps to what you allow"] if found else []


def _basic(config: StudyConfig) -> dict[str, Dimension]:
    """The strengths of `basic`; empty where it is no choice."""
    return {
        name.removeprefix(_BASIC): dimension
        for name, dimension in config.space.dimensions().items()
        if name.startswith(_BASIC)
    }


def _is_off(name: str, dimension: Dimension) -> bool:
    if name == "crop":
        return lowest(dimension) == 1
    return isinstance(dimension, Fixed) and highest(dimension) == 0


def _shows_characters(config: StudyConfig) -> bool:
    source = config.data.source
    if isinstance(source, TorchvisionSet):
        return source.name in _CHARACTER_SETS
    return source_name(source) in _CHARACTERS
