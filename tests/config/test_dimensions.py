from typing import Any

import pytest
from pydantic import ValidationError

from tlsearch.config.dimensions import (
    BoolDim,
    Choice,
    Fixed,
    FloatDim,
    IntDim,
    Range,
    can_be,
    count,
    highest,
    lowest,
    raw,
    values,
)

RATE = FloatDim(gt=0)
SHARE = FloatDim(ge=0, lt=1)
COUNT = IntDim(ge=0)
LIMIT = FloatDim(gt=0, nullable=True)
FLAG = BoolDim()


@pytest.mark.parametrize(
    ("dim", "written", "parsed"),
    [
        (RATE, 1, Fixed(1.0)),
        (RATE, [0.1, 1], Choice((0.1, 1.0))),
        (RATE, [0.1], Fixed(0.1)),
        (RATE, {"low": 1e-4, "high": 1, "log": True}, Range(1e-4, 1.0, True, None)),
        (SHARE, {"low": 0, "high": 0.3, "step": 0.1}, Range(0.0, 0.3, False, 0.1)),
        (COUNT, {"low": 0, "high": 4, "step": 2}, Range(0, 4, False, 2)),
        (COUNT, {"low": 0, "high": 4, "step": 1}, Range(0, 4, False, None)),
        (IntDim(ge=1), {"low": 1, "high": 64, "log": True}, Range(1, 64, True, None)),
        (LIMIT, None, Fixed(None)),
        (LIMIT, [None, 2], Choice((None, 2.0))),
        (FLAG, True, Fixed(True)),
        (FLAG, [True, False], Choice((True, False))),
    ],
)
def test_read_and_written_back(dim: Any, written: Any, parsed: Any) -> None:
    found = dim.parse(written)
    assert found == parsed
    assert [type(v) for v in raw_values(found)] == [type(v) for v in raw_values(parsed)]
    assert dim.parse(raw(found)) == parsed
    assert dim.parse(parsed) == parsed


def raw_values(dimension: Any) -> list[Any]:
    match dimension:
        case Fixed(value):
            return [value]
        case Choice(found):
            return list(found)
    return [dimension.low, dimension.high, dimension.log, dimension.step]


@pytest.mark.parametrize(
    ("dim", "written", "told"),
    [
        (RATE, 0, ": must be a number above 0"),
        (RATE, True, ": must be a number above 0"),
        (RATE, None, ": must be a number above 0"),
        (RATE, "0.1", ": must be a number above 0 — this is text: write 0.1"),
        (RATE, "fast", ": must be a number above 0"),
        (RATE, float("inf"), ": must be a number above 0"),
        (RATE, float("nan"), ": must be a number above 0"),
        (RATE, 10**400, ": must be a number above 0"),
        (SHARE, 1, ": must be a number of at least 0 and below 1"),
        (LIMIT, -1, ": must be a number above 0 or null"),
        (COUNT, 3.0, ": must be a whole number of at least 0 — write 3"),
        (COUNT, 3.5, ": must be a whole number of at least 0"),
        (COUNT, -1, ": must be a whole number of at least 0"),
        (COUNT, False, ": must be a whole number of at least 0"),
        (RATE, [], ": an empty list — name at least one value"),
        (RATE, [1, 1.0], "1: is listed twice — drop one of them"),
        (RATE, [[1]], "0: must be a number above 0"),
        (FLAG, 1, ": must be true or false — to search both write [true, false]"),
        (FLAG, "no", ": must be true or false — 'no' is text in YAML 1.2: write false"),
        (
            FLAG,
            {"low": 0, "high": 1},
            ": must be true or false — to search both write [true, false]",
        ),
        (RATE, {"low": 1, "high": 1}, ": low equals high: nothing to search"),
        (RATE, {"low": 2, "high": 1}, ": an empty range: low is above high — swap them"),
        (RATE, {"low": 1}, "high: is missing — a range is written {low: …, high: …}"),
        (RATE, {"low": 1, "high": 2, "lag": 1}, "lag: no part of a range — did you mean 'log'?"),
        (RATE, {"low": 1, "high": 2, "log": "yes"}, "log: must be true or false"),
        (RATE, {"low": 1, "high": 2, "log": True, "step": 1}, ": log and step exclude one another"),
        (RATE, {"low": 1, "high": 2, "step": 0}, "step: must be a number above 0"),
        (RATE, {"low": 1, "high": 2, "step": True}, "step: must be a number above 0"),
        (COUNT, {"low": 1, "high": 2, "step": 0.5}, "step: must be a whole number above 0"),
        (COUNT, {"low": 0, "high": 5, "step": 2}, "— write high: 4"),
        (SHARE, {"low": 0, "high": 0.35, "step": 0.1}, "— write high: 0.3"),
        (SHARE, {"low": 0, "high": 0.3, "step": 0.4}, "— take a smaller step"),
        (SHARE, {"low": 0, "high": 0.3, "step": 1e-300}, "— take a smaller step"),
        (SHARE, {"low": 0, "high": 0.3, "log": True}, "low: a logarithmic range must start above"),
        (RATE, {"low": 0, "high": 1, "log": True}, "low: must be a number above 0"),
        (LIMIT, {"low": None, "high": 1}, "— list null as a value of its own: [null, …]"),
    ],
)
def test_refused(dim: Any, written: Any, told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        dim.parse(written)
    (error,) = caught.value.errors()
    place = ".".join(str(p) for p in error["loc"])
    remedy = f" — {error['ctx']['remedy']}" if error["ctx"]["remedy"] else ""
    assert told in f"{place}: {error['ctx']['rule']}{remedy}"


def test_all_that_is_wrong_with_a_range_is_told_at_once() -> None:
    with pytest.raises(ValidationError) as caught:
        RATE.parse({"low": -1, "high": "x", "log": 1, "stop": 2})
    assert {e["loc"] for e in caught.value.errors()} == {("low",), ("high",), ("log",), ("stop",)}


@pytest.mark.parametrize(
    ("dimension", "listed"),
    [
        (Fixed(None), [None]),
        (Choice((3, 1)), [3, 1]),
        (Range(0, 3, False, None), [0, 1, 2, 3]),
        (Range(0, 4, False, 2), [0, 2, 4]),
        (Range(0.1, 0.4, False, 0.1), [0.1, 0.2, 0.3, 0.4]),
    ],
)
def test_listed_values(dimension: Any, listed: list[Any]) -> None:
    assert count(dimension) == len(listed)
    assert values(dimension) == listed
    assert all(can_be(dimension, v) for v in listed)
    assert not can_be(dimension, 0.25)


@pytest.mark.parametrize("endless", [Range(0.0, 1.0, False, None), Range(1, 9, True, None)])
def test_no_grid_of_a_continuum_or_a_logarithm(endless: Range) -> None:
    assert count(endless) is None
    assert can_be(endless, 1)
    assert not can_be(endless, 10)


def test_ends() -> None:
    assert (lowest(Range(1, 3, False, None)), highest(Range(1, 3, False, None))) == (1, 3)
    assert (lowest(Choice((None, 2, 5))), highest(Choice((None, 2, 5)))) == (2, 5)
    assert lowest(Fixed(None)) > highest(Fixed(None))
