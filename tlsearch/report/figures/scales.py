"""Where a dimension's values lie on an axis of length 1, and which of them the axis names."""

import math
from typing import Any

from tlsearch.config.dimensions import Choice, Dimension, Range
from tlsearch.report.wording import setting_text

MAX_TICKS = 5
_FEW = 5


def place(dimension: Dimension, value: Any) -> float:
    """From 0 at the low end, or the first choice, to 1; ranges that are searched on their logarithm
    are laid out on it.
    """
    if isinstance(dimension, Choice):
        return dimension.values.index(value) / (len(dimension.values) - 1)
    assert isinstance(dimension, Range), "it is searched"
    low, high = dimension.low, dimension.high
    if dimension.log:
        return math.log(value / low) / math.log(high / low)
    return float((value - low) / (high - low))


def ticks(dimension: Dimension, *, most: int = MAX_TICKS) -> list[tuple[Any, str]]:
    """Values to name, with their names: every choice, or both ends of a range and round numbers
    between them, about `most` together.
    """
    if isinstance(dimension, Choice):
        return [(value, setting_text(value)) for value in dimension.values]
    assert isinstance(dimension, Range), "it is searched"
    low, high = dimension.low, dimension.high
    if dimension.whole and high - low <= _FEW:
        return [(v, str(v)) for v in range(int(low), int(high) + 1)]
    inner = (log_ticks if dimension.log else _round_steps)(low, high, most=most)
    clear = [v for v in inner if 0.12 < place(dimension, v) < 0.88]
    if dimension.whole:
        clear = sorted({round(v) for v in clear} - {low, high})
    return [(v, f"{v:g}") for v in (low, *clear, high)]


def log_ticks(low: float, high: float, *, most: int = MAX_TICKS) -> list[float]:
    """Round numbers between two on a logarithmic axis: powers of ten, in a short range their
    doubles and halves as well.
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    digits = (1, 2, 5) if math.log10(high / low) < 2 else (1,)
    found = [v for p in powers for d in digits if low <= (v := float(f"{d}e{p}")) <= high]
    return found[:: math.ceil(len(found) / most) or 1]


def _round_steps(low: float, high: float, *, most: int) -> list[float]:
    raw = (high - low) / (most - 1)
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(m * size for m in (1, 2, 2.5, 5, 10) if m * size >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step), math.floor(high / step)
    return [round(i * step, 12) for i in range(first, last + 1)]
