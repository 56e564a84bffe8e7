"""Choices by name that open further fields: `optimizer: {sgd: {momentum: 0.9}, adam: {}}`."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, WrapValidator, create_model

from tlsearch.config.dimensions import Dimension, raw
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
    section = create_model("Options", __base__=Options, **fields)
    section.kinds, section.elsewhere = kinds, elsewhere
    section.model_config["json_schema_extra"] = bounds

    def read(value: Any, handler: Callable[[Any], Options]) -> Any:
        named = _named(write(value), section, most)
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


def _named(value: object, section: type[Options], most: int | None) -> dict[str, Any]:
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
