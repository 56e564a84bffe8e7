from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.report.fake import fake_study, search
from tests.report.figures.made import at, search_row, with_rows
from tests.report.figures.test_search import ADAM
from tlsearch.report.context import SearchReport, read_search
from tlsearch.report.figures import cost
from tlsearch.report.figures.comparison import Gains
from tlsearch.report.figures.cost import Candidate, Costs, Spending, front_of, kind_of
from tlsearch.report.figures.strategies import Depth, Depths, RateMap
from tlsearch.report.wording import Absent


def test_gains_are_drawn_in_points_with_their_intervals(data: SearchReport) -> None:
    found = Gains.compute(data)
    assert isinstance(found, Gains)
    trace = found.draw().data[0]
    for i, gain in enumerate(reversed(found.gains)):
        assert trace.x[i] == pytest.approx(100 * gain.gain.mean)
        assert trace.x[i] + trace.error_x.array[i] == pytest.approx(100 * gain.gain.high)
        assert trace.x[i] - trace.error_x.arrayminus[i] == pytest.approx(100 * gain.gain.low)


def test_depths_hold_complete_trials_alone(data: SearchReport) -> None:
    found = Depths.compute(data)
    assert isinstance(found, Depths)
    seen = {number: (d.depth, value) for d in found.depths for number, value in d.trials}
    assert seen == {r.number: (r.run.params["freeze_depth"], r.value) for r in data.ranked}
    assert Depth(0, ((0, 0.1), (1, 0.5), (2, 0.6))).median == 0.5
    assert "0 frozen: median" in found.alt


def test_depths_need_a_searched_depth(tmp_path: Path) -> None:
    fake = fake_study(tmp_path, "space.freeze_depth=2")
    search(fake, 2)
    found = Depths.compute(read_search(fake.store, fake.layout))
    assert found == Absent("The study fixes the freeze depth: there is nothing to compare.")


def test_a_map_holds_the_trials_of_both_dimensions(data: SearchReport) -> None:
    cells = {0: (2, 0.1, 0.9), 1: (2, 0.15, 0.8), 2: (0, 1.0, 0.4)}
    rows = [
        search_row(data, i, value=v, params={**ADAM, "freeze_depth": d, "lr_ratio": r})
        for i, (d, r, v) in cells.items()
    ]
    found = RateMap.compute(with_rows(data, rows))
    assert isinstance(found, RateMap)
    assert found.trials == tuple(cells.values())
    heights, marks = found.draw().data
    assert (list(marks.x), list(marks.y)) == ([2, 2, 0], [0.1, 0.15, 1.0])
    assert heights.z[list(heights.y).index(0.15)][list(heights.x).index(2)] == 0.8
    assert "best 90.0\u00a0% with 2 frozen and a rate ratio of 0.1" in found.alt
    assert isinstance(RateMap.compute(with_rows(data, rows[:2])), Absent), "a single depth"


def test_a_map_needs_both_dimensions(data: SearchReport) -> None:
    space = data.config.space.model_copy(update={"lr_ratio": type(data.config.space)().lr_ratio})
    changed = replace(data, config=data.config.model_copy(update={"space": space}))
    assert RateMap.compute(changed) == Absent(
        "The study fixes the lr ratio: there is no map to draw."
    )


def test_the_front_is_what_nothing_cheaper_reaches(data: SearchReport) -> None:
    seconds = {0: (3.0, 0.80), 1: (2.0, 0.85), 2: (5.0, 0.85), 3: (9.0, 0.95), 4: (9.0, 0.90)}
    rows = [search_row(data, i, seconds=s, value=v) for i, (s, v) in seconds.items()]
    probe = [replace(r, seconds=40.0) for r in data.fixed if r.run.key == "linear_probe-seed-1"]
    found = Costs.compute(with_rows(data, [*rows, *probe]))
    assert isinstance(found, Costs)
    assert [(c.name, c.seconds) for c in found.front] == [("trial 1", 2.0), ("trial 3", 9.0)]
    assert [c.name for c in found.candidates if c.is_baseline] == ["linear probe"]
    assert "trial 1 (2 s, 85.0\u00a0%) and trial 3 (9 s, 95.0\u00a0%)" in found.caption
    of_a_loss = tuple(Candidate(str(s), False, s, v) for s, v in ((1, 0.5), (2, 0.7), (3, 0.4)))
    assert [c.name for c in front_of(of_a_loss, maximise=False)] == ["1", "3"]


def test_the_time_is_that_of_the_workers_and_its_parts_add_up(data: SearchReport) -> None:
    """Two workers 0–100 s, then a pause of an hour and 30 s of one alone."""
    base = next(r for r in data.fixed if r.run.role == "baseline")
    rows = [
        at(search_row(data, 0), 0, 40, seconds=30.0, step_seconds=24.0),
        at(search_row(data, 1), 40, 100, state="pruned", value=None, seconds=50.0,
           step_seconds=45.0),
        at(search_row(data, 2), 60, 100, state="failed", value=None, seconds=0.0,
           step_seconds=None, epochs=()),
        at(base, 0, 60, seconds=55.0, step_seconds=None),
        at(search_row(data, 3), 3700, 3730, seconds=35.0, step_seconds=36.0),
    ]  # fmt: skip
    assert cost.seconds_without_pauses(rows) == 130
    found = Spending.compute(with_rows(data, rows))
    assert isinstance(found, Spending)
    # steps, validation, both (where they were not told apart), around the epochs, waiting
    assert {spent.kind: spent[1:] for spent in found.kinds} == {
        "complete trials": (24 + 35, 6, 0, 10, 0),  # the resumed one trained longer than it took
        "pruned trials": (45, 5, 0, 10, 0),
        "failed and diverged trials": (0, 0, 0, 40, 0),
        "baselines": (0, 0, 55, 5, 0),
        "no run": (0, 0, 0, 0, 260 - 230),
    }
    assert found.seconds == 265
    assert "waiting 11.3" in found.caption
    figure = found.draw()
    assert len({bar.marker.pattern.shape for bar in figure.data}) == len(figure.data) == 5


def test_every_run_is_of_a_kind(data: SearchReport) -> None:
    assert {kind_of(row) for row in data.summary.rows} == set(cost.KINDS)


@pytest.mark.parametrize("figure", [Depths, Costs])
def test_without_a_complete_trial_it_is_said(data: SearchReport, figure: Any) -> None:
    assert figure.compute(with_rows(data, [])) == Absent("No trial has been completed yet.")
