"""Attacks on a linear model, where the worst change is known, and on a network that trains."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.models.strategies import strategy
from tests.training.small import data, same, trainer, weights
from tlsearch.config.augmentation import Attack, FgsmAttack, Mixup, PgdAttack
from tlsearch.models.freezing import set_train_mode
from tlsearch.training.adversarial import fgsm, pgd
from tlsearch.training.trainer import Trainer

EPSILON = 0.1
WEIGHT = torch.tensor([2.0, -1.0, 0.5, 0.0]).view(1, 2, 2)  # of class 1; class 0 scores 0


def logits(images: Tensor) -> Tensor:
    score = (images * WEIGHT).sum((1, 2, 3))
    return torch.stack([torch.zeros_like(score), score], 1)


@pytest.fixture
def images() -> Tensor:
    return torch.full((2, 1, 2, 2), 0.5)


def many_steps(images: Tensor, labels: Tensor, seed: int = 0, num_steps: int = 10) -> Tensor:
    chosen = PgdAttack(epsilon=EPSILON, num_steps=num_steps)
    return pgd(chosen, logits, images, labels, torch.Generator().manual_seed(seed))


def one_step(images: Tensor, labels: Tensor) -> Tensor:
    return fgsm(FgsmAttack(epsilon=EPSILON), logits, images, labels, torch.Generator())


def test_one_step_moves_by_epsilon_against_the_weights(images: Tensor) -> None:
    found = one_step(images, torch.tensor([1, 0]))
    # Class 1 is attacked by lowering its score, class 0 by raising it; a weight of 0 moves nothing.
    lower = torch.tensor([[0.4, 0.6], [0.4, 0.5]])
    torch.testing.assert_close(found, torch.stack([lower, 1 - lower]).unsqueeze(1))
    # The score falls by epsilon times the sum of the weights' sizes: no change does more.
    assert logits(found)[0, 1] == pytest.approx(0.75 - EPSILON * 3.5)


def test_many_steps_end_at_the_same_corner_from_any_start(images: Tensor) -> None:
    labels = torch.tensor([1, 0])
    corner = one_step(images, labels)
    for seed in (0, 1):
        found = many_steps(images, labels, seed)
        torch.testing.assert_close(found[..., 0], corner[..., 0])
        torch.testing.assert_close(found[..., 0, 1], corner[..., 0, 1])
    # Where the weight is 0 the random start is all that moves.
    first, again, other = (many_steps(images, labels, seed)[..., 1, 1] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert (first - 0.5).abs().max() <= EPSILON


def test_pixels_stay_pixels() -> None:
    edge = torch.tensor([[0.0, 1.0], [0.97, 0.02]]).view(1, 1, 2, 2)
    label = torch.tensor([0])  # uphill: the first and third grow, the second shrinks
    expected = torch.tensor([[0.1, 0.9], [1.0, 0.02]]).view(1, 1, 2, 2)
    torch.testing.assert_close(one_step(edge, label), expected)
    found = many_steps(edge, label, num_steps=1)
    torch.testing.assert_close(found[..., 0], expected[..., 0])
    assert 0 <= float(found.min()) <= float(found.max()) <= 1


KINDS: dict[str, FgsmAttack | PgdAttack] = {
    "fgsm": FgsmAttack(epsilon=0.05, share=0.5),
    "pgd": PgdAttack(epsilon=0.05, num_steps=4, share=0.5),
}


def started(chosen: Attack, **changes: object) -> Trainer:
    """A training after two epochs on clean images, from where it is attacked."""
    before = trainer(num_epochs=2, on=data())
    list(before.epochs())
    after = trainer(strategy(adversarial=chosen, **changes), on=data())
    after.backbone.model.load_state_dict(before.backbone.model.state_dict())
    set_train_mode(after.backbone, after.forward.open_groups)
    return after


@pytest.mark.parametrize("chosen", KINDS.values(), ids=KINDS)
def test_the_first_half_is_attacked_within_epsilon_and_the_network_stays_as_it_is(
    chosen: FgsmAttack | PgdAttack,
) -> None:
    training = started(chosen, freeze_depth=3, dropout=0.5)
    rows = data().train[:9]
    clean, labels = training.forward.unit_images(rows), training.forward.labels(rows)
    before, modes = weights(training), [m.training for m in training.backbone.model.modules()]
    state = torch.get_rng_state()
    found, partners, _ = training.views.images(rows, rows, epoch=1)
    assert torch.equal(torch.get_rng_state(), state), "dropout draws as if there were no attack"
    assert same(weights(training), before)
    assert all(p.grad is None for p in training.backbone.model.parameters())
    assert any(modes)
    assert [m.training for m in training.backbone.model.modules()] == modes
    assert partners is None
    assert torch.equal(found[4:], clean[4:])
    change = (found - clean).abs().amax(dim=(1, 2, 3))
    assert ((change[:4] > 0) & (change[:4] <= chosen.epsilon + 1e-6)).all()
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    training.backbone.model.eval()
    with torch.no_grad():
        gentle, hard = (
            F.cross_entropy(training.forward.logits_of(x[:4]), labels[:4]).item()
            for x in (clean, found)
        )
    assert hard > gentle + 0.05


def test_the_start_is_drawn_from_seed_epoch_and_batch() -> None:
    training = started(PgdAttack(epsilon=0.05, num_steps=1, share=1.0))
    rows = data().train[:6]
    first, again, later = (training.views.images(rows, rows, epoch=e)[0] for e in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, later)


def test_at_least_one_image_is_attacked() -> None:
    training = started(FgsmAttack(epsilon=0.05, share=0.01))
    rows = data().train[:6]
    changed = (
        training.views.images(rows, rows, epoch=1)[0] != training.forward.unit_images(rows)
    ).flatten(1)
    assert changed.any(dim=1).tolist() == [True, *[False] * 5]


def test_mixed_images_are_attacked_by_both_labels() -> None:
    """One step uphill in the loss of the labels' shares, worked out here."""
    chosen = FgsmAttack(epsilon=0.02, share=1.0)
    training = started(chosen, mixing=Mixup(alpha=5.0))
    rows = data().train[:6]
    found, partners, share = training.views.images(rows, rows, epoch=1)
    clean = training.forward.unit_images(rows)
    mixed = (share * clean + (1 - share) * clean.roll(1, 0)).requires_grad_()
    assert partners is not None
    training.backbone.model.eval()
    logits = training.forward.logits_of(mixed)
    loss = share * F.cross_entropy(logits, training.forward.labels(rows))
    loss = loss + (1 - share) * F.cross_entropy(logits, training.forward.labels(partners))
    (gradient,) = torch.autograd.grad(loss, mixed)
    expected = (mixed.detach() + 0.02 * gradient.sign()).clamp(0, 1)
    # The sign of a gradient of almost nothing is by rounding.
    clear = gradient.abs() > 1e-6
    assert clear.double().mean() > 0.8
    torch.testing.assert_close(found[clear], expected[clear], atol=1e-5, rtol=0)
