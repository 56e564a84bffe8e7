from dataclasses import replace
from typing import Any

import pytest

from tests.report.figures.made import search_row, with_rows
from tests.report.figures.test_parallel import ADAM, SGD
from tlsearch.config.dimensions import Choice
from tlsearch.execution.runs import RunRow
from tlsearch.report.context import ReportData
from tlsearch.report.figures import choices, cost, rates
from tlsearch.report.figures.rates import Cell
from tlsearch.report.wording import Absent


def trial(data: ReportData, number: int, value: float, **params: Any) -> RunRow:
    return search_row(data, number, value=value, params={**ADAM, **params})


def test_cells_hold_the_median_the_best_and_how_many(data: ReportData) -> None:
    # Five bins of a decade on its logarithm: edges at 0.1, 0.158, 0.251, 0.398, 0.631 and 1.
    rows = [
        trial(data, 0, 0.9, freeze_depth=2, lr_ratio=0.1),
        trial(data, 1, 0.8, freeze_depth=2, lr_ratio=0.15),
        trial(data, 2, 0.4, freeze_depth=2, lr_ratio=0.12),
        trial(data, 3, 0.7, freeze_depth=2, lr_ratio=0.16),
        trial(data, 4, 0.6, freeze_depth=0, lr_ratio=1.0),
    ]
    found = rates.compute(with_rows(data, rows))
    assert isinstance(found, rates.Rates)
    assert found.bins == ("0.1–0.16", "0.16–0.25", "0.25–0.4", "0.4–0.63", "0.63–1")
    assert found.cells == (
        Cell(0, 4, 1, 0.6, 0.6), Cell(2, 0, 3, 0.8, 0.9), Cell(2, 1, 1, 0.7, 0.7),
    )  # fmt: skip
    heat = rates.draw(found).data[0]
    assert heat.x == ("0", "2")
    assert (heat.text[0][1], heat.z[0][1], heat.z[0][0]) == ("80.0<br>×3", 0.8, None)
    assert "best median 80.0\u00a0% of 3 trials with 2 frozen and a rate ratio of 0.1–0.16" in (
        rates.alt(found)
    )


def test_a_map_needs_both_dimensions(data: ReportData) -> None:
    space = data.config.space.model_copy(update={"lr_ratio": type(data.config.space)().lr_ratio})
    config = data.config.model_copy(update={"space": space})
    changed = type(data)(**{**vars(data), "config": config})
    assert rates.compute(changed) == Absent(
        "The study fixes the lr ratio: there is no map to draw."
    )
    assert isinstance(rates.compute(with_rows(data, [])), Absent)


def test_options_hold_their_complete_trials(data: ReportData) -> None:
    rows = [
        trial(data, 0, 0.9, batch_size=16),
        trial(data, 1, 0.7, batch_size=64),
        search_row(data, 2, value=0.8, params={**SGD, "batch_size": 16}),
    ]
    found = choices.compute(with_rows(data, rows))
    assert isinstance(found, choices.Choices)
    told = {
        name: {option.name: option.trials for option in options}
        for name, options in found.choices.items()
    }
    assert told == {
        "optimizer": {"sgd": ((2, 0.8),), "adam": ((0, 0.9), (1, 0.7))},
        "batch_size": {"16": ((0, 0.9), (2, 0.8)), "32": (), "64": ((1, 0.7),)},
    }
    medians = choices.draw(found).data[1::2]
    assert [trace.y for trace in medians] == [(0.8, 0.8), (0.85, 0.7)]
    assert medians[1].x == (0, 2)
    assert "batch_size: 16 85.0\u00a0% (2 trials), 32 in no trial, 64" in choices.alt(found)


def test_a_choice_of_too_many_options_is_named_alone_or_beside_others(data: ReportData) -> None:
    def with_options(**dimensions: Any) -> ReportData:
        space = data.config.space.model_copy(update=dimensions)
        config = data.config.model_copy(update={"space": space})
        return with_rows(replace(data, config=config), [trial(data, 0, 0.9, batch_size=16)])

    many = Choice(tuple(range(8, 8 + choices.MAX_OPTIONS + 1)))
    found = choices.compute(with_options(batch_size=many))
    assert isinstance(found, choices.Choices)
    assert found.left_out == ("batch_size",)
    fixed = type(data.config.space)().optimizer
    assert choices.compute(with_options(batch_size=many, optimizer=fixed)) == Absent(
        "Every searched choice has more than 12 options, too many to tell apart: batch_size."
    )


def test_the_front_is_what_nothing_cheaper_reaches(data: ReportData) -> None:
    seconds = {0: (3.0, 0.80), 1: (2.0, 0.85), 2: (5.0, 0.85), 3: (9.0, 0.95), 4: (9.0, 0.90)}
    rows = [search_row(data, i, seconds=s, value=v) for i, (s, v) in seconds.items()]
    baselines = [r for r in data.fixed if r.run.key == "linear_probe-seed-0"]
    found = cost.compute(with_rows(data, [*rows, *baselines]))
    assert isinstance(found, cost.Costs)
    assert [(c.name, c.seconds) for c in found.front] == [("trial 1", 2.0), ("trial 3", 9.0)]
    assert [c.name for c in found.candidates if c.is_baseline] == ["linear probe"]
    assert "trial 1 (2 s, 85.0\u00a0%) and trial 3 (9 s, 95.0\u00a0%)" in cost.caption(found)
    # Of a loss the worse ones stand above.
    assert "Trials beyond the axis stand at its edge" in cost.caption(found)


def test_the_front_of_a_loss_goes_down() -> None:
    found = tuple(cost.Candidate(str(s), False, s, v, 0) for s, v in ((1, 0.5), (2, 0.7), (3, 0.4)))
    assert [c.name for c in cost._front(found, maximise=False)] == ["1", "3"]


@pytest.mark.parametrize("module", [choices, cost])
def test_without_a_complete_trial_it_is_said(data: ReportData, module: Any) -> None:
    assert module.compute(with_rows(data, [])) == Absent("No trial has been completed yet.")
