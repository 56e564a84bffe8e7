"""Strategies for tests: a plain one, and changes to it."""

from dataclasses import replace
from typing import Any

from tlsearch.config.augmentation import NoAdaptation, NoAttack, NoAugmentation, NoMixing
from tlsearch.config.optimization import Constant, Sgd
from tlsearch.config.strategy import AllFeatures, NoBalance, Strategy

PLAIN = Strategy(
    init="random",
    freeze_depth=0,
    unfreeze_every_epochs=0,
    lr=0.05,
    lr_ratio=1.0,
    schedule=Constant(),
    warmup_epochs=0,
    warmup_steps=0,
    warmup_start_fraction=0.0,
    optimizer=Sgd(momentum=0.9, nesterov=False),
    weight_decay=0.0,
    decay_norm_and_bias=False,
    l1=0.0,
    dropout=0.0,
    batch_size=8,
    clip_norm=None,
    label_smoothing=0.0,
    patience_epochs=None,
    augmentation=NoAugmentation(),
    erasing=0.0,
    mixing=NoMixing(),
    adversarial=NoAttack(),
    trained="all",
    layer_decay=1.0,
    l2_sp=0.0,
    head_init="random",
    feature_selection=AllFeatures(),
    class_balance=NoBalance(),
    ema_decay=None,
    norm_momentum=None,
    norm_statistics="batch",
    adaptation=NoAdaptation(),
    source_task_weight=0.0,
)


def strategy(**changes: Any) -> Strategy:
    return replace(PLAIN, **changes)
