"""What a study may know about a network without importing torch: groups, cost, sizes, weights.

networks.json, beside this file, has a row for every network of torchvision and of the timm that it
names; benchmarks/networks.py writes it. What is not in it, a network of a newer timm or one of the
user's own, is described by building it, by whatever
`CATALOGUE.describe_with` was given.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from tlsearch.errors import Problem, RequestError, nearest, shown

LayerMap = tuple[tuple[str, str], ...]
"""(group, pattern matched at the start of a name), ordered from input to head.

The first match owns a parameter or a buffer; the last group is "head".
"""
Channels = tuple[float, float, float]
Normalisation = tuple[Channels, Channels]
"""Mean and standard deviation per channel, of images in 0 … 1."""

IMAGENET: Normalisation = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
PREFIX = "timm/"
"""Begins the names of timm's networks in a study: `timm/resnet18d`."""
OWN = "own"
"""The family of users' own networks, whose names are `package.file:function`."""
USUAL_MOMENTUM = 0.1
"""The share of a new batch in the running statistics of torch's BatchNorm."""


class BackboneFacts(NamedTuple):
    """One network of torchvision, of timm, or a user's own.

    `head` is the module that gives the class scores, by its path. `giga_macs` counts multiply-adds
    in 10⁹ per image at `native_size` pixels, `mega_activations` the numbers in 10⁶ that its
    convolutions and matrix products give. Images must be square, with a side of at least
    `min_size` and a multiple of `size_multiple` (a ViT's patch). `num_features` is what the head
    sees. `weights` are the names of those that are published; `normalisations` has those whose
    images want another one than the network's own. `cuts` are the freeze depths at which one tensor
    passes, so that what lies before needs to run but once. `source` is the digest of the file that
    a user's own network is in.
    """

    name: str
    family: str
    layer_map: LayerMap
    head: str
    giga_macs: float
    mega_activations: float
    num_features: int
    weights: tuple[str, ...] = ()
    native_size: int = 224
    min_size: int = 8
    size_multiple: int = 1
    num_parameters: int = 0
    normalisation: Normalisation = IMAGENET
    normalisations: Mapping[str, Normalisation] = {}
    interpolation: str = "bilinear"
    last_activation: str | None = None
    has_negative_features: bool = True
    norm_momentum: float | None = None
    has_norms: bool = True
    cuts: tuple[int, ...] = ()
    source: str = ""
    takes_size: bool = False
    options: Mapping[str, Any] = {}

    @property
    def is_timm(self) -> bool:
        """Whether timm builds it."""
        return self.name.startswith(PREFIX)


def groups(facts: BackboneFacts) -> tuple[str, ...]:
    """The layer groups from input to head; a freeze depth is 0 … len(groups) - 1."""
    return tuple(dict.fromkeys(group for group, _ in facts.layer_map))


def group_of(facts: BackboneFacts, name: str) -> str:
    """The group that owns the parameter or buffer called `name`.

    Raises:
        KeyError: no pattern matches, which the contract suite excludes for torchvision's names.
    """
    for group, pattern in facts.layer_map:
        if re.match(pattern, name):
            return group
    raise KeyError(name)


def reuse(facts: BackboneFacts) -> str:
    """Where the forward pass can be cut, and so which frozen layers need to run but once."""
    last = len(groups(facts)) - 1
    match facts.cuts:
        case ():
            return "frozen layers run in every step, nothing of them is reused"
        case cuts if len(cuts) == last:
            return "frozen layers are computed once at any depth"
        case (only,) if only == last:
            return "frozen layers are computed once where the head alone trains, else in each step"
        case cuts:
            depths = ", ".join(map(str, cuts))
            return f"frozen layers are computed once up to the depths {depths}, no others"


RESIZED = "bicubic"
"""How every image is brought to a study's size."""


def in_words(facts: BackboneFacts, *, weights: str) -> str:
    """What a network costs, how it can be cut, and where its weights saw images otherwise made."""
    text = (
        f"{short(facts.num_parameters)} parameters, {short(facts.giga_macs * 1e9)} multiply-adds "
        f"at {facts.native_size} px; {reuse(facts)}"
    )
    if weights in ("imagenet", *facts.weights) and facts.interpolation != RESIZED:
        text += f"; its weights saw {facts.interpolation} images, and these are made {RESIZED}"
    return text


def short(number: float) -> str:
    """A count in three digits: 4.65 M."""
    units = (("G", 1e9), ("M", 1e6), ("k", 1e3))
    unit, size = next(((u, s) for u, s in units if number >= s), ("", 1.0))
    return f"{number / size:.3g} {unit}".rstrip()


# The rows of the file. Layouts and normalisations, which many networks share, are written once.


class _File(NamedTuple):
    made_with: dict[str, str]
    layouts: list[dict[str, str]]
    normalisations: list[Any]
    left_out: dict[str, str]
    networks: dict[str, dict[str, Any]]


@cache
def _file() -> _File:
    text = files("tlsearch.config").joinpath("networks.json").read_text(encoding="utf-8")
    return _File(**json.loads(text))


def made_with() -> dict[str, str]:
    """The versions of the libraries that the file describes."""
    return _file().made_with


def left_out() -> dict[str, str]:
    """The networks that no study can take, and why: one of several classifiers, or of none."""
    return _file().left_out


def from_row(name: str, row: Mapping[str, Any], file: _File) -> BackboneFacts:
    """The facts of a row: fields by name, those at their defaults left out."""
    fields = dict(row)
    norm = [_normalisation(entry) for entry in file.normalisations]
    layout = file.layouts[fields.pop("layout")]
    fields["layer_map"] = tuple((group, prefixes(names)) for group, names in layout.items())
    fields["cuts"] = tuple(fields.get("cuts", range(1, len(layout))))
    fields["weights"] = tuple(fields.get("weights", "").split())
    if "normalisation" in fields:
        fields["normalisation"] = norm[fields["normalisation"]]
    others = fields.get("normalisations", {})
    return BackboneFacts(
        name=name, **{**fields, "normalisations": {tag: norm[i] for tag, i in others.items()}}
    )


def prefixes(names: str) -> str:
    """The pattern of whatever lies at or below one of these paths, which spaces separate."""
    return "(" + "|".join(map(re.escape, names.split())) + r")(\.|$)"


def _normalisation(entry: Any) -> Normalisation:
    mean, std = entry
    return tuple(mean), tuple(std)


class NetworkSpec(NamedTuple):
    """A network that the file lacks, as a study names it: one of timm's, or the user's own with
    what the study says of it.
    """

    name: str
    image_size: int
    normalisation: Normalisation = IMAGENET
    layer_groups: Mapping[str, str] | None = None
    head: str | None = None

    @property
    def is_own(self) -> bool:
        """Whether it is the user's own."""
        return not self.name.startswith(PREFIX)


class NetworkError(RequestError):
    """A network that cannot be had: a field of `backbone`, what it holds, the rule, the remedy."""

    def __init__(self, field: str, value: object, rule: str, remedy: str) -> None:
        self.field, self.value, self.rule, self.remedy = field, value, rule, remedy
        super().__init__(str(Problem(f"backbone.{field}", shown(value), rule, remedy)))


Describe = Callable[[NetworkSpec], BackboneFacts]
"""Builds a network and finds the facts; raises NetworkError."""


class Catalogue(Mapping[str, BackboneFacts]):
    """The facts of every network by the name that a study has for it: those of the file, and what
    was described since.
    """

    def __init__(self) -> None:
        self._known: dict[str, BackboneFacts] = {}
        self._specs: dict[str, NetworkSpec] = {}
        self._describe: Describe | None = None

    def __getitem__(self, name: str) -> BackboneFacts:
        if name not in self._known:
            self._known[name] = from_row(name, _file().networks[name], _file())
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        yield from dict.fromkeys((*_file().networks, *self._known))

    def __len__(self) -> int:
        return len(_file().networks.keys() | self._known.keys())

    def __contains__(self, name: object) -> bool:
        return name in self._known or name in _file().networks

    def add(self, facts: BackboneFacts) -> None:
        """Know a network, in place of what was known under its name."""
        self._known[facts.name] = facts

    def described(self, names: Iterable[str]) -> tuple[BackboneFacts, ...]:
        """The facts of those of these networks that the file lacks."""
        return tuple(self[name] for name in names if name in self and name not in _file().networks)

    def describe_with(self, describe: Describe) -> None:
        """Let networks that the file lacks be built and described, which needs torch."""
        self._describe = describe

    def describe(self, spec: NetworkSpec) -> None:
        """Find the facts of a network that the file lacks.

        Raises:
            NetworkError: it cannot be had.
        """
        if self._specs.get(spec.name) == spec:
            return
        if self._describe is None:
            rule = "is in no list, and networks are not built here to be looked at"
            raise NetworkError("name", spec.name, rule, nearest(spec.name, list(self)))
        self.add(self._describe(spec))
        self._specs[spec.name] = spec


CATALOGUE = Catalogue()
"""Every network by the name that a study has for it."""


@cache
def torchvision_names() -> tuple[str, ...]:
    """torchvision's networks, and ResNet-10 of its code."""
    return tuple(name for name in _file().networks if not name.startswith(PREFIX))
