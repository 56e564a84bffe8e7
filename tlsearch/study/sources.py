"""What a study may know about a source of images without reading one."""

from collections.abc import Mapping
from typing import NamedTuple


class SourceFacts(NamedTuple):
    """A source whose contents are known beforehand; `smallest_class` counts its images."""

    images: int
    classes: int
    smallest_class: int


SOURCES: Mapping[str, SourceFacts] = {
    "digits": SourceFacts(images=1797, classes=10, smallest_class=174),
}
