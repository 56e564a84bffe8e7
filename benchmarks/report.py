"""How long a report of a long study takes from the stores, part by part, and how large its page is.

    python benchmarks/report.py                  # 500 and 5,000 trials in a journal; some minutes
    python benchmarks/report.py --trials 500 --storage sqlite

The study is the quickstart's with made-up trainings of ten epochs: eight dimensions, the worse
trials ended after three epochs, three baselines, no confirmation. A journal holds the records that
a run leaves, one an epoch; SQLite is filled from it. The parts are in CPU seconds, which a busy
machine changes less; "command" is all of `tlsearch report` in a process of its own. Goals: 5 s for
500 trials, 20 s for 5,000, 6 MB for 500.
"""

import argparse
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import optuna

from tlsearch.config.loader import read_study
from tlsearch.config.paths import Layout
from tlsearch.config.resolved import to_yaml
from tlsearch.config.schema import StudyConfig
from tlsearch.execution.runs import Run
from tlsearch.report.context import read_search
from tlsearch.report.html import pictures, render_html
from tlsearch.report.importances import find_importances
from tlsearch.search.baselines import baseline_run
from tlsearch.search.storage import open_storage
from tlsearch.search.store import FACTS, Store
from tlsearch.training.results import EpochResult, TrainResult

QUICKSTART = Path(__file__).parents[1] / "studies" / "quickstart.yaml"
OVERRIDES = ("search.sampler=random", "search.pruner=none", "budget.epochs=10")
WORSE = 0.9
BASELINES = {"linear_probe": 0.885, "full_fine_tuning": 0.951, "from_scratch": 0.938}


def train(store: Store, run: Run, accuracy: float, rng: np.random.Generator) -> None:
    """Ten epochs towards `accuracy`, or three where that is low."""
    epochs: list[EpochResult] = []
    pruned = run.role == "trial" and accuracy < WORSE
    for n in range(1, 4 if pruned else run.num_epochs + 1):
        reached = accuracy * (1 - 0.6 ** (n + 1)) + 0.01 * rng.normal()
        epochs.append(EpochResult(n, 1 / n, reached, 1 - reached, reached, 0.01, 2.0, 0.5))
        store.report(run, epochs[-1], fold=None)
    result = TrainResult(
        ending="complete",
        reason="",
        epochs=tuple(epochs),
        chosen=epochs[-1],
        confusion=(),
        max_grad_norm=2.0,
        images_trained=200 * len(epochs),
        seconds=0.5 * len(epochs),
        step_seconds=0.4 * len(epochs),
        folds=(),
        measures={},
    )
    store.tell(run, "pruned" if pruned else "complete", result, reason="")


def fill(config: StudyConfig, layout: Layout) -> None:
    """A journal as a run leaves it, without waiting for the disk."""
    layout.create()
    storage = open_storage(config, layout, create=True)
    assert storage is not None, "it may be made"
    store, rng = Store(config, storage), np.random.default_rng(0)
    counts = {f"{part}_counts": [20] * 10 for part in ("train", "validation", "test")}
    facts = {"num_images": 600, "class_names": list("0123456789"), **counts}
    found = {"data": "0" * 16, "weights": "0" * 16, "precision": "fp32", "groups": []}
    store.note(FACTS, {**found, "facts": facts})
    with mock.patch.object(os, "fsync", return_value=None):
        store.enqueue([baseline_run(config, name, seed=0) for name in config.baselines])
        while (run := store.ask_fixed()) is not None:
            train(store, run, BASELINES[run.name], rng)
        for _ in range(config.budget.trials):
            run = store.ask()
            params = run.params
            distance = 0.05 * (math.log10(params["lr"]) + 2) ** 2 + 0.02 * params["dropout"]
            train(store, run, 0.97 - distance - 0.004 * abs(params["freeze_depth"] - 2), rng)


def copied(config: StudyConfig, layout: Layout, address: str) -> None:
    """The same studies in a database."""
    storage = open_storage(config, layout, create=False)
    assert storage is not None, "it has just been made"
    for name in optuna.get_all_study_names(storage):
        optuna.copy_study(
            from_study_name=name, from_storage=storage,
            to_storage=address,
        )  # fmt: skip


def stores(place: Path, num_trials: int, storage: str) -> tuple[StudyConfig, Layout]:
    """The study in a folder of its own, made where it is not there yet."""
    overrides = [*OVERRIDES, f"budget.trials={num_trials}"]
    config = read_study(QUICKSTART, overrides=overrides, preset=None)
    layout, study = Layout(place / "mlruns"), place / "study.yaml"
    is_new = not study.exists()
    if is_new:
        fill(config, layout)
    if storage == "sqlite":
        address = f"sqlite:///{place / 'optuna.db'}"
        if is_new:
            copied(config, layout, address)
        config = config.model_copy(update={"storage": address})
    study.write_text(to_yaml(config))
    return config, layout


def measure(config: StudyConfig, layout: Layout) -> tuple[dict[str, float], float]:
    """CPU seconds of each part in this process, and the page's size in MB."""
    seconds: dict[str, float] = {}

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        started = time.process_time()
        yield
        seconds[name] = time.process_time() - started

    with timed("open"):
        storage = open_storage(config, layout, create=False)
    assert storage is not None, "it has just been made"
    with timed("store"):
        store = Store(config, storage)
    with timed("rows"):
        data = read_search(store, layout)
    with timed("of these importances"):
        find_importances(config, store.study)
    with timed("page"):
        page = render_html(data)
    with timed("of these figures"):
        pictures(data)
    return seconds, len(page.encode()) / 1e6


def command(study: Path) -> tuple[float, float]:
    """Seconds and CPU seconds of the whole command."""
    call: list[Any] = [sys.executable, "-m", "tlsearch", "report", study, "-o", "report.html"]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(call, cwd=study.parent, check=True, capture_output=True)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, action="append")
    parser.add_argument("--storage", choices=("journal", "sqlite"), default="journal")
    parser.add_argument("--keep", type=Path, help="a folder for the stores, to use them again")
    args = parser.parse_args()
    for num_trials in args.trials or (500, 5000):
        with tempfile.TemporaryDirectory() as name:
            place = (args.keep or Path(name)).resolve() / f"{args.storage}-{num_trials}"
            config, layout = stores(place, num_trials, args.storage)
            seconds, size = measure(config, layout)
            wall, cpu = command(place / "study.yaml")
        told = ", ".join(f"{part} {found:.2f}" for part, found in seconds.items())
        print(f"{num_trials:,} trials in {args.storage}: {told} CPU s", flush=True)
        print(f"  command {wall:.1f} s, CPU {cpu:.1f} s; page {size:.1f} MB", flush=True)


if __name__ == "__main__":
    main()
