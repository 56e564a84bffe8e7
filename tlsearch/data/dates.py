"""When images were taken: a column of text as numbers that order."""

import math
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import product

import numpy as np

_YEAR_FIRST = ("%Y/%m/%d", "%Y.%m.%d", "%Y:%m:%d")  # the last as cameras write it
_YEAR_LAST = ("%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%Y", "%d-%b-%Y")
_WORDED = ("%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y")
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
_ZONES = ("", "%z", " %z")

Parse = Callable[[str], datetime | None]


class MixedTimes(ValueError):  # noqa: N818 — it says what they are
    """Times that cannot be put into one order; `row` is the first that shows it."""

    def __init__(self, row: int, reason: str) -> None:
        self.row, self.reason = row, reason
        super().__init__(f"row {row}: {reason}")


def parse_times(texts: Sequence[str]) -> np.ndarray:
    """Times float64 (N,), NaN where the text is empty: numbers as they are, dates as seconds since
    1970. Those without a zone are taken for UTC.

    One way of writing must fit all: so 03/04/2024 is read where another row has 25/04/2024.

    Raises:
        MixedTimes: none does, or several do that disagree.
    """
    rows = [i for i, text in enumerate(texts) if text]
    found = np.full(len(texts), math.nan)
    if not rows:
        return found
    known = [texts[i] for i in rows]
    numbers = [_number(text) for text in known]
    if None not in numbers:
        found[rows] = numbers
        return found
    if numbers[0] is not None:
        i = numbers.index(None)
        raise MixedTimes(rows[i], f"{known[i]!r} is no number, unlike {known[0]!r}")
    found[rows] = _dates(known, rows)
    return found


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _dates(texts: list[str], rows: list[int]) -> list[float]:
    readings: list[list[datetime]] = []
    furthest, first_unlike = -1, 0
    for parse in _ways(texts[0]):
        read = [parse(texts[0])]
        while len(read) < len(texts) and read[-1] is not None:
            read.append(parse(texts[len(read)]))
        dates = [date for date in read if date is not None]
        if len(dates) == len(texts):
            readings.append(dates)
        elif len(dates) > furthest:
            furthest, first_unlike = len(dates), len(dates)
    if not readings:
        where = rows[first_unlike]
        example = f", unlike {texts[0]!r}" if first_unlike else ""
        raise MixedTimes(where, f"{texts[first_unlike]!r} is no date that is known here{example}")
    seconds = [[_seconds(date) for date in dates] for dates in readings]
    for i, row in enumerate(rows):
        if len({reading[i] for reading in seconds}) > 1:
            raise MixedTimes(row, f"{texts[i]!r} may be day before month or month before day")
    zoned = [date.tzinfo is not None for date in readings[0]]
    if any(zoned) and not all(zoned):
        i = zoned.index(not zoned[0])
        has, had = ("a", "none") if zoned[i] else ("no", "one")
        raise MixedTimes(rows[i], f"{texts[i]!r} has {has} time zone and {texts[0]!r} has {had}")
    return seconds[0]


def _seconds(date: datetime) -> float:
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


def _ways(text: str) -> Iterator[Parse]:
    """The ways of reading that fit `text`."""
    ways: list[Parse] = [_iso]
    days = _WORDED if any(c.isalpha() for c in text[:10]) else ()
    for day, clock, zone in product((*_YEAR_FIRST, *_YEAR_LAST, *days), _CLOCKS, _ZONES):
        if clock or not zone:
            ways.append(_by(day + clock + zone))
    return (way for way in ways if way(text) is not None)


def _iso(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _by(pattern: str) -> Parse:
    def parse(text: str) -> datetime | None:
        try:
            return datetime.strptime(text, pattern)
        except ValueError:
            return None

    return parse
