"""Dimensions of the search space: a scalar fixes one, a list or a range searches it."""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, ClassVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema

from tlsearch.config.strategy import ALL, NORMS
from tlsearch.config.validation import (
    Complaint,
    Loc,
    boolean_hint,
    list_schema,
    number_hint,
    parsed_schema,
    refusal,
    shown,
    unknown,
)
from tlsearch.errors import nearest

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


# Annotations that turn a field into a dimension: `lr: Annotated[Dimension, FloatDim(gt=0)]`.


LARGEST_COUNT = 10**9  # no study counts further, and floats and numpy cannot follow much further
_RANGE_KEYS = ("low", "high", "log", "step")
_Reader = Callable[[object, Loc, list[Complaint]], Scalar]


@dataclass(frozen=True, kw_only=True)
class NumberDim:
    """Annotation of a numeric dimension; its bounds hold for every value it may take."""

    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None
    nullable: bool = False
    whole: ClassVar[bool]

    def parse(self, value: object) -> Dimension:
        """Read a scalar, a list or a range; pydantic's error names all that is wrong."""
        if isinstance(value, Fixed | Range | Choice):
            value = raw(value)
        found: list[Complaint] = []
        if isinstance(value, Mapping):
            parsed: Dimension = self._range(value, found)
        else:
            parsed = scalar_or_list(value, self._scalar, found)
        if found:
            raise refusal(found)
        return parsed

    @property
    def wanted(self) -> str:
        """The rule for one value, in words."""
        bounds = [
            f"{word} {bound:g}"
            for word, bound in (
                ("above", self.gt),
                ("of at least", self.ge),
                ("below", self.lt),
                ("at most", self.le),
            )
            if bound is not None
        ]
        noun = "a whole number" if self.whole else "a number"
        null = " or null" if self.nullable else ""
        return f"must be {noun} {' and '.join(bounds)}".rstrip() + null

    def _scalar(self, value: object, loc: Loc, found: list[Complaint]) -> Scalar:
        if value is None and self.nullable:
            return None
        number = self._number(value)
        if number is None or not self._within(number):
            if self.whole and isinstance(value, int) and value > LARGEST_COUNT:
                found.append(Complaint(loc, shown(value), f"must be at most {LARGEST_COUNT}", ""))
                return None
            helpful = isinstance(value, str) or (self.whole and isinstance(value, float))
            hint = number_hint(value) if helpful and self._could_be(value) else ""
            found.append(Complaint(loc, shown(value), self.wanted, hint))
        return number

    def _number(self, value: object) -> float | None:
        """The value as this dimension's type, or None; a whole 3.0 is no 3."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        if self.whole:
            return value if isinstance(value, int) and abs(value) <= LARGEST_COUNT else None
        try:
            return float(value)
        except OverflowError:
            return None

    def _could_be(self, value: object) -> bool:
        """Whether the number that a text or a whole float stands for would be right."""
        try:
            return self._within(float(str(value).replace("_", "").replace(",", ".")))
        except ValueError:
            return False

    def _within(self, number: float) -> bool:
        return (
            math.isfinite(number)
            and (self.gt is None or number > self.gt)
            and (self.ge is None or number >= self.ge)
            and (self.lt is None or number < self.lt)
            and (self.le is None or number <= self.le)
        )

    def _range(self, value: Mapping[Any, Any], found: list[Complaint]) -> Range:
        before = len(found)
        for key in value:
            if key not in _RANGE_KEYS:
                remedy = unknown(key, _RANGE_KEYS)
                found.append(Complaint((key,), shown(value[key]), "no part of a range", remedy))
        for key in ("low", "high"):
            if key not in value:
                remedy = "a range is written {low: …, high: …}"
                found.append(Complaint((key,), "", "is missing", remedy))
            elif value[key] is None:
                rule = self.wanted.removesuffix(" or null")
                remedy = "list null as a value of its own: [null, …]" if self.nullable else ""
                found.append(Complaint((key,), "null", rule, remedy))
            else:
                self._scalar(value[key], (key,), found)
        log, step = value.get("log", False), value.get("step")
        if not isinstance(log, bool):
            rule = "must be true or false"
            found.append(Complaint(("log",), shown(log), rule, boolean_hint(log)))
        spacing = None if step is None else self._number(step)
        if step is not None and not (spacing and 0 < spacing < math.inf):
            noun = "a whole number" if self.whole else "a number"
            found.append(Complaint(("step",), shown(step), f"must be {noun} above 0", ""))
        if len(found) > before:
            return Range(0, 0, False, None)
        low, high = self._number(value["low"]), self._number(value["high"])
        assert low is not None
        assert high is not None
        found.extend(_range_complaints(value, low, high, log, spacing))
        plain = log or (self.whole and spacing == 1)
        return Range(low, high, log, None if plain else spacing)

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Hook of pydantic: the whole union of types is read by `parse`."""
        return parsed_schema(self.parse, raw)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Hook of pydantic: what an editor may offer."""
        bounds = {
            "exclusiveMinimum": self.gt,
            "minimum": self.ge,
            "exclusiveMaximum": self.lt,
            "maximum": self.le,
        }
        number: dict[str, Any] = {
            "type": "integer" if self.whole else "number",
            **{key: bound for key, bound in bounds.items() if bound is not None},
        }
        step = {"type": number["type"], "exclusiveMinimum": 0}
        span = {
            "type": "object",
            "properties": {"low": number, "high": number, "log": {"type": "boolean"}, "step": step},
            "required": ["low", "high"],
            "additionalProperties": False,
        }
        scalar = {"anyOf": [number, {"type": "null"}]} if self.nullable else number
        return {"anyOf": [scalar, list_schema(scalar), span]}


def _range_complaints(
    value: Mapping[Any, Any], low: float, high: float, log: bool, step: float | None
) -> list[Complaint]:
    text = shown(dict(value))
    if low > high:
        return [Complaint((), text, "an empty range: low is above high", "swap them")]
    if low == high:
        rule = "low equals high: nothing to search"
        return [Complaint((), text, rule, f"write the value itself: {shown(low)}")]
    if log and step is not None:
        return [Complaint((), text, "log and step exclude one another", "drop one of them")]
    if log and low <= 0:
        remedy = "raise low, or drop log"
        rule = "a logarithmic range must start above 0"
        return [Complaint(("low",), shown(value["low"]), rule, remedy)]
    if step is not None:
        reached = _last_reached(low, high, step)
        if reached != high:
            rule = f"low plus whole steps never meets high = {shown(high)}"
            remedy = f"write high: {shown(reached)}" if reached > low else "take a smaller step"
            return [Complaint(("step",), shown(value["step"]), rule, remedy)]
    return []


def _last_reached(low: float, high: float, step: float) -> float:
    first, last, by = Decimal(str(low)), Decimal(str(high)), Decimal(str(step))
    try:
        reached = first + (last - first) // by * by
    except InvalidOperation:  # more steps than decimals can count
        return low
    return int(reached) if isinstance(low, int) else float(reached)


class FloatDim(NumberDim):
    """Annotation of a dimension of real numbers."""

    whole = False


class IntDim(NumberDim):
    """Annotation of a dimension of whole numbers."""

    whole = True


class PixelShareDim(FloatDim):
    """Annotation of a change of pixels as a share of their range; papers write it in 255ths."""

    def _scalar(self, value: object, loc: Loc, found: list[Complaint]) -> Scalar:
        before = len(found)
        number = super()._scalar(value, loc, found)
        if len(found) > before:
            remedy = f"a share of the pixel range 0 … 1: {_in_255ths(value)}"
            found[-1] = found[-1]._replace(remedy=remedy)
        return number


def _in_255ths(value: object) -> str:
    """What to write for a change in grey levels, or for a fraction that YAML takes for text."""
    levels: object = value
    if isinstance(value, str) and (match := re.fullmatch(r"\s*([\d.]+)\s*/\s*255\s*", value)):
        levels = float(match[1])
    if isinstance(levels, bool) or not isinstance(levels, int | float) or not 0 < levels <= 255:
        levels = 8
    return f"write {levels:g}/255 = {levels / 255:.2g}"


class ListedDim(ABC):
    """Base of the annotations of dimensions that have no range: a value fixes, a list searches."""

    def parse(self, value: object) -> Dimension:
        """Read a value or a list of values; pydantic's error names all that is wrong."""
        if isinstance(value, Fixed | Range | Choice):
            value = raw(value)
        found: list[Complaint] = []
        parsed = scalar_or_list(value, self._scalar, found)
        if found:
            raise refusal(found)
        return parsed

    @abstractmethod
    def _scalar(self, value: object, loc: Loc, found: list[Complaint]) -> Scalar:
        """The value as it is kept; what is wrong with it goes to `found`."""

    @abstractmethod
    def _schema(self) -> dict[str, Any]:
        """The JSON Schema of one value."""

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Hook of pydantic: the whole union of types is read by `parse`."""
        return parsed_schema(self.parse, raw)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Hook of pydantic: what an editor may offer."""
        return {"anyOf": [self._schema(), list_schema(self._schema())]}


class BoolDim(ListedDim):
    """Annotation of a dimension that is true or false."""

    def _scalar(self, value: object, loc: Loc, found: list[Complaint]) -> Scalar:
        if isinstance(value, bool):
            return value
        remedy = boolean_hint(value) or "to search both write [true, false]"
        found.append(Complaint(loc, shown(value), "must be true or false", remedy))
        return None

    def _schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


def scalar_or_list(value: object, read: _Reader, found: list[Complaint]) -> Dimension:
    """A value that is fixed, or a list that is searched; `read` adds complaints to `found`."""
    if not isinstance(value, list | tuple):
        return Fixed(read(value, (), found))
    if not value:
        found.append(Complaint((), "[]", "an empty list", "name at least one value"))
    read_values = [read(v, (i,), found) for i, v in enumerate(value)]
    for i, one in enumerate(read_values):
        if one in read_values[:i] and not found:
            found.append(Complaint((i,), shown(one), "is listed twice", "drop one of them"))
    # A list of one searches nothing.
    return Choice(tuple(read_values)) if len(read_values) > 1 else Fixed(*read_values or (None,))


# Dimensions of text: one of a few words, or names of layer groups joined by `+`.


_GROUP = r"[A-Za-z][A-Za-z0-9_]*"
_GROUPS = rf"{_GROUP}(\+{_GROUP})*"


@dataclass(frozen=True)
class WordDim(ListedDim):
    """Annotation of a dimension that is one of `words`."""

    words: tuple[str, ...]

    def _scalar(self, value: object, loc: Loc, found: list[Complaint]) -> Scalar:
        if isinstance(value, str) and value in self.words:
            return value
        rule = f"must be {' or '.join(self.words)}"
        meant = nearest(value, self.words) if isinstance(value, str) else ""
        remedy = meant or f"to search both write [{', '.join(self.words)}]"
        found.append(Complaint(loc, shown(value), rule, remedy))
        return None

    def _schema(self) -> dict[str, Any]:
        return {"enum": list(self.words)}


class GroupsDim(ListedDim):
    """Annotation of a dimension that is `all`, `norms`, or layer groups: `layer1+layer2`.

    Whether the backbone has such groups is known to the study's checks alone.
    """

    def _scalar(self, value: object, loc: Loc, found: list[Complaint]) -> Scalar:
        text = value.replace(" ", "") if isinstance(value, str) else ""
        if not re.fullmatch(_GROUPS, text):
            rule = "must be all, norms or layer groups joined by +"
            found.append(Complaint(loc, shown(value), rule, "write one such as layer1+layer2"))
            return None
        names = text.split("+")
        for i, name in enumerate(names):
            if name in names[:i]:
                rule = f"names {name} twice"
                found.append(Complaint(loc, shown(value), rule, "drop one of them"))
            elif name in (ALL, NORMS) and len(names) > 1:
                rule = f"{name} goes with no other name"
                remedy = f"write {name} alone, or groups alone"
                found.append(Complaint(loc, shown(value), rule, remedy))
        return text

    def _schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": rf"^ *{_GROUP}( *\+ *{_GROUP})* *$"}
