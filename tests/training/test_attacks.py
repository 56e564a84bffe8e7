"""Attacks on a linear model, where the worst change is known, and on a network."""

import pytest
import torch
from torch import Tensor

from tests.training.small import CPU, data, pixels, trainer
from tlsearch.training.adversarial import fgsm, pgd
from tlsearch.training.batches import label_batch, normalised, unit_batch

EPSILON = 0.1
WEIGHT = torch.tensor([2.0, -1.0, 0.5, 0.0]).view(1, 2, 2)  # of class 1; class 0 scores 0


def logits(images: Tensor) -> Tensor:
    score = (images * WEIGHT).sum((1, 2, 3))
    return torch.stack([torch.zeros_like(score), score], 1)


@pytest.fixture
def images() -> Tensor:
    return torch.full((2, 1, 2, 2), 0.5)


def many_steps(images: Tensor, labels: Tensor, seed: int = 0, **changes: float) -> Tensor:
    settings = {"epsilon": EPSILON, "num_steps": 10, "step_size": EPSILON / 4, **changes}
    return pgd(logits, images, labels, generator=torch.Generator().manual_seed(seed), **settings)


def test_one_step_moves_by_epsilon_against_the_weights(images: Tensor) -> None:
    found = fgsm(logits, images, torch.tensor([1, 0]), epsilon=EPSILON)
    # Class 1 is attacked by lowering its score, class 0 by raising it; a weight of 0 moves nothing.
    lower = torch.tensor([[0.4, 0.6], [0.4, 0.5]])
    torch.testing.assert_close(found, torch.stack([lower, 1 - lower]).unsqueeze(1))
    # The score falls by epsilon times the sum of the weights' sizes: no change does more.
    assert logits(found)[0, 1] == pytest.approx(0.75 - EPSILON * 3.5)


def test_many_steps_end_at_the_same_corner_from_any_start(images: Tensor) -> None:
    labels = torch.tensor([1, 0])
    corner = fgsm(logits, images, labels, epsilon=EPSILON)
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
    torch.testing.assert_close(fgsm(logits, edge, label, epsilon=EPSILON), expected)
    found = many_steps(edge, label, step_size=1.0)
    torch.testing.assert_close(found[..., 0], expected[..., 0])
    assert 0 <= float(found.min()) <= float(found.max()) <= 1


def test_a_network_keeps_its_weights_and_gradients_and_loses_accuracy() -> None:
    on, epsilon = pixels(), 16 / 255
    trained = trainer(num_epochs=4)
    list(trained.epochs())
    trained.finish()
    trained.optimizer.zero_grad()
    model = trained.backbone.model

    def scores(images: Tensor) -> Tensor:
        found: Tensor = model(normalised(images, on))
        return found

    rows = data(on).train
    unit, labels = unit_batch(on, rows, device=CPU), label_batch(on, rows, device=CPU)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    clean = float((scores(unit).argmax(1) == labels).float().mean())
    rates = []
    for attacked in (
        fgsm(scores, unit, labels, epsilon=epsilon),
        pgd(
            scores,
            unit,
            labels,
            epsilon=epsilon,
            num_steps=10,
            step_size=epsilon / 4,
            generator=torch.Generator().manual_seed(0),
        ),
    ):
        assert float((attacked - unit).abs().max()) <= epsilon + 1e-6
        assert not attacked.requires_grad
        rates.append(float((scores(attacked).argmax(1) == labels).float().mean()))
    assert rates[1] <= rates[0] < clean - 0.1
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
