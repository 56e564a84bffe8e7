"""Whether trainings in bf16 end as those in fp32 do: the recorded configurations once more.

    python benchmarks/real_images.py real
    python -m benchmarks.number_formats FOLDER [--tasks photographs-5-lite0 ...] [-o FILE]

Run it where `real` lies. Configurations of benchmarks/curves, on the search's own split with the
same seeds, so that each pair differs in the number format alone; FOLDER keeps what is trained.
Beside that, how far gradients in bf16 are from those in fp32.
"""

import argparse
from pathlib import Path
from statistics import fmean, stdev

import torch

from benchmarks.curves import tables
from benchmarks.curves.record import Recording, is_of, machine, prepared, read_lines, say
from benchmarks.curves.tasks import HERE, LITE, TASKS, configurations, run, study
from tlsearch.execution.executor import LocalExecutor
from tlsearch.execution.interrupts import Interrupts
from tlsearch.execution.scheduler import Scheduler
from tlsearch.models.backbones import build_backbone
from tlsearch.models.depthwise import speed_up_depthwise
from tlsearch.models.weights import chosen, pretrained_state
from tlsearch.training.precision import gradient_distances

NETWORKS = (
    (LITE, True),
    (LITE, False),
    ("resnet18", False),
    ("resnet50", False),
    ("mobilenet_v2", False),
    ("timm/efficientnet_b0", False),
)
"""And whether with ImageNet's weights."""
SIZES = (32, 96)


def train(folder: Path, names: list[str], number: int, *, workers: int) -> None:
    """The first configurations of each task in bf16."""
    interrupts = Interrupts()
    executor = LocalExecutor(num_workers=workers, num_devices=0)
    scheduler = Scheduler(executor=executor, watch=say, interrupts=interrupts, folder=folder)
    try:
        with interrupts.listening():
            for name in names:
                setting = prepared(folder, name, scheduler).with_precisions({LITE: "bf16"})
                points = configurations(setting.config)[:number]
                runs = [run(setting.config, n, p, redraw=0) for n, p in enumerate(points)]
                scheduler.configure(setting)
                scheduler.run(Recording(setting.folder, folder / f"{name}.jsonl", runs))
    finally:
        executor.shutdown(now=True)


def differences(folder: Path, name: str) -> list[float]:
    """Test accuracy in bf16 less that in fp32, by configuration; diverged in either is left out."""
    points = configurations(study(name))
    known = {
        record["configuration"]: record["test_accuracy"]
        for record in tables.records_of(name, HERE)
        if not record["name"] and not record["redraw"] and is_of(record, points)
    }
    found = {
        r["configuration"]: r.get("test_accuracy") for r in read_lines(folder / f"{name}.jsonl")
    }
    both = [(found[n], known.get(n)) for n in sorted(found)]
    return [a - b for a, b in both if a is not None and b is not None]


def gradients() -> list[str]:
    """Rows of a table: by network and size, the distance of the gradient in bf16 from that in fp32,
    and of that after rounding, for batches of 8 and 32 random images, and their ratios.
    """
    lines = []
    for name, pretrained in NETWORKS:
        for size in SIZES:
            model = build_backbone(
                name=name, num_classes=8, image_size=size, dropout=0.0, seed=0
            ).model
            if pretrained:
                state = pretrained_state(
                    backbone=name, weights=chosen(backbone=name, weights="imagenet").name
                )
                assert state is not None
                model.load_state_dict(
                    {k: v for k, v in state.items() if "classifier" not in k}, strict=False
                )
            speed_up_depthwise(model.train())
            draw = torch.Generator().manual_seed(0)
            found = [
                gradient_distances(model, torch.randn(n, 3, size, size, generator=draw))
                for n in (8, 32)
            ]
            texts = [f"{far:.2f} / {near:.2f} = {far / near:.1f}" for far, near in found]
            weights = "ImageNet" if pretrained else "random"
            lines.append(f"| {name} | {weights} | {size} | {' | '.join(texts)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    known = [name for name, task in TASKS.items() if task.backbone == LITE]
    parser.add_argument("--tasks", nargs="+", default=known, choices=known)
    parser.add_argument("--configurations", type=int, default=40)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("-o", type=Path, help="Markdown")
    given = parser.parse_args()
    folder = given.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    train(folder, given.tasks, given.configurations, workers=given.workers)
    lines = [
        "# bf16 against fp32",
        "",
        f"`python -m benchmarks.number_formats FOLDER` on {machine()['machine']}, torch "
        f"{machine()['torch']}: the same configurations with the same seeds on the same split. "
        "Test accuracy in bf16 less that in fp32, points: mean, its standard error, and the "
        "standard deviation of a single pair.",
        "",
        "| task | pairs | mean | deviation of a pair |",
        "|---|---|---|---|",
    ]
    for name in given.tasks:
        left = [100 * x for x in differences(folder, name)]
        error = stdev(left) / len(left) ** 0.5
        mean = f"{fmean(left):+.2f} ± {error:.2f}"
        lines.append(f"| {name} | {len(left)} | {mean} | {stdev(left):.2f} |")
    lines += [
        "",
        "How far the gradient of random images in bf16 is from that in fp32, as a share of its "
        "norm, by how far rounding images and weights, once, moves it in fp32:",
        "",
        "| network | weights | px | batch of 8 | batch of 32 |",
        "|---|---|---|---|---|",
        *gradients(),
    ]
    print("\n".join(lines))
    if given.o:
        given.o.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
