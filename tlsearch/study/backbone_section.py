"""The study's section `backbone`: one network, or several to choose among, and their weights."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import ConfigDict, Field, ValidationError

from tlsearch.errors import nearest
from tlsearch.study.backbones import BackboneFacts, groups
from tlsearch.study.branches import Perhaps
from tlsearch.study.complaints import Complaint, Section, complaints_in, refusal, refuse, shown
from tlsearch.study.dimensions import Choice, Dimension, Fixed
from tlsearch.study.parsed import Parsed, list_schema
from tlsearch.study.sources import SOURCES, Source
from tlsearch.study.timm_backbones import CATALOGUE
from tlsearch.study.values import WEIGHTS_SCHEMA, read_weights

_NAME_SCHEMA = {"enum": list(CATALOGUE)}
_RULE = "must be the name of a backbone"


def _read_names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        return (_read_name(value),)
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


def _read_name(value: object) -> str:
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
