"""Where images come from, as a study names it: `source: digits`, `source: {folder: photos}`.

Paths are relative to the folder where the command runs, as the state under mlruns/ is.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, ClassVar, NamedTuple

from pydantic import AfterValidator, Discriminator, Field, Tag

from tlsearch.config.validation import (
    LARGEST_COUNT,
    Section,
    Share,
    check_distinct,
    name_in,
    tag,
    wrong,
)


class SourceFacts(NamedTuple):
    """What is known of a source before it is read; `smallest_class` counts its images."""

    images: int
    classes: int
    smallest_class: int


_Text = Annotated[str, Field(min_length=1)]


class EmbeddedSource(Section, ABC):
    """A source that tlsearch carries: nothing to read, nothing to audit."""

    @abstractmethod
    def class_counts(self) -> tuple[int, ...]:
        """Images per class."""

    def facts(self) -> SourceFacts:
        """Its size, without making it."""
        counts = self.class_counts()
        return SourceFacts(images=sum(counts), classes=len(counts), smallest_class=min(counts))


class Digits(EmbeddedSource):
    """scikit-learn's 1,797 handwritten digits, in the file's order, which is that of writing."""

    def class_counts(self) -> tuple[int, ...]:
        """The digits 0 to 9."""
        return (178, 182, 177, 183, 181, 182, 181, 179, 174, 180)


class DrawnSource(EmbeddedSource):
    """A source that is drawn on demand: how much, how hard, how uneven.

    An image depends on its class, its number within the class and the knobs other than `images`
    and `imbalance`: more images leave the first ones of each class as they were.
    """

    images: Annotated[int, Field(ge=1, le=200_000)] = 2000
    difficulty: Annotated[Share, Field(description="0 clean and plain, 1 hardest")] = 0.5
    imbalance: Annotated[
        float, Field(ge=1, le=1000, description="largest class / smallest class")
    ] = 1.0
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0

    @abstractmethod
    def num_classes(self) -> int:
        """Number of classes."""

    def class_weights(self) -> tuple[float, ...]:
        """Relative size of each class: geometric from 1, the largest, down to 1 / `imbalance`."""
        num = self.num_classes()
        return tuple(self.imbalance ** (-i / max(1, num - 1)) for i in range(num))

    def class_counts(self) -> tuple[int, ...]:
        """Images per class, by `class_weights` and largest remainder; the sum is `images` where
        every class keeps at least one.
        """
        weights = self.class_weights()
        ideal = [self.images * w / sum(weights) for w in weights]
        counts = [max(1, int(x)) for x in ideal]
        by_remainder = sorted(range(len(weights)), key=lambda i: int(ideal[i]) - ideal[i])
        for i in by_remainder[: max(0, self.images - sum(counts))]:
            counts[i] += 1
        return tuple(counts)


_Similarity = Annotated[
    Share, Field(description="to what the glyph source model knows; 1 most alike")
]


class Glyphs(DrawnSource):
    """Printed characters in the source model's own fonts. At difficulty 0.5 they are jittered as
    it saw them: the source task itself.
    """

    def num_classes(self) -> int:
        """Digits and capital letters."""
        return 36


class Letters(DrawnSource):
    """Capital letters in fonts that the source model never trained on, among clutter."""

    classes: Annotated[int, Field(ge=2, le=26)] = 26
    similarity: _Similarity = 0.8

    def num_classes(self) -> int:
        """As many as asked, from A on."""
        return self.classes


class Textures(DrawnSource):
    """Procedural textures: nothing that a reader of characters has seen."""

    classes: Annotated[int, Field(ge=2, le=12)] = 8
    similarity: _Similarity = 0.0

    def num_classes(self) -> int:
        """As many as asked."""
        return self.classes


def _check_pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        remedy = r"write one such as (patient\d+), in single quotes"
        raise wrong(f"is no regular expression: {error}", remedy) from None
    return value


class NamePattern(Section):
    """Groups by the names of files: what the pattern's first (…) finds in an image's path, or all
    that it matches; an image in which it finds nothing is a group of its own.
    """

    pattern: Annotated[
        _Text,
        AfterValidator(_check_pattern),
        Field(
            description="regular expression, searched in CLASS/NAME.SUFFIX, or in the table's path",
            examples=[r"(patient\d+)"],
        ),
    ]


class Folder(Section):
    """A folder with a subfolder of images per class, perhaps below train, val and test."""

    shorthand: ClassVar[str | None] = "path"
    lone: ClassVar[str | None] = r"(?!.*\.(csv|tsv|parquet|pq)$)([^A-Z].*|.*[/\\].*)"

    path: Annotated[_Text, Field(examples=["photos"])]
    classes_level: Annotated[
        int | None,
        Field(ge=1, le=64, description="of folders that name classes, 1 the top; null: found"),
    ] = None
    group: Annotated[
        NamePattern | None, Field(description="what must stay on one side, by the files' names")
    ] = None


_COLUMN, _COLUMNS, _PATTERN = tag("column"), tag("columns"), tag("pattern")


def _distinct(names: list[str]) -> list[str]:
    check_distinct(names)
    return names


class Manifest(Section):
    """A CSV or Parquet table with a row per image; the fields name its columns.

    `time`, `group` and `part` are read where the table has a column of that name, null never; a
    column that is named otherwise must be there. Nothing weighs the images unless `weight` is set.
    """

    shorthand: ClassVar[str | None] = "path"
    lone: ClassVar[str | None] = r".*\.(csv|tsv|parquet|pq)"

    path: Annotated[_Text, Field(examples=["labels.csv"])]
    root: Annotated[
        _Text | None, Field(description="folder that image paths start from; null: the table's")
    ] = None
    image: Annotated[_Text, Field(description="column: path of the image")] = "path"
    label: Annotated[
        Annotated[_Text, Tag(_COLUMN)]
        | Annotated[list[_Text], Field(min_length=2), AfterValidator(_distinct), Tag(_COLUMNS)],
        Discriminator(lambda value: _COLUMNS if isinstance(value, list) else _COLUMN),
        Field(
            description="column: name of the class; or one column for each class, of which a row "
            "has a 1 in one"
        ),
    ] = "label"
    missing: Annotated[
        list[str] | None,
        Field(
            description="labels that count as missing, in any case; an empty cell always does. "
            "null: nan, null, n/a, #n/a, <na> in CSV, none in Parquet"
        ),
    ] = None
    time: Annotated[
        _Text | None, Field(description="column: when it was taken; dates or numbers")
    ] = "time"
    group: Annotated[
        Annotated[_Text | None, Tag(_COLUMN)] | Annotated[NamePattern, Tag(_PATTERN)],
        Discriminator(
            lambda value: _PATTERN if isinstance(value, Mapping | NamePattern) else _COLUMN
        ),
        Field(
            description="column: what must stay on one side, such as a patient; or a pattern of "
            "the images' paths"
        ),
    ] = "group"
    part: Annotated[_Text | None, Field(description="column: train, validation or test")] = "split"
    weight: Annotated[
        _Text | None,
        Field(description="column: weight in the training loss; null: all count alike"),
    ] = None


class TorchvisionSet(Section):
    """A data set of torchvision's by the name of its class, downloaded where there is a network."""

    shorthand: ClassVar[str | None] = "name"
    lone: ClassVar[str | None] = r"[A-Z]\w*"

    name: Annotated[_Text, Field(examples=["CIFAR10"])]
    root: Annotated[
        _Text | None, Field(description="folder that it is in; null: tlsearch's cache folder")
    ] = None
    download: bool = True
    images: Annotated[
        int | None,
        Field(ge=1, le=LARGEST_COUNT, description="a random subset of so many; null for all"),
    ] = None


Source = Digits | Glyphs | Letters | Textures | Folder | Manifest | TorchvisionSet

SOURCES: Mapping[str, type[Section]] = {
    "digits": Digits,
    "glyphs": Glyphs,
    "letters": Letters,
    "textures": Textures,
    "folder": Folder,
    "manifest": Manifest,
    "torchvision": TorchvisionSet,
}


def source_name(source: Section) -> str:
    """The name that a study gives it."""
    return name_in(SOURCES, source)


def source_text(source: Source) -> str:
    """Name and place, such as `folder photos`, for people to read."""
    place = getattr(source, "path", None) or getattr(source, "name", None)
    return f"{source_name(source)} {place}" if place else source_name(source)


def known_facts(source: Source) -> SourceFacts | None:
    """What is known of the source before it is read; None for files."""
    return source.facts() if isinstance(source, EmbeddedSource) else None
