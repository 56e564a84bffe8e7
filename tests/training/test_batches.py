"""Batches from stored pixels: grey and colour, from memory or from a file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms.v2.functional import normalize

from tests.models.strategies import strategy
from tests.training.small import CPU, figures, pixels, same, trainer, weights
from tests.training.small import data as training_data
from tlsearch.config.strategy import LossBalance, SamplingBalance
from tlsearch.training.batches import (
    balanced_order,
    epoch_order,
    loss_weights,
    pixel_batch,
)


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_scaled_and_normalised(channels: int) -> None:
    of = pixels(channels=channels)
    rows = np.array([5, 0, 5, 59])
    batch = pixel_batch(of, rows, device=CPU)
    plain = torch.from_numpy(of.images[rows]).permute(0, 3, 1, 2).expand(4, 3, -1, -1)
    expected = normalize(plain.float() / 255, list(of.mean), list(of.std))
    assert torch.equal(batch, expected)
    assert batch.shape == (4, 3, 12, 12)
    assert batch.is_contiguous(memory_format=torch.channels_last)


def test_memory_mapped_images_give_the_same_training(tmp_path: Path) -> None:
    of = pixels(channels=1)
    np.save(tmp_path / "images.npy", of.images)
    mapped = of._replace(images=np.load(tmp_path / "images.npy", mmap_mode="r"))
    rows = np.array([3, 1])
    assert torch.equal(pixel_batch(mapped, rows, device=CPU), pixel_batch(of, rows, device=CPU))
    results = [figures(trainer(on=training_data(p), num_epochs=1).epochs()) for p in (of, mapped)]
    assert results[0] == results[1]


def test_order_depends_on_seed_and_epoch_alone() -> None:
    rows = np.arange(100, 150)
    first = epoch_order(rows, seed=1, epoch=1)
    assert np.array_equal(np.sort(first), rows)
    assert np.array_equal(first, epoch_order(rows, seed=1, epoch=1))
    assert not np.array_equal(first, epoch_order(rows, seed=1, epoch=2))
    assert not np.array_equal(first, epoch_order(rows, seed=2, epoch=1))
    assert not np.array_equal(first, rows)


# Weights of images and classes in the training loss.


def test_loss_weights_by_hand() -> None:
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2])
    train = np.arange(9)  # six of class 0, three of class 1, none of class 2
    found = loss_weights(None, labels, train, balance=LossBalance(beta=1.0))
    assert found is not None
    np.testing.assert_allclose(found.numpy()[train], [0.75] * 6 + [1.5] * 3, rtol=1e-6)
    assert loss_weights(None, labels, train, balance=SamplingBalance()) is None
    alike = loss_weights(None, labels, train, balance=LossBalance(beta=0.0))
    assert alike is not None
    np.testing.assert_allclose(alike.numpy()[train], 1)
    # (1 - β) / (1 - βⁿ) with β = 1/2: 0.5 / (1 - 1/64) and 0.5 / (1 - 1/8)
    half = loss_weights(None, labels, train, balance=LossBalance(beta=0.5))
    assert half is not None
    assert float(half[8] / half[0]) == pytest.approx((1 - 1 / 64) / (1 - 1 / 8), rel=1e-6)
    near, limit = (
        loss_weights(None, labels, train, balance=LossBalance(beta=b)) for b in (1 - 1e-12, 1.0)
    )
    assert near is not None
    assert limit is not None
    np.testing.assert_allclose(near.numpy()[train], limit.numpy()[train], rtol=1e-4)


@pytest.mark.parametrize("balance", [LossBalance(beta=1.0), SamplingBalance()])
def test_balanced_classes_weigh_alike_and_images_count_within_their_class(balance: Any) -> None:
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 2])
    own = np.array([1, 2, 3, 1, 2, 3, 10, 30, 0, 0, 0], np.float32)
    train = np.arange(11)
    found = loss_weights(own, labels, train, balance=balance)
    assert found is not None
    counts = np.ones(11)
    if isinstance(balance, SamplingBalance):  # how often each is drawn on average
        orders = [balanced_order(own, labels, train, seed=0, epoch=e) for e in range(600)]
        assert all(len(order) == 11 for order in orders)
        counts = np.bincount(np.concatenate(orders), minlength=11) / len(orders)
        assert counts[8:].sum() == 0, "a class of no weight is not drawn"
    mass = np.bincount(labels, found.double().numpy() * counts)
    assert mass[1] == pytest.approx(mass[0], rel=0.03)
    assert mass[2] == 0
    assert float(found[7] / found[6]) == pytest.approx(3)
    assert float(found[2] / found[0]) == pytest.approx(3)


def test_an_epoch_draws_every_class_alike_and_its_images_in_turns() -> None:
    labels = np.repeat([0, 1, 2], [70, 23, 7])
    train = np.arange(100)
    draws = [balanced_order(None, labels, train, seed=3, epoch=e) for e in (1, 2)]
    assert not np.array_equal(*draws)
    for epoch, order in zip((1, 2), draws, strict=True):
        again = balanced_order(None, labels, train, seed=3, epoch=epoch)
        np.testing.assert_array_equal(order, again)
        assert sorted(np.bincount(labels[order])) == [33, 33, 34]
        times = np.bincount(order, minlength=100)
        for label in range(3):
            of = times[labels == label]
            assert of.max() - of.min() <= 1
        assert len(set(labels[order[:10]].tolist())) > 1, "classes are mixed"


FROZEN = strategy(lr=1e-30, batch_size=64)  # nothing moves, so the loss is that of the start


def test_the_training_loss_is_the_weighted_mean_and_validation_is_not() -> None:
    on = training_data()
    rows = np.random.default_rng(0).uniform(0, 5, 60).astype(np.float32)
    plain = trainer(FROZEN, num_epochs=1, on=on)
    heavy = trainer(FROZEN, num_epochs=1, on=on._replace(weights=rows))
    plain.backbone.model.train()
    with torch.no_grad():
        logits = trainer(FROZEN, num_epochs=1, on=on).backbone.model.train()(
            pixel_batch(on.pixels, on.train, device=CPU)
        )
    losses = F.cross_entropy(logits, torch.from_numpy(on.pixels.labels[on.train]), reduction="none")
    (a,), (b,) = list(plain.epochs()), list(heavy.epochs())
    scaled = rows[on.train] / rows[on.train].mean()
    assert b.train_loss == pytest.approx(float((losses.numpy() * scaled).mean()), rel=1e-3)
    assert a.train_loss == pytest.approx(float(losses.mean()), rel=1e-3)
    assert b.train_loss != pytest.approx(a.train_loss, rel=1e-3)
    assert b.val_loss == pytest.approx(a.val_loss, rel=1e-6)


def test_an_image_of_weight_0_teaches_nothing() -> None:
    on = training_data()
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
    on = training_data()
    rows = np.ones(60, np.float32)
    other = rows.copy()
    other[on.train[0]] = 2
    prints = {trainer(on=on._replace(weights=w)).fingerprint for w in (None, rows, other)}
    assert len(prints) == 3
    unused = rows.copy()
    unused[on.validation] = 9
    assert trainer(on=on._replace(weights=unused)).fingerprint in prints
