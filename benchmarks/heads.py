"""Heads alone, stacked, against one full fine-tuning of the same images, and against one by one.

    python benchmarks/heads.py [--heads 1000] [--epochs 10] [--rounds 2] [-o FILE]

On one thread, in turn; the least processor time of the rounds counts, which work beside it disturbs
least. Digits, 20 labels a class: ResNet-18 of glyphs at 32 px, and EfficientNet-Lite0 of ImageNet
at 48 px where its weights are installed. The heads are drawn from a space of rates, schedules,
optimizers, decay, dropout, batch sizes and smoothing.
"""

import argparse
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from tlsearch.config.loader import read_study
from tlsearch.config.paths import user_cache
from tlsearch.config.runtime import no_progress
from tlsearch.config.schema import StudyConfig
from tlsearch.execution.messages import PrepareJob, TrainDone, TrainJob
from tlsearch.execution.prepare import prepare
from tlsearch.execution.runs import Run
from tlsearch.execution.workbench import Workbench

STUDY = """
name: heads
data: {source: digits, labels_per_class: 20, split: {validation: 0.2, test: 0.6}}
budget: {trials: 1, epochs: 1}
device: cpu
precision: fp32
space: {lr: 0.01}
"""
NETWORKS = {
    "ResNet-18 of glyphs, 32 px": [
        "data.size=32",
        "backbone.name=resnet18",
        "backbone.weights=glyphs",
    ],
    "EfficientNet-Lite0 of ImageNet, 48 px": [
        "data.size=48",
        "backbone.name=timm/tf_efficientnet_lite0",
        "backbone.weights=imagenet",
    ],
}
SAMPLE = 40
"""Heads that are trained one by one as well."""
OPTIMIZERS: dict[str, dict[str, tuple[float, float]]] = {
    "sgd": {"optimizer.sgd.momentum": (0.8, 0.99)},
    "adam": {"optimizer.adam.beta1": (0.8, 0.95), "optimizer.adam.beta2": (0.99, 0.9999)},
    "adamw": {"optimizer.adamw.beta1": (0.8, 0.95), "optimizer.adamw.beta2": (0.99, 0.9999)},
}


def read(overrides: list[str], folder: Path) -> StudyConfig:
    file = folder / "study.yaml"
    file.write_text(STUDY)
    return read_study(file, overrides=overrides, preset=None)


def job(config: StudyConfig, number: int, num_epochs: int, params: dict[str, Any]) -> TrainJob:
    flat = config.space.assign(lambda _name, _dimension: 0.01)
    kind = params.get("optimizer", flat["optimizer"])
    if kind != flat["optimizer"]:
        flat = {k: v for k, v in flat.items() if not k.startswith("optimizer.")}
    run = Run(
        study=config.name,
        scenario="",
        arm="",
        role="trial",
        name="",
        trial=number,
        seed=0,
        redraw=0,
        params={**flat, **params},
        init="pretrained",
        folds=(0,),
        num_epochs=num_epochs,
        backbone="",
    )
    return TrainJob(run=run)


def drawn(depth: int, draw: random.Random) -> dict[str, Any]:
    """A strategy of the head alone at random."""
    kind = draw.choice(list(OPTIMIZERS))
    nesterov = {"optimizer.sgd.nesterov": draw.choice([True, False])} if kind == "sgd" else {}
    return {
        "freeze_depth": depth,
        "lr": 10 ** draw.uniform(-4, -1),
        "optimizer": kind,
        **{name: draw.uniform(*between) for name, between in OPTIMIZERS[kind].items()},
        **nesterov,
        "weight_decay": 10 ** draw.uniform(-6, -2),
        "dropout": draw.choice([0.0, draw.uniform(0.05, 0.5)]),
        "batch_size": draw.choice([16, 32, 64]),
        "label_smoothing": draw.choice([0.0, 0.1]),
        "warmup_epochs": draw.randrange(4),
    }


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds, and what came of it."""
    start = time.process_time()
    found = work()
    return time.process_time() - start, found


def through(bench: Workbench, asked: TrainJob) -> Any:
    training = bench.trainer(asked)
    list(training.epochs())
    return training.finish()


def measure(
    bench: Workbench, config: StudyConfig, depth: int, *, heads: int, epochs: int, rounds: int
) -> str:
    """A row of the table."""
    draw = random.Random(0)
    stack = [job(config, i, epochs, drawn(depth, draw)) for i in range(heads)]
    full = job(config, heads, epochs, {"freeze_depth": 0})
    through(bench, stack[0])  # keeps the features
    times: dict[str, list[float]] = {"full": [], "stacked": [], "alone": []}
    for _ in range(rounds):
        times["full"].append(timed(lambda: through(bench, full))[0])
        seconds, found = timed(lambda: bench.train_heads(stack))
        times["stacked"].append(seconds)
        singly = [timed(partial(through, bench, one)) for one in stack[:SAMPLE]]
        times["alone"].append(sum(seconds for seconds, _ in singly) / len(singly))
    errors = [
        largest_difference(found[one.key], alone)
        for one, (_, alone) in zip(stack, singly, strict=False)
    ]
    median, most = np.quantile(errors, [0.5, 0.9])
    least = {name: min(values) for name, values in times.items()}
    each = least["stacked"] / heads
    return (
        f"| {least['full']:.1f} s | {least['stacked']:.1f} s | {least['full'] / each:,.0f} "
        f"| {least['alone'] / each:,.0f} | {median:.0e}, {most:.0e} |"
    )


def largest_difference(stacked: Any, alone: Any) -> float:
    """Of the validation losses of all epochs, over 1 + loss."""
    assert isinstance(stacked, TrainDone), stacked
    pairs = zip(stacked.result.epochs, alone.epochs, strict=True)
    return float(max(abs(a.val_loss - b.val_loss) / (1 + b.val_loss) for a, b in pairs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--heads", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = [
        f"{asked.heads} heads of {asked.epochs} epochs; processor seconds on one thread, the least "
        f"of {asked.rounds}; torch {torch.__version__}",
        "",
        "| network | one full fine-tuning | all heads | heads per full fine-tuning | one by one / "
        f"stacked | difference of losses in {SAMPLE}: median, 90 % |",
        "|---|---|---|---|---|---|",
    ]
    for name, overrides in NETWORKS.items():
        with TemporaryDirectory() as text:
            folder = Path(text)
            config = read(overrides, folder)
            asked_for = PrepareJob(
                config=config, folder=folder / "s", cache=folder, user_cache=user_cache(), threads=1
            )
            setting, _ = prepare(asked_for, device_index=None, on_progress=no_progress)
            bench = Workbench(setting, device_index=None, on_progress=no_progress)
            depth = len(setting.groups) - 1
            sizes = {"heads": asked.heads, "epochs": asked.epochs, "rounds": asked.rounds}
            rows.append(f"| {name} {measure(bench, config, depth, **sizes)}")
            print(rows[-1], flush=True)
    table = "\n".join(rows) + "\n"
    print(table)
    if asked.output:
        asked.output.write_text(table)


if __name__ == "__main__":
    main()
