"""How a training ends: its budget spent, its patience lost, or its numbers gone."""

import math

import numpy as np
import pytest
import torch

from tests.models.strategies import strategy
from tests.training.small import CLASSES, data, pixels, same, trainer, weights
from tlsearch.config.optimizers import RmsProp
from tlsearch.errors import DivergenceError
from tlsearch.training.batches import EXPLODED_LOSS


@pytest.mark.parametrize("metric", ["val_loss", "val_accuracy"])
def test_early_stopping_restores_the_best_epoch(metric: str) -> None:
    chosen = strategy(patience_epochs=2, lr=0.3, optimizer=RmsProp(alpha=0.9, momentum=0.0))
    training = trainer(chosen, num_epochs=30, metric=metric, on=data(pixels(noise=190)))
    states = [weights(training) for _ in training.epochs()]
    results = training.history
    assert len(results) < 30, "the case must stop early"
    best = min(results, key=lambda r: r.val_loss if metric == "val_loss" else -r.val_accuracy)
    assert len(results) == best.epoch + 2
    assert not same(states[-1], states[best.epoch - 1])
    finished = training.finish()
    assert finished.chosen == best
    assert same(weights(training), states[best.epoch - 1])
    assert not training.backbone.model.training
    counts = np.array(finished.confusion)
    assert np.trace(counts) / counts.sum() == best.val_accuracy


def test_without_patience_the_last_epoch_counts() -> None:
    on = data()
    training = trainer(num_epochs=3, on=on)
    results = list(training.epochs())
    final = weights(training)
    finished = training.finish()
    assert finished.chosen == results[-1]
    assert same(weights(training), final)
    assert (finished.ending, finished.reason, finished.epochs) == ("complete", "", tuple(results))
    assert finished.images_trained == 3 * len(on.train)
    predicted = training.forward.evaluate(on.validation)[0].argmax(1).numpy()
    truth = on.pixels.labels[on.validation]
    counts = np.zeros((CLASSES, CLASSES), dtype=int)
    np.add.at(counts, (truth, predicted), 1)
    assert np.array_equal(counts, np.array(finished.confusion))


@pytest.mark.parametrize("lr", [1e6, 1e30])
def test_divergence_ends_at_once_with_reason_and_largest_norm(lr: float) -> None:
    training = trainer(strategy(lr=lr, dropout=0.1), num_epochs=5)
    # BatchNorm hides the size of the weights before it; the head has none.
    with pytest.raises(DivergenceError, match=r"^epoch 1, step [23]: the (loss|gradient)"):
        list(training.epochs())
    assert training.history == []
    ended = training.summary("diverged", reason="r", confusion=())
    assert ended.max_grad_norm > 0
    assert math.isfinite(ended.max_grad_norm)
    assert ended.chosen is None
    assert ended.images_trained == 0


def test_a_finite_explosion_counts_and_its_gradient_is_recorded() -> None:
    training = trainer()
    with torch.no_grad():
        training.backbone.head.weight.mul_(1e5)
    with pytest.raises(DivergenceError, match="the loss is") as caught:
        next(training.epochs())
    assert float(str(caught.value).rsplit(" ", 1)[-1]) > EXPLODED_LOSS * math.log(CLASSES)
    assert training.steps.largest_gradient > 1


def test_a_loss_that_is_no_number_ends_at_once_and_moves_nothing() -> None:
    training = trainer()
    with torch.no_grad():
        training.backbone.head.bias[0] = math.nan
    before = dict(training.backbone.model.named_parameters())["conv1.weight"].clone()
    with pytest.raises(DivergenceError, match="epoch 1, step 1: the loss is nan"):
        next(training.epochs())
    after = dict(training.backbone.model.named_parameters())["conv1.weight"]
    assert torch.equal(before, after)
    assert math.isfinite(training.steps.largest_gradient)
