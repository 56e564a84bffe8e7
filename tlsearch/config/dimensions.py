"""Dimensions of the search space: a scalar fixes one, a list or a range searches it."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import reduce
from operator import or_
from types import NoneType
from typing import Annotated, Any, get_args

from annotated_types import Ge, Gt, Le, Lt
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
    create_model,
    model_validator,
)
from pydantic.fields import FieldInfo

from tlsearch.config.validation import LARGEST_COUNT, Section, tag, wrong
from tlsearch.errors import shown

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


def can_be(dimension: Dimension, value: Scalar) -> bool:
    """Whether it may take exactly this value."""
    match dimension:
        case Fixed(found):
            return found == value
        case Choice(found):
            return value in found
        case Range(low, high, _, step):
            if value is None or isinstance(value, str) or not low <= value <= high:
                return False
            step = step or (1 if dimension.whole else None)
            return (
                step is None or (Decimal(str(value)) - Decimal(str(low))) % Decimal(str(step)) == 0
            )


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
    listed: Any = Annotated[
        list[value], Field(min_length=1, json_schema_extra={"uniqueItems": True})
    ]
    forms: list[Any] = [Annotated[value, Tag(_VALUE)], Annotated[listed, Tag(_LIST)]]
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
    for i, value in enumerate(found):
        if value in found[:i]:
            raise wrong(f"{shown(value)} is listed twice", "drop one of them")
    # A list of one searches nothing.
    return Choice(tuple(found)) if len(found) > 1 else Fixed(found[0])
