"""Mixed images and labels, by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2

from tests.models.strategies import strategy
from tests.training.small import data, pixels, trainer
from tlsearch.config.augmentation import CutMix, Mixup
from tlsearch.training.augmentation import Mixing, View

KINDS = {"mixup": Mixup(alpha=1.0), "cutmix": CutMix(alpha=1.0)}
ROWS = np.array([5, 9, 2, 7])


@pytest.fixture
def images() -> Tensor:
    return torch.rand(4, 3, 10, 14, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("chosen", KINDS.values(), ids=KINDS)
def test_the_same_batch_is_mixed_the_same_way(chosen: Mixup | CutMix, images: Tensor) -> None:
    given = images.clone()
    found = Mixing(chosen, seed=3)(images, ROWS, epoch=2)
    again = Mixing(chosen, seed=3)(images, ROWS, epoch=2)
    assert torch.equal(images, given)
    assert torch.equal(found.images, again.images)
    assert found.images.shape == images.shape
    assert found.partners.tolist() == [7, 5, 9, 2]
    others = {
        Mixing(chosen, seed=3)(images, ROWS, epoch=3).share,
        Mixing(chosen, seed=4)(images, ROWS, epoch=2).share,
        Mixing(chosen, seed=3)(images, ROWS[1:], epoch=2).share,
    }
    assert found.share == again.share
    assert found.share not in others


def test_mixup_is_the_weighted_mean_that_its_share_tells(images: Tensor) -> None:
    found = Mixing(KINDS["mixup"], seed=0)(images, ROWS, epoch=1)
    assert 0 < found.share < 1
    expected = found.share * images + (1 - found.share) * images[[3, 0, 1, 2]]
    torch.testing.assert_close(found.images, expected)


def test_cutmix_pastes_one_box_and_its_share_is_its_area(images: Tensor) -> None:
    mixing = Mixing(KINDS["cutmix"], seed=0)
    shares = []
    for epoch in range(1, 9):
        found = mixing(images, ROWS, epoch=epoch)
        pasted = (found.images != images).any(dim=1)
        assert all(torch.equal(pasted[0], where) for where in pasted)
        where = pasted[0].expand(4, 3, -1, -1)
        assert torch.equal(found.images[where], images.roll(1, 0)[where])
        assert found.share == pytest.approx(1 - float(pasted[0].double().mean()))
        assert int(where[0, 0].sum()) == int(
            pasted[0].any(dim=0).sum() * pasted[0].any(dim=1).sum()
        )
        shares.append(found.share)
    assert len(set(shares)) > 4


@pytest.mark.parametrize("alpha", [0.1, 1.0, 10.0])
def test_shares_are_drawn_as_torchvision_draws_them(alpha: float) -> None:
    """Of Beta(alpha, alpha): mean 1/2, variance 1 / (4 (2 alpha + 1))."""
    mixing = Mixing(Mixup(alpha=alpha), seed=0)
    image = torch.zeros(2, 1, 1, 1)
    shares = [mixing(image, np.array([i, 0]), epoch=1).share for i in range(2000)]
    theirs = v2.MixUp(alpha=alpha, num_classes=2)._dist
    assert np.mean(shares) == pytest.approx(float(theirs.mean), abs=0.05)
    assert np.var(shares) == pytest.approx(float(theirs.variance), rel=0.15)
    assert np.var(shares) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.15)


def test_two_in_a_batch_meet_each_other_and_one_meets_itself(images: Tensor) -> None:
    mixing = Mixing(KINDS["mixup"], seed=0)
    assert mixing(images[:2], ROWS[:2], epoch=1).partners.tolist() == [9, 5]
    alone = mixing(images[:1], ROWS[:1], epoch=1)
    torch.testing.assert_close(alone.images, images[:1])


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_by_hand(smoothing: float, weighted: bool) -> None:
    on = data()
    if weighted:
        on = on._replace(weights=1.0 + np.arange(len(on.pixels.labels)) % 4)
    training = trainer(strategy(label_smoothing=smoothing), on=on)
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, 1.0, 3.0]])
    rows, partners = on.train[[1, 2]], on.train[[2, 1]]
    assert on.pixels.labels[rows].tolist() == [1, 2]
    found = training._loss(View(logits, rows, partners, 0.7)).item()
    scale = 1.0 if on.weights is None else 1 / on.weights[on.train].mean()
    expected = 0.0
    for one in range(2):
        probabilities = torch.softmax(logits[one], 0).log()
        for share, of in ((0.7, rows[one]), (0.3, partners[one])):
            target = torch.full((3,), smoothing / 3)
            target[int(on.pixels.labels[of])] += 1 - smoothing
            weight = 1.0 if on.weights is None else float(on.weights[of]) * scale
            expected -= share * weight * float((target * probabilities).sum()) / 2
    assert found == pytest.approx(expected, rel=1e-5)


def test_soft_labels_give_the_same_loss() -> None:
    """Without weights it is the cross-entropy with the labels' shares as the target."""
    on = data()
    training = trainer(on=on)
    rows = on.train[:6]
    partners = np.roll(rows, 1)
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    own, others = (F.one_hot(training.forward.labels(r), 3).float() for r in (rows, partners))
    found = training._loss(View(logits, rows, partners, 0.25))
    torch.testing.assert_close(found, F.cross_entropy(logits, 0.25 * own + 0.75 * others))


def test_the_heavier_label_is_the_right_answer() -> None:
    view = View(torch.zeros(2, 3), np.array([1, 2]), np.array([2, 1]), 0.6)
    assert view.heavier.tolist() == [1, 2]
    assert view._replace(share=0.4).heavier.tolist() == [2, 1]
    assert view._replace(partners=None, share=1.0).heavier.tolist() == [1, 2]


@pytest.mark.parametrize("chosen", KINDS.values(), ids=KINDS)
def test_a_training_learns_from_mixed_images(chosen: Mixup | CutMix) -> None:
    # At this alpha most images are mostly one: a mean of the darkest and the brightest class would
    # look like the one between.
    chosen = replace(chosen, alpha=0.1)
    training = trainer(strategy(mixing=chosen, lr=0.1), num_epochs=12, on=data(pixels(noise=20)))
    results = list(training.epochs())
    assert results[-1].val_accuracy > 0.8
    assert results[-1].train_loss < results[0].train_loss
    plain = next(trainer(strategy(lr=0.1), on=data(pixels(noise=20))).epochs())
    assert results[0].train_loss != plain.train_loss


def test_a_heavy_partner_is_no_explosion() -> None:
    """The bound on the loss goes by the heaviest image of the batch, partners included."""
    on = data()
    heavy = np.ones(len(on.pixels.labels))
    heavy[on.train[0]] = 1e4
    chosen = replace(strategy(batch_size=4, lr=1e-9), mixing=Mixup(alpha=1.0))
    results = list(trainer(chosen, num_epochs=2, on=on._replace(weights=heavy)).epochs())
    assert len(results) == 2
