"""The runs that benchmarks/versus.py compares: tlsearch and its peers, in processes of their own.

A run begins in an empty folder, which is deleted afterwards, and leaves a `Record`: seconds on the
clock and of the processors, and every trial with its configuration, value and moment. Before any
clock runs, both sides have the images decoded, the tables of MLflow's database, and the number
format of this machine.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import mlflow
import numpy as np
import optuna
import psutil
from safetensors.torch import save_file

from benchmarks.curves.portfolio import content
from benchmarks.curves.tasks import LITE, study
from benchmarks.peers import plain
from tlsearch.cli.init import CONFIRM
from tlsearch.config.paths import Layout, user_cache
from tlsearch.config.resolved import to_yaml
from tlsearch.config.runtime import no_progress
from tlsearch.config.schema import StudyConfig
from tlsearch.data import dataset
from tlsearch.data.splits import draw_splits
from tlsearch.execution.messages import PrepareJob, Setting
from tlsearch.execution.prepare import prepare
from tlsearch.execution.runs import RunRow
from tlsearch.models.weights import pretrained_state
from tlsearch.search.confirm import choose
from tlsearch.search.samplers import stored_values
from tlsearch.search.storage import open_storage
from tlsearch.search.store import Store, existing_store
from tlsearch.training.batches import pixels_for

HERE = Path(__file__).parent
PROCESSES = 2
LAYOUTS, CALIBRATION = ((PROCESSES, 1), (1, PROCESSES)), 8
"""Processes of so many threads that the peer may take, and trials by which they are chosen."""
SAME, SAME_PLAIN, INIT, TPE, FIRST = (
    "same",
    "same-by-peer",
    "search",
    "tpe-median",
    "one-epoch-first",
)
PAIR, RACE = (SAME, SAME_PLAIN), (INIT, TPE, FIRST)
"""Runs that go together; odd seeds go through them backwards."""
OURS: Mapping[str, Mapping[str, Any]] = {
    SAME: {
        "search": {"sampler": "random", "pruner": "none"},
        "confirm": None,
        "baselines": False,
    },
    INIT: {
        "search": {"sampler": "tpe", "pruner": "hyperband", "start": "portfolio"},
        "confirm": CONFIRM,
    },
}
"""Sections of the study beside its task; the second as `tlsearch init` writes them."""
PLANS = {SAME_PLAIN: "given", TPE: "tpe-median", FIRST: "one-epoch-first"}
Record = dict[str, Any]


class Setup(NamedTuple):
    """What a comparison is of, and where its runs are kept."""

    real: Path
    state: Path
    trials: int
    epochs: int
    size: int

    def study(self, task: str, **sections: Any) -> StudyConfig:
        """The study of a task on this machine, in the space of `tlsearch init`."""
        known = study(task)
        data = known.data.model_dump(mode="json")
        folder = data["source"]["folder"]
        folder["path"] = str(self.real / Path(folder["path"]).name)
        data["size"] = self.size
        budget = {"trials": self.trials, "epochs": self.epochs}
        changes = {
            "precision": "auto",
            "device": "cpu",
            "workers": PROCESSES,
            **sections,
        }
        return study(task, data=data, budget=budget, **changes)


class Task(NamedTuple):
    """A task with its images read; `folder` keeps what the peer needs and the evaluations."""

    setting: Setting
    folder: Path

    @property
    def config(self) -> StudyConfig:
        return self.setting.config


def ready(setup: Setup, name: str) -> Task:
    """Read a task's images, and give the peer what it needs of them."""
    folder = setup.state / name
    folder.mkdir(parents=True, exist_ok=True)
    job = PrepareJob(
        config=setup.study(name),
        folder=folder,
        cache=folder / "cache",
        user_cache=user_cache(),
        threads=1,
    )
    setting, _ = prepare(job, device_index=None, on_progress=no_progress)
    if not (folder / "portfolio.json").exists():
        (folder / "portfolio.json").write_text(json.dumps(content(name)))
    hand_over(setting, folder)
    return Task(setting, folder)


def hand_over(setting: Setting, folder: Path) -> None:
    """Write the images of the study's own split, decoded, and the weights for the peer."""
    config, images = setting.config, dataset.load(setting.store)
    (split,) = draw_splits(
        images, split=config.data.split, labels_per_class=config.data.labels_per_class, redraw=0
    )
    rows = np.concatenate([split.train, split.validation])
    pixels = pixels_for(config.backbone, images=images.images[rows], labels=images.labels[rows])
    np.savez(
        folder / "images.npz",
        images=pixels.images,
        labels=pixels.labels,
        mean=np.asarray(pixels.mean, np.float32),
        std=np.asarray(pixels.std, np.float32),
        train=len(split.train),
        num_classes=setting.data.num_classes,
    )
    state = pretrained_state(backbone=LITE, weights=setting.weights)
    assert state is not None, "ImageNet's"
    save_file({k: v.contiguous() for k, v in state.items()}, folder / "weights.safetensors")


# Runs, each in a folder of its own that is deleted afterwards.


def kept(file: Path) -> Any:
    """What a file of a finished run holds; None without one."""
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def keep(file: Path, value: Any) -> None:
    draft = file.with_suffix(".part")
    draft.write_text(json.dumps(value), encoding="utf-8")
    draft.replace(file)


def timed(commands: Sequence[Sequence[str]], folder: Path, *, threads: int | None) -> Record:
    """Run commands beside one another to their end: when they began, seconds on the clock, and
    seconds of the processors as they were last seen.
    """
    own = ("OMP_NUM_THREADS", "MLFLOW_TRACKING_URI")
    environment = {k: v for k, v in os.environ.items() if k not in own}
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    began, used = time.time(), dict[int, float]()
    with (folder / "log").open("w+", encoding="utf-8") as log:
        started = [
            psutil.Popen(list(command), cwd=folder, env=environment, stdout=log, stderr=log)
            for command in commands
        ]
        while any(process.poll() is None for process in started):
            for process in started:
                used |= processor_seconds(process)
            time.sleep(0.25)
        seconds = time.time() - began
        if any(process.returncode for process in started):
            log.seek(0)
            raise SystemExit(f"{commands[0]}:\n{log.read()[-4000:]}")
    return {"began": began, "seconds": seconds, "cpu": sum(used.values())}


def processor_seconds(process: Any) -> dict[int, float]:
    """What a process and those that it started have used so far."""
    found = {}
    try:
        for one in [process, *process.children(recursive=True)]:
            times = one.cpu_times()
            found[one.pid] = times.user + times.system
    except psutil.Error:
        pass
    return found


def fresh(task: Task, name: str) -> Path:
    """An empty folder; the tables of MLflow's database are made before any clock runs."""
    template, folder = task.folder / "mlflow.db", task.folder / name
    if not template.exists():
        mlflow.MlflowClient(f"sqlite:///{template}").search_experiments()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def run_ours(task: Task, config: StudyConfig, name: str) -> Record:
    """`tlsearch run`, from an empty folder to its report."""
    folder = fresh(task, name)
    layout = Layout(folder / "mlruns")
    layout.create()
    shutil.copyfile(task.folder / "mlflow.db", layout.mlflow_db)
    (folder / "study.yaml").write_text(to_yaml(config), encoding="utf-8")
    command = [sys.executable, str(HERE / "left_out.py"), str(task.folder / "portfolio.json")]
    command.append("study.yaml")
    record = timed([command], folder, threads=None)
    store = existing_store(config, open_storage(config, layout, create=False))
    assert store is not None, "it has ended"

    def seconds(ended: datetime) -> float:
        return ended.timestamp() - float(record["began"])

    record["trials"] = [
        {
            "seconds": seconds(row.ended),
            "value": row.value,
            "loss": row.val_loss if row.value is not None else None,
            "params": dict(row.run.params),
        }
        for row in store.trials()
    ]
    draws: dict[str, list[RunRow]] = {}
    for row in store.fixed_rows():
        if row.run.role == "baseline" and row.value is not None:
            draws.setdefault(row.run.name, []).append(row)
    record["baselines"] = [  # the mean of a baseline's draws, known when the last of them has ended
        {
            "seconds": max(seconds(row.ended) for row in rows),
            "value": fmean(row.value or 0.0 for row in rows),
            "loss": fmean(row.val_loss for row in rows),
            "baseline": name,
        }
        for name, rows in draws.items()
    ]
    choice = choose(store)
    if choice is not None:
        # What was chosen is known when the last run of the confirmation has ended.
        last = max(row.ended for row in store.fixed_rows())
        params = next(r.run.params for r in store.trials() if r.number == choice.number)
        found = {"baseline": choice.baseline, "params": dict(params)}
        record["choice"] = {"seconds": seconds(last), **found}
    shutil.rmtree(folder)
    return record


class Way(NamedTuple):
    """How the peer computes: processes, threads of each, number and memory format."""

    processes: int
    threads: int
    flags: tuple[str, ...]


def run_plain(
    task: Task, way: Way, name: str, plan: str, *, trials: int, seed: int, given: Sequence[Record]
) -> Record:
    """The peer, from empty stores to its last trial."""
    folder = fresh(task, name)
    shutil.copyfile(task.folder / "mlflow.db", folder / "mlflow.db")
    plain.create(folder, given)
    command = [sys.executable, str(HERE / "plain.py"), str(task.folder), str(folder)]
    command += ["--plan", plan, "--trials", str(trials), "--epochs", str(task.config.budget.epochs)]
    command += ["--seed", str(seed), "--threads", str(way.threads), "--of", str(way.processes)]
    commands = [[*command, *way.flags, "--rank", str(rank)] for rank in range(way.processes)]
    record = timed(commands, folder, threads=way.threads)
    full = plain.FULL if plan == "one-epoch-first" else plain.SEARCH
    found = optuna.load_study(study_name=full, storage=plain.journal(folder)).get_trials()
    record["trials"] = [
        {
            "seconds": trial.datetime_complete.timestamp() - record["began"],
            "value": trial.value if trial.state == optuna.trial.TrialState.COMPLETE else None,
            "loss": None,  # Optuna's best trial is the first of equals
            "params": task.config.assign(stored_values(trial.params)),
        }
        for trial in found[:trials]  # two processes that end at once may begin one too many
        if trial.datetime_complete is not None
    ]
    shutil.rmtree(folder)
    return record


def way_of(task: Task, given: Sequence[Record]) -> Way:
    """The peer at its fastest on a task, by a few trials each."""
    few = given[:CALIBRATION]
    for processes, threads in LAYOUTS:
        file = way_file(task.folder, processes, threads)
        if file.exists():
            continue
        asked = [sys.executable, str(HERE / "plain.py"), str(task.folder), "."]
        asked += ["--plan", "fastest", "--threads", str(threads)]
        numbers = json.loads(subprocess.run(asked, check=True, stdout=subprocess.PIPE).stdout)
        flags = [f"--{name.replace('_', '-')}" for name, is_on in numbers.items() if is_on]
        way = Way(processes, threads, tuple(flags))
        took = run_plain(task, way, file.stem, "given", trials=len(few), seed=0, given=few)
        keep(file, {"way": way, "seconds": took["seconds"]})
    return known_way(task)


def known_way(task: Task) -> Way:
    """What `way_of` found."""
    tried = [kept(way_file(task.folder, *layout)) for layout in LAYOUTS]
    processes, threads, flags = min(tried, key=lambda one: one["seconds"])["way"]
    return Way(processes, threads, tuple(flags))


def way_file(folder: Path, processes: int, threads: int) -> Path:
    return folder / f"way-{processes}x{threads}.json"


def same_trials(config: StudyConfig) -> list[Record]:
    """The trials that tlsearch will draw, as far as they are searched."""
    store, names = Store(config, optuna.storages.InMemoryStorage()), config.searched()
    drawn = [store.ask().params for _ in range(config.budget.trials)]
    return [{name: params[name] for name in names if name in params} for params in drawn]


def run_all(setup: Setup, task: Task, seed: int, sides: Sequence[str]) -> None:
    """The runs of one seed that are missing."""
    name = task.config.name
    configs = {
        side: setup.study(name, **{**sections, "search": {**sections["search"], "seed": seed}})
        for side, sections in OURS.items()
    }
    given = same_trials(configs[SAME])
    for side in sides if seed % 2 == 0 else sides[::-1]:
        file = record_file(task.folder, side, seed)
        if file.exists():
            continue
        if side in OURS:
            record = run_ours(task, configs[side], file.stem)
        else:
            way, plan = way_of(task, given), PLANS[side]
            of = given if side == SAME_PLAIN else ()
            record = run_plain(task, way, file.stem, plan, trials=setup.trials, seed=seed, given=of)
        keep(file, record)
        print(f"{name} seed {seed} {side}: {record['seconds']:.0f} s", flush=True)


def record_file(folder: Path, side: str, seed: int) -> Path:
    return folder / f"{side}-{seed}.json"
