"""tlsearch against what a good user writes with Optuna, MLflow and timm: benchmarks/peers/plain.py.

    python benchmarks/real_images.py real
    python -m benchmarks.versus real --write      # some 2,000 trainings; goes on where it stopped

On each task, seed by seed, these run in turn, each by itself and all on two cores:

- *same*: the same trials in full, drawn at random, by tlsearch and by the peer: one such pair for
  each seed, each of another task, as they are the longest runs and their ratio varies least;
- *search*: what `tlsearch init` proposes, with its baselines and confirmation;
- *tpe-median*: the peer's search with Optuna's TPESampler and MedianPruner at their defaults;
- *one-epoch-first*: one epoch of every trial at random, the best six anew and in full.

Afterwards, off the clock, every configuration that a search would have chosen at some moment is
trained on fresh draws of all but the test part, by the same trainer for both sides; the mean of the
test accuracies is what the search had from that moment on. Each finished run is kept as JSON below
--state. Needs two idle cores to mean anything.
"""

import argparse
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import optuna
import torch

from benchmarks import driver, step
from benchmarks.curves.record import machine
from benchmarks.curves.tasks import LITE, TASKS
from benchmarks.peers.judge import REDRAWS, Judge, Pair, Race, evaluate, race
from benchmarks.peers.runs import (
    FIRST,
    INIT,
    PAIR,
    PROCESSES,
    RACE,
    TPE,
    Record,
    Setup,
    Task,
    Way,
    keep,
    kept,
    known_way,
    ready,
    record_file,
    run_all,
    run_plain,
)
from benchmarks.policies import DIP, spread
from tlsearch.config.paths import write_text

FILE = Path(__file__).with_suffix(".md")
REAL = ("photographs-9-lite0", "handwriting-5-lite0", "fashion-5-lite0")
OVERHEAD_TRIALS, PEER_SHARE = 5000, 10
"""Trials that train nothing: of tlsearch, and by how much fewer of the peer, which takes longer."""


# What needs no images: the coordinator, and a step.


def overheads(setup: Setup, task: Task, num_trials: int) -> Record:
    """Milliseconds a trial of 10 epochs beside its training, in blocks of 50 trials."""
    file = setup.state / f"overhead-{num_trials}.json"
    if (known := kept(file)) is None:
        ours = driver.overhead(num_trials).blocks
        fewer, way = max(2, num_trials // PEER_SHARE), Way(1, 1, ())
        record = run_plain(task, way, "overhead", "no-training", trials=fewer, seed=0, given=())
        ends = np.sort([trial["seconds"] for trial in record["trials"]])
        taken = 1e3 * np.diff(ends)
        size = min(driver.BLOCK, len(taken))
        peer = [float(taken[i : i + size].mean()) for i in range(0, len(taken) - size + 1, size)]
        keep(file, known := {"ours": ours, "peer": peer})
    return dict(known)


def step_ratios(setup: Setup, rounds: int) -> dict[str, float]:
    """One trial's images a second by those of the bare step, by network and batch size."""
    file = setup.state / "step.json"
    if (known := kept(file)) is None:
        torch.set_num_threads(1)
        known = {}
        for name, size in step.CASES:
            for batch in step.BATCHES:
                plain: Any = {"layout": torch.channels_last, "bf16": False, "fused": True}
                work = {
                    "bare": step.bare(name, size, batch, **plain),
                    "trial": step.trial(name, size, batch, augmented=False),
                }
                speeds = step.best_speeds(work, rounds)
                title = f"{name.rpartition('/')[2]}, {size} px, batch {batch}"
                known[title] = speeds["trial"] / speeds["bare"]
        keep(file, known)
    return dict(known)


# What is written.


class Found(NamedTuple):
    """All results: by task the pairs of the same trials, the races against both peers, and how the
    peer computed.
    """

    pairs: Mapping[str, list[Pair]]
    races: Mapping[str, Mapping[str, Race]]
    ways: Mapping[str, Way]
    overhead: Record
    steps: Mapping[str, float]
    when: str


def markdown(found: Found, setup: Setup, seeds: int) -> str:
    about, tasks = machine(), list(found.races)
    ratios = [pair.ratio for pairs in found.pairs.values() for pair in pairs]
    speeds = {peer: [found.races[task][peer].speed for task in tasks] for peer in (TPE, FIRST)}
    ours, peer = found.overhead["ours"], found.overhead["peer"]
    tenth = max(1, len(ours) // 10)
    rows = [
        f"| the same {setup.trials} trials of {setup.epochs} epochs, wall time | plain Optuna + "
        f"MLflow | ≥ 4× | {spread(ratios, '.2f')}× |",
        "| time to the expected confirmed test accuracy that the peer has in the end, over tasks | "
        f"plain Optuna, TPE + median | ≥ 10× | {spread(speeds[TPE], '.1f')}× |",
        "| the same | one epoch for all, the best 6 in full | ≥ 3× | "
        f"{spread(speeds[FIRST], '.1f')}× |",
        f"| coordinator and tracking per trial of 10 epochs | plain script: {fmean(peer):.0f} ms | "
        f"≤ 50 ms, flat | {fmean(ours):.0f} ms over {driver.BLOCK * len(ours):,} trials, "
        f"the last tenth by the first {fmean(ours[-tenth:]) / fmean(ours[:tenth]):.2f} |",
        "| one trial's images/s | the bare step | ≥ 0.95 | "
        f"{spread(list(found.steps.values()), '.2f')} |",
    ]
    lines = [
        "# tlsearch against plain Optuna and MLflow",
        "",
        f"`python -m benchmarks.versus real --seeds {seeds} --write`: {len(tasks)} tasks, {seeds} "
        f"seeds, {PROCESSES} processors of {about['machine']}, torch {about['torch']}, Optuna "
        f"{about['optuna']}; {setup.size} px, EfficientNet-Lite0 of ImageNet; {found.when}. "
        "Medians, in brackets the range.",
        "",
        "| measure | against | to reach | found |",
        "|---|---|---|---|",
        *rows,
        "",
        "Heads alone: [heads.md](heads.md). On recorded curves: [policies.md](policies.md).",
        "",
        "*How accuracy is known*: a search's choice at a moment is its best complete trial by "
        "validation, of tlsearch's also its best baseline, as these may win its confirmation; at "
        "its end what that chose; before anything is complete, chance. "
        f"Each choice is trained anew on {len(REDRAWS)} draws of training and validation part that "
        "no search used, off the clock and by the same trainer for both sides; the mean test "
        "accuracy counts. Times begin with the process. *Speed* is the time of the peer's last "
        "trial, by the time at which tlsearch's mean over seeds is at the peer's, and "
        f"falls back by no more than {100 * DIP:g} points until the peer ends; 0 where it never is "
        "within twice the peer's time. tlsearch's portfolio is made without the task's images.",
        "",
        "## The same trials",
        "",
        "| task | tlsearch, s | peer, s | ratio | ratio of processor seconds | the peer's "
        "validation accuracy less tlsearch's, heads from the probe: mean, correlation, trials | "
        "random heads |",
        "|---|---|---|---|---|---|---|",
        *(same_row(task, pairs) for task, pairs in found.pairs.items()),
    ]
    for peer_name in (TPE, FIRST):
        lines += ["", f"## The search against {peer_name}", ""]
        lines += [
            "| task | peer's test accuracy, after | the peer has it itself after | tlsearch has "
        ]
        lines[-1] += "it after (by seed) | speed | tlsearch in the end |"
        lines += ["|---|---|---|---|---|---|"]
        lines += [race_row(task, found.races[task][peer_name]) for task in tasks]
    lines += ["", "## How the peer computes", ""]
    lines += [f"- {task}: {in_words(way)}" for task, way in found.ways.items()]
    lines += ["", "## One trial's images a second by the bare step's", ""]
    lines += [f"- {name}: {ratio:.3f}" for name, ratio in found.steps.items()]
    return "\n".join(lines) + "\n"


def same_row(task: str, pairs: Sequence[Pair]) -> str:
    def agreement(head: str) -> str:
        rows = [pair.agreement(head) for pair in pairs]
        mean, correlation = (fmean(row[i] for row in rows) for i in (0, 1))
        return f"{mean:+.4f}, {correlation:.3f}, {sum(row[2] for row in rows)}"

    return (
        f"| {task} | {spread([pair.ours['seconds'] for pair in pairs], '.0f')} "
        f"| {spread([pair.peer['seconds'] for pair in pairs], '.0f')} "
        f"| {spread([pair.ratio for pair in pairs], '.2f')} "
        f"| {spread([pair.cpu_ratio for pair in pairs], '.2f')} "
        f"| {agreement('probe')} | {agreement('random')} |"
    )


def race_row(task: str, its: Race) -> str:
    by_seed = ", ".join(map(in_seconds, its.by_seed))
    return (
        f"| {task} | {its.target:.4f}, {its.seconds:.0f} s | {in_seconds(its.peer_reached)} "
        f"| {in_seconds(its.reached)} ({by_seed}) | {its.speed:.1f}× "
        f"| {its.own_final:.4f}, {its.own_seconds:.0f} s |"
    )


def time_of(files: Sequence[Path]) -> str:
    """When the first and the last of some runs ended."""
    ends = sorted(file.stat().st_mtime for file in files)
    first, last = (datetime.fromtimestamp(end, UTC) for end in (ends[0], ends[-1]))
    return f"runs that ended from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"


def in_seconds(value: float) -> str:
    return f"{value:.0f} s" if np.isfinite(value) else "never"


def in_words(way: Way) -> str:
    numbers = " ".join(way.flags) or "fp32, channel by channel"
    return f"{way.processes} processes of {way.threads} threads, {numbers}"


def pair_files(task: Task, seed: int) -> list[Path]:
    return [record_file(task.folder, side, seed) for side in PAIR]


def race_files(task: Task, seeds: int) -> list[Path]:
    return [record_file(task.folder, side, seed) for side in RACE for seed in range(seeds)]


def raced(task: Task, seeds: int) -> dict[str, Race]:
    """A task's races against both peers; trains what is missing to judge them."""
    records = list(map(kept, race_files(task, seeds)))
    evaluate(task, records)
    judge = Judge(task)
    replays = list(map(judge.replay, records))
    of = {side: replays[i * seeds : (i + 1) * seeds] for i, side in enumerate(RACE)}
    return {peer: race(of[INIT], of[peer], chance=judge.chance) for peer in (TPE, FIRST)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("real", type=Path, help="the folder of benchmarks/real_images.py")
    known = [name for name, task in TASKS.items() if task.backbone == LITE]
    parser.add_argument("--tasks", nargs="+", default=list(REAL), choices=known)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--size", type=int, default=96, help="of the images, in pixels")
    parser.add_argument("--overhead-trials", type=int, default=OVERHEAD_TRIALS)
    parser.add_argument("--rounds", type=int, default=7, help="of the bare step")
    parser.add_argument("--state", type=Path, default=Path("mlruns") / "versus")
    parser.add_argument("--write", type=Path, nargs="?", const=FILE, help="Markdown")
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    state = given.state.absolute() / f"{given.trials}x{given.epochs}-{given.size}px"
    setup = Setup(given.real.absolute(), state, given.trials, given.epochs, given.size)
    tasks = {name: ready(setup, name) for name in given.tasks}
    paired = dict(zip(tasks, range(given.seeds), strict=False))
    for seed in range(given.seeds):
        for name, task in tasks.items():
            run_all(setup, task, seed, (*PAIR, *RACE) if seed == paired.get(name) else RACE)
    first = next(iter(tasks.values()))
    overhead = overheads(setup, first, given.overhead_trials)
    steps = step_ratios(setup, given.rounds)
    pairs = {name: pair_files(tasks[name], seed) for name, seed in paired.items()}
    files = [file for of in pairs.values() for file in of]
    files += [file for task in tasks.values() for file in race_files(task, given.seeds)]
    found = Found(
        pairs={name: [Pair(*map(kept, of))] for name, of in pairs.items()},
        races={name: raced(task, given.seeds) for name, task in tasks.items()},
        ways={name: known_way(task) for name, task in tasks.items()},
        overhead=overhead,
        steps=steps,
        when=time_of(files),
    )
    text = markdown(found, setup, given.seeds)
    print(text)
    if given.write:
        write_text(given.write, text)


if __name__ == "__main__":
    main()
