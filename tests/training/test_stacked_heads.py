"""Heads that are trained in a stack come to what each comes to alone."""

import math
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.models.strategies import strategy
from tests.training.small import CPU, data, store, tiny_backbone, trainer
from tlsearch.config.augmentation import BasicAugmentation, FgsmAttack, Mixup, Moments
from tlsearch.config.optimization import (
    OPTIMIZERS,
    Adam,
    AdamW,
    CosineDecay,
    ExponentialDecay,
    PlateauDecay,
    RmsProp,
    Sgd,
    StepDecay,
)
from tlsearch.config.strategy import HEAD_FIELDS, LossBalance, SamplingBalance, Strategy
from tlsearch.training import stacked_heads
from tlsearch.training.batches import TrainingData
from tlsearch.training.results import EpochResult, TrainResult
from tlsearch.training.stacked_heads import RULES, HeadRun, TrainedHead, train_heads
from tlsearch.training.trainer import Trainer

PLAIN = strategy(freeze_depth=5, lr=0.1)
CHANGES: list[dict[str, Any]] = [
    {},
    {"lr": 0.02, "weight_decay": 0.1, "schedule": CosineDecay(final_lr_fraction=0.1)},
    {"optimizer": Sgd(momentum=0.0), "label_smoothing": 0.2, "warmup_epochs": 1},
    {"optimizer": Sgd(nesterov=True), "dropout": 0.3, "decay_norm_and_bias": True},
    {"weight_decay": 0.2, "decay_norm_and_bias": True, "l1": 0.01, "l2_sp": 0.1},
    {"dropout": 0.3, "ema_decay": 0.8, "class_balance": LossBalance(beta=0.9)},
    {"dropout": 0.5, "clip_norm": 0.1, "schedule": ExponentialDecay(gamma=0.5)},
    {"patience_epochs": 1, "lr": 0.5, "schedule": StepDecay(every_epochs=2)},
    {"optimizer": Adam(beta1=0.8), "weight_decay": 0.1, "clip_norm": 0.3, "lr": 0.02},
    {"optimizer": Adam(beta2=0.9), "dropout": 0.2, "batch_size": 5, "lr_ratio": 0.5},
    {"optimizer": AdamW(), "weight_decay": 0.5, "lr": 0.05, "layer_decay": 0.5},
    {"optimizer": RmsProp(momentum=0.5), "lr": 0.01, "batch_size": 36},
    {"optimizer": RmsProp(), "lr": 0.01, "weight_decay": 0.1, "ema_decay": 0.9},
    {"class_balance": SamplingBalance(), "schedule": PlateauDecay(patience_epochs=1)},
    {"patience_epochs": 2, "ema_decay": 0.5, "dropout": 0.4, "batch_size": 12},
]


def alone(
    chosen: Strategy, on: TrainingData, folder: Path, *, num_epochs: int = 5
) -> tuple[Trainer, HeadRun]:
    """A trainer, and what it starts from as a run of the head alone."""
    backbone = tiny_backbone(dropout=chosen.dropout, seed=0)
    training = trainer(
        chosen, num_epochs=num_epochs, on=on, backbone=backbone, activations=store(folder)
    )
    head = training.backbone.head
    run = HeadRun(
        plan=training.plan,
        seed=training.seed,
        state=deepcopy(head.state_dict()),
        selected=None,
    )
    return training, run


def stacked(runs: list[HeadRun], on: TrainingData, folder: Path) -> list[TrainedHead]:
    stages = tiny_backbone(dropout=0.0, seed=0).stages
    rows = np.union1d(on.train, on.validation)
    features = store(folder).at_depth(stages[:-1], rows, device=CPU)
    assert features is not None
    return train_heads(runs, features=features, data=on, metric="val_accuracy")


def figures(result: EpochResult) -> list[float]:
    """All but the time and the area under curves."""
    kept = result._replace(seconds=0.0, val_macro_auroc=0.0)
    return [math.nan if value is None else value for value in kept]


def check_epoch(ours: EpochResult, its: EpochResult) -> None:
    assert figures(ours) == pytest.approx(figures(its), rel=1e-4, abs=1e-6)
    assert (ours.val_macro_auroc is None) is (its.val_macro_auroc is None)
    if its.val_macro_auroc is not None:  # of images that nearly tie either may come first
        assert ours.val_macro_auroc == pytest.approx(its.val_macro_auroc, abs=0.02)


def check_same(found: TrainedHead, training: Trainer, result: TrainResult) -> None:
    assert (found.result.ending, found.result.reason) == (result.ending, result.reason)
    assert len(found.result.epochs) == len(result.epochs)
    for ours, its in zip(found.result.epochs, result.epochs, strict=True):
        check_epoch(ours, its)
    for name in ("max_grad_norm", "images_trained"):
        assert getattr(found.result, name) == pytest.approx(getattr(result, name), rel=1e-4)
    assert found.result.confusion == result.confusion
    head = training.backbone.head
    torch.testing.assert_close(found.state, dict(head.state_dict()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("weighted", "shares_draws"), [(False, True), (True, False)])
def test_a_stack_is_every_training_by_itself(
    tmp_path: Path, weighted: bool, shares_draws: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On processors that draw dropout by uniform numbers, and on others."""
    if not shares_draws:
        monkeypatch.setattr(stacked_heads, "_drops_by_uniforms", lambda: False)
    on = data()
    if weighted:
        draw = np.random.default_rng(0)
        on = on._replace(weights=draw.uniform(0.5, 2, len(on.pixels.labels)).astype(np.float32))
    pairs = [alone(replace(PLAIN, **changes), on, tmp_path) for changes in CHANGES]
    pairs[1][0].backbone.head.select(torch.arange(8) < 4)  # and its weights elsewhere are 0
    head = pairs[1][0].backbone.head
    chosen = replace(pairs[1][1], selected=head.selected, state=deepcopy(head.state_dict()))
    pairs[1] = (pairs[1][0], chosen)
    found = stacked([run for _, run in pairs], on, tmp_path)
    for (training, _), head in zip(pairs, found, strict=True):
        list(training.epochs())
        check_same(head, training, training.finish())


def test_a_training_as_it_stood_after_an_epoch(tmp_path: Path) -> None:
    training, run = alone(PLAIN, data(), tmp_path)
    (whole,) = stacked([run], data(), tmp_path)
    epochs = training.epochs()
    _ = next(epochs), next(epochs)
    its, ours = training.summary("complete", reason="", confusion=()), whole.result.until(2)
    assert len(ours.epochs) == len(its.epochs) == 2
    for name in ("max_grad_norm", "images_trained"):
        assert getattr(ours, name) == pytest.approx(getattr(its, name), rel=1e-4)
    assert ours.confusion == its.confusion == ()
    assert ours.step_seconds == pytest.approx(whole.result.step_seconds * 2 / 5)


MORE_THAN_THE_HEAD: list[dict[str, Any]] = [
    {"freeze_depth": 4},
    {"unfreeze_every_epochs": 2},
    {"trained": "norms"},
    {"augmentation": BasicAugmentation()},
    {"mixing": Mixup()},
    {"adversarial": FgsmAttack()},
    {"erasing": 0.1},
    {"adaptation": Moments()},
    {"source_task_weight": 0.5},
]


def test_which_strategies_train_the_head_alone() -> None:
    """And by which fields: where none of these is searched, all trials do or none does."""
    assert all(replace(PLAIN, **changes).trains_head_alone(6) for changes in CHANGES)
    assert not any(replace(PLAIN, **changes).trains_head_alone(6) for changes in MORE_THAN_THE_HEAD)
    assert {name for changes in MORE_THAN_THE_HEAD for name in changes} == HEAD_FIELDS
    assert set(OPTIMIZERS.values()) == set(RULES)
