"""The search space: `Strategy` with a dimension in place of each of its values, and choices by name
that open further fields: `optimizer: {sgd: {momentum: 0.9}, adam: {}}`.
"""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any, ClassVar, Literal, get_type_hints

from pydantic import BeforeValidator, Field, PlainSerializer, WrapValidator, create_model

from tlsearch.config.augmentation import IMAGE_CHANGES
from tlsearch.config.dimensions import (
    Choice,
    Dimension,
    Fixed,
    Scalar,
    count,
    dimension_type,
    raw,
    values,
)
from tlsearch.config.strategy import CHOICES, Strategy
from tlsearch.config.validation import Section, wrong
from tlsearch.errors import nearest, shown


@dataclass(frozen=True)
class Branches:
    """Options by name, each with dimensions of its own; one option alone is fixed."""

    options: Mapping[str, Mapping[str, Dimension]]

    @property
    def names(self) -> tuple[str, ...]:
        """The options in the order given."""
        return tuple(self.options)

    def written(self) -> dict[str, dict[str, Any]]:
        """The options as a study file holds them."""
        return {
            name: {field: raw(dimension) for field, dimension in fields.items()}
            for name, fields in self.options.items()
        }


class Options(Section):
    """Base of the sections that have a field for every option of a registry."""

    fields_are_values: ClassVar[bool] = True
    kinds: ClassVar[Mapping[str, type[Section]]]
    elsewhere: ClassVar[Mapping[str, str]]

    @classmethod
    def rule(cls) -> str:
        """What may be written."""
        return f"must be one of {', '.join(cls.kinds)}"

    @classmethod
    def unknown(cls, name: str) -> tuple[str, str]:
        """Rule and remedy for a name that is none of the options."""
        meant = [nearest(name, list(cls.kinds)), cls._lone(name)]
        if re.search(r"[/\\.]", name):  # a path, before a slip
            meant.reverse()
        return cls.rule(), cls.elsewhere.get(name) or meant[0] or meant[1]

    @classmethod
    def _lone(cls, text: str) -> str:
        """What to write where a lone text names no option, but could be the shorthand of one."""
        for name, kind in cls.kinds.items():
            if kind.lone is not None and re.fullmatch(kind.lone, text, re.DOTALL):
                return f"write {{{name}: {shown(text)}}}" if shown(text).isprintable() else ""
        return ""


def any_of(kinds: Mapping[str, type[Section]], *, elsewhere: Mapping[str, str]) -> Any:
    """The type of a field that holds `Branches`: one or more of `kinds`, whose fields are
    dimensions. `elsewhere` says of names that belong to other fields what to write.
    """
    return _options_type(
        kinds,
        elsewhere,
        most=None,
        make=lambda found: Branches({name: dict(option) for name, option in found.items()}),
        write=lambda value: value.written() if isinstance(value, Branches) else value,
    )


def one_of(kinds: Mapping[str, type[Section]]) -> Any:
    """The type of a field that holds exactly one of `kinds`, written by its name."""
    return _options_type(
        kinds,
        {},
        most=1,
        make=lambda found: next(iter(found.values())),
        write=lambda value: written(value, kinds) if isinstance(value, Section) else value,
    )


def written(option: Section, kinds: Mapping[str, type[Section]]) -> dict[str, Any]:
    """One of `kinds` as a study file holds it."""
    name = next(name for name, kind in kinds.items() if kind is type(option))
    return {name: option.model_dump(mode="json")}


def _options_type(
    kinds: Mapping[str, type[Section]],
    elsewhere: Mapping[str, str],
    *,
    most: int | None,
    make: Callable[[dict[str, Section]], Any],
    write: Callable[[Any], Any],
) -> Any:
    bounds: dict[str, Any] = {"minProperties": 1} | ({"maxProperties": most} if most else {})
    fields: Any = {name: (_option_type(kind), None) for name, kind in kinds.items()}
    # Named by what it holds, so that the published schema's names are stable.
    title = "".join(name.title() for name in kinds)
    section = create_model(f"{title}Options", __base__=Options, **fields)
    section.kinds, section.elsewhere = kinds, elsewhere
    section.model_config["json_schema_extra"] = bounds

    def read(value: Any, handler: Callable[[Any], Options]) -> Any:
        named = _as_mapping(write(value), section, most)
        found = handler(named)
        return make({name: getattr(found, name) for name in named})

    # What needs a field cannot be written by its name alone.
    plain = tuple(
        name
        for name, kind in kinds.items()
        if not any(field.is_required() for field in kind.model_fields.values())
    )
    name: Any = Literal[plain]
    listed: Any = Annotated[
        list[name], Field(min_length=1, json_schema_extra={"uniqueItems": True})
    ]
    forms = name | section if most == 1 else name | listed | section
    return Annotated[
        section, WrapValidator(read, json_schema_input_type=forms), PlainSerializer(write)
    ]


def _option_type(kind: type[Section]) -> Any:
    """A section that may be null, or the text that its shorthand stands for."""

    def read(value: object) -> object:
        if isinstance(value, str) and kind.shorthand is not None:
            return {kind.shorthand: value}
        return {} if value is None else value

    forms: Any = kind | (str if kind.shorthand is not None else None)
    return Annotated[kind, BeforeValidator(read, json_schema_input_type=forms)]


def _as_mapping(value: object, section: type[Options], most: int | None) -> dict[str, Any]:
    """A name, or names, as the mapping that they abbreviate."""
    if most == 1 and isinstance(value, list | tuple | Mapping) and len(value) > 1:
        raise wrong("must be exactly one", "keep one name")
    if isinstance(value, Mapping | list | tuple) and not value:
        raise wrong("names no option", f"known: {', '.join(section.kinds)}")
    if isinstance(value, Mapping):
        return {str(name): fields for name, fields in value.items()}
    names: list[Any] = list(value) if isinstance(value, list | tuple) else [value]
    for i, name in enumerate(names):
        if not isinstance(name, str):
            is_none = name in (None, False) and "none" in section.kinds
            raise wrong(section.rule(), "write none" if is_none else "")
        if name in names[:i]:
            raise wrong(f"{name} is listed twice", "drop one of them")
    return {name: {} for name in names}


# The space of strategies.


Suggest = Callable[[str, Dimension], Any]


def section_of(option: type) -> type[Section]:
    """The section of a study file whose fields are the dimensions of `option`, a dataclass."""
    hints = get_type_hints(option, include_extras=True)
    made: Any = {}
    for field in dataclasses.fields(option):
        if field.name == "init":  # no dimension: only a baseline starts at random
            continue
        annotation, info = dimension_type(hints[field.name])
        default: Any = ... if field.default is dataclasses.MISSING else Fixed(field.default)
        if field.name in CHOICES:
            annotation = _ANY_OF[field.name]
            default = Branches(_options_of(field.name, field.default))
        described = Field(default, description=info.description, examples=info.examples)
        made[field.name] = (annotation, described)
    section: type[Section] = create_model(
        f"{option.__name__}Space", __base__=Section, __doc__=option.__doc__, **made
    )
    return section


def _options_of(field: str, option: Any) -> dict[str, dict[str, Dimension]]:
    name = next(name for name, kind in CHOICES[field].items() if kind is type(option))
    return {name: {f.name: Fixed(getattr(option, f.name)) for f in dataclasses.fields(option)}}


_ANY_OF = {
    field: any_of({name: section_of(kind) for name, kind in kinds.items()}, elsewhere=IMAGE_CHANGES)
    for field, kinds in CHOICES.items()
}
_Fields: Any = section_of(Strategy)


class Space(_Fields):  # type: ignore[misc]
    """What is fixed and what is searched: a scalar fixes, a list or {low, high} searches."""

    def assign(self, suggest: Suggest) -> dict[str, Any]:
        """The flat parameters of one strategy, asking `suggest` for the searched ones alone.

        Names are asked in declared order; those of a choice that was not made are never asked.
        """
        params: dict[str, Any] = {}
        for name in type(self).model_fields:
            field = getattr(self, name)
            if isinstance(field, Branches):
                chosen = params[name] = _value(name, _named(field), suggest)
                for inner, dimension in _inner(name, field, chosen):
                    params[inner] = _value(inner, dimension, suggest)
            else:
                params[name] = _value(name, field, suggest)
        return params

    def dimensions(self) -> dict[str, Dimension]:
        """Every dimension in declared order, those of all choices included."""
        found: dict[str, Dimension] = {}
        for name in type(self).model_fields:
            field = getattr(self, name)
            if isinstance(field, Branches):
                found[name] = _named(field)
                for option in field.names:
                    found.update(_inner(name, field, option))
            else:
                found[name] = field
        return found

    def searched(self) -> dict[str, Dimension]:
        """The dimensions that a sampler is asked for, those of all choices included."""
        return {n: d for n, d in self.dimensions().items() if not isinstance(d, Fixed)}

    def conditional(self) -> tuple[str, ...]:
        """The searched dimensions that exist for some choices only."""
        return tuple(
            name
            for name in self.searched()
            if "." in name and len(getattr(self, name.split(".")[0]).names) > 1
        )

    def grid_size(self) -> int | None:
        """The number of points of the full grid; None if it is infinite."""
        counts = [count(d) for d in self.searched().values()]
        return None if None in counts else prod(c for c in counts if c is not None)

    def grid(self) -> dict[str, list[Scalar]]:
        """The values of each searched dimension; `grid_size` must not be None."""
        return {name: values(dimension) for name, dimension in self.searched().items()}


def with_defaults(known: Mapping[str, Any]) -> dict[str, Any]:
    """Flat parameters of a strategy, or raw dimensions, completed by the defaults of those that
    `known` does not name at all: it was written before they existed, or need not name them.
    """
    plain = {name: raw(found) for name, found in Space().dimensions().items()}
    absent = {name for name in plain if "." not in name} - known.keys()
    return {**known, **{n: v for n, v in plain.items() if n.partition(".")[0] in absent}}


def _named(field: Branches) -> Dimension:
    return Choice(field.names) if len(field.names) > 1 else Fixed(field.names[0])


def _inner(name: str, field: Branches, chosen: str) -> Iterator[tuple[str, Dimension]]:
    for inner, found in field.options[chosen].items():
        yield f"{name}.{chosen}.{inner}", found


def _value(name: str, dimension: Dimension, suggest: Suggest) -> Any:
    return dimension.value if isinstance(dimension, Fixed) else suggest(name, dimension)
