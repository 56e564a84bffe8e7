"""What each augmentation costs, as a share of a training step without any.

    OMP_NUM_THREADS=1 python benchmarks/augmentation.py                 # about a minute
    OMP_NUM_THREADS=1 python benchmarks/augmentation.py --rounds 5

ResNet-18 at 64 px in batches of 32, one thread, SGD with momentum. Policies and plain steps take
turns; the fastest of each one's rounds counts, in processor time: what other processes on the
machine disturb least. Each policy has the defaults of the search space. The target is 15 % for
`basic` in fp32. In bf16, where the processor has it, a step is shorter and the same views weigh
more.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from tlsearch.config.augmentation import ATTACKS, AUGMENTATIONS, MIXINGS
from tlsearch.config.space import Space
from tlsearch.config.strategy import Strategy
from tlsearch.models.backbones import MEAN, STD, build_backbone
from tlsearch.training.batches import Pixels, TrainingData
from tlsearch.training.plan import make_plan
from tlsearch.training.precision import BF16, FP32, Numerics
from tlsearch.training.trainer import Trainer

CLASSES, SIZE, BATCH_SIZE = 10, 64, 32
NUMERICS = {"fp32": FP32, "bf16": BF16}
POLICIES: dict[str, dict[str, Any]] = {
    **{name: {"augmentation": name} for name in AUGMENTATIONS if name != "none"},
    "erasing": {"erasing": 0.5},
    **{name: {"mixing": name} for name in MIXINGS if name != "none"},
    **{name: {"adversarial": name} for name in ATTACKS if name != "none"},
}


def never_asked(name: str, _dimension: object) -> Any:
    raise AssertionError(f"{name} is searched")


def training(fields: dict[str, Any], numerics: Numerics) -> Trainer:
    """A training of one batch of colour images of noise."""
    draw = np.random.default_rng(0)
    pixels = Pixels(
        images=draw.integers(0, 256, (2 * BATCH_SIZE, SIZE, SIZE, 3), dtype=np.uint8),
        labels=draw.integers(0, CLASSES, 2 * BATCH_SIZE),
        mean=MEAN,
        std=STD,
    )
    rows = np.arange(BATCH_SIZE)
    data = TrainingData(pixels, rows, rows + BATCH_SIZE, CLASSES, None)
    backbone = build_backbone(
        name="resnet18", num_classes=CLASSES, image_size=SIZE, dropout=0.0, seed=0
    )
    params = Space.model_validate({**fields, "batch_size": BATCH_SIZE}).assign(never_asked)
    return Trainer(
        backbone,
        plan=make_plan(
            Strategy.from_params(params, init="random"),
            groups=backbone.groups,
            num_train_images=BATCH_SIZE,
            num_epochs=1,
        ),
        data=data,
        activations=None,
        metric="val_accuracy",
        seed=0,
        numerics=numerics,
        device=torch.device("cpu"),
        measure_updates=False,
        adaptation=None,
        second_task=None,
    )


def seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def fastest(numerics: Numerics, rounds: int) -> dict[str, float]:
    """Seconds of a plain step, of reading its images, and of each policy's views of them."""
    rows = np.arange(BATCH_SIZE)
    plain = training({}, numerics)
    made = {policy: training(fields, numerics) for policy, fields in POLICIES.items()}
    best = dict.fromkeys(("step", "images", *made), float("inf"))
    for epoch in range(rounds + 1):
        took = {
            "step": seconds(lambda: plain._step(rows, rows, epoch=1, step=1)),
            "images": seconds(lambda: plain.forward.unit_images(rows)),
        }
        for policy, trainer in made.items():
            took[policy] = seconds(partial(trainer.views.images, rows, rows, epoch=epoch))
        if epoch:  # the first warms up
            best = {of: min(best[of], took[of]) for of in best}
    return best


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=12)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    for name, numerics in NUMERICS.items():
        best = fastest(numerics, rounds)
        print(f"{name}: a plain step {1e3 * best['step']:.0f} ms")
        for policy in POLICIES:
            cost = best[policy] - best["images"]
            print(f"  {policy:12} {1e3 * cost:7.1f} ms  {100 * cost / best['step']:6.1f} %")


if __name__ == "__main__":
    main()
