"""What each choice within a training step gives, and how near a trial comes to the bare step.

    python benchmarks/step.py [--rounds 7] [-o FILE]

Images a second on one thread: of the processor's own time, which other programs take nothing of,
all variants in turn, the best of the rounds. Random images; weights do not matter to the time.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from tlsearch.config.augmentation import BasicAugmentation, NoAugmentation
from tlsearch.config.strategy import Strategy
from tlsearch.models.backbones import MEAN, STD, Backbone, build_backbone
from tlsearch.training.batches import Pixels, TrainingData
from tlsearch.training.plan import make_plan
from tlsearch.training.precision import FP32
from tlsearch.training.trainer import Trainer

CASES = [("resnet18", 32), ("timm/tf_efficientnet_lite0", 48)]
BATCHES = (16, 64)
IMAGES = 128
CPU = torch.device("cpu")


def network(name: str, size: int) -> Backbone:
    return build_backbone(name=name, num_classes=10, image_size=size, dropout=0.0, seed=0)


def bare(
    name: str, size: int, batch_size: int, *, layout: torch.memory_format, bf16: bool, fused: bool
) -> Callable[[], None]:
    """An epoch as anybody would write it."""
    model: nn.Module = network(name, size).model.to(memory_format=layout).train()
    images = torch.randn(IMAGES, 3, size, size).contiguous(memory_format=layout)
    labels = torch.arange(IMAGES) % 10
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, fused=fused)

    def epoch() -> None:
        for start in range(0, IMAGES, batch_size):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits = model(images[start : start + batch_size]).float()
            loss = F.cross_entropy(logits, labels[start : start + batch_size])
            torch.autograd.backward(loss)
            optimizer.step()
            loss.item()

    return epoch


def trial(name: str, size: int, batch_size: int, *, augmented: bool) -> Callable[[], None]:
    """An epoch of a trial, without its validation."""
    backbone = network(name, size)
    draw = np.random.default_rng(0)
    pixels = Pixels(
        draw.integers(0, 255, (IMAGES + 2, size, size, 3)).astype(np.uint8),
        np.arange(IMAGES + 2) % 10,
        MEAN,
        STD,
    )
    data = TrainingData(pixels, np.arange(IMAGES), np.arange(IMAGES, IMAGES + 2), 10, None)
    strategy = Strategy(
        init="random",
        batch_size=batch_size,
        lr=1e-3,
        augmentation=BasicAugmentation() if augmented else NoAugmentation(),
    )
    epochs = 1000
    plan = make_plan(strategy, groups=backbone.groups, num_train_images=IMAGES, num_epochs=epochs)
    steps = Trainer(
        backbone,
        plan=plan,
        data=data,
        activations=None,
        metric="val_accuracy",
        seed=0,
        numerics=FP32,
        device=CPU,
        measure_updates=False,
        adaptation=None,
        second_task=None,
    ).epochs()
    return lambda: next(steps) and None


def variants(name: str, size: int, batch_size: int) -> dict[str, Callable[[], None]]:
    plain: dict[str, Any] = {"layout": torch.channels_last, "bf16": False, "fused": True}
    changes: dict[str, dict[str, Any]] = {
        "bare step as tlsearch computes": {},
        "images and weights channel by channel": {"layout": torch.contiguous_format},
        "SGD not fused": {"fused": False},
        "bf16": {"bf16": True},
    }
    made = {text: bare(name, size, batch_size, **{**plain, **of}) for text, of in changes.items()}
    made["a trial"] = trial(name, size, batch_size, augmented=False)
    made["a trial with `augmentation: basic`"] = trial(name, size, batch_size, augmented=True)
    return made


def best_speeds(work: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Images a second by variant."""
    least = dict.fromkeys(work, float("inf"))
    for _ in range(1 + rounds):  # the first warms up, and cannot be the best
        for text, epoch in work.items():
            start = time.process_time()
            epoch()
            least[text] = min(least[text], time.process_time() - start)
    return {text: IMAGES / seconds for text, seconds in least.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("-o", "--output", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    columns: dict[str, dict[str, float]] = {}
    for name, size in CASES:
        for batch_size in BATCHES:
            title = f"{name.rpartition('/')[2]}, {size} px, batch {batch_size}"
            columns[title] = best_speeds(variants(name, size, batch_size), asked.rounds)
            print(title, columns[title], flush=True)
    first = next(iter(next(iter(columns.values()))))
    lines = [
        f"Images a second of the processor's time, one thread, best of {asked.rounds}; torch "
        f"{torch.__version__}; in brackets the ratio to the first row.",
        "",
        f"| | {' | '.join(columns)} |",
        f"|---|{'---|' * len(columns)}",
    ]
    for text in next(iter(columns.values())):
        cells = [f"{of[text]:.0f} ({of[text] / of[first]:.2f})" for of in columns.values()]
        lines.append(f"| {text} | {' | '.join(cells)} |")
    table = "\n".join(lines) + "\n"
    print(table)
    if asked.output:
        asked.output.write_text(table)


if __name__ == "__main__":
    main()
