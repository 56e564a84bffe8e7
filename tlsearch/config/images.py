"""The section `data`: which images, how they are prepared, audited and divided."""

from typing import Annotated, Literal

from pydantic import Field

from tlsearch.config.sources import SOURCES, Source
from tlsearch.config.space import one_of
from tlsearch.config.validation import LARGEST_COUNT, As, Section, Seed

_SOURCE = one_of(SOURCES)
Part = Annotated[float, Field(gt=0, lt=1)]
SplitStrategy = Literal["stratified", "random", "time", "group", "stratified_group", "given"]
Background = Literal["auto", "white", "black"]
Fit = Literal["crop", "pad", "stretch"]


class SplitConfig(Section):
    """How the images are divided; the fractions are of all images, the rest trains.

    `time`: the latest are tested, those before them validate. `group`: images of one group stay
    in one part; `stratified_group` also balances the classes. `given`: by the source's own parts;
    one that it lacks is drawn, stratified, from what it trains on.
    """

    strategy: SplitStrategy = "stratified"
    validation: Part = 0.2
    test: Part = 0.2
    folds: Annotated[
        int | None,
        Field(
            ge=2,
            le=100,
            description="k-fold: all that is not tested validates once, in place of `validation`; "
            "a trial's value is the mean over folds; null for one validation part",
        ),
    ] = None
    gap: Annotated[
        int, Field(ge=0, le=LARGEST_COUNT, description="images left out between parts; by time")
    ] = 0
    seed: Seed = 0


_Drop = Literal["error", "drop"]
_Keep = Literal["error", "keep"]
_Any = Literal["error", "drop", "keep"]
_AnyOrOff = Literal["error", "drop", "keep", "off"]


class AuditConfig(Section):
    """What to do about each kind of finding: end with an error, drop the images, or keep them;
    `off` does not look.
    """

    unreadable: Annotated[_Drop, Field(description="cannot be decoded")] = "drop"
    missing_files: Annotated[_Drop, Field(description="named in a table and not there")] = "drop"
    missing_labels: Annotated[_Drop, Field(description="rows without a label")] = "error"
    missing_times: Annotated[_Drop, Field(description="only where the split is by time")] = "error"
    conflicting_labels: Annotated[
        _Any, Field(description="duplicates under different labels; drop drops all of them")
    ] = "error"
    exact_duplicates: Annotated[
        _Any, Field(description="same picture, same label; drop keeps the first")
    ] = "drop"
    near_conflicts: Annotated[
        _Any, Field(description="near duplicates under different labels; drop drops all of them")
    ] = "keep"
    near_duplicates: Annotated[
        _AnyOrOff,
        Field(description="nearly the same picture; keep puts them on one side of the split"),
    ] = "keep"
    augmented_copies: Annotated[
        _AnyOrOff,
        Field(
            description="names that differ only by an augmentation's suffix; keep puts them on one "
            "side of the split, drop keeps the first"
        ),
    ] = "keep"
    leakage: Annotated[
        _Any,
        Field(
            description="duplicates across the parts of a given split; drop keeps those of the "
            "test part, else of validation"
        ),
    ] = "drop"
    small_classes: Annotated[_Any, Field(description="below `min_class_images`")] = "error"
    imbalance: Annotated[_Keep, Field(description="above `max_imbalance`")] = "keep"
    extreme_sizes: Annotated[
        _Any, Field(description="much smaller than `data.size`, or far from square")
    ] = "keep"
    label_errors: Annotated[
        _AnyOrOff,
        Field(description="suspected by confident learning; drop takes them out of training alone"),
    ] = "keep"
    min_class_images: Annotated[int, Field(ge=1, le=LARGEST_COUNT)] = 5
    max_imbalance: Annotated[float, Field(ge=1, description="largest / smallest class")] = 10.0


class PlantedConfig(Section):
    """Defects planted into the training part alone, to measure what cleaning is worth: copies of
    its images, then wrong labels among all of them. Shares are of the training part. Only into a
    source that tlsearch carries, where no file could be unreadable.
    """

    label_noise: Annotated[float, Field(ge=0, lt=1, description="share of wrong labels")] = 0.0
    duplicates: Annotated[float, Field(ge=0, le=10, description="copies for each image")] = 0.0
    seed: Seed = 0


class DataConfig(Section):
    """Which images, at which size, and how many labels of them may be used."""

    source: Annotated[Source, As(_SOURCE), Field(examples=["digits"])]
    size: Annotated[int, Field(ge=1, le=4096, description="side of the square image, pixels")] = 32
    fit: Annotated[
        Fit, Field(description="how an image becomes square: cut, padded or stretched")
    ] = "crop"
    white: Annotated[
        int | None,
        Field(
            ge=1,
            le=65535,
            description="what stands for white in files of 16 bits; null: the least of 255, 1023, "
            "4095, 16383 and 65535 that no value exceeds",
        ),
    ] = None
    background: Annotated[
        Background,
        Field(description="under transparent pictures; auto: white, black where that shows more"),
    ] = "auto"
    max_megapixels: Annotated[
        int, Field(ge=1, le=2000, description="larger pictures are unreadable; JPEGs as reduced")
    ] = 250
    split: SplitConfig = SplitConfig()
    audit: AuditConfig = AuditConfig()
    labels_per_class: Annotated[
        int | None,
        Field(ge=1, le=LARGEST_COUNT, description="of the training part; null for all"),
    ] = None
    planted: Annotated[
        PlantedConfig | None, Field(description="defects put into the training part; null for none")
    ] = None
