"""What transferability scores cost beside the forward pass that they need.

    uv run python benchmarks/scoring.py [--images 2000] [--backbones resnet10 mobilenet_v3_small]

One thread, fp32, 32 px, random weights and pixels, ten classes. Prints seconds of the forward pass
and of each score, and the ratio of all scores to the forward pass; the fastest of three.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
import torch

from tlsearch.data.dataset import image_set
from tlsearch.execution.network_scores import frozen_features
from tlsearch.metrics.transferability import h_score, leep, log_me, nce
from tlsearch.models.backbones import build_backbone

REPEATS = 3
CPU = torch.device("cpu")
SOURCE_CLASSES = 1000  # as ImageNet's
Found = TypeVar("Found")


def seconds(work: Callable[[], Found]) -> tuple[float, Found]:
    """Of the fastest call, and what the last one returned."""
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        found = work()
        best = min(best, time.perf_counter() - start)
    return best, found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--images", type=int, default=2000)
    options.add_argument("--backbones", nargs="+", default=["resnet10", "mobilenet_v3_small"])
    asked = options.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (asked.images, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(asked.images) % 10
    data = image_set(pixels, labels, tuple("0123456789"))
    given = rng.dirichlet(np.ones(SOURCE_CLASSES), asked.images)
    rows = np.arange(asked.images)
    for name in asked.backbones:
        backbone = build_backbone(name=name, num_classes=10, image_size=32, dropout=0.0, seed=0)
        forward, features = seconds(partial(frozen_features, backbone, data, rows, CPU))
        scores = {
            "LogME": seconds(partial(log_me, features, labels))[0],
            "H-score": seconds(partial(h_score, features, labels))[0],
            "LEEP": seconds(lambda: leep(given, labels))[0],
            "NCE": seconds(lambda: nce(given.argmax(1), labels))[0],
        }
        told = ", ".join(f"{score} {spent:.2f} s" for score, spent in scores.items())
        total = sum(scores.values())
        print(
            f"{name}: {features.shape[1]} features of {asked.images} images, forward "
            f"{forward:.2f} s, {told}; scores / forward {total / forward:.2f}, {total:.2f} s"
        )


if __name__ == "__main__":
    main()
