"""A few strategies that complement one another over tasks, chosen greedily from the kept curves.

    python -m benchmarks.curves.portfolio            # prints what it is worth on a task left out
    python -m benchmarks.curves.portfolio --write    # writes tlsearch/config/portfolio.json, too

All tasks trained the same points in units of their spaces, so that a point is known on every one.
The next one chosen is always the one that leaves the least mean regret: by how much the best of
those chosen is worse than the best known, in units of the task, its best point less its median.
What is written names depths and rates in units that another network has, too.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from benchmarks.curves import tables
from benchmarks.curves.landscape import Landscape, read_kept, recorded_tasks
from benchmarks.curves.tasks import HERE, configurations, study
from tlsearch.config.schema import StudyConfig
from tlsearch.config.space import highest, lowest

SIZE = 8
ALONE, WORST = 0.1, 3.0
"""What a point's own mean regret counts beside the portfolio's, and its bound on one task."""
FILE = HERE.parents[1] / "tlsearch" / "config" / "portfolio.json"
COMMAND = "python -m benchmarks.curves.portfolio --write"
FROZEN, LOWEST_RATE = "frozen_share", "input_lr_fraction"
UNITS: Mapping[str, str] = {
    FROZEN: "freeze_depth by the number of layer groups before the head",
    LOWEST_RATE: "the rate of the group at the input by the head's, were all groups open: "
    "lr_ratio to the power of the number of layer groups before the head",
    "warmup_fraction": "of the training's steps",
}


class Known(NamedTuple):
    """Expected test accuracies (tasks, points) of the points that every task trained."""

    tasks: tuple[str, ...]
    points: tuple[int, ...]
    accuracies: np.ndarray

    @property
    def regrets(self) -> np.ndarray:
        """By how much each point is worse than the task's best, in the task's units."""
        best = self.accuracies.max(1, keepdims=True)
        unit = best - np.median(self.accuracies, axis=1, keepdims=True)
        found: np.ndarray = (best - self.accuracies) / np.maximum(unit, 1e-3)
        return found


@cache
def known() -> Known:
    """All that the tables hold."""
    landscapes = [Landscape(name, read_kept(HERE)) for name in recorded_tasks()]
    points = [
        number
        for number in range(len(points_of(landscapes[0].task)))
        if all(is_recorded(landscape, number) for landscape in landscapes)
    ]
    rows = [[accuracy(landscape, number) for number in points] for landscape in landscapes]
    return Known(tuple(one.task for one in landscapes), tuple(points), np.array(rows))


@cache
def points_of(task: str) -> list[dict[str, Any]]:
    return configurations(study(task))


def is_recorded(landscape: Landscape, number: int) -> bool:
    return tables.key_of(points_of(landscape.task)[number]) in landscape.params


def accuracy(landscape: Landscape, number: int) -> float:
    """In the mean over seeds: the luck of a single training is taken off as far as it is known."""
    return landscape.expected_test(points_of(landscape.task)[number], world=0)


def chosen(regrets: np.ndarray, size: int) -> list[int]:
    """Columns, greedily: each lowers the mean over tasks of the least regret the most. What it is
    worth by itself decides where few tasks leave little to lower.
    """
    least, found = np.full(len(regrets), np.inf), list[int]()
    alone = ALONE * np.minimum(regrets, WORST).mean(0)
    for _ in range(size):
        mean = np.minimum(regrets, least[:, None]).mean(0) + alone
        mean[found] = np.inf
        found.append(int(np.argmin(mean)))
        least = np.minimum(least, regrets[:, found[-1]])
    return found


def with_sgd(rows: Sequence[int]) -> list[int]:
    """The points chosen on tasks by their places, then those that are chosen of SGD's alone: for
    spaces without an optimizer that divides by the gradient's size, whose rates are others.
    """
    found = known()
    points, regrets = points_of(found.tasks[0]), found.regrets[rows]
    sgd = [i for i, number in enumerate(found.points) if points[number]["optimizer"] == "sgd"]
    places = [*chosen(regrets, SIZE), *(sgd[i] for i in chosen(regrets[:, sgd], SIZE))]
    return [found.points[place] for place in dict.fromkeys(places)]


def others_of(task: str) -> tuple[str, ...]:
    """All tasks but those of the same images as `task`."""
    images = task.split("-")[0]
    return tuple(name for name in known().tasks if name.split("-")[0] != images)


def left_out(task: str, size: int = SIZE) -> list[int]:
    """The points chosen on `others_of` a task."""
    found = known()
    others = [found.tasks.index(name) for name in others_of(task)]
    return [found.points[i] for i in chosen(found.regrets[others], size)]


def portfolio_of(task: str) -> list[dict[str, Any]]:
    """The configurations that other tasks would start this one with."""
    return [points_of(task)[number] for number in left_out(task)]


# What is written.


def entry(config: StudyConfig, params: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration in units that another network has, too; rounded to what can matter."""
    depth = highest(config.space.freeze_depth)
    found = {name: params[name] for name in tables.PARAMS if name in params}
    found[FROZEN] = found.pop("freeze_depth") / depth
    found[LOWEST_RATE] = found.pop("lr_ratio") ** depth
    return {k: float(f"{v:.3g}") if isinstance(v, float) else v for k, v in found.items()}


def placed(config: StudyConfig, known: Mapping[str, Any]) -> dict[str, Any]:
    """An entry as a configuration of a study's default space."""
    depth = highest(config.space.freeze_depth)
    ratio = config.space.lr_ratio
    values = {
        **known,
        "freeze_depth": round(known[FROZEN] * depth),
        "lr_ratio": min(max(known[LOWEST_RATE] ** (1 / depth), lowest(ratio)), highest(ratio)),
    }
    return config.assign(lambda name, _dimension: values[name])


def figures(size: int = SIZE) -> dict[str, Any]:
    """What the first one, two … of a portfolio are off the best known on tasks of images that had
    no part in it, in points of test accuracy: the mean over tasks, and the worst.
    """
    found = known()
    rows = []
    for i, task in enumerate(found.tasks):
        places = [found.points.index(number) for number in left_out(task, size)]
        its = found.accuracies[i]
        rows.append(100 * (its.max() - np.maximum.accumulate(its[places])))
    return {
        "mean": [round(float(x), 2) for x in np.mean(rows, axis=0)],
        "worst": [round(float(x), 2) for x in np.max(rows, axis=0)],
        "by_task": {t: round(float(r[-1]), 2) for t, r in zip(found.tasks, rows, strict=True)},
    }


def luck(size: int = SIZE, draws: int = 200) -> list[float]:
    """The same mean for as many points at random."""
    found, draw = known(), np.random.default_rng(0)
    best = found.accuracies.max(1, keepdims=True)
    rows = [
        best - np.maximum.accumulate(found.accuracies[:, places], axis=1)
        for places in (draw.permutation(len(found.points))[:size] for _ in range(draws))
    ]
    return [round(float(x), 2) for x in 100 * np.mean(rows, axis=(0, 1))]


def content(task: str | None = None) -> dict[str, Any]:
    """All that the file holds; without what `task`, and others of its images, had to say."""
    found = known()
    tasks = found.tasks if task is None else others_of(task)
    numbers = with_sgd([found.tasks.index(name) for name in tasks])
    first = study(found.tasks[0])
    return {
        "about": "Strategies to try first, the most useful first: chosen greedily from the curves "
        "in benchmarks/curves, each the one that lowers the mean regret over tasks the most; at "
        "the end those of SGD alone, for spaces without another optimizer.",
        "command": COMMAND,
        "tasks": list(tasks),
        "points": len(found.points),
        "trained_with": tables.about(HERE, tables.TRAININGS),
        "points_of_accuracy_off_the_best_known": {"left_out": figures(), "at_random": luck()},
        "units": dict(UNITS),
        "entries": [entry(first, points_of(first.name)[number]) for number in numbers],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true")
    text = json.dumps(content(), indent=2) + "\n"
    print(text)
    if parser.parse_args().write:
        FILE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
