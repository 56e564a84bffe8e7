from dataclasses import replace
from typing import Any

import pytest

from tests.report.figures.made import search_row, with_rows
from tlsearch.report.context import ReportData
from tlsearch.report.figures import parallel, slices
from tlsearch.report.figures.parallel import NOT_THERE, Parallel
from tlsearch.report.importances import Importances, Share, leading
from tlsearch.report.wording import Absent

ADAM = {"freeze_depth": 0, "lr": 1e-3, "lr_ratio": 1.0, "optimizer": "adam", "dropout": 0.0,
        "batch_size": 64}  # fmt: skip
SGD = {**ADAM, "lr": 1e-1, "freeze_depth": 5, "optimizer": "sgd", "optimizer.sgd.momentum": 0.99}


def trial(data: ReportData, number: int, value: float, params: dict[str, Any]) -> Any:
    return search_row(data, number, value=value, params=params)


@pytest.fixture
def two(data: ReportData) -> ReportData:
    return with_rows(data, [trial(data, 0, 0.9, SGD), trial(data, 1, 0.8, ADAM)])


def computed(data: ReportData) -> Parallel:
    found = parallel.compute(data)
    assert isinstance(found, Parallel)
    return found


def test_lines_hold_what_was_sampled_best_first(two: ReportData) -> None:
    found = computed(two)
    assert [(line.number, line.value) for line in found.lines] == [(0, 0.9), (1, 0.8)]
    assert [dict(line.settings) for line in found.lines] == [SGD, ADAM]
    assert list(found.dimensions) == [
        "freeze_depth", "lr", "lr_ratio", "optimizer", "optimizer.sgd.momentum", "dropout",
        "batch_size",
    ]  # fmt: skip


def test_a_line_goes_through_its_settings_down_to_its_value(two: ReportData) -> None:
    found = computed(two)
    figure = parallel.draw(found)
    best = next(trace for trace in figure.data if (trace.name or "").startswith("the best tenth"))
    # Trial 0 lies half the spread to the left wherever lines may meet; the value is at the end.
    left = 0.5 * parallel._SPREAD
    assert best.x == pytest.approx((1 - left, 1, 1, 0 - left, 1, 0, 1 - left, 1, None))
    assert best.y == (0, -1, -2, -3, -4, -5, -6, -7, None)
    other = next(trace for trace in figure.data if (trace.name or "").startswith("the worse half"))
    assert other.x[4] == NOT_THERE
    assert other.line.dash != best.line.dash
    words = {(note.x, note.y): note.text for note in figure.layout.annotations}
    assert [text for (_, y), text in words.items() if y == -1] == ["0.0001", "0.001", "0.01", "0.1"]
    assert (words[0, -3], words[1, -3]) == ("sgd", "adam")
    assert words[NOT_THERE, -4] == "–"
    assert "passes a dimension that its choices do not have" in parallel.caption(found)
    assert "The best tenth has: freeze_depth 5; lr 0.1;" in parallel.alt(found)


def test_of_many_trials_lines_are_drawn_evenly_by_rank(data: ReportData) -> None:
    rows = [trial(data, i, i / 1000, ADAM) for i in range(500)]
    found = computed(with_rows(data, rows))
    numbers = [line.number for line in found.lines]
    assert len(numbers) == parallel.MAX_LINES
    assert (numbers[0], numbers[-1]) == (499, 0)
    assert "100 trials of 500 are drawn" in parallel.caption(found)
    assert "passes a dimension" in parallel.caption(found)


def test_of_many_dimensions_those_that_mattered_are_shown_in_their_order() -> None:
    names = [f"d{i}" for i in range(5)]
    shares = tuple(Share(f"d{i}", i / 10, 0.0) for i in range(4))
    found = Importances(shares, 20, 20, ("d4",), ())
    assert leading(names, found, most=2) == ("d2", "d3")
    assert leading(names, Absent("few"), most=2) == ("d0", "d1")


def test_slices_hold_the_ranges_and_the_winner(two: ReportData) -> None:
    found = slices.compute(two)
    assert isinstance(found, slices.Slices)
    assert {name: part.trials for name, part in found.slices.items()} == {
        "lr": ((0, 0.1, 0.9), (1, 0.001, 0.8)),
        "lr_ratio": ((0, 1.0, 0.9), (1, 1.0, 0.8)),
        "optimizer.sgd.momentum": ((0, 0.99, 0.9),),
        "dropout": ((0, 0.0, 0.9), (1, 0.0, 0.8)),
    }
    assert found.winner == 0
    figure = slices.draw(found)
    stars = [trace for trace in figure.data if trace.marker.symbol == "star"]
    assert [trace.x for trace in stars] == [(0.1,), (1.0,), (0.99,), (0.0,)]
    assert (figure.layout.xaxis.type, figure.layout.xaxis4.type) == ("log", "linear")
    assert "lr 0.1 to 0.1" in slices.alt(found)


def test_a_range_that_no_trial_has_is_not_shown(data: ReportData) -> None:
    found = slices.compute(with_rows(data, [trial(data, 0, 0.9, ADAM)]))
    assert isinstance(found, slices.Slices)
    assert list(found.slices) == ["lr", "lr_ratio", "dropout"]
    assert "Not shown: optimizer.sgd.momentum." in slices.caption(found)


def test_nothing_to_lay_out_is_said(data: ReportData) -> None:
    none = with_rows(data, [])
    for module in (parallel, slices):
        assert module.compute(none) == Absent("No trial has been completed yet.")
    space = type(data.config.space)()
    plain = replace(data, config=data.config.model_copy(update={"space": space}))
    assert isinstance(parallel.compute(plain), Absent)
    assert isinstance(slices.compute(plain), Absent)
