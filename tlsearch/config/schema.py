"""The study as frozen models: every field, its rule, and the only home of its default."""

import re
from collections.abc import Mapping, Sequence
from math import prod
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    Tag,
    WithJsonSchema,
    model_serializer,
    model_validator,
)

from tlsearch.config.catalog import (
    CATALOGUE,
    IMAGENET,
    PREFIX,
    BackboneFacts,
    NetworkSpec,
    Normalisation,
    groups,
    torchvision_names,
)
from tlsearch.config.comparison import ComparisonConfig
from tlsearch.config.images import DataConfig
from tlsearch.config.packaged import PACKAGED
from tlsearch.config.search_options import (
    PRUNERS,
    SAMPLERS,
    Median,
    MetricName,
    Pruner,
    Sampler,
    Stop,
    Tpe,
)
from tlsearch.config.sources import SOURCES, Source
from tlsearch.config.space import (
    Choice,
    Dimension,
    Scalar,
    Space,
    Suggest,
    count,
    one_of,
    values,
)
from tlsearch.config.validation import (
    As,
    AtLeast0,
    AtLeast1,
    AutoOrCount,
    Section,
    Seed,
    boolean_hint,
    check_distinct,
    listed,
    must,
    tag,
    wrong,
)
from tlsearch.errors import RAW_AT, RAW_AT_REMEDY, has_raw_at, nearest

# Single values with a syntax of their own.

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_DURATION = r"(\d+(\.\d+)?d)?(\d+(\.\d+)?h)?(\d+(\.\d+)?m)?(\d+(\.\d+)?s)?"
_Seconds = Annotated[float, Field(gt=0, lt=1e15)]


def _seconds(value: object) -> object:
    if isinstance(value, str) and value and re.fullmatch(_DURATION, value):
        parts = re.findall(r"([\d.]+)([dhms])", value)
        return sum(float(number) * _UNITS[unit] for number, unit in parts)
    return value


Duration = Annotated[
    _Seconds | None,
    BeforeValidator(
        _seconds,
        json_schema_input_type=_Seconds
        | Annotated[str, Field(min_length=2, pattern=f"^{_DURATION}$")]
        | None,
    ),
    must("must be a duration above 0", "write seconds, 90s, 30m, 1h30m, or null for no limit"),
]
"""Seconds from a number above 0 or text such as `1h30m`; null for no limit."""


WEIGHTS_FILES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".tar")
"""Endings of files of weights: safetensors, and what torch.save wrote under its usual names."""


def is_weights_file(weights: str) -> bool:
    """Whether `backbone.weights` is the path of a file."""
    return weights.endswith(WEIGHTS_FILES)


def _weights_remedy(value: object) -> str:
    match value:
        case None:
            return "for a random start write none"
        case "DEFAULT":
            return "DEFAULT changes with torchvision's versions: write a name such as IMAGENET1K_V1"
        case str() if "/" in value or re.search(r"\.\w+$", value):
            return "files are told by their ending: save the weights with safetensors or torch.save"
        case str():
            meant = nearest(value, ["imagenet", "glyphs", "none", "IMAGENET1K_V1", "IMAGENET1K_V2"])
            return meant or "write a name such as IMAGENET1K_V1"
    return "write a name such as IMAGENET1K_V1"


_KNOWN_WEIGHTS: Any = Literal[("imagenet", "glyphs", "none", *PACKAGED)]
Weights = Annotated[
    _KNOWN_WEIGHTS
    | Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*_V\d+$")]  # torchvision's names
    | Annotated[str, Field(pattern=r"^[a-z0-9]+(_[a-z0-9]+)*$")]  # timm's
    | Annotated[str, Field(pattern=rf".({'|'.join(map(re.escape, WEIGHTS_FILES))})$")],
    must(
        "must be imagenet, glyphs, none, the name of published weights or a file"
        f" ({', '.join(WEIGHTS_FILES)})",
        _weights_remedy,
    ),
]
"""A known word, the name of published or packaged weights, or the path of a file."""

_ADDRESS = r"^[a-z][a-z0-9+]*://"


def _check_storage(value: str) -> str:
    if re.fullmatch(r"sqlite(\+\w+)?://(/?:memory:)?/?", value):
        raise wrong("is lost when the run ends", _STORAGE_REMEDY)
    return _check_password(value)


def _check_password(value: str) -> str:
    if has_raw_at(value):
        raise wrong(RAW_AT, RAW_AT_REMEDY)
    return value


def _check_tracking_uri(value: str) -> str:
    if value.startswith("file:"):
        raise wrong("MLflow closed its file store in 3.13", _TRACKING_REMEDY)
    return _check_password(value)


_STORAGE_REMEDY = "write one such as sqlite:///studies.db, or null for a journal under mlruns/"
_TRACKING_REMEDY = "write one such as http://localhost:5000 or sqlite:///mlflow.db, or null"
StorageUrl = Annotated[
    str,
    Field(pattern=_ADDRESS),
    must("must be a database's address", _STORAGE_REMEDY),
    AfterValidator(_check_storage),
]
TrackingUri = Annotated[
    str,
    Field(pattern=_ADDRESS + "."),
    must("must be an MLflow server's or database's address", _TRACKING_REMEDY),
    AfterValidator(_check_tracking_uri),
]

BaselineName = Literal["linear_probe", "full_fine_tuning", "from_scratch"]
BaselineMode = Literal["fixed", "tuned"]
BASELINES: tuple[BaselineName, ...] = get_args(BaselineName)
TUNABLE: tuple[BaselineName, ...] = ("full_fine_tuning", "from_scratch")
"""Baselines that may be given as many trials as the search; `linear_probe` has nothing to tune."""


def fixed_baselines() -> dict[BaselineName, BaselineMode]:
    """All of them, one fixed recipe each: the default."""
    return dict.fromkeys(BASELINES, "fixed")


def _read_baselines(value: object) -> object:
    if isinstance(value, bool):
        return fixed_baselines() if value else {}
    if isinstance(value, list):
        names = [str(name) for name in value]
        check_distinct(names)
        return dict.fromkeys(names, "fixed")
    if not isinstance(value, Mapping):
        remedy = boolean_hint(value) or f"of {', '.join(BASELINES)}"
        raise wrong("must be true, false, a list or a mapping", remedy)
    return value


def _check_baselines(
    modes: dict[BaselineName, BaselineMode],
) -> dict[BaselineName, BaselineMode]:
    for name, mode in modes.items():
        if mode == "tuned" and name not in TUNABLE:
            raise wrong(f"{name} must be fixed", f"only {' and '.join(TUNABLE)} can be tuned")
    return {name: modes[name] for name in BASELINES if name in modes}


def _write_baselines(modes: Mapping[BaselineName, BaselineMode]) -> object:
    return dict(modes) if "tuned" in modes.values() else list(modes)


Baselines = Annotated[
    dict[BaselineName, BaselineMode],
    BeforeValidator(
        _read_baselines,
        json_schema_input_type=bool
        | Annotated[list[BaselineName], Field(json_schema_extra={"uniqueItems": True})]
        | Annotated[
            dict[BaselineName, BaselineMode],
            Field(json_schema_extra={"properties": {"linear_probe": {"const": "fixed"}}}),
        ],
    ),
    AfterValidator(_check_baselines),
    PlainSerializer(_write_baselines),
]


# The section `backbone`: one network, or several to choose among, and their weights.


_OWN = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"


def _check_network(name: str) -> str:
    # What the file of networks lacks is looked for once the study is read: see `undescribed`.
    if name not in CATALOGUE and not name.startswith(PREFIX) and not re.match(_OWN, name):
        found = nearest(name, list(CATALOGUE)) or "write one such as resnet18"
        raise wrong("must be the name of a backbone", f"{found}; see: tlsearch networks")
    return name


def _check_distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise wrong("an empty list names no backbone", "name one or more")
    check_distinct(names)
    return names


_KNOWN_NETWORK: Any = (
    Literal[torchvision_names()] | Annotated[str, Field(pattern=f"^{PREFIX}[a-z0-9_]+$|:")]
)
_NETWORK_SCHEMA: Any = {
    "anyOf": [
        {"enum": list(torchvision_names())},
        {"type": "string", "pattern": f"^{PREFIX}[a-z0-9_]+$|:"},
    ]
}
Network = Annotated[
    str,
    must("must be the name of a backbone", "write one such as resnet18"),
    AfterValidator(_check_network),
]
BACKBONE = "backbone"
"""The name of the network's dimension, in Optuna and among a trial's parameters."""
_SOURCE = one_of(SOURCES)
_ONE, _EACH = tag("one"), tag("each")


_DESCRIBED = "described"
_Channels = Annotated[
    tuple[float, float, float],
    Field(strict=False, examples=[[0.5, 0.5, 0.5]]),
    must("must be three numbers, one per channel", "write [0.5, 0.5, 0.5]"),
]
_Spread = Annotated[float, Field(gt=0)]
_Spreads = Annotated[
    tuple[_Spread, _Spread, _Spread],
    Field(strict=False, examples=[[0.5, 0.5, 0.5]]),
    must("must be three numbers above 0, one per channel", "write [0.5, 0.5, 0.5]"),
]
_Group = Annotated[
    str,
    Field(pattern=r"^[a-z]\w*$"),
    must("must be a word in small letters", "write a name such as stem"),
]


class BackboneConfig(Section):
    """Which network, and where its weights come from; of several networks each trial takes one.

    A user's own is named by `module`, and its layer groups, head and normalisation by what follows.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    names: Annotated[
        tuple[Network, ...],
        Field(
            alias="name",
            strict=False,
            examples=["resnet18"],
            description="a list searches among networks",
        ),
        BeforeValidator(
            lambda value: value if isinstance(value, list | tuple) else [value],
            json_schema_input_type=_KNOWN_NETWORK | listed(_KNOWN_NETWORK),
        ),
        AfterValidator(_check_distinct),
        PlainSerializer(lambda names: names[0] if len(names) == 1 else list(names)),
    ]
    given_weights: Annotated[
        Annotated[Weights, Tag(_ONE)]
        | Annotated[
            dict[Annotated[Network, WithJsonSchema(_NETWORK_SCHEMA)], Weights],
            Field(min_length=1),
            Tag(_EACH),
        ],
        Discriminator(lambda value: _EACH if isinstance(value, Mapping) else _ONE),
        Field(alias="weights", examples=["glyphs"], description="a mapping names each network's"),
    ]

    source: Annotated[
        Source | None,
        As(_SOURCE | None),
        Field(
            description="images of the task that the weights were trained on; glyphs know theirs"
        ),
    ] = None
    module: Annotated[
        Annotated[str, Field(pattern=_OWN)] | None,
        must("must be package.file:function", "the function is called with num_classes"),
        Field(
            examples=["networks:small"],
            description="a network of your own, in place of `name`: package.file:function, seen "
            "from the folder where the command runs, called with num_classes",
        ),
    ] = None
    layer_groups: Annotated[
        Annotated[
            dict[_Group, str],
            Field(min_length=1, examples=[{"stem": "^conv1|^bn1"}]),
        ]
        | None,
        Field(
            description="of `module`: patterns of the names of parameters, from input to head, the "
            "first match owns; null: its top-level children in order"
        ),
    ] = None
    head: Annotated[
        str | None,
        Field(description="of `module`: the layer that gives the class scores; null: the last one"),
    ] = None
    mean: Annotated[
        _Channels | None,
        Field(description="of `module`: of images in 0 … 1, per channel; null: ImageNet's"),
    ] = None
    std: Annotated[
        _Spreads | None, Field(description="of `module`: as `mean`; null: ImageNet's")
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: object) -> object:
        if isinstance(data, Mapping) and data.get("module") is not None and "name" not in data:
            # What is no name of a function is refused as the module, and once.
            is_own = re.match(_OWN, str(data["module"]))
            return {"name": data["module"] if is_own else next(iter(CATALOGUE)), **data}
        return data

    @model_serializer(mode="wrap")
    def _written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        own = ("module", "layer_groups", "head", "mean", "std")
        found: dict[str, Any] = handler(self)
        return {name: v for name, v in found.items() if v is not None or name not in own}

    def __getstate__(self) -> dict[Any, Any]:
        """With what was described, so that another process need not build networks to know them."""
        return {**super().__getstate__(), _DESCRIBED: CATALOGUE.described(self.names)}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        for facts in state.pop(_DESCRIBED):
            CATALOGUE.add(facts)
        super().__setstate__(state)

    def spec(self, name: str, *, image_size: int) -> NetworkSpec:
        """What is to be known to build and describe one of the networks."""
        given = self.layer_groups
        mean, std = self.mean or IMAGENET[0], self.std or IMAGENET[1]
        return NetworkSpec(name, image_size, (mean, std), given, self.head)

    def normalisation_of(self, name: str) -> Normalisation:
        """Mean and standard deviation per channel, of images in 0 … 1, that the weights of one of
        the networks were trained with; those that are not published have the network's own.
        """
        facts = CATALOGUE[name]
        return facts.normalisations.get(self.weights_of(name), facts.normalisation)

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

    def searched(self) -> dict[str, Dimension]:
        """The choice of the network as a dimension of the search, where there are several."""
        return {BACKBONE: Choice(self.names)} if len(self.names) > 1 else {}

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


# The study.


class BudgetConfig(Section):
    """How much the search may spend."""

    trials: Annotated[AtLeast1, Field(description="a total over all runs of the study")] = 30
    epochs: AtLeast1 = 10
    timeout: Annotated[Duration, Field(description="seconds, 30m, 2h; null for none")] = None


class SearchConfig(Section):
    """Who proposes strategies, who stops them early, and what is better."""

    sampler: Annotated[Sampler, As(one_of(SAMPLERS))] = Tpe()
    pruner: Annotated[Pruner, As(one_of(PRUNERS))] = Median()
    seed: Seed = 0
    metric: Annotated[
        MetricName, Field(description="of the validation part; with or without val_")
    ] = "val_accuracy"
    start: Annotated[
        Literal["none", "portfolio", "history"],
        Field(
            description="what the first trials are. portfolio: strategies that did well on other "
            "tasks; history: what won in your own earlier studies in MLflow"
        ),
    ] = "none"
    stop: Annotated[
        Stop | None, Field(description="when to end before budget.trials; null: never")
    ] = None


class ConfirmConfig(Section):
    """The best are trained again over seeds, in a race: who falls behind drops out. 0 seeds turn it
    off.
    """

    top: Annotated[
        AtLeast1, Field(description="trials a seed: more on the first seed, fewer on the last")
    ] = 3
    seeds: AtLeast0 = 3

    @property
    def rounds(self) -> tuple[int, ...]:
        """How many trials race on each seed; `top` on average, at least 1."""
        most, middle = self.top - 1, (self.seeds + 1) / 2
        steps = (int(middle - seed) for seed in range(1, self.seeds + 1))
        return tuple(self.top + max(-most, min(most, step)) for step in steps)


class StudyConfig(Section):
    """A study: one question about transfer on one set of images."""

    name: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", examples=["my-study"]),
        must(
            "must be 1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit",
            "it names folders and experiments",
        ),
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
        BeforeValidator(
            lambda value: {"seeds": 0} if value is None else value,
            json_schema_input_type=ConfirmConfig | None,
        ),
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
        Field(description="strategies compared with one another, in place of a search"),
    ] = None
    storage: Annotated[
        StorageUrl | None, Field(description="of Optuna; null for a journal under mlruns/")
    ] = None
    tracking_uri: Annotated[
        TrackingUri | None, Field(description="of MLflow; null for a database under mlruns/")
    ] = None
    presets: Annotated[
        dict[str, Annotated[dict[str, Any], Field(min_length=1)]],
        Field(description="named sets of dotted overrides, chosen by --preset"),
    ] = Field(default_factory=dict)

    def with_backbone(self, name: str) -> "StudyConfig":
        """The same study on one of its networks alone."""
        return self.model_copy(update={"backbone": self.backbone.of(name)})

    def searched(self) -> dict[str, Dimension]:
        """All that a sampler is asked for: the network where there are several, then `space`'s."""
        return {**self.backbone.searched(), **self.space.searched()}

    def assign(self, suggest: Suggest) -> dict[str, Any]:
        """The flat parameters of one trial, as `Space.assign` with the network before them, where
        there are several.
        """
        chosen = {name: suggest(name, found) for name, found in self.backbone.searched().items()}
        return {**chosen, **self.space.assign(suggest)}

    def num_configurations(self) -> int | None:
        """How many different configurations a trial may have; None if infinitely many."""
        size = self.space.size()
        return None if size is None else size * len(self.backbone.names)

    def num_trials(self) -> int:
        """Trials of a whole search: the budget, or fewer where there are no more configurations, as
        nothing is trained twice.
        """
        size = self.num_configurations()
        return self.budget.trials if size is None else min(self.budget.trials, size)

    def grid(self) -> dict[str, list[Scalar]]:
        """The values of each searched dimension; `grid_size` must not be None."""
        return {name: values(dimension) for name, dimension in self.searched().items()}

    def grid_size(self) -> int | None:
        """The number of points of the full grid; None if it is infinite."""
        counts = [count(dimension) for dimension in self.searched().values()]
        return None if None in counts else prod(number for number in counts if number is not None)
