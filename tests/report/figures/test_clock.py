from dataclasses import replace
from itertools import pairwise

import pytest

from tests.report.figures.made import at, search_row, with_rows
from tlsearch.report.context import ReportData
from tlsearch.report.figures import spending, timeline
from tlsearch.report.figures.clock import find_clock, group_of, unit
from tlsearch.report.wording import Absent


@pytest.fixture
def watched(data: ReportData) -> ReportData:
    """Two workers; after 100 s a pause of an hour.

    Side by side 0–40 and 0–60, then 40–100 beside 60–100; after the pause 30 s of one alone.
    """
    first = search_row(data, 0)
    base = next(r for r in data.fixed if r.run.role == "baseline")
    return with_rows(
        data,
        [
            at(first, 0, 40, seconds=30.0, step_seconds=24.0),
            at(search_row(data, 1), 40, 100, state="pruned", value=None, seconds=50.0,
               step_seconds=45.0),
            at(search_row(data, 2), 60, 100, state="failed", value=None, seconds=0.0,
               step_seconds=None, epochs=()),
            at(base, 0, 60, seconds=55.0, step_seconds=None),
            at(search_row(data, 3), 3700, 3730, seconds=35.0, step_seconds=36.0),
        ],
    )  # fmt: skip


def test_runs_lie_on_as_few_lanes_as_hold_them_and_pauses_are_cut(watched: ReportData) -> None:
    clock = find_clock(watched)
    found = {s.row.run.key: (s.lane, s.start, s.end) for s in clock.stretches}
    assert found.pop("linear_probe-seed-0") == (1, 0, 60)
    assert found == {
        "trial-0000": (0, 0, 40),
        "trial-0001": (0, 40, 100),
        "trial-0002": (1, 60, 100),
        "trial-0003": (0, 100, 130),
    }
    assert (clock.pauses, clock.num_lanes, clock.seconds) == (((100, 3600),), 2, 130)


def test_lanes_never_hold_two_runs_at_once(data: ReportData) -> None:
    spans = [(3 * (i % 7) + i / 2, 3 * (i % 7) + i / 2 + 1 + i % 4) for i in range(40)]
    rows = [at(search_row(data, i), *span) for i, span in enumerate(spans)]
    clock = find_clock(with_rows(data, rows))
    for lane in range(clock.num_lanes):
        held = sorted((s.start, s.end) for s in clock.stretches if s.lane == lane)
        assert all(end <= start for (_, end), (start, _) in pairwise(held))
    most = max(sum(a <= moment < b for a, b in spans) for moment, _ in spans)
    assert clock.num_lanes == most


def test_the_timeline_shows_kinds_pauses_and_how_much_was_used(watched: ReportData) -> None:
    found = timeline.compute(watched)
    assert isinstance(found, timeline.Timeline)
    assert found.share == pytest.approx((40 + 60 + 40 + 60 + 30) / 260)
    assert "88 % of that room" in timeline.caption(found)
    assert "1 pause in which nothing ran for more than a minute (60 min together)" in (
        timeline.caption(found)
    )
    assert "2 complete trials, 70 s, 1 pruned trials" in timeline.alt(found)
    figure = timeline.draw(found)
    assert {bar.name for bar in figure.data} == {
        "complete trials", "pruned trials", "failed and diverged trials", "baselines",
    }  # fmt: skip
    assert len({bar.marker.pattern.shape for bar in figure.data}) == 4
    pruned = next(bar for bar in figure.data if bar.name == "pruned trials")
    assert (pruned.base[0] * 60, pruned.x[0] * 60) == pytest.approx((40, 60), abs=0.01)


def test_of_very_many_runs_the_latest_are_shown(data: ReportData) -> None:
    number = timeline.MAX_BARS + 5
    rows = [at(search_row(data, i), i, i + 1) for i in range(number)]
    found = timeline.compute(with_rows(data, rows))
    assert isinstance(found, timeline.Timeline)
    assert [found.bars[0].name, found.bars[-1].name] == ["trial 5", f"trial {number - 1}"]
    assert "5 earlier runs are not shown" in timeline.caption(found)


def test_the_time_is_that_of_the_lanes_and_its_parts_add_up(watched: ReportData) -> None:
    found = spending.compute(watched)
    assert isinstance(found, spending.Spending)
    by_group = {spent.group: spent[1:] for spent in found.groups}
    # steps, validation, both (where they were not told apart), around the epochs, waiting
    assert by_group == {
        "complete trials": (24 + 35, 6, 0, 10, 0),  # the resumed one trained longer than it took
        "pruned trials": (45, 5, 0, 10, 0),
        "failed and diverged trials": (0, 0, 0, 40, 0),
        "baselines": (0, 0, 55, 5, 0),
        "no run": (0, 0, 0, 0, 260 - 230),
    }
    assert found.seconds == 265
    assert "waiting 11.3" in spending.caption(found)
    figure = spending.draw(found)
    assert len({bar.marker.pattern.shape for bar in figure.data}) == len(figure.data) == 5


def test_runs_without_an_end_are_left_out(data: ReportData) -> None:
    waiting = replace(search_row(data, 0), started=None, ended=None, state="waiting")
    running = replace(waiting, started=data.trials[0].started, state="running")
    changed = with_rows(data, [waiting, running])
    for module in (timeline, spending):
        assert module.compute(changed) == Absent("No run has ended yet.")


def test_units_leave_at_least_two_of_them() -> None:
    assert [unit(seconds) for seconds in (90, 120, 7100, 7200)] == [
        ("seconds", 1.0), ("minutes", 60.0), ("minutes", 60.0), ("hours", 3600.0),
    ]  # fmt: skip


def test_groups_tell_kinds_and_states(data: ReportData) -> None:
    assert {group_of(row) for row in data.summary.rows} == {
        "complete trials", "pruned trials", "failed and diverged trials", "baselines",
        "confirmations",
    }  # fmt: skip
