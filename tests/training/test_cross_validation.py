"""A cross-validation: one training after another, as if each had run alone."""

import gc
import weakref
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
import torch

from tests.models.strategies import strategy
from tests.training.small import CLASSES, data, figures, pixels, same, store, trainer, weights
from tlsearch.errors import DivergenceError
from tlsearch.training.batches import TrainingData
from tlsearch.training.checkpoint import Checkpointer
from tlsearch.training.cross_validation import CrossValidation
from tlsearch.training.trainer import Trainer

PIXELS = pixels()
ROWS = np.arange(len(PIXELS.labels))
EPOCHS = 3
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "dropout": {"dropout": 0.4},
    "patience": {"lr": 0.3, "patience_epochs": 1},
    "frozen": {"freeze_depth": 5},
}


def folds_of(number: int = 3) -> list[TrainingData]:
    """Interleaved folds of the first 54 images, every class in each."""
    rows = ROWS[:54]
    turn = rows // CLASSES % number
    return [
        data(PIXELS)._replace(train=rows[turn != f], validation=rows[turn == f])
        for f in range(number)
    ]


def alone(case: str, on: TrainingData, folder: Path) -> Trainer:
    settings: dict[str, Any] = {"lr": 0.05, **CASES[case]}
    return trainer(strategy(**settings), num_epochs=EPOCHS, activations=store(folder), on=on)


def crossed(case: str, folder: Path, folds: list[TrainingData] | None = None) -> CrossValidation:
    return CrossValidation(lambda on: alone(case, on, folder), folds=folds or folds_of())


@pytest.mark.parametrize("case", CASES)
def test_each_fold_is_what_it_is_alone(case: str, tmp_path: Path) -> None:
    whole = crossed(case, tmp_path)
    results = figures(whole.epochs())
    found = whole.finish()
    singles = [alone(case, on, tmp_path) for on in folds_of()]
    runs = [figures(single.epochs()) for single in singles]
    expected = [r for run in runs for r in run]
    assert [r._replace(epoch=0) for r in results] == [r._replace(epoch=0) for r in expected]
    assert [r.epoch for r in results] == list(range(1, len(expected) + 1))
    ended = [single.finish() for single in singles]
    assert found.confusion == tuple(
        map(tuple, sum(np.array(e.confusion) for e in ended).tolist())  # type: ignore[union-attr]
    )
    assert np.sum(found.confusion) == 54
    for fold, run in enumerate(runs, start=1):
        fold_result = found.folds[fold - 1]
        assert (fold_result.fold, fold_result.val_loss) == (fold, run[-1].val_loss)
        assert fold_result.last_epoch == sum(map(len, runs[:fold]))
        means = fmean(run[-1].val_accuracy for run in runs[:fold])
        assert fold_result.mean_val_accuracy == pytest.approx(means)
        assert whole.fold_ended(whole.history[fold_result.last_epoch - 1]) == fold_result
        assert len(run) <= EPOCHS
    values = [e.value("val_loss") for e in ended]
    assert found.value("val_loss") == pytest.approx(fmean(values))
    assert found.images_trained == sum(e.images_trained for e in ended)
    assert found.max_grad_norm == max(e.max_grad_norm for e in ended)
    assert same(weights(whole), weights(singles[-1]))  # type: ignore[arg-type]
    assert sum(whole.fold_ended(r) is not None for r in whole.history) == 3
    assert singles[0].fold_ended(runs[0][-1]) is None


@pytest.mark.parametrize("case", CASES)
def test_interrupted_after_any_epoch(case: str, tmp_path: Path) -> None:
    undisturbed = crossed(case, tmp_path)
    results = figures(undisturbed.epochs())
    whole = undisturbed.finish()
    keeper = Checkpointer(tmp_path / "trial.ckpt", cost_share=0.02)
    for epochs in (2, 3, len(results)):
        first = crossed(case, tmp_path)
        steps = first.epochs()
        for _ in range(epochs):
            next(steps)
        keeper.save(first)
        torch.rand(epochs)  # another process has other generators
        second = crossed(case, tmp_path)
        assert keeper.restore(second)
        assert figures(second.history) == results[:epochs]
        ended = [second.fold_ended(r) for r in second.history]
        assert ended == [first.fold_ended(r) for r in first.history]
        assert figures(second.epochs()) == results[epochs:]
        again = second.finish()
        assert (again.folds, again.confusion) == (whole.folds, whole.confusion)
        assert again.max_grad_norm == whole.max_grad_norm
        assert again.images_trained == whole.images_trained
        if epochs < len(results):  # else there is nothing left to train, and no weights are kept
            assert same(weights(second), weights(undisturbed))  # type: ignore[arg-type]


def test_one_network_at_a_time(tmp_path: Path) -> None:
    made: list[weakref.ref[Trainer]] = []

    def make(on: TrainingData) -> Trainer:
        gc.collect()
        assert not any(ref() for ref in made)
        built = alone("plain", on, tmp_path)
        made.append(weakref.ref(built))
        return built

    crossing = CrossValidation(make, folds=folds_of())
    for _ in crossing.epochs():
        pass
    assert len(made) == 3


def test_divergence_names_the_fold() -> None:
    folds = folds_of()
    crossing = CrossValidation(
        lambda on: trainer(strategy(lr=1e30 if on is folds[1] else 0.05), num_epochs=2, on=on),
        folds=folds,
    )
    with pytest.raises(DivergenceError, match=r"^fold 2: epoch \d, step \d: "):
        list(crossing.epochs())
    ended = crossing.summary("diverged", reason="x", confusion=())
    assert (len(ended.folds), len(ended.epochs) >= 2, ended.ending) == (1, True, "diverged")
    assert ended.images_trained >= 2 * len(folds[0].train)


def test_a_state_belongs_to_one_request(tmp_path: Path) -> None:
    keeper = Checkpointer(tmp_path / "trial.ckpt", cost_share=0.02)
    first = crossed("plain", tmp_path)
    next(first.epochs())
    keeper.save(first)
    assert keeper.restore(crossed("plain", tmp_path))
    last = folds_of()[-1]
    others = [
        crossed("dropout", tmp_path),
        crossed("plain", tmp_path, folds_of()[:2]),
        crossed("plain", tmp_path, [*folds_of()[:2], last._replace(train=last.train[1:])]),
    ]
    for other in others:
        assert not keeper.restore(other)
        assert other.history == []
    assert not keeper.restore(alone("plain", folds_of()[0], tmp_path))
