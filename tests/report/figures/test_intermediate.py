from dataclasses import replace

import pytest

from tests.report.fake import epochs_to
from tests.report.figures.made import search_row, with_rows
from tlsearch.execution.runs import RunRow
from tlsearch.report.context import ReportData
from tlsearch.report.figures import intermediate
from tlsearch.report.figures.intermediate import Band, Intermediate
from tlsearch.report.wording import Absent
from tlsearch.training.results import FoldResult


def course(data: ReportData, number: int, *values: float, state: str = "complete") -> RunRow:
    epochs = tuple(
        e._replace(val_accuracy=v) for e, v in zip(epochs_to(1, 9), values, strict=False)
    )
    value = values[-1] if state == "complete" else None
    return search_row(data, number, epochs=epochs, value=value, state=state)


@pytest.fixture
def few(data: ReportData) -> ReportData:
    """Five complete trials, two pruned after epoch 1 and one after epoch 2."""
    complete = [course(data, i, 0.1 * i, 0.1 * i + 0.2, 0.1 * i + 0.4) for i in range(1, 6)]
    pruned = [
        course(data, i, *v, state="pruned") for i, v in ((6, [0.2]), (7, [0.1]), (8, [0.2, 0.1]))
    ]
    return with_rows(data, [*complete, *pruned])


def computed(data: ReportData) -> Intermediate:
    found = intermediate.compute(data)
    assert isinstance(found, Intermediate)
    return found


def test_courses_are_what_the_pruner_saw_and_the_band_is_of_the_complete(few: ReportData) -> None:
    found = computed(few)
    assert [c.number for c in found.complete] == [5, 4, 3, 2, 1]
    assert found.complete[0].values == pytest.approx((0.5, 0.7, 0.9))
    assert [(c.number, c.steps) for c in found.pruned] == [(6, (1,)), (7, (1,)), (8, (1, 2))]
    assert found.pruned_at == ((1, 2), (2, 1))
    # Of 0.1 … 0.5 the quarters are 0.2, 0.3 and 0.4, and 0.2 more with each epoch.
    for i, band in enumerate(found.band):
        assert band == Band(
            i + 1, *map(pytest.approx, (0.2 + 0.2 * i, 0.3 + 0.2 * i, 0.4 + 0.2 * i))
        )
    assert "3 trials were pruned, most of them after epoch 1" in intermediate.caption(found)
    assert "Pruned: 2 after epoch 1, 1 after epoch 2." in intermediate.alt(found)


def test_pruned_ends_are_marked_and_lines_are_parted(few: ReportData) -> None:
    figure = intermediate.draw(computed(few))
    traces = {trace.name: trace for trace in figure.data}
    assert list(traces["pruned here"].x) == [1, 1, 2]
    assert traces["complete"].x == (1, 2, 3, None) * 5
    assert traces["pruned"].line.dash != traces["complete"].line.dash


def test_of_folds_the_mean_so_far_is_drawn(data: ReportData) -> None:
    row = course(data, 0, 0.3, 0.5, 0.6, 0.8)
    folds = (FoldResult(1, 2, 0.5, 0.5, 0.5, 0.5), FoldResult(2, 4, 0.2, 0.8, 0.35, 0.65))
    crossed = replace(row, run=replace(row.run, folds=(0, 1)), folds=folds)
    split = data.config.data.split.model_copy(update={"folds": 2})
    part = data.config.data.model_copy(update={"split": split})
    changed = replace(data, config=data.config.model_copy(update={"data": part}))
    found = computed(with_rows(changed, [crossed]))
    assert (found.step, found.complete[0].steps, found.complete[0].values) == (
        "fold", (1, 2), (0.5, 0.65),
    )  # fmt: skip
    in_its_first = replace(crossed, folds=(), state="pruned", value=None)
    assert isinstance(intermediate.compute(with_rows(changed, [in_its_first])), Absent)


def test_of_many_trials_some_are_drawn_and_all_are_counted(data: ReportData) -> None:
    rows = [course(data, i, i / 500, i / 400) for i in range(200)]
    found = computed(with_rows(data, rows))
    assert (len(found.complete), found.num_complete) == (intermediate.MAX_LINES, 200)
    assert [found.complete[0].number, found.complete[-1].number] == [199, 0]
    assert found.band[1].median == pytest.approx(99.5 / 400)
    assert "60 lines of 200 complete, evenly; the band is of all" in intermediate.caption(found)
    assert "No trial was pruned." in intermediate.caption(found)
