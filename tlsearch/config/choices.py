"""Choices that open further fields: `optimizer: {sgd: {momentum: 0.9}, adam: {}}`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema

from tlsearch.config.dimensions import Dimension, raw
from tlsearch.config.validation import (
    Complaint,
    Section,
    complaints,
    list_schema,
    parsed_schema,
    refusal,
    shown,
)
from tlsearch.errors import nearest

Kinds = Mapping[str, type[Section]]


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


@dataclass(frozen=True)
class AnyOf:
    """Annotation of `Branches`: one or more of `kinds`. `elsewhere` says of names that belong to
    other fields what to write.
    """

    kinds: Kinds
    elsewhere: Mapping[str, str] = field(default_factory=dict)

    def parse(self, value: object) -> Branches:
        """Read a name, a list of names, or a mapping from names to fields."""
        if isinstance(value, Branches):
            value = value.written()
        options = _options(value, self.kinds, self.elsewhere)
        return Branches({name: dict(option) for name, option in options.items()})

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Hook of pydantic: read by `parse`."""
        return parsed_schema(self.parse, Branches.written)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Hook of pydantic: what an editor may offer."""
        name, mapping = _schemas(self.kinds, handler)
        return {"anyOf": [name, list_schema(name), mapping]}


@dataclass(frozen=True)
class OneOf:
    """Annotation of a field that holds exactly one of `kinds`, written by its name."""

    kinds: Kinds

    def parse(self, value: object) -> Section:
        """Read a name, or a mapping from one name to its options."""
        if isinstance(value, Section):
            value = self.write(value)
        if isinstance(value, list | tuple) or (isinstance(value, Mapping) and len(value) > 1):
            raise refusal([Complaint((), shown(value), "must be exactly one", "keep one name")])
        (option,) = _options(value, self.kinds, {}).values()
        return option

    def write(self, option: Section) -> dict[str, Any]:
        """The option as a study file holds it."""
        name = next(name for name, kind in self.kinds.items() if kind is type(option))
        return {name: _written(option)}

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Hook of pydantic: read by `parse`."""
        return parsed_schema(self.parse, self.write)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Hook of pydantic: what an editor may offer."""
        name, mapping = _schemas(self.kinds, handler)
        return {"anyOf": [name, {**mapping, "maxProperties": 1}]}


@dataclass(frozen=True)
class Perhaps(OneOf):
    """Annotation of a field that holds one of `kinds`, or null."""

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Hook of pydantic: read by `parse` unless it is null."""
        return parsed_schema(
            lambda value: None if value is None else self.parse(value),
            lambda option: None if option is None else self.write(option),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Hook of pydantic: what an editor may offer."""
        one = super().__get_pydantic_json_schema__(schema, handler)
        return {"anyOf": [*one["anyOf"], {"type": "null"}]}


def _written(option: Section) -> dict[str, Any]:
    return option.model_dump(mode="json")


def _options(value: object, kinds: Kinds, elsewhere: Mapping[str, str]) -> dict[str, Section]:
    """The options that `value` names, built; raises every complaint about them."""
    found: list[Complaint] = []
    named: Mapping[Any, Any]
    if isinstance(value, Mapping):
        named = value
    elif isinstance(value, list | tuple):
        found += [
            Complaint((i,), shown(v), "is listed twice", "drop one of them")
            for i, v in enumerate(value)
            if v in value[:i]
        ]
        named = {v if isinstance(v, str) else shown(v): {} for v in value}
    else:
        named = {value if isinstance(value, str) else shown(value): {}}
    if not named:
        names = ", ".join(kinds)
        found.append(Complaint((), shown(value), "names no option", f"known: {names}"))
    options: dict[str, Section] = {}
    for name, fields in named.items():
        if name not in kinds:
            loc = (name,) if isinstance(value, Mapping) else ()
            rule = f"must be one of {', '.join(kinds)}"
            if value in (None, False) and "none" in kinds:
                found.append(Complaint((), shown(value), rule, "write none"))
                continue
            meant = [nearest(str(name), list(kinds)), _lone(name, kinds) if name == value else ""]
            if isinstance(name, str) and re.search(r"[/\\.]", name):  # a path, before a slip
                meant.reverse()
            remedy = elsewhere.get(str(name)) or meant[0] or meant[1]
            found.append(Complaint(loc, shown(name), rule, remedy))
            continue
        kind = kinds[name]
        if isinstance(fields, str) and kind.shorthand is not None:
            fields = {kind.shorthand: fields}
        try:
            options[name] = kind.model_validate({} if fields is None else fields)
        except ValidationError as error:
            found += [c.under(name) for c in complaints(error, kind)]
    if found:
        raise refusal(found)
    return options


def _lone(text: str, kinds: Kinds) -> str:
    """What to write where a lone text names none of `kinds`, but could be an option of one."""
    for name, kind in kinds.items():
        if kind.lone is not None and re.fullmatch(kind.lone, text, re.DOTALL):
            return f"write {{{name}: {shown(text)}}}" if shown(text).isprintable() else ""
    return ""


def _schemas(kinds: Kinds, handler: GetJsonSchemaHandler) -> tuple[dict[str, Any], dict[str, Any]]:
    # What needs a field cannot be written by its name alone.
    plain = [
        key
        for key, kind in kinds.items()
        if not any(field.is_required() for field in kind.model_fields.values())
    ]
    name: dict[str, Any] = {"enum": plain}
    mapping = {
        "type": "object",
        "properties": {
            key: {
                "anyOf": [
                    handler(kind.__pydantic_core_schema__),
                    {"type": "null" if kind.shorthand is None else "string"},
                ]
            }
            for key, kind in kinds.items()
        },
        "additionalProperties": False,
        "minProperties": 1,
    }
    return name, mapping
