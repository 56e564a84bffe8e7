"""The study as frozen models: every field, its rule, and the only home of its default."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError

from tlsearch.config.arms import ComparisonConfig
from tlsearch.config.catalog import CATALOGUE, BackboneFacts, groups
from tlsearch.config.choices import OneOf, Perhaps
from tlsearch.config.dimensions import LARGEST_COUNT, Choice, Dimension, Fixed, Scalar, values
from tlsearch.config.search_options import (
    PRUNERS,
    SAMPLERS,
    AtLeast0,
    AtLeast1,
    Median,
    Pruner,
    Sampler,
    Tpe,
)
from tlsearch.config.sources import SOURCES, Source
from tlsearch.config.space import Space, Suggest
from tlsearch.config.validation import (
    Complaint,
    Parsed,
    Section,
    complaints_in,
    list_schema,
    refusal,
    refuse,
    shown,
)
from tlsearch.config.values import (
    WEIGHTS_SCHEMA,
    AutoOrCount,
    Baselines,
    Duration,
    Seed,
    StorageUrl,
    TrackingUri,
    as_it_is,
    fixed_baselines,
    read_weights,
)
from tlsearch.errors import nearest

# The study's section `backbone`: one network, or several to choose among, and their weights.


_NAME_SCHEMA = {"enum": list(CATALOGUE)}
_RULE = "must be the name of a backbone"


def _read_names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        return (_backbone_section_read_name(value),)
    found: list[Complaint] = []
    for i, name in enumerate(value):
        if not (isinstance(name, str) and name in CATALOGUE):
            found.append(Complaint((i,), shown(name), _RULE, _remedy(name)))
        elif name in value[:i]:
            found.append(Complaint((i,), shown(name), "is listed twice", "drop one of them"))
    if not value:
        found.append(Complaint((), "[]", "an empty list names no backbone", "name one or more"))
    if found:
        raise refusal(found)
    return tuple(value)


def _backbone_section_read_name(value: object) -> str:
    if isinstance(value, str) and value in CATALOGUE:
        return value
    raise refuse(value, _RULE, _remedy(value))


def _remedy(value: object) -> str:
    return nearest(str(value), list(CATALOGUE)) or "write one such as resnet18"


def _read_weights(value: object) -> str | Mapping[str, str]:
    if not isinstance(value, dict):
        return read_weights(value)
    found: list[Complaint] = []
    for name, weights in value.items():
        if not (isinstance(name, str) and name in CATALOGUE):
            found.append(Complaint((name,), shown(weights), _RULE, _remedy(name)))
            continue
        try:
            read_weights(weights)
        except ValidationError as error:
            found += [complaint.under(name) for complaint in complaints_in(error)]
    if not value:
        remedy = "write {resnet18: IMAGENET1K_V1, …}, or one word for all"
        found.append(Complaint((), "{}", "an empty mapping names no weights", remedy))
    if found:
        raise refusal(found)
    return dict(value)


def _write_names(names: tuple[str, ...]) -> Any:
    return names[0] if len(names) == 1 else list(names)


def _write_weights(weights: str | Mapping[str, str]) -> Any:
    return weights if isinstance(weights, str) else dict(weights)


class BackboneConfig(Section):
    """Which network, and where its weights come from; of several networks each trial takes one."""

    model_config = ConfigDict(serialize_by_alias=True)

    names: Annotated[
        tuple[str, ...],
        Parsed(_read_names, {"anyOf": [_NAME_SCHEMA, list_schema(_NAME_SCHEMA)]}, _write_names),
        Field(alias="name", examples=["resnet18"], description="a list searches among networks"),
    ]
    given_weights: Annotated[
        str | Mapping[str, str],
        Parsed(
            _read_weights,
            {
                "anyOf": [
                    WEIGHTS_SCHEMA,
                    {
                        "type": "object",
                        "propertyNames": _NAME_SCHEMA,
                        "additionalProperties": WEIGHTS_SCHEMA,
                        "minProperties": 1,
                    },
                ]
            },
            _write_weights,
        ),
        Field(alias="weights", examples=["glyphs"], description="a mapping names each network's"),
    ]

    source: Annotated[
        Source | None,
        Perhaps(SOURCES),
        Field(
            description="images of the task that the weights were trained on; glyphs know theirs"
        ),
    ] = None

    @property
    def name(self) -> str:
        """The network of a study that has one; of several, ask for `of` each of `names`."""
        assert len(self.names) == 1, "which of several networks is meant must be said"
        return self.names[0]

    @property
    def weights(self) -> str:
        """The weights of a study's only network."""
        return self.weights_of(self.name)

    @property
    def facts(self) -> BackboneFacts:
        """What is known about the only network without building it."""
        return CATALOGUE[self.name]

    @property
    def dimension(self) -> Dimension:
        """The choice of the network as a dimension of the search."""
        return Choice(self.names) if len(self.names) > 1 else Fixed(self.names[0])

    @property
    def shallowest(self) -> BackboneFacts:
        """The network with the fewest layer groups, which bounds how deep all can be frozen."""
        return min((CATALOGUE[name] for name in self.names), key=lambda facts: len(groups(facts)))

    @property
    def with_weights(self) -> tuple[str, ...]:
        """The networks whose weights are named, which a study that was checked does for all."""
        given = self.given_weights
        return self.names if isinstance(given, str) else tuple(n for n in self.names if n in given)

    def weights_of(self, name: str) -> str:
        """The weights of one of the networks."""
        given = self.given_weights
        return given if isinstance(given, str) else given[name]

    def with_names(self, names: Sequence[str]) -> "BackboneConfig":
        """These networks in place of those, with the same weights."""
        return self.model_copy(update={"names": tuple(names)})

    def of(self, name: str) -> "BackboneConfig":
        """One of the networks by itself."""
        return self.model_copy(update={"names": (name,), "given_weights": self.weights_of(name)})


# The study's section `data`: which images, how they are prepared, audited and divided.


Part = Annotated[float, Field(gt=0, lt=1)]
SplitStrategy = Literal["stratified", "random", "time", "group", "stratified_group", "given"]
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

    source: Annotated[Source, OneOf(SOURCES), Field(examples=["digits"])]
    size: Annotated[int, Field(ge=1, le=4096, description="side of the square image, pixels")] = 32
    fit: Annotated[
        Fit, Field(description="how an image becomes square: cut, padded or stretched")
    ] = "crop"
    split: SplitConfig = SplitConfig()
    audit: AuditConfig = AuditConfig()
    labels_per_class: Annotated[
        int | None,
        Field(ge=1, le=LARGEST_COUNT, description="of the training part; null for all"),
    ] = None
    planted: Annotated[
        PlantedConfig | None, Field(description="defects put into the training part; null for none")
    ] = None


BACKBONE = "backbone"
"""The name of the network's dimension, in Optuna and among a trial's parameters."""

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"


def _read_name(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(_NAME, value):
        return value
    rule = "must be 1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit"
    raise refuse(value, rule, "it names folders and experiments")


def _read_confirm(value: object) -> object:
    return {"seeds": 0} if value is None else value


def _read_presets(value: object) -> dict[str, dict[str, Any]]:
    if not isinstance(value, dict):
        rule = "must be a mapping from names to settings"
        raise refuse(value, rule, "write {small: {budget.trials: 8}}")
    rule = "must be a mapping from dotted fields to values"
    found = [
        Complaint((name,), shown(settings), rule, "write {budget.trials: 8}")
        for name, settings in value.items()
        if not isinstance(settings, dict) or not settings
    ]
    if found:
        raise refusal(found)
    return value


class BudgetConfig(Section):
    """How much the search may spend."""

    trials: Annotated[AtLeast1, Field(description="a total over all runs of the study")] = 30
    epochs: AtLeast1 = 10
    timeout: Annotated[Duration, Field(description="seconds, 30m, 2h; null for none")] = None


class SearchConfig(Section):
    """Who proposes strategies, who stops them early, and what is better."""

    sampler: Annotated[Sampler, OneOf(SAMPLERS)] = Tpe()
    pruner: Annotated[Pruner, OneOf(PRUNERS)] = Median()
    seed: Seed = 0
    metric: Literal["val_accuracy", "val_loss"] = "val_accuracy"


class ConfirmConfig(Section):
    """How many of the best are trained again, over how many seeds; 0 seeds turn it off."""

    top: AtLeast1 = 3
    seeds: AtLeast0 = 3


class StudyConfig(Section):
    """A study: one question about transfer on one set of images."""

    name: Annotated[
        str,
        Parsed(_read_name, {"type": "string", "pattern": f"^{_NAME}$"}, as_it_is),
        Field(examples=["my-study"]),
    ]
    about: Annotated[
        str | None,
        Field(description="what it is to find out; stands in its reports and in MLflow"),
    ] = None
    data: Annotated[DataConfig, Field(examples=[{"source": "digits"}])]
    backbone: Annotated[BackboneConfig, Field(examples=[{"name": "resnet18", "weights": "glyphs"}])]
    budget: BudgetConfig = BudgetConfig()
    workers: Annotated[
        AutoOrCount, Field(description="processes of one thread each; auto: one per core or GPU")
    ] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    search: SearchConfig = SearchConfig()
    space: Space = Space()
    confirm: Annotated[
        ConfirmConfig,
        BeforeValidator(_read_confirm, json_schema_input_type=ConfirmConfig | None),
        Field(description="null turns it off"),
    ] = ConfirmConfig()
    baselines: Annotated[
        Baselines,
        Field(
            description="a list of names trains each with one fixed recipe; in a mapping such as "
            "{from_scratch: tuned, linear_probe: fixed} a tuned one is searched with budget.trials "
            "trials of its own"
        ),
    ] = Field(default_factory=fixed_baselines)
    comparison: Annotated[
        ComparisonConfig | None,
        Field(description="strategies held against one another, in place of a search"),
    ] = None
    storage: Annotated[
        StorageUrl, Field(description="of Optuna; null for a journal under mlruns/")
    ] = None
    tracking_uri: Annotated[
        TrackingUri, Field(description="of MLflow; null for a database under mlruns/")
    ] = None
    presets: Annotated[
        dict[str, dict[str, Any]],
        Parsed(
            _read_presets,
            {"type": "object", "additionalProperties": {"type": "object", "minProperties": 1}},
            as_it_is,
        ),
        Field(description="named sets of dotted overrides, chosen by --preset"),
    ] = Field(default_factory=dict)

    def with_backbone(self, name: str) -> "StudyConfig":
        """The same study on one of its networks alone."""
        return self.model_copy(update={"backbone": self.backbone.of(name)})

    def searched(self) -> dict[str, Dimension]:
        """All that a sampler is asked for: the network where there are several, then `space`'s."""
        network = self.backbone.dimension
        chosen = {} if isinstance(network, Fixed) else {BACKBONE: network}
        return {**chosen, **self.space.searched()}

    def assign(self, suggest: Suggest) -> dict[str, Any]:
        """The flat parameters of one trial, as `Space.assign` with the network before them, where
        there are several.
        """
        network = self.backbone.dimension
        chosen = {} if isinstance(network, Fixed) else {BACKBONE: suggest(BACKBONE, network)}
        return {**chosen, **self.space.assign(suggest)}

    def grid(self) -> dict[str, list[Scalar]]:
        """The values of each searched dimension; `grid_size` must not be None."""
        return {name: values(dimension) for name, dimension in self.searched().items()}

    def grid_size(self) -> int | None:
        """The number of points of the full grid; None if it is infinite."""
        size = self.space.grid_size()
        return None if size is None else size * len(self.backbone.names)
