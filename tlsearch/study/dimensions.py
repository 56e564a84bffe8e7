"""Dimensions of the search space: a scalar fixes one, a list or a range searches it."""

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

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
