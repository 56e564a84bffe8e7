"""What each way of fine-tuning costs: seconds of its steps against those of plain fine-tuning.

ResNet-10 at 32 px, batches of 32, one thread, fp32; trainings take turns epoch by epoch, so that
other work on the machine slows all alike, and medians are compared. `probe` is what a head that
starts as a linear probe costs a worker once a fold, import of scikit-learn included, in epochs of
full fine-tuning.

    uv run python benchmarks/fine_tuning.py
"""

import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tlsearch.config.space import Space
from tlsearch.config.strategy import LossBalance, SamplingBalance, Strategy
from tlsearch.execution.head_init import HeadStart
from tlsearch.models.backbones import MEAN, STD, Backbone, build_backbone
from tlsearch.training.batches import Pixels, TrainingData
from tlsearch.training.feature_cache import ActivationStore
from tlsearch.training.plan import make_plan
from tlsearch.training.precision import FP32
from tlsearch.training.trainer import Trainer

CPU = torch.device("cpu")
TRAIN, VALIDATION, CLASSES, SIZE = 384, 10, 10, 32
EPOCHS = 7
WAYS: Mapping[str, dict[str, Any]] = {
    "full": {},
    "l2_sp": {"l2_sp": 0.1},
    "layer_decay": {"layer_decay": 0.8},
    "ema_decay": {"ema_decay": 0.9},
    "loss balance": {"class_balance": LossBalance(beta=1.0)},
    "sampling balance": {"class_balance": SamplingBalance()},
    "trained: norms": {"trained": "norms"},
    "trained: layer1": {"trained": "layer1"},
    "trained: layer4": {"trained": "layer4"},
}


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        data = images()
        store = ActivationStore(Path(folder), pixels=data.pixels, data_key="x", numerics=FP32)
        trainings = {name: trainer(changes, data, store) for name, changes in WAYS.items()}
        taken: dict[str, list[float]] = {name: [] for name in WAYS}
        running = {name: training.epochs() for name, training in trainings.items()}
        for _ in range(EPOCHS):
            for name, training in trainings.items():
                before = training.step_seconds
                next(running[name])
                taken[name].append(training.step_seconds - before)
        plain = statistics.median(taken["full"][1:])  # the first epoch warms up
        for name, seconds in taken.items():
            print(f"{name:17} {statistics.median(seconds[1:]) / plain:.2f}")
        print(f"{'probe, once':17} {probe_seconds(data, store) / plain:.2f}")


def images() -> TrainingData:
    """Noise, in classes of unequal size."""
    draw = np.random.default_rng(0)
    num = TRAIN + VALIDATION
    labels = draw.choice(CLASSES, num, p=np.arange(1, CLASSES + 1) / 55)
    pixels = draw.integers(0, 256, (num, SIZE, SIZE, 3), dtype=np.uint8)
    rows = np.arange(num)
    of = Pixels(images=pixels, labels=labels, mean=MEAN, std=STD)
    return TrainingData(of, rows[:TRAIN], rows[TRAIN:], CLASSES, None)


def strategy(changes: Mapping[str, Any]) -> Strategy:
    params = Space().assign(lambda name, _dimension: name)
    return replace(Strategy.from_params(params, init="pretrained"), **changes)


def network() -> Backbone:
    return build_backbone(
        name="resnet10", num_classes=CLASSES, image_size=SIZE, dropout=0.0, seed=0
    )


def trainer(changes: Mapping[str, Any], data: TrainingData, store: ActivationStore) -> Trainer:
    backbone, chosen = network(), strategy(changes)
    plan = make_plan(chosen, groups=backbone.groups, num_train_images=TRAIN, num_epochs=EPOCHS)
    return Trainer(
        backbone,
        plan=plan,
        data=data,
        activations=store,
        metric="val_accuracy",
        seed=0,
        numerics=FP32,
        device=CPU,
        measure_updates=False,
        adaptation=None,
        second_task=None,
    )


def probe_seconds(data: TrainingData, store: ActivationStore) -> float:
    """Of the first trial: the frozen part runs once over all images."""
    started = time.perf_counter()
    chosen = strategy({"head_init": "probe"})
    HeadStart(store, device=CPU).prepare(network(), chosen, data=data, seed=0)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
