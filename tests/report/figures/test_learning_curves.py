from dataclasses import replace

import pytest

from tlsearch.report.context import SearchReport
from tlsearch.report.figures.learning_curves import LearningCurve, LearningCurves
from tlsearch.training.results import FoldResult


def test_curves_are_those_of_the_winner_the_next_best_and_the_baselines(data: SearchReport) -> None:
    found = LearningCurves.compute(data)
    assert isinstance(found, LearningCurves)
    assert data.summary.best is not None
    assert found.curves[0].name == f"trial {data.summary.best.number}"
    assert [c.is_baseline for c in found.curves] == [False] * 5 + [True] * 3
    probe = found.curves[5]
    assert (probe.name, probe.num_epochs, len(probe.epochs)) == ("linear probe", 1, 1)
    assert probe.values[-1] == pytest.approx(0.885)
    drawn = next(t for t in found.draw().data if t.name == "linear probe")
    assert (drawn.x, drawn.y) == ((0, 1), probe.values * 2), "a level, as a point has no line"
    assert "the linear probe has 1" in found.caption
    tuned = next(t for t in found.draw().data if t.name == "full fine-tuning")
    assert tuned.x[4] == 0.5


def test_the_curve_of_a_cross_validation_is_the_mean_over_folds(data: SearchReport) -> None:
    row = data.trials[0]
    first = row.epochs[0]
    accuracies = (0.2, 0.4, 0.6, 0.4, 0.8)  # three epochs, then two: the second stopped early
    crossed = replace(
        row,
        run=replace(row.run, folds=(0, 1), num_epochs=4),
        epochs=tuple(
            first._replace(epoch=i, val_accuracy=a) for i, a in enumerate(accuracies, start=1)
        ),
        folds=(FoldResult(1, 3, 0.4, 0.6, 0.4, 0.6), FoldResult(2, 5, 0.2, 0.8, 0.3, 0.7)),
    )
    found = LearningCurve.of(crossed, "trial 0", metric="val_accuracy", is_baseline=False)
    assert (found.num_epochs, found.epochs) == (4, (1, 2, 3))
    assert found.values == pytest.approx((0.3, 0.6, 0.6))


def test_the_curve_of_a_loss_begins_at_the_best(data: SearchReport) -> None:
    rows = [replace(data.trials[0], epochs=data.trials[0].epochs)]
    curve = LearningCurve.of(rows[0], "trial 0", metric="val_loss", is_baseline=False)
    falling = curve._replace(values=(9.0, 1.0, 0.5), epochs=(1, 2, 3))
    found = LearningCurves("val_loss", (falling,), None)
    assert found.span == (0.5, pytest.approx(0.55))
    assert found.draw().layout.yaxis.title.text == "validation log loss"
    assert found.caption.startswith("Validation log loss after each epoch")
    assert "trial 0 0.5." in found.alt
