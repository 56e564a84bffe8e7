"""How long steps of training take, against what config/cost.py estimates; and the fit behind it.

    python benchmarks/step_times.py            about 6 minutes
    python benchmarks/step_times.py NAME …     these networks alone

One thread, fp32, AdamW, 16 images in channels-last order: the least processor time of several
steps, which other work on the machine disturbs little.
"""

import sys
import time
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import nnls

from tlsearch.config.catalog import CATALOGUE
from tlsearch.config.cost import giga_macs, seconds_per_image, seconds_per_step
from tlsearch.models.backbones import build_backbone

NETWORKS = (
    *("resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0"),
    *("timm/tf_efficientnet_lite0", "timm/convnext_atto", "timm/regnety_002", "timm/densenet121"),
    *("timm/vit_tiny_patch16_224", "timm/lcnet_050", "timm/edgenext_xx_small"),
    *("timm/ghostnet_100", "timm/test_resnet"),
)
SIZES, BATCH, SECONDS = (32, 96, 160), 16, 3.0


class Step(NamedTuple):
    """Processor time, in seconds, of 16 images."""

    whole: float
    forward: float


def timed(name: str, size: int) -> Step:
    """The least of several steps."""
    backbone = build_backbone(name=name, num_classes=10, image_size=size, dropout=0.0, seed=0)
    backbone.to(torch.device("cpu"))
    model, images = backbone.model.train(), torch.randn(BATCH, 3, size, size)
    images = images.to(memory_format=torch.channels_last)
    labels, optimizer = torch.arange(BATCH) % 10, torch.optim.AdamW(model.parameters(), 1e-4)
    steps: list[Step] = []
    began = time.process_time()
    while len(steps) < 3 or time.process_time() - began < SECONDS:
        start = time.process_time()
        loss = F.cross_entropy(model(images), labels)
        middle = time.process_time()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        steps.append(Step(time.process_time() - start, middle - start))
    return Step(*map(min, zip(*steps, strict=True)))


def main() -> None:
    torch.set_num_threads(1)
    rows = []
    for name in sys.argv[1:] or NETWORKS:
        facts = CATALOGUE[name]
        for size in SIZES:
            step = timed(name, size)
            passes = 3 * BATCH
            guess = passes * seconds_per_image(facts, size) + seconds_per_step(facts)
            area = (size / facts.native_size) ** 2
            rows.append(
                (
                    passes * giga_macs(facts, size),
                    passes * facts.mega_activations / 1000 * area,
                    facts.num_parameters / 1e9,
                    1.0,
                    step.whole,
                )
            )
            print(
                f"{name:28} {size:3} px  step {1000 * step.whole:6.0f} ms, forward "
                f"{1000 * step.forward:5.0f} ms; estimated {guess / step.whole:.2f} of that",
                flush=True,
            )
    *columns, seconds = np.array(rows).T
    weights = np.stack(columns, 1) / seconds[:, None]
    found, _ = nnls(weights, np.ones(len(seconds)))
    ratios = weights @ found
    units = ("giga multiply-add", "giga activation", "giga parameter", "step")
    parts = ", ".join(f"{c:.4f} s a {unit}" for c, unit in zip(found, units, strict=True))
    print(f"least squares of ratios: {parts}; ratios {ratios.min():.2f} to {ratios.max():.2f}")


if __name__ == "__main__":
    main()
