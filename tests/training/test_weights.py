"""Weights of the training loss."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.models.strategies import strategy
from tests.training.small import data, figures, same, trainer, weights

FROZEN = strategy(lr=1e-30, batch_size=64)  # nothing moves, so the loss is that of the start


def weighted(values: np.ndarray, **changes: object) -> object:
    return trainer(on=data()._replace(weights=values), **changes)  # type: ignore[arg-type]


def test_none_and_ones_are_the_same_training() -> None:
    plain, ones = trainer(), trainer(on=data()._replace(weights=np.ones(60, np.float32)))
    for a, b in zip(plain.epochs(), ones.epochs(), strict=True):
        assert b.train_loss == pytest.approx(a.train_loss, rel=1e-5)
        assert b.val_loss == pytest.approx(a.val_loss, rel=1e-4)


def test_the_training_loss_is_the_weighted_mean_and_validation_is_not() -> None:
    on = data()
    rows = np.random.default_rng(0).uniform(0, 5, 60).astype(np.float32)
    plain = trainer(FROZEN, num_epochs=1, on=on)
    heavy = trainer(FROZEN, num_epochs=1, on=on._replace(weights=rows))
    plain.backbone.model.train()
    with torch.no_grad():
        logits = trainer(FROZEN, num_epochs=1, on=on).backbone.model.train()(
            _batch(on.pixels, on.train)
        )
    losses = F.cross_entropy(logits, torch.from_numpy(on.pixels.labels[on.train]), reduction="none")
    (a,), (b,) = list(plain.epochs()), list(heavy.epochs())
    scaled = rows[on.train] / rows[on.train].mean()
    assert b.train_loss == pytest.approx(float((losses.numpy() * scaled).mean()), rel=1e-3)
    assert a.train_loss == pytest.approx(float(losses.mean()), rel=1e-3)
    assert b.train_loss != pytest.approx(a.train_loss, rel=1e-3)
    assert b.val_loss == pytest.approx(a.val_loss, rel=1e-6)


def _batch(pixels: object, rows: np.ndarray) -> torch.Tensor:
    from tlsearch.training.batches import pixel_batch

    return pixel_batch(pixels, rows, device=torch.device("cpu"))  # type: ignore[arg-type]


def test_a_common_factor_changes_nothing() -> None:
    rows = np.random.default_rng(0).choice([1.0, 2.0, 4.0], 60).astype(np.float32)
    on = data()
    one, eight = (trainer(on=on._replace(weights=rows * factor)) for factor in (1, 8))
    assert figures(one.epochs()) == figures(eight.epochs())
    assert same(weights(one), weights(eight))


def test_an_image_of_weight_0_teaches_nothing() -> None:
    on = data()
    rows = np.ones(60, np.float32)
    rows[on.train[::2]] = 0
    labels = on.pixels.labels.copy()
    labels[on.train[::2]] = (labels[on.train[::2]] + 1) % 3
    wrong = on._replace(pixels=on.pixels._replace(labels=labels), weights=rows)
    right = on._replace(weights=rows)
    ours, theirs = trainer(on=wrong), trainer(on=right)
    list(ours.epochs())
    list(theirs.epochs())
    assert same(weights(ours), weights(theirs))


def test_weights_belong_to_the_request() -> None:
    on = data()
    rows = np.ones(60, np.float32)
    other = rows.copy()
    other[on.train[0]] = 2
    prints = {trainer(on=on._replace(weights=w)).fingerprint for w in (None, rows, other)}
    assert len(prints) == 3
    unused = rows.copy()
    unused[on.validation] = 9
    assert trainer(on=on._replace(weights=unused)).fingerprint in prints
