"""The source's task on a second head: its gradient, its batches, and what it may not touch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.models.strategies import strategy
from tests.training.small import (
    CPU,
    data,
    figures,
    pixels,
    same,
    store,
    tiny_backbone,
    trainer,
    weights,
)
from tlsearch.config.optimization import AdamW
from tlsearch.models.backbones import Backbone, Head
from tlsearch.training.batches import label_batch, pixel_batch
from tlsearch.training.checkpoint import Checkpointer
from tlsearch.training.feature_cache import run_stages
from tlsearch.training.multi_task import SecondTask
from tlsearch.training.precision import Numerics
from tlsearch.training.trainer import Trainer

SOURCE, ROWS = pixels(seed=7, noise=200), np.arange(0, 60, 2)
Make = Callable[[Backbone], SecondTask]


def beside(weight: float, *, seed: int = 0, activations: Any = None) -> Make:
    def make(backbone: Backbone) -> SecondTask:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            head = Head(8, 3, dropout=0.0, flattens=False, device="cpu")
        return SecondTask(
            backbone,
            head=head,
            pixels=SOURCE,
            rows=ROWS,
            key="source",
            weight=weight,
            activations=activations,
            numerics=Numerics("fp32"),
            device=CPU,
            seed=seed,
        )

    return make


def head_of(of: Trainer) -> dict[str, torch.Tensor]:
    assert of.second_task is not None
    return {k: v.clone() for k, v in of.second_task.state().items()}


def test_a_step_follows_both_losses_by_hand() -> None:
    """One step of plain SGD of the body and both heads, against autograd on the sum."""
    on = data()
    chosen = strategy(batch_size=len(on.train), lr=0.1, weight_decay=0.0)
    of = trainer(chosen, num_epochs=1, second_task=beside(0.7))
    start, first = tiny_backbone(dropout=0.0, seed=0), head_of(of)
    list(of.epochs())
    assert of.second_task is not None

    start.model.train()
    seen = run_stages(start.stages, pixel_batch(on.pixels, on.train, device=CPU))
    target = F.cross_entropy(seen, label_batch(on.pixels, on.train, device=CPU))
    rows = drawn(len(on.train))
    weight, bias = (first[f"source_head.{n}"].requires_grad_() for n in ("weight", "bias"))
    features = run_stages(start.stages[:-1], pixel_batch(SOURCE, rows, device=CPU))
    source = F.cross_entropy(features @ weight.T + bias, label_batch(SOURCE, rows, device=CPU))
    named = dict(start.model.named_parameters())
    moved = torch.autograd.grad(target + 0.7 * source, [*named.values(), weight, bias])
    trained = dict(of.backbone.model.named_parameters())
    rate = of.plan.base_lr(0, val_losses=())
    assert rate == 0.1
    for (name, old), gradient in zip(named.items(), moved, strict=False):
        torch.testing.assert_close(trained[name], old - rate * gradient, atol=1e-5, rtol=1e-3)
    now = of.second_task.head
    torch.testing.assert_close(now.weight, weight - rate * moved[-2], atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(now.bias, bias - rate * moved[-1], atol=1e-5, rtol=1e-3)
    # What is reported is the target's own loss, so that it may stand beside that of validation.
    assert of.history[0].train_loss == pytest.approx(target.item(), rel=1e-5)


def drawn(count: int) -> np.ndarray:
    """The source images of the first step."""
    seen: list[np.ndarray] = []
    task = beside(1.0)(tiny_backbone(dropout=0.0, seed=0))
    labels = task.forward.labels

    def note(rows: np.ndarray) -> torch.Tensor:
        seen.append(rows)
        return labels(rows)

    task.forward.labels = note  # type: ignore[method-assign]
    task.loss(epoch=1, step=1, batch_size=count)
    assert set(seen[0]) <= set(ROWS)
    return seen[0]


def test_batches_of_the_source_are_drawn_from_seed_epoch_and_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tlsearch.training.multi_task.MIN_BATCH_SIZE", 8)

    def loss(seed: int = 0, *, epoch: int = 1, step: int = 1) -> float:
        task = beside(1.0, seed=seed)(tiny_backbone(dropout=0.0, seed=0))
        return task.loss(epoch=epoch, step=step, batch_size=8).item()

    assert loss() == loss()
    assert len({loss(), loss(1), loss(epoch=2), loss(step=2)}) == 4


@pytest.mark.parametrize(("batch_size", "least", "seen"), [(4, 16, 16), (20, 16, 20), (4, 64, 30)])
def test_a_small_batch_of_the_target_goes_with_a_larger_one_of_the_source(
    batch_size: int, least: int, seen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlsearch.training.multi_task.MIN_BATCH_SIZE", least)
    assert len(drawn(batch_size)) == seen
    assert len(set(drawn(batch_size))) == seen  # no image twice


def test_running_statistics_are_the_targets_alone() -> None:
    """With a rate of nothing, BatchNorm's averages are those of a training without the source."""
    alone, both = (
        trainer(strategy(lr=1e-30), num_epochs=2, second_task=second)
        for second in (None, beside(1.0))
    )
    for of in (alone, both):
        list(of.epochs())
    buffers = [dict(of.backbone.model.named_buffers()) for of in (alone, both)]
    assert len(buffers[0]) == 15
    assert all(torch.equal(value, buffers[1][name]) for name, value in buffers[0].items())


def as_trained(task: SecondTask, backbone: Backbone) -> float:
    """The loss on one batch, normalised by itself."""
    backbone.model.train()
    return task.loss(epoch=9, step=1, batch_size=30).item()


def test_the_source_is_learnt_and_the_network_holds_the_targets_head_alone() -> None:
    of = trainer(strategy(lr=0.05), num_epochs=6, second_task=beside(1.0))
    assert of.second_task is not None
    alone = trainer(strategy(lr=0.05), num_epochs=6)
    before = as_trained(of.second_task, of.backbone)
    for training in (of, alone):
        list(training.epochs())
        training.finish()
    # A head that learns beside the body reads its features better than the same head does that
    # stood still beside a body that went its own way.
    after = as_trained(of.second_task, of.backbone)
    left = as_trained(beside(1.0)(alone.backbone), alone.backbone)
    assert after < before - 0.1
    assert after < left
    assert not any("source_head" in name for name in of.backbone.model.state_dict())


@pytest.mark.parametrize("depth", [2, 5])
def test_a_frozen_start_goes_through_kept_activations(depth: int, tmp_path: Path) -> None:
    chosen = strategy(freeze_depth=depth)
    kept = store(tmp_path, of=SOURCE, data_key="source")
    with_kept, without = (
        trainer(chosen, second_task=beside(0.5, activations=found)) for found in (kept, None)
    )
    losses = [[e.train_loss for e in of.epochs()] for of in (with_kept, without)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    for name, value in head_of(with_kept).items():
        torch.testing.assert_close(value, head_of(without)[name], atol=1e-4, rtol=1e-3)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    start = weights(trainer(chosen))
    frozen = [name for name in start if name.startswith(("conv1", "bn1", "layer1"))]
    assert all(torch.equal(weights(with_kept)[name], start[name]) for name in frozen)


@pytest.mark.parametrize("patience", [None, 2])
def test_an_interrupted_training_ends_with_the_same_bits(
    patience: int | None, tmp_path: Path
) -> None:
    chosen = strategy(
        freeze_depth=4,
        unfreeze_every_epochs=1,
        optimizer=AdamW(beta1=0.9, beta2=0.999),
        lr=0.01,
        dropout=0.2,
        weight_decay=0.1,
        patience_epochs=patience,
        ema_decay=None if patience is None else 0.8,
    )

    def make() -> Trainer:
        return trainer(chosen, num_epochs=5, second_task=beside(0.5))

    whole, first, second = make(), make(), make()
    list(whole.epochs())
    epochs = first.epochs()
    next(epochs)
    next(epochs)
    keeper = Checkpointer(tmp_path / "c.pt", cost_share=float("inf"))
    keeper.save(first)
    keeper.restore(second)
    assert len(second.history) == 2
    list(second.epochs())
    for of in (whole, second):
        of.finish()
    assert figures(second.history) == figures(whole.history)
    assert same(weights(second), weights(whole))
    assert same(head_of(second), head_of(whole))
