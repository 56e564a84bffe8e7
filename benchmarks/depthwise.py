"""What gradients of depthwise convolutions of our own bring: `tlsearch/models/depthwise.py`.

    python -m benchmarks.depthwise [--rounds 5] [-o benchmarks/depthwise.md]

Milliseconds of one thread's own processor time for a training step of 16 random images, with
torch's gradients and with ours, in turn, the best of the rounds.
"""

import argparse
from copy import deepcopy
from pathlib import Path

import torch

from benchmarks.curves.record import machine
from tlsearch.models.backbones import build_backbone
from tlsearch.models.depthwise import speed_up_depthwise
from tlsearch.training.precision import BF16, FP32, step_seconds

NETWORKS = (
    "timm/tf_efficientnet_lite0",
    "timm/efficientnet_b0",
    "mobilenet_v2",
    "timm/mobilenetv3_small_100",
    "timm/convnext_atto",
)
SIZES = (48, 96, 224)
BATCH = 16


def steps(name: str, size: int, rounds: int) -> list[float]:
    """Milliseconds: in fp32 by torch and by us, in bf16 by torch and by us."""
    plain = build_backbone(
        name=name, num_classes=10, image_size=size, dropout=0.0, seed=0
    ).model.train()
    ours = deepcopy(plain)
    speed_up_depthwise(ours)
    images = torch.randn(BATCH, 3, size, size)
    ways = [(model, numerics) for numerics in (FP32, BF16) for model in (plain, ours)]
    least = [float("inf")] * len(ways)
    for turn in range(1 + rounds):
        for i, (model, numerics) in enumerate(ways):
            taken = 1e3 * step_seconds(model, images, numerics)
            if turn:  # the first warms up
                least[i] = min(least[i], taken)
    return least


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("-o", type=Path, help="Markdown")
    given = parser.parse_args()
    torch.set_num_threads(1)
    about = machine()
    lines = [
        "# Gradients of depthwise convolutions",
        "",
        f"`python -m benchmarks.depthwise --rounds {given.rounds}` on {about['machine']}, torch "
        f"{about['torch']}: milliseconds of a training step of {BATCH} images on one thread, with "
        "torch's gradients → with ours. The gain is that of the faster number format, which "
        "`precision: auto` finds.",
        "",
        "| network | px | fp32 | bf16 | gain |",
        "|---|---|---|---|---|",
    ]
    for name in NETWORKS:
        for size in SIZES:
            fp32, fp32_ours, bf16, bf16_ours = steps(name, size, given.rounds)
            gain = min(fp32, bf16) / min(fp32_ours, bf16_ours)
            lines.append(
                f"| {name} | {size} | {fp32:.0f} → {fp32_ours:.0f} | {bf16:.0f} → {bf16_ours:.0f} "
                f"| {gain:.2f}× |"
            )
            print(lines[-1], flush=True)
    if given.o:
        given.o.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
