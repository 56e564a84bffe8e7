"""A training that was interrupted after any epoch ends with the bits of one that was not."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.models.strategies import strategy
from tests.training.augmentation.policies import STRONG
from tests.training.small import (
    CLASSES,
    data,
    figures,
    pixels,
    same,
    store,
    tiny_backbone,
    trainer,
    weights,
)
from tlsearch.config.augmentation import CutMix, PgdAttack, RandAugment, TrivialAugment
from tlsearch.config.optimizers import Adam, AdamW, RmsProp, Sgd
from tlsearch.config.schedules import CosineDecay, PlateauDecay
from tlsearch.config.strategy import SamplingBalance
from tlsearch.models.backbones import build_backbone
from tlsearch.training.checkpoint import Checkpointer
from tlsearch.training.trainer import Trainer

EPOCHS = 6
CASES: Mapping[str, dict[str, Any]] = {
    "sgd": {"optimizer": Sgd(momentum=0.9, nesterov=True), "weight_decay": 0.01},
    "adam": {"optimizer": Adam(beta1=0.9, beta2=0.999), "lr": 0.01, "l1": 1e-3},
    "adamw": {"optimizer": AdamW(beta1=0.9, beta2=0.99), "lr": 0.01, "weight_decay": 0.1},
    "rmsprop": {"optimizer": RmsProp(alpha=0.9, momentum=0.5), "lr": 1e-3},
    "dropout": {"dropout": 0.4, "label_smoothing": 0.1},
    "warm-up and cosine": {"warmup_epochs": 3, "schedule": CosineDecay(final_lr_fraction=0.1)},
    # At this rate no epoch improves on the first, so the rate is cut every other epoch.
    "plateau": {"lr": 1e-9, "schedule": PlateauDecay(factor=0.5, patience_epochs=1)},
    "patience": {"lr": 0.3, "patience_epochs": 2},
    "patience that ends it": {"lr": 1e-9, "patience_epochs": 3},
    "gradual unfreezing": {
        "freeze_depth": 4,
        "unfreeze_every_epochs": 1,
        "optimizer": AdamW(beta1=0.9, beta2=0.999),
        "lr": 0.01,
        "dropout": 0.2,
        "clip_norm": 0.5,
        "patience_epochs": 5,
    },
    "frozen": {"freeze_depth": 5},
    "augmented": {"augmentation": STRONG, "erasing": 0.5, "dropout": 0.3, "freeze_depth": 2},
    "drawn policies": {"augmentation": RandAugment(num_ops=2, magnitude=9), "dropout": 0.3},
    "mixed and attacked": {
        "augmentation": TrivialAugment(),
        "mixing": CutMix(alpha=1.0),
        "adversarial": PgdAttack(epsilon=0.05, num_steps=2, share=0.5),
        "dropout": 0.3,
        "freeze_depth": 3,
        "unfreeze_every_epochs": 2,
    },
    "l2_sp": {"l2_sp": 0.5, "weight_decay": 0.1},
    "surgical": {"trained": "layer1+layer3", "dropout": 0.2},
    "norms": {"trained": "norms", "optimizer": Adam(beta1=0.9, beta2=0.999), "lr": 0.01},
    "sampled classes": {"class_balance": SamplingBalance()},
    "average": {"ema_decay": 0.9, "dropout": 0.2},
    "average, patience and unfreezing": {
        "ema_decay": 0.5,
        "patience_epochs": 2,
        "freeze_depth": 2,
        "unfreeze_every_epochs": 1,
        "lr": 0.3,
    },
}


def make(case: str, folder: Path) -> Trainer:
    """A training with a network of its own; frozen parts go through kept activations."""
    return trainer(
        strategy(**CASES[case]),
        num_epochs=EPOCHS,
        seed=3,
        activations=store(folder),
        measure_updates=True,
    )


@pytest.mark.parametrize("case", CASES)
def test_interrupted_after_any_epoch(case: str, tmp_path: Path) -> None:
    undisturbed = make(case, tmp_path)
    results = figures(undisturbed.epochs())
    whole = undisturbed.finish()
    for epochs in range(1, len(results) + 1):
        keeper = Checkpointer(tmp_path / "trial.ckpt", cost_share=0.02)
        first = make(case, tmp_path)
        steps = first.epochs()
        for _ in range(epochs):
            next(steps)
        keeper.save(first)
        torch.rand(epochs)  # another process has other generators
        second = make(case, tmp_path)
        assert keeper.restore(second)
        assert second.step_seconds == first.step_seconds > 0
        assert figures(second.history) == results[:epochs]
        rest = figures(second.epochs())
        assert rest == results[epochs:]
        again = second.finish()
        assert same(weights(second), weights(undisturbed))
        assert (again.confusion, again.max_grad_norm) == (whole.confusion, whole.max_grad_norm)
        assert second.steps.state() == undisturbed.steps.state()
        assert again.chosen is not None
        assert whole.chosen is not None
        assert again.chosen._replace(seconds=0) == whole.chosen._replace(seconds=0)


def test_the_cases_are_what_they_say(tmp_path: Path) -> None:
    plateau = [r.lr for r in make("plateau", tmp_path).epochs()]
    assert len(set(plateau)) == 3
    assert len(list(make("patience that ends it", tmp_path).epochs())) == 4
    unfreezing = make("gradual unfreezing", tmp_path)
    assert [unfreezing.plan.frozen_depth(e) for e in range(1, 7)] == [4, 3, 2, 1, 0, 0]


def test_interrupted_twice(tmp_path: Path) -> None:
    undisturbed = make("gradual unfreezing", tmp_path)
    results = figures(undisturbed.epochs())
    keeper = Checkpointer(tmp_path / "trial.ckpt", cost_share=0.02)
    for _ in range(3):
        part = make("gradual unfreezing", tmp_path)
        keeper.restore(part)
        steps = part.epochs()
        next(steps)
        next(steps)
        keeper.save(part)
    assert figures(part.history) == results
    assert same(weights(part), weights(undisturbed))


def test_a_real_network_with_batch_norm_and_depthwise_convolutions(tmp_path: Path) -> None:
    on = data(pixels(size=32))

    def start() -> Trainer:
        built = build_backbone(
            name="mobilenet_v3_small", num_classes=CLASSES, image_size=32, dropout=0.2, seed=0
        )
        adam = Adam(beta1=0.9, beta2=0.999)
        chosen = strategy(optimizer=adam, lr=1e-3, freeze_depth=2, unfreeze_every_epochs=1)
        return trainer(chosen, backbone=built, on=on)

    undisturbed = start()
    results = figures(undisturbed.epochs())
    first = start()
    next(first.epochs())
    keeper = Checkpointer(tmp_path / "trial.ckpt", cost_share=0.02)
    keeper.save(first)
    second = start()
    assert keeper.restore(second)
    assert figures(second.epochs()) == results[1:]
    assert same(weights(second), weights(undisturbed))


def test_a_state_belongs_to_one_request(tmp_path: Path) -> None:
    keeper = Checkpointer(tmp_path / "trial.ckpt", cost_share=0.02)
    first = trainer()
    next(first.epochs())
    keeper.save(first)
    assert keeper.restore(trainer())
    others = [
        trainer(strategy(lr=0.051)),
        trainer(num_epochs=4),
        trainer(seed=1),
        trainer(metric="val_loss"),
        trainer(measure_updates=True),
        trainer(on=data()._replace(train=data().train[1:])),
        trainer(on=data(pixels()._replace(labels=pixels().labels[::-1].copy()))),
    ]
    for other in others:
        before = weights(other)
        assert not keeper.restore(other)
        assert other.history == []
        assert same(weights(other), before)
    with pytest.raises(AssertionError, match="another training"):
        others[0].load_state(first.state())


def test_restoring_replaces_weights_that_were_drawn_anew(tmp_path: Path) -> None:
    keeper = Checkpointer(tmp_path / "trial.ckpt", cost_share=0.02)
    first = trainer()
    next(first.epochs())
    keeper.save(first)
    second = trainer(backbone=tiny_backbone(dropout=0.0, seed=99))
    assert keeper.restore(second)
    assert same(weights(first), weights(second))
