"""The loop is a plain torch loop, frozen groups stand still, one seed gives the same bits twice."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss, roc_auc_score
from torchvision.transforms.v2.functional import normalize

from tests.models.strategies import strategy
from tests.training.small import (
    CLASSES,
    CPU,
    by_group,
    data,
    figures,
    pixels,
    same,
    store,
    tiny_backbone,
    trainer,
    weights,
)
from tlsearch.config.optimization import Adam, RmsProp, Sgd
from tlsearch.config.runtime import derive_seed
from tlsearch.errors import DivergenceError
from tlsearch.models.backbones import Backbone, build_backbone, named_groups
from tlsearch.models.depthwise import speed_up_depthwise
from tlsearch.training.batches import TrainingData, epoch_order, pixel_batch
from tlsearch.training.feature_cache import Forward
from tlsearch.training.precision import NCHW, Numerics


def bare_epoch(
    backbone: Backbone, on: TrainingData, *, seed: int, batch_size: int, smoothing: float
) -> tuple[float, float, float, float]:
    """One epoch as anybody would write it, on the whole network, without tlsearch's own parts."""
    model = backbone.model.to(memory_format=torch.channels_last)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim == 1]
    rows: list[dict[str, Any]] = [{"params": decayed, "weight_decay": 0.01}, {"params": others}]
    optimizer = torch.optim.SGD(rows, lr=0.05, momentum=0.9, fused=True)
    scale = torch.from_numpy(on.pixels.images).permute(0, 3, 1, 2) / 255
    images = normalize(scale, list(on.pixels.mean), list(on.pixels.std))
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.from_numpy(on.pixels.labels)
    torch.manual_seed(derive_seed(seed, "dropout", 1))
    model.train()
    order = torch.from_numpy(epoch_order(on.train, seed=seed, epoch=1))
    loss_sum, hits = 0.0, 0
    for batch in torch.split(order, batch_size):
        optimizer.zero_grad()
        logits = model(images[batch])
        loss = F.cross_entropy(logits, labels[batch], label_smoothing=smoothing)
        torch.autograd.backward(loss)
        optimizer.step()
        loss_sum += loss.item() * len(batch)
        hits += int((logits.argmax(1) == labels[batch]).sum())
    model.eval()
    held_out = torch.from_numpy(on.validation)
    with torch.no_grad():
        logits = model(images[held_out])
    accuracy = (logits.argmax(1) == labels[held_out]).double().mean().item()
    val_loss = F.cross_entropy(logits, labels[held_out]).item()
    return loss_sum / len(order), hits / len(order), val_loss, accuracy


@pytest.mark.parametrize(
    "name", ["mobilenet_v3_small", pytest.param("resnet18", marks=pytest.mark.slow)]
)
def test_an_epoch_is_a_bare_torch_loop_to_the_last_bit(name: str) -> None:
    on = data(pixels(size=32))
    pair = [
        build_backbone(name=name, num_classes=CLASSES, image_size=32, dropout=0.2, seed=3)
        for _ in range(2)
    ]
    chosen = strategy(weight_decay=0.01, batch_size=10, dropout=0.2, label_smoothing=0.1)
    training = trainer(chosen, num_epochs=1, seed=5, on=on, backbone=pair[0])
    (result,) = training.epochs()
    speed_up_depthwise(pair[1].model)  # tests/models/test_depthwise.py: to some last bits torch's
    bare = bare_epoch(pair[1], on, seed=5, batch_size=10, smoothing=0.1)
    assert (
        result.train_loss,
        result.train_accuracy,
        result.val_loss,
        result.val_accuracy,
    ) == bare
    assert same(weights(training), pair[1].model.state_dict())


@pytest.mark.parametrize("depth", [0, 3, 5])
def test_frozen_groups_stand_still_and_all_others_move(depth: int) -> None:
    chosen = strategy(freeze_depth=depth, weight_decay=0.1, decay_norm_and_bias=True, l1=0.01)
    training = trainer(replace(chosen, dropout=0.2), num_epochs=2)
    before = by_group(training.backbone)
    list(training.epochs())
    after = by_group(training.backbone)
    for index, group in enumerate(training.backbone.groups):
        for name, value in after[group].items():
            assert torch.equal(before[group][name], value) == (index < depth), name


def test_gradual_unfreezing_opens_one_group_after_another() -> None:
    chosen = strategy(freeze_depth=3, unfreeze_every_epochs=2, weight_decay=0.1)
    training = trainer(chosen, num_epochs=7)
    steps = training.epochs()
    for still in (3, 3, 2, 2, 1, 1, 0):
        before = by_group(training.backbone)
        next(steps)
        after = by_group(training.backbone)
        for index, group in enumerate(training.backbone.groups):
            moved = {n for n, v in after[group].items() if not torch.equal(before[group][n], v)}
            assert moved == (set(after[group]) if index >= still else set()), (still, group)


def test_rates_per_group_reach_the_weights() -> None:
    chosen = strategy(lr=0.1, lr_ratio=0.5, optimizer=Sgd(momentum=0.0, nesterov=False))
    training = trainer(replace(chosen, batch_size=36), num_epochs=1)
    before = by_group(training.backbone)
    list(training.epochs())
    for index, group in enumerate(training.backbone.groups):
        rate = 0.1 * 0.5 ** (5 - index)
        for name, p in named_groups(training.backbone)[group].items():
            assert p.grad is not None
            torch.testing.assert_close(p.detach(), before[group][name] - rate * p.grad)


def test_clipping_bounds_the_step_and_reports_the_norm_before_it() -> None:
    plain = strategy(lr=1.0, optimizer=Sgd(momentum=0.0, nesterov=False), batch_size=36)
    free, clipped, loose = (
        trainer(replace(plain, clip_norm=c), num_epochs=1) for c in (None, 0.01, 1e6)
    )
    before = by_group(clipped.backbone)
    norms = [next(t.epochs()).max_grad_norm for t in (free, clipped, loose)]
    assert norms[0] == norms[1] == norms[2] > 0.01
    assert same(weights(free), weights(loose))
    moved = [
        before[group][name] - value
        for group, found in by_group(clipped.backbone).items()
        for name, value in found.items()
        if name in dict(clipped.backbone.model.named_parameters())
    ]
    assert torch.nn.utils.get_total_norm(moved).item() == pytest.approx(0.01, rel=1e-3)


def test_smoothing_and_dropout_touch_training_alone() -> None:
    on = data()
    training = trainer(strategy(dropout=0.5, label_smoothing=0.3, lr=1e-30), num_epochs=2, on=on)
    plain = trainer(strategy(lr=1e-30), num_epochs=2, on=on)
    smooth, first = next(training.epochs()), next(plain.epochs())
    assert smooth.train_loss != first.train_loss
    logits, labels = training.forward.evaluate(on.validation)
    assert smooth.val_loss == F.cross_entropy(logits, labels).item()
    assert torch.equal(training.forward.evaluate(on.validation)[0], logits)
    # Rows of one image: every draw of dropout is one of its own.
    training.backbone.head.train()
    rows = np.repeat(on.train[:1], 64)
    assert len(torch.unique(training.forward.logits(rows), dim=0)) > 1


def test_the_same_seed_twice_is_the_same_and_another_is_not() -> None:
    chosen = strategy(dropout=0.3, optimizer=Adam(beta1=0.9, beta2=0.999), lr=0.01)
    first = trainer(chosen, seed=7)
    results = list(first.epochs())
    torch.rand(3)  # whatever else draws in this process
    np.random.default_rng().random()
    second, other = trainer(chosen, seed=7), trainer(chosen, seed=8)
    assert figures(second.epochs()) == figures(results)
    assert same(weights(first), weights(second))
    assert figures(other.epochs()) != figures(results)


def test_unequal_batches_count_by_their_images() -> None:
    on = data()
    training = trainer(strategy(batch_size=8, lr=1e-30), num_epochs=1, on=on)  # 36: 4 × 8 and 4
    assert training.plan.steps_per_epoch == 5
    result = next(training.epochs())
    order = epoch_order(on.train, seed=0, epoch=1)
    bare = Forward(
        tiny_backbone(dropout=0.0, seed=0),
        pixels=on.pixels,
        activations=None,
        kept_rows=None,
        numerics=Numerics("fp32"),
        device=CPU,
    )
    bare.backbone.model.train()
    parts = [
        F.cross_entropy(bare.logits(rows), bare.labels(rows), reduction="sum").item()
        for rows in np.split(order, [8, 16, 24, 32])
    ]
    assert result.train_loss == pytest.approx(sum(parts) / 36, rel=1e-6)


def test_bf16_trains_close_to_fp32_with_weights_in_fp32() -> None:
    exact = trainer(num_epochs=2)
    rough = trainer(num_epochs=2, numerics=Numerics("bf16"))
    pairs = zip(exact.epochs(), rough.epochs(), strict=True)
    for a, b in pairs:
        assert a.train_loss != b.train_loss
        assert a.train_loss == pytest.approx(b.train_loss, rel=0.1)
    assert {v.dtype for v in rough.backbone.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("depth", [0, 2])
def test_channel_by_channel_in_memory_it_trains_the_same_but_for_rounding(
    depth: int, tmp_path: Path
) -> None:
    other = pixels()._replace(memory_format=torch.contiguous_format)
    kept = store(tmp_path, of=other, numerics=NCHW)
    chosen = strategy(freeze_depth=depth)
    last, first = (
        trainer(chosen, num_epochs=2),
        trainer(chosen, num_epochs=2, on=data(other), numerics=NCHW, activations=kept),
    )
    for a, b in zip(last.epochs(), first.epochs(), strict=True):
        assert a.train_loss == pytest.approx(b.train_loss, rel=1e-4)
    weight = first.backbone.model.get_parameter("conv1.weight")
    assert weight.is_contiguous()
    assert not weight.is_contiguous(memory_format=torch.channels_last)
    assert pixel_batch(other, np.arange(4), device=CPU).is_contiguous()


# How a training ends: its budget spent, its patience lost, or its numbers gone.


def test_an_epochs_figures_are_scikit_learns() -> None:
    training = trainer(strategy(), num_epochs=2)
    first, last = training.epochs()
    logits, labels = training.forward.evaluate(training.data.validation)
    probabilities, true = logits.softmax(1).numpy(), labels.numpy()
    predicted = probabilities.argmax(1)
    assert last.val_balanced_accuracy == pytest.approx(balanced_accuracy_score(true, predicted))
    assert last.val_macro_f1 == pytest.approx(f1_score(true, predicted, average="macro"))
    assert last.val_loss == pytest.approx(log_loss(true, probabilities), rel=1e-6)
    areas = roc_auc_score(np.eye(CLASSES)[true], probabilities)
    assert last.val_macro_auroc == pytest.approx(areas)
    assert first.val_macro_auroc is None, "its ranks cost a sort a class"


@pytest.mark.parametrize("metric", ["val_loss", "val_accuracy", "val_macro_auroc"])
def test_early_stopping_restores_the_best_epoch(metric: str) -> None:
    chosen = strategy(patience_epochs=2, lr=0.3, optimizer=RmsProp(alpha=0.9, momentum=0.0))
    training = trainer(chosen, num_epochs=30, metric=metric, on=data(pixels(noise=190)))
    states = [weights(training) for _ in training.epochs()]
    results = training.history
    assert len(results) < 30, "the case must stop early"
    sign = 1 if metric == "val_loss" else -1
    best = min(results, key=lambda r: sign * getattr(r, metric))
    assert len(results) == best.epoch + 2
    assert not same(states[-1], states[best.epoch - 1])
    finished = training.finish()
    assert finished.chosen == best
    # The search must not prefer early stopping because it takes the best of many noisy figures.
    assert finished.value(metric) == getattr(results[-1], metric) != getattr(best, metric)
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
