import pytest

from tlsearch.report.figures.thinning import evenly, rounded
from tlsearch.report.figures.window import Window, shown_values, window


def test_a_window_spans_the_good_three_quarters_and_what_stands_beside() -> None:
    values = [0.1, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95]
    assert window(values, maximise=True) == Window(0.6, 0.95, maximise=True)
    assert window(values, maximise=False) == Window(0.1, 0.85, maximise=False)
    assert window(values, beside=[0.4, float("nan")], maximise=True).low == 0.4
    assert window([], maximise=True) == Window(0.0, 1.0, maximise=True)


def test_what_is_worse_or_nothing_stands_beyond_the_worse_end() -> None:
    accuracy, loss = Window(0.6, 0.9, maximise=True), Window(0.1, 0.4, maximise=False)
    assert (accuracy.place(0.7), accuracy.holds(0.7)) == (0.7, True)
    # The margin is 6 % of the span, and the edge six tenths into it.
    assert accuracy.place(0.2) == accuracy.place(None) == pytest.approx(0.6 - 0.6 * 0.018)
    assert loss.place(7.0) == pytest.approx(0.4 + 0.6 * 0.018)
    assert (accuracy.place(0.97), loss.place(0.01)) == (0.9, 0.1)
    assert not accuracy.holds(None)


def test_shares_run_from_the_worse_end_to_the_better() -> None:
    assert Window(0.6, 0.9, maximise=True).share(0.7) == pytest.approx(1 / 3)
    assert Window(0.1, 0.4, maximise=False).share(0.2) == pytest.approx(2 / 3)
    assert Window(0.6, 0.9, maximise=True).share(0.1) == 0.0
    assert Window(0.6, 0.6, maximise=True).share(0.6) == 0.0


def test_complete_trials_count_before_others() -> None:
    assert shown_values([("complete", 0.9), ("pruned", 0.2), ("failed", None)]) == [0.9]
    assert shown_values([("pruned", 0.2), ("failed", None)]) == [0.2]


def test_thinning_keeps_both_ends_at_even_distances() -> None:
    assert evenly(range(9), 5) == (0, 2, 4, 6, 8)
    assert evenly(range(4), 5) == (0, 1, 2, 3)
    assert len(evenly(range(1000), 60)) == len(set(evenly(range(1000), 60))) == 60
    assert rounded(0.123456789) == 0.12346
