import pytest

from tlsearch.config.dimensions import Choice, Range
from tlsearch.report.figures.scales import log_ticks, place, ticks

RATE = Range(1e-4, 1e-1, log=True, step=None)
DEPTH = Range(0, 5, log=False, step=None)


def test_values_lie_on_the_scale_that_is_searched() -> None:
    assert [place(RATE, v) for v in (1e-4, 1e-3, 1e-1)] == pytest.approx([0, 1 / 3, 1])
    assert [place(DEPTH, v) for v in (0, 2, 5)] == [0, 0.4, 1]
    assert [place(Choice((16, "x", None)), v) for v in (16, "x", None)] == [0, 0.5, 1]


def test_ticks_are_the_ends_and_round_numbers_between() -> None:
    assert ticks(RATE) == [(1e-4, "0.0001"), (1e-3, "0.001"), (1e-2, "0.01"), (1e-1, "0.1")]
    assert [text for _, text in ticks(DEPTH)] == ["0", "1", "2", "3", "4", "5"]
    assert [v for v, _ in ticks(Range(0, 50, log=False, step=None))] == [0, 20, 40, 50]
    assert [text for _, text in ticks(Range(0.0, 0.5, log=False, step=None), most=3)] == [
        "0",
        "0.25",
        "0.5",
    ]
    assert ticks(Choice((True, None, 0.125))) == [(True, "yes"), (None, "none"), (0.125, "0.125")]


def test_a_short_logarithmic_range_has_doubles_and_halves() -> None:
    assert log_ticks(0.1, 1.0) == [0.1, 0.2, 0.5, 1.0]
    assert log_ticks(1e-6, 1e-1, most=3) == [1e-6, 1e-4, 1e-2]


@pytest.mark.parametrize("low", [1, 3, 7])
@pytest.mark.parametrize("high", [8, 20, 999])
@pytest.mark.parametrize("log", [False, True])
def test_whole_numbers_have_whole_ticks_in_order(low: int, high: int, log: bool) -> None:
    values = [v for v, _ in ticks(Range(low, high, log=log, step=None))]
    assert values == sorted(set(values))
    assert all(v == int(v) and low <= v <= high for v in values)
