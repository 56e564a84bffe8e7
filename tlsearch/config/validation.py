"""Sections of a study file, and what pydantic finds wrong with one in words for its author."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import NoneType
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WrapValidator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from tlsearch.errors import hidden, nearest, shown

Loc = tuple[str | int, ...]

LARGEST_COUNT = 10**9  # no study counts further, and floats and numpy cannot follow much further
_ENGLISH_BOOLS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false"}


class Section(BaseModel):
    """A mapping of named fields in a study file: unknown fields and loose types are errors.

    `shorthand` names the field that a lone text stands for: `{folder: photos}`; `lone` matches a
    text that was probably meant so where the name is missing: `photos/`.
    """

    shorthand: ClassVar[str | None] = None
    lone: ClassVar[str | None] = None
    fields_are_values: ClassVar[bool] = False
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def unknown(cls, name: str) -> tuple[str, str]:
        """Rule and remedy for a field that it has not."""
        known = list(named_fields(cls))
        if not known:
            return "unknown field", "there is nothing to set here: drop it"
        return "unknown field", nearest(name, known) or f"known: {', '.join(known)}"


class Fault(NamedTuple):
    """A rule that a study breaks: its place, what was found there as text, and what to do.

    `involved` are the places of all fields of a contradiction.
    """

    loc: Loc
    value: str
    rule: str
    remedy: str
    involved: tuple[Loc, ...] = ()

    @property
    def field(self) -> str:
        """The place as a user writes it: `comparison.sweeps.of[0].arm`."""
        return dotted(self.loc)


def dotted(loc: Loc) -> str:
    """A place as a user writes it."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


_AS_WRITTEN: Any = object()


def clash(
    config: BaseModel,
    field: str,
    rule: str,
    remedy: str,
    *others: str,
    value: object = _AS_WRITTEN,
) -> Fault:
    """Fields that are right alone and wrong together; `field`, dotted, is where to show it, with
    what the study holds there unless another `value` says it better.
    """
    involved = tuple(tuple(name.split(".")) for name in (field, *others))
    found: Any = value
    if value is _AS_WRITTEN:
        found = config.model_dump(mode="json")
        for part in involved[0]:
            found = found[int(part) if isinstance(found, list) else part]
    return Fault(involved[0], shown(found), rule, remedy, involved)


def wrong(rule: str, remedy: str = "") -> PydanticCustomError:
    """The error to raise in a validator of a field."""
    return PydanticCustomError("rule", "{rule}", {"rule": rule, "remedy": remedy})


def check_distinct(found: Sequence[Any]) -> None:
    """Refuse values that are listed twice."""
    for i, value in enumerate(found):
        if value in found[:i]:
            name = value if isinstance(value, str) else shown(value)
            raise wrong(f"{name} is listed twice", "drop one of them")


def name_in(kinds: Mapping[str, type[Any]], option: object) -> str:
    """The name that a registry has for the class of an option."""
    return next(name for name, kind in kinds.items() if kind is type(option))


def listed(item: Any) -> Any:
    """The type of a list of one or more, whose members `check_distinct` compares."""
    return Annotated[list[item], Field(min_length=1, json_schema_extra={"uniqueItems": True})]


def must(rule: str, remedy: str | Callable[[Any], str] = "") -> WrapValidator:
    """Annotation: `rule` in place of all that pydantic has to say of a value that is refused."""

    def check(value: Any, handler: Callable[[Any], Any]) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise wrong(rule, remedy if isinstance(remedy, str) else remedy(value)) from None

    return WrapValidator(check)


def tag(name: str) -> str:
    """A name for a member of a union that no field can have, so that `faults` leaves it out."""
    return f"<{name}>"


class As:
    """Annotation of a field that pydantic reads as another type than the one that it holds."""

    def __init__(self, read_as: Any) -> None:
        self.read_as = read_as

    def __get_pydantic_core_schema__(self, source: object, handler: Any) -> Any:
        """Hook of pydantic."""
        return handler.generate_schema(self.read_as)


# numpy's legacy generators, inside Optuna, take no seed of more than 32 bits.
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Share = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Decay = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
AtLeast0 = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]
AtLeast1 = Annotated[int, Field(ge=1, le=LARGEST_COUNT)]
AtLeast2 = Annotated[int, Field(ge=2, le=LARGEST_COUNT)]
AutoOrCount = Annotated[
    AtLeast1 | Literal["auto"],
    must(
        "must be a whole number of at least 1, or auto",
        lambda value: (
            number_hint(value) or (nearest(value, ["auto"]) if isinstance(value, str) else "")
        ),
    ),
]


def faults(error: ValidationError, model: type[BaseModel], data: object) -> list[Fault]:
    """Every line of a pydantic error about `model` and the `data` that it was given."""
    return [_fault(e, model, data) for e in error.errors(include_url=False)]


def _fault(error: Any, model: type[BaseModel], data: object) -> Fault:
    kind, value, ctx = error["type"], error["input"], error.get("ctx", {})
    loc, text = _placed(error["loc"], data), shown(hidden(value))
    if kind == "missing":
        return Fault(loc, "", "is missing", _example(model, error["loc"]))
    if kind == "extra_forbidden":
        section, name = _sections(model, error["loc"][:-1])[0], str(loc[-1])
        if section.fields_are_values:  # written by name, in a mapping or without one
            loc, text = loc if _is_mapping(data, loc[:-1]) else loc[:-1], shown(name)
        return Fault(loc, text, *section.unknown(name))
    if kind == "rule":
        return Fault(loc, text, ctx["rule"], ctx["remedy"])
    if kind == "too_short":
        rule = f"must have at least {ctx['min_length']}"
        return Fault(loc, text, rule, _example(model, error["loc"]))
    return Fault(loc, text, *_worded(kind, ctx, value))


def _placed(loc: Loc, data: Any) -> Loc:
    """Where a user would say that it is: without members of unions, and without the places of a
    list that stands for a single value.
    """
    found: Loc = ()
    for part in loc:
        if isinstance(part, str) and (part == "[key]" or part.startswith("<")):
            continue
        if isinstance(part, int) and not isinstance(data, list):
            continue
        found = (*found, part)
        try:
            data = data[part]
        except (TypeError, LookupError):
            data = None
    return found


def _is_mapping(data: Any, loc: Loc) -> bool:
    for part in loc:
        data = data[part]
    return isinstance(data, dict)


def _worded(kind: str, ctx: dict[str, Any], value: object) -> tuple[str, str]:
    match kind:
        case "literal_error":
            words = re.findall(r"'([^']*)'", ctx["expected"])
            return f"must be {either(words)}", nearest(value, words) if isinstance(
                value, str
            ) else ""
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
        case "string_too_short":
            return "must not be empty", ""
        case "list_type" | "tuple_type":
            return "must be a list", "write [first, second]"
        case "model_type" | "model_attributes_type" | "dict_type":
            return "must be a mapping of fields", "write its fields below it, indented"
    return f"is not accepted ({kind.replace('_', ' ')})", ""


def either(words: Sequence[str]) -> str:
    """`a, b or c`."""
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
    plain = value.replace("_", "").replace(",", ".")
    try:
        return f"this is text: write {plain}" if abs(float(plain)) < float("inf") else ""
    except ValueError:
        return ""


# The way through the models, for the names and the examples that belong to a place.


def named_fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields by the names that a study file has for them."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def section_in(model: type[BaseModel], part: str | int) -> type[BaseModel] | None:
    """The section that a field of `model` holds, perhaps in place of null; None for another."""
    field = named_fields(model).get(str(part))
    if field is None:
        return None
    found = _read(field)
    kinds = [k for k in get_args(found) if k is not NoneType] or [found]
    is_section = len(kinds) == 1 and isinstance(kinds[0], type) and issubclass(kinds[0], Section)
    return kinds[0] if is_section and not kinds[0].fields_are_values else None


def _sections(model: type[BaseModel], loc: Loc) -> list[Any]:
    """The sections that may stand at `loc`; the enclosing ones if none can."""
    here: list[Any] = [model]
    for part in loc:
        fields = [named_fields(section).get(str(part)) for section in here]
        inner = [
            section
            for field in fields
            if field is not None
            for section in _sections_of(_read(field))
        ]
        here = inner or here
    return here


def _read(field: FieldInfo) -> Any:
    """The type that pydantic reads a field by."""
    return next((m.read_as for m in field.metadata if isinstance(m, As)), field.annotation)


def _sections_of(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
        return
    for found in get_args(annotation):
        yield from _sections_of(found)


def _example(model: type[BaseModel], loc: Loc) -> str:
    name = str(loc[-1])
    for section in _sections(model, loc[:-1]):
        field = named_fields(section).get(name)
        if field is not None and field.examples:
            (example, *_) = field.examples
            text = example if isinstance(example, str) else shown(example)
            return f"add it, such as `{name}: {text}`"
    return "add it"
