"""The study as frozen models: every field, its rule, and the only home of its default."""

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from tlsearch.study.backbone_section import BackboneConfig
from tlsearch.study.branches import OneOf
from tlsearch.study.comparison import ComparisonConfig
from tlsearch.study.complaints import Complaint, Section, refusal, refuse, shown
from tlsearch.study.data import DataConfig
from tlsearch.study.dimensions import Dimension, Fixed, Scalar, values
from tlsearch.study.parsed import Parsed
from tlsearch.study.search_options import (
    PRUNERS,
    SAMPLERS,
    AtLeast0,
    AtLeast1,
    Median,
    Pruner,
    Sampler,
    Tpe,
)
from tlsearch.study.space import Space, Suggest
from tlsearch.study.values import (
    BASELINES,
    AutoOrCount,
    Baselines,
    Duration,
    Seed,
    StorageUrl,
    TrackingUri,
    as_it_is,
)

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
    baselines: Baselines = BASELINES
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
