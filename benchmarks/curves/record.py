"""Train the configurations of `tasks` for all their epochs and keep the curves.

    python -m benchmarks.curves.record FOLDER              # hours; goes on where it was stopped
    python -m benchmarks.curves.record FOLDER --time       # minutes of a quiet core
    python -m benchmarks.curves.record FOLDER --write      # FOLDER's records -> benchmarks/curves

Run it where `real` lies, the folder of benchmarks/real_images.py. FOLDER keeps a line for every
training that the tables lack, and the activations that trainings share. Tasks take turns: first
some configurations of every one, then repetitions on other seeds, then more, so that what a shorter
run leaves is of use. What is timed is one process's own time on its processor, which other work
disturbs least, and the best of several.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.curves import tables
from benchmarks.curves.tasks import (
    HERE,
    SEEDS,
    TASKS,
    TURNS,
    baseline_runs,
    configurations,
    run,
    study,
)
from tlsearch.config.paths import scores_path, user_cache
from tlsearch.config.schema import StudyConfig
from tlsearch.config.space import values
from tlsearch.execution.executor import LocalExecutor
from tlsearch.execution.interrupts import Interrupts
from tlsearch.execution.messages import (
    Decision,
    Notice,
    PrepareJob,
    Preparing,
    Remark,
    Setting,
    TrainJob,
)
from tlsearch.execution.runs import Ending, Run
from tlsearch.execution.scheduler import Scheduler
from tlsearch.execution.workbench import Workbench
from tlsearch.training.results import EpochResult, FoldResult, TrainResult
from tlsearch.training.trainer import Trainer

REPEATED = (9, 24)
"""Of the first turn's configurations that many are repeated after the first turn and at the end."""
TIMED_EPOCHS = 3
UNFIT = 1e-12  # the least probability that the log loss of the test part counts


class Recording:
    """What the scheduler works for: gives out the runs that are not recorded yet, keeps a line of
    every one.
    """

    def __init__(self, folder: Path, file: Path, runs: Iterable[Run]) -> None:
        known = {record["key"] for record in read_lines(file)}
        self._folder, self._file = folder, file
        self._left = deque(run for run in runs if run.key not in known)

    def next_runs(self) -> list[tuple[Run, TrainJob]]:
        if not self._left:
            return []
        run = self._left.popleft()
        return [(run, TrainJob(run=run, keep_scores=True))]

    def started(self, run: Run) -> None:
        pass

    def epoch(self, _run: Run, _result: EpochResult, _fold: FoldResult | None) -> Decision:
        return "continue"  # nothing is pruned

    def ended(self, run: Run, ending: Ending, result: TrainResult | None, reason: str) -> None:
        record: dict[str, Any] = {
            "key": run.key,
            "role": run.role,
            "name": run.name,
            "configuration": run.trial,
            "redraw": run.redraw,
            "init": run.init,
            "params": dict(run.params),
            "ending": ending,
            "reason": reason,
        }
        if result is not None:
            record["epochs"] = [epoch._asdict() for epoch in result.epochs]
            record["step_seconds"] = result.step_seconds
        if ending == "complete":
            path = scores_path(self._folder, run.key)
            with np.load(path) as scores:
                probabilities, labels = scores["probabilities"], scores["labels"]
            path.unlink()
            right = probabilities[np.arange(len(labels)), labels]
            record["test_accuracy"] = float((probabilities.argmax(1) == labels).mean())
            record["test_log_loss"] = float(-np.log(np.maximum(right, UNFIT)).mean())
        with self._file.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def paused(self, run: Run, _result: TrainResult | None) -> None:
        self._left.appendleft(run)


def read_lines(file: Path) -> list[dict[str, Any]]:
    """The records of a file; a line that a kill cut short is not one."""
    lines = file.read_text(encoding="utf-8").split("\n")[:-1] if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def recorded(folder: Path, config: StudyConfig) -> list[dict[str, Any]]:
    """What FOLDER holds of a task, and what the tables hold beside that of the same points."""
    lines = read_lines(folder / f"{config.name}.jsonl")
    points, known = configurations(config), {tables.identity(line) for line in lines}
    return lines + [
        record
        for record in tables.records_of(config.name, HERE)
        if tables.identity(record) not in known and is_of(record, points)
    ]


def is_of(record: Mapping[str, Any], points: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a record of the tables is of a point that is drawn now, or of a baseline."""
    number = record["configuration"]
    return number is None or tables.key_of(record["params"]) == tables.key_of(points[number])


def is_recorded(run: Run, records: Sequence[Mapping[str, Any]]) -> bool:
    named = {"name": run.name, "configuration": run.trial, "redraw": run.redraw}
    return tables.identity(named) in map(tables.identity, records)


def repeated(config: StudyConfig, records: Sequence[dict[str, Any]], number: int) -> list[Run]:
    """Some of the first configurations on each redraw: two in three of them from the better half by
    validation, spread evenly over each half.
    """
    points = configurations(config)
    found = {
        record["configuration"]: -record["epochs"][-1]["val_accuracy"]
        for record in records
        if not record["name"] and not record["redraw"] and record["ending"] == "complete"
    }
    ranked = sorted((n for n in found if n < TURNS[0]), key=lambda n: found[n])
    half, few = len(ranked) // 2, number // 3
    chosen = [*spread(ranked[:half], number - few), *spread(ranked[half:], few)]
    return [run(config, n, points[n], redraw=s) for n in chosen for s in range(1, SEEDS + 1)]


def spread(ordered: Sequence[int], number: int) -> list[int]:
    places = np.linspace(0, len(ordered) - 1, min(number, len(ordered))).round().astype(int)
    return [ordered[i] for i in sorted(set(places.tolist()))]


def say(notice: Notice) -> None:
    if isinstance(notice, Remark | Preparing):
        print(notice, flush=True)


def record(folder: Path, tasks: Sequence[str], *, turns: int, workers: int) -> None:
    """Train what is not recorded yet, tasks in turn, each so many turns."""
    interrupts = Interrupts()
    executor = LocalExecutor(num_workers=workers, num_devices=0)
    scheduler = Scheduler(executor=executor, watch=say, interrupts=interrupts, folder=folder)
    settings: dict[str, Setting] = {}
    try:
        with interrupts.listening():
            for turn in range(turns):
                for name in tasks:
                    if name not in settings:
                        settings[name] = prepared(folder, name, scheduler)
                    take_turn(folder, settings[name], scheduler, turn)
    finally:
        executor.shutdown(now=True)


def prepared(folder: Path, name: str, scheduler: Scheduler) -> Setting:
    """A task's images and weights, in a folder of its own."""
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    job = PrepareJob(
        config=study(name), folder=place, cache=folder / "cache", user_cache=user_cache(), threads=1
    )
    setting: Setting = scheduler.run_job(job).setting
    return setting


def take_turn(folder: Path, setting: Setting, scheduler: Scheduler, turn: int) -> None:
    """One turn of a task: configurations and baselines, repetitions, configurations twice, and
    repetitions again.
    """
    config, began = setting.config, time.monotonic()
    file, records = folder / f"{config.name}.jsonl", recorded(folder, config)
    points = configurations(config)
    trials = [run(config, n, params, redraw=0) for n, params in enumerate(points)]
    first, second, _ = TURNS
    few, many = REPEATED
    again = range(1, SEEDS + 1)
    runs = (
        lambda: [*trials[:first], *baseline_runs(config, [0])],
        lambda: [*repeated(config, records, few), *baseline_runs(config, again)],
        lambda: trials[first:second],
        lambda: trials[second:],
        lambda: repeated(config, records, many),
    )[turn]()
    runs = [run for run in runs if not is_recorded(run, records)]
    scheduler.configure(setting)
    scheduler.run(Recording(setting.folder, file, runs))
    print(f"{config.name} turn {turn}: {time.monotonic() - began:.0f} s", flush=True)


def timed(setting: Setting) -> Iterator[dict[str, Any]]:
    """What an epoch of a task costs by freeze depth and batch size: seconds on the processor, the
    best of several, of building a trainer, of the steps, of validating, and once a depth of making
    the activations that its trainings share.
    """
    config = setting.config
    with tempfile.TemporaryDirectory() as empty:
        bench = Workbench(
            replace(setting, activations=Path(empty)),
            device_index=None,
            on_progress=lambda _share, _text: None,
        )
        plain = configurations(config, 1)[0] | {"head_init": "random", "optimizer": "adam"}
        plain |= {"optimizer.adam.beta1": 0.9, "optimizer.adam.beta2": 0.999}
        plain.pop("optimizer.sgd.momentum", None)
        plain.pop("optimizer.sgd.nesterov", None)
        for depth in values(config.space.freeze_depth):
            first = 0.0
            for size in values(config.space.batch_size):
                params = plain | {"freeze_depth": depth, "batch_size": size, "lr": 1e-5}
                timed_run = replace(run(config, 0, params, redraw=0), num_epochs=TIMED_EPOCHS)
                times = [time.process_time()]
                if not first:  # makes the activations of this depth
                    bench.trainer(TrainJob(run=timed_run))
                    times.append(time.process_time())
                    first = times[-1] - times[-2]
                trainer = bench.trainer(TrainJob(run=timed_run))
                times.append(time.process_time())
                start = times[-1] - times[-2]
                assert isinstance(trainer, Trainer)
                times = [times[-1], *(time.process_time() for _ in trainer.epochs())]
                validation = [seconds_to_validate(trainer) for _ in range(TIMED_EPOCHS)]
                yield {
                    "task": config.name,
                    "freeze_depth": depth,
                    "batch_size": size,
                    "start_seconds": start,
                    "step_seconds": max(0.0, np.diff(times).min() - min(validation)),
                    "validation_seconds": min(validation),
                    "kept_seconds": max(0.0, first - start),
                }


def seconds_to_validate(trainer: Trainer) -> float:
    began = time.process_time()
    trainer.forward.evaluate(trainer.data.validation)
    return time.process_time() - began


def time_all(folder: Path, tasks: Sequence[str]) -> None:
    """Time every task that was prepared, one after another on one core, and write the table."""
    torch.set_num_threads(1)
    executor = LocalExecutor(num_workers=1, num_devices=0)
    scheduler = Scheduler(executor=executor, watch=say, interrupts=Interrupts(), folder=folder)
    try:
        settings = [prepared(folder, name, scheduler) for name in tasks]
    finally:
        executor.shutdown(now=True)
    rows: list[dict[str, Any]] = []
    for setting in settings:
        rows += timed(setting)
        print(f"{setting.config.name}: timed", flush=True)
    load = f"{os.getloadavg()[0]:.1f} processes ran on average in the last minute"
    tables.write(HERE, tables.TIMES, rows, about=machine() | {"beside": load})


def write_all(folder: Path, tasks: Sequence[str]) -> None:
    """Write the tables of all that is recorded so far."""
    trainings: list[Any] = []
    epochs: list[Any] = []
    about, known = machine(), tables.about(HERE, tables.TRAININGS).get("machine", "")
    if known.startswith(about["machine"]):
        about["machine"] = known
    elif known:
        about["machine"] += f"; what was kept from before: {known}"
    for name in tasks:
        rows, its_epochs = tables.trainings_of(name, recorded(folder, study(name)))
        trainings += rows
        epochs += its_epochs
        print(f"{name}: {len(rows)} trainings")
    tables.write(HERE, tables.TRAININGS, trainings, about=about)
    tables.write(HERE, tables.EPOCHS, epochs, about=about)


def machine() -> dict[str, str]:
    """What the figures depend on."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = [line for line in lines if "model name" in line]
    return {
        "machine": f"{model[0].partition(':')[2].strip()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        **{name: version(name) for name in ("tlsearch", "torch", "numpy", "optuna")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--turns", type=int, default=len(TURNS) + len(REPEATED))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    folder = given.folder.absolute()
    if given.time:
        time_all(folder, given.tasks)
    elif given.write:
        write_all(folder, given.tasks)
    else:
        record(folder, given.tasks, turns=given.turns, workers=given.workers)


if __name__ == "__main__":
    main()
