"""How a wrong value is told: complaints travel inside pydantic's errors, worded by us alone."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, ClassVar, NamedTuple, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
)
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from tlsearch.errors import nearest

Loc = tuple[str | int, ...]

_KIND = "complaint"
_ENGLISH_BOOLS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false"}


class Section(BaseModel):
    """A mapping of named fields in a study file: unknown fields and loose types are errors.

    `shorthand` names the field that a lone text stands for: `{folder: photos}`; `lone` matches a
    text that was probably meant so where the name is missing: `photos/`.
    """

    shorthand: ClassVar[str | None] = None
    lone: ClassVar[str | None] = None
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Complaint(NamedTuple):
    """A rule that raw data breaks; `loc` leads there, `value` is what was found, as text."""

    loc: Loc
    value: str
    rule: str
    remedy: str

    def under(self, *outer: str | int) -> "Complaint":
        """The same complaint seen from `outer` sections."""
        return self._replace(loc=(*outer, *self.loc))


def shown(value: object) -> str:
    """A value as a study file would hold it, on one line and cut to a readable length."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=True, default=str)
    except (TypeError, ValueError):
        text = repr(value)
    if isinstance(value, dict | list):
        text = re.sub(r'"([A-Za-z_][\w.]*)"', r"\1", text)
    return text if len(text) <= 60 else f"{text[:57]}..."


def refusal(complaints: Sequence[Complaint]) -> ValidationError:
    """The error to raise inside a validator; pydantic merges it under the field's own place."""
    return ValidationError.from_exception_data(
        "study",
        [
            InitErrorDetails(
                type=PydanticCustomError(
                    _KIND, "{rule}", {"value": c.value, "rule": c.rule, "remedy": c.remedy}
                ),
                loc=c.loc,
                input=None,
            )
            for c in complaints
        ],
    )


def refuse(value: object, rule: str, remedy: str) -> ValidationError:
    """`refusal` of one value at its own place."""
    return refusal([Complaint((), shown(value), rule, remedy)])


def complaints_in(error: ValidationError) -> list[Complaint]:
    """The complaints that an error of `refusal` was made of."""
    return [
        Complaint(e["loc"], *(e["ctx"][part] for part in ("value", "rule", "remedy")))
        for e in error.errors(include_url=False)
    ]


def complaints(error: ValidationError, model: type[BaseModel]) -> list[Complaint]:
    """Every line of a pydantic error about `model`, in our words."""
    return [_complaint(e, model) for e in error.errors(include_url=False)]


def unknown(word: object, known: Sequence[str]) -> str:
    """The remedy for a word that is not among the known ones."""
    if not known:
        return "there is nothing to set here: drop it"
    return nearest(str(word), known) or f"known: {', '.join(known)}"


def _complaint(error: Any, model: type[BaseModel]) -> Complaint:
    kind, loc, value, ctx = error["type"], error["loc"], error["input"], error.get("ctx", {})
    if kind == _KIND:
        return Complaint(loc, ctx["value"], ctx["rule"], ctx["remedy"])
    if kind == "missing":
        return Complaint(loc, "", "is missing", _example(model, loc))
    if kind == "extra_forbidden":
        return Complaint(loc, shown(value), "unknown field", unknown(loc[-1], _fields(model, loc)))
    rule, remedy = _worded(kind, ctx, value)
    return Complaint(loc, shown(value), rule, remedy)


def _worded(kind: str, ctx: dict[str, Any], value: object) -> tuple[str, str]:
    match kind:
        case "literal_error":
            words = re.findall(r"'([^']*)'", ctx["expected"])
            rule = f"must be {_either(words)}"
            return rule, nearest(value, words) if isinstance(value, str) else ""
        case "greater_than":
            return f"must be above {ctx['gt']:g}", ""
        case "greater_than_equal":
            return f"must be at least {ctx['ge']:g}", ""
        case "less_than":
            return f"must be below {ctx['lt']:g}", ""
        case "less_than_equal":
            return f"must be at most {ctx['le']:.15g}", ""
        case "bool_type":
            return "must be true or false", boolean_hint(value)
        case "int_type" | "int_from_float" | "int_parsing" | "int_parsing_size":
            return "must be a whole number", number_hint(value)
        case "float_type" | "float_parsing":
            return "must be a number", number_hint(value)
        case "finite_number":
            return "must be a finite number", ""
        case "string_type":
            return "must be text", "" if isinstance(value, dict | list) else "put it in quotes"
        case "model_type" | "model_attributes_type" | "dict_type":
            return "must be a mapping of fields", "write its fields below it, indented"
    return f"is not accepted ({kind.replace('_', ' ')})", ""


def _either(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def boolean_hint(value: object) -> str:
    """What to write where a truth value was meant and an English word was found."""
    meant = _ENGLISH_BOOLS.get(value.lower()) if isinstance(value, str) else None
    return f"{value!r} is text in YAML 1.2: write {meant}" if meant else ""


def number_hint(value: object) -> str:
    """What to write where a number was meant and text was found that looks like one."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return f"write {value:.0f}"  # where a float is wrong, a whole number is wanted
    if not isinstance(value, str):
        return ""
    try:
        number = float(value.replace("_", "").replace(",", "."))
    except ValueError:
        return ""
    plain = value.replace("_", "").replace(",", ".")
    return f"this is text: write {plain}" if abs(number) < float("inf") else ""


def section_in(model: type[BaseModel], part: str | int) -> type[BaseModel] | None:
    """The section that a field of `model` holds, perhaps in place of null; None for another."""
    field = fields_of(model).get(str(part))
    return _model(field.annotation) if field else None


def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields by the names that a study file has for them."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _section(model: type[BaseModel], loc: Loc) -> type[BaseModel]:
    """The innermost section of `model` on the way to `loc`, through mappings and lists of them."""
    parts = iter(loc)
    for part in parts:
        inner = section_in(model, part)
        if inner is None:
            field = fields_of(model).get(str(part))
            inner = _model((get_args(field.annotation) or (None,))[-1]) if field else None
            if inner is None or next(parts, None) is None:
                break
        model = inner
    return model


def _model(annotation: Any) -> type[BaseModel] | None:
    if get_origin(annotation) in (Union, UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
        annotation = kinds[0] if len(kinds) == 1 else None  # one of several has a name before it
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation if is_model else None


def _fields(model: type[BaseModel], loc: Loc) -> list[str]:
    return list(fields_of(_section(model, loc[:-1])))


def _example(model: type[BaseModel], loc: Loc) -> str:
    examples = fields_of(_section(model, loc[:-1]))[str(loc[-1])].examples
    if not examples:
        return "add it"
    example = examples[0] if isinstance(examples[0], str) else shown(examples[0])
    return f"add it, such as `{loc[-1]}: {example}`"


# Fields that pydantic leaves to a function of ours: to read, to write and to describe.


@dataclass(frozen=True)
class Parsed:
    """Annotation of a field with a syntax of its own: how to read, describe and write it."""

    parse: Callable[[Any], Any]
    schema: Mapping[str, Any]
    write: Callable[[Any], Any]

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Hook of pydantic: read by `parse`."""
        return parsed_schema(self.parse, self.write)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Hook of pydantic: what an editor may offer."""
        return dict(self.schema)


def parsed_schema(parse: Callable[[Any], Any], write: Callable[[Any], Any]) -> CoreSchema:
    """The pydantic schema of a value that `parse` reads and `write` gives back."""
    return core_schema.no_info_plain_validator_function(
        parse, serialization=core_schema.plain_serializer_function_ser_schema(write)
    )


def list_schema(item: dict[str, Any]) -> dict[str, Any]:
    """The JSON Schema of a list that offers a choice."""
    return {"type": "array", "items": item, "minItems": 1, "uniqueItems": True}
