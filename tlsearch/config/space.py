"""The search space: `Strategy` with a dimension in place of each of its values, and choices by name
that open further fields: `optimizer: {sgd: {momentum: 0.9}, adam: {}}`.

A scalar fixes a dimension, a list or a range searches it.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import reduce
from math import prod
from operator import or_
from types import NoneType
from typing import Annotated, Any, ClassVar, Literal, get_args, get_type_hints

from annotated_types import Ge, Gt, Le, Lt
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
    WrapValidator,
    create_model,
    model_validator,
)
from pydantic.fields import FieldInfo

from tlsearch.config.augmentation import IMAGE_CHANGES
from tlsearch.config.strategy import CHOICES, Strategy
from tlsearch.config.validation import (
    LARGEST_COUNT,
    Section,
    check_distinct,
    listed,
    name_in,
    tag,
    wrong,
)
from tlsearch.errors import nearest, shown

Scalar = float | int | bool | str | None


@dataclass(frozen=True)
class Fixed:
    """One value, never searched."""

    value: Scalar


@dataclass(frozen=True)
class Range:
    """From `low` to `high`, both included; whole numbers where the dimension counts things.

    `step` None leaves no gap (whole numbers: every one).
    """

    low: float
    high: float
    log: bool
    step: float | None

    @property
    def whole(self) -> bool:
        """Whether the range holds whole numbers."""
        return isinstance(self.low, int)


@dataclass(frozen=True)
class Choice:
    """One of several values, in the order given."""

    values: tuple[Scalar, ...]


Dimension = Fixed | Range | Choice


def raw(dimension: Dimension) -> Any:
    """The dimension as a study file holds it."""
    match dimension:
        case Fixed(value):
            return value
        case Choice(values):
            return list(values)
        case Range(low, high, log, step):
            optional = {"log": True} if log else {"step": step} if step is not None else {}
            return {"low": low, "high": high, **optional}


def in_words(dimension: Dimension) -> str:
    """As a reader wants it: `0.0001 to 0.1, logarithmic`."""
    match dimension:
        case Choice(values):
            return ", ".join("null" if v is None else str(v) for v in values)
        case Range(low, high, log, step):
            how = ", logarithmic" if log else f", in steps of {step:g}" if step else ""
            return f"{low:g} to {high:g}{how}{', whole numbers' if dimension.whole else ''}"
        case Fixed(value):
            return str(value)


def lowest(dimension: Dimension) -> float:
    """The least number it may take; infinity if it may only be null."""
    return min(_ends(dimension), default=math.inf)


def highest(dimension: Dimension) -> float:
    """The greatest number it may take; minus infinity if it may only be null."""
    return max(_ends(dimension), default=-math.inf)


def count(dimension: Dimension) -> int | None:
    """How many values it may take; None if infinitely many, or if a logarithm spaces them."""
    match dimension:
        case Fixed():
            return 1
        case Choice(values):
            return len(values)
        case Range(low, high, False, step) if step is not None or dimension.whole:
            return round((high - low) / (step or 1)) + 1
    return None


def num_values(dimension: Dimension) -> int | None:
    """How many different values it may take, however they are spaced; None if infinitely many."""
    if isinstance(dimension, Range) and dimension.whole and dimension.log:
        return int(dimension.high - dimension.low) + 1
    return count(dimension)


def values(dimension: Dimension) -> list[Scalar]:
    """Every value it may take; `count` must not be None."""
    match dimension:
        case Fixed(value):
            return [value]
        case Choice(found):
            return list(found)
        case Range(low, _, _, step):
            size = count(dimension)
            assert size is not None
            # In decimals, so that 0.1 + 2 × 0.1 is the 0.3 that the user wrote.
            spaced = (Decimal(str(low)) + i * Decimal(str(step or 1)) for i in range(size))
            return [int(v) if dimension.whole else float(v) for v in spaced]


def _ends(dimension: Dimension) -> list[float]:
    if isinstance(dimension, Range):
        return [dimension.low, dimension.high]
    found = dimension.values if isinstance(dimension, Choice) else (dimension.value,)
    return [v for v in found if isinstance(v, int | float)]


# The type that pydantic reads a dimension by, from the type of its values.

_VALUE, _LIST, _RANGE = tag("value"), tag("list"), tag("range")


class RangeFields(Section):
    """A range as a study file holds it; the bounds have the type of the dimension's values."""

    low: Any
    high: Any
    log: bool = False
    step: Any = None

    @model_validator(mode="after")
    def _check(self) -> "RangeFields":
        low, high, step = self.low, self.high, self.step
        if low > high:
            raise wrong("an empty range: low is above high", "swap them")
        if low == high:
            raise wrong("low equals high: nothing to search", f"write the value itself: {low}")
        if self.log and step is not None:
            raise wrong("log and step exclude one another", "drop one of them")
        if self.log and low <= 0:
            raise wrong("a logarithmic range must start above 0", "raise low, or drop log")
        if step is not None and (reached := _last_reached(low, high, step)) != high:
            rule = f"low plus whole steps never meets high = {shown(high)}"
            remedy = f"write high: {shown(reached)}" if reached > low else "take a smaller step"
            raise wrong(rule, remedy)
        return self


def _last_reached(low: float, high: float, step: float) -> float:
    first, last, by = Decimal(str(low)), Decimal(str(high)), Decimal(str(step))
    try:
        reached = first + (last - first) // by * by
    except InvalidOperation:  # more steps than decimals can count
        return low
    return int(reached) if isinstance(low, int) else float(reached)


def dimension_type(hint: Any) -> tuple[Any, FieldInfo]:
    """The type of a field whose value is a dimension of values of type `hint`, and what `hint` says
    of the field: its description and examples.

    A value fixes the dimension, a list searches it, as does {low, high} where values are numbers.
    """
    info = FieldInfo.from_annotation(hint)
    (base, *_) = [k for k in get_args(info.annotation) if k is not NoneType] or [info.annotation]
    limits = list(info.metadata)
    if base is int and not any(isinstance(limit, Le) for limit in limits):
        limits.append(Le(LARGEST_COUNT))
    value: Any = Annotated[(info.annotation, *limits)] if limits else info.annotation
    forms: list[Any] = [Annotated[value, Tag(_VALUE)], Annotated[listed(value), Tag(_LIST)]]
    form = _form
    if base in (int, float):
        forms.append(Annotated[_range_of(base, tuple(limits)), Tag(_RANGE)])
        form = _number_form
    return Annotated[
        reduce(or_, forms),
        Discriminator(form),
        BeforeValidator(lambda found: raw(found) if isinstance(found, Dimension) else found),
        AfterValidator(_made),
        PlainSerializer(raw),
    ], info


def _form(value: object) -> str:
    return _LIST if isinstance(value, list | tuple) else _VALUE


def _number_form(value: object) -> str:
    return _RANGE if isinstance(value, Mapping) else _form(value)


def _range_of(base: type, limits: tuple[Any, ...]) -> type[RangeFields]:
    bound: Any = Annotated[(base, *limits)] if limits else base
    step: Any = Annotated[base, Gt(0)]
    bounds = [limit for limit in limits if isinstance(limit, Gt | Ge | Lt | Le)]
    words = re.sub(r"\W", "", "".join(map(str, bounds)))
    made: type[RangeFields] = create_model(
        f"{base.__name__.title()}Range{words}",
        __base__=RangeFields,
        low=(bound, Field(examples=["…"])),
        high=(bound, Field(examples=["…"])),
        step=(step | None, None),
    )
    return made


def _made(found: Any) -> Dimension:
    """A dimension from a value, a list or a range that is right."""
    if isinstance(found, RangeFields):
        plain = found.log or (isinstance(found.low, int) and found.step == 1)
        return Range(found.low, found.high, found.log, None if plain else found.step)
    if not isinstance(found, list):
        return Fixed(found)
    check_distinct(found)
    # A list of one searches nothing.
    return Choice(tuple(found)) if len(found) > 1 else Fixed(found[0])


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
    return {name_in(kinds, option): option.model_dump(mode="json")}


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
    forms = name | section if most == 1 else name | listed(name) | section
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
    for name in names:
        if not isinstance(name, str):
            is_none = name in (None, False) and "none" in section.kinds
            raise wrong(section.rule(), "write none" if is_none else "")
    check_distinct(names)
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
    name = name_in(CHOICES[field], option)
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
        for name, dimension in self.dimensions().items():
            choice, *option = name.split(".")
            if option and params[choice] != option[0]:
                continue
            if isinstance(dimension, Fixed):
                params[name] = dimension.value
            else:
                params[name] = suggest(name, dimension)
        return params

    def dimensions(self) -> dict[str, Dimension]:
        """Every dimension in declared order, those of all choices included."""
        found: dict[str, Dimension] = {}
        for name in type(self).model_fields:
            field = getattr(self, name)
            if not isinstance(field, Branches):
                found[name] = field
                continue
            found[name] = Choice(field.names) if len(field.names) > 1 else Fixed(field.names[0])
            for option, fields in field.options.items():
                found |= {f"{name}.{option}.{inner}": d for inner, d in fields.items()}
        return found

    def searched(self) -> dict[str, Dimension]:
        """The dimensions that a sampler is asked for, those of all choices included."""
        return {n: d for n, d in self.dimensions().items() if not isinstance(d, Fixed)}

    def size(self) -> int | None:
        """How many different strategies there are; None if infinitely many."""
        sizes: list[int | None] = []
        for name in type(self).model_fields:
            field = getattr(self, name)
            if isinstance(field, Branches):
                options = [_product(map(num_values, f.values())) for f in field.options.values()]
                sizes.append(None if None in options else sum(n for n in options if n))
            else:
                sizes.append(num_values(field))
        return _product(sizes)

    def conditional(self) -> tuple[str, ...]:
        """The searched dimensions that exist for some choices only."""
        found = self.searched()
        return tuple(name for name in found if "." in name and name.partition(".")[0] in found)


def _product(counts: Iterable[int | None]) -> int | None:
    found = list(counts)
    return None if None in found else prod(n for n in found if n is not None)


def configuration_key(params: Mapping[str, Any]) -> Hashable:
    """The same for parameters that are equal, but for the last digits of a number on a grid."""
    return tuple(
        (name, f"{value:.12g}" if isinstance(value, float) else value)
        for name, value in sorted(params.items())
    )


def with_defaults(known: Mapping[str, Any]) -> dict[str, Any]:
    """Flat parameters of a strategy, or raw dimensions, completed by the defaults of those that
    `known` does not name at all: it was written before they existed, or need not name them.
    """
    plain = {name: raw(found) for name, found in Space().dimensions().items()}
    absent = {name for name in plain if "." not in name} - known.keys()
    return {**known, **{n: v for n, v in plain.items() if n.partition(".")[0] in absent}}
