"""What trainings of a task come to: recorded curves, and a surrogate between them.

A training that was recorded answers as it was. Any other is answered by the surrogate that is
fitted to the curves of its task. What the surrogate misses is added to that, and what seeds do: as
whole curves, from recorded and from repeated configurations that are about as good.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.model_selection import KFold

from benchmarks.curves import tables
from benchmarks.curves.surrogate import VARIES, Surrogate, scale_of
from benchmarks.curves.tasks import EPOCHS, HERE, TASKS, TURNS, study
from tlsearch.config.runtime import derive_seed
from tlsearch.config.space import highest

FOLDS = 10
NEIGHBOURS = 6
"""Configurations, nearest by their test accuracy, whose deviations a training may get."""
CURVES = ("val_accuracy", "val_loss", "val_macro_f1", "train_loss")
TESTS = ("test_accuracy", "test_log_loss")
LOGS = frozenset({"val_loss", "train_loss", "test_log_loss"})
SHARES = frozenset({"val_accuracy", "val_macro_f1", "test_accuracy"})
TEST = -len(TESTS)
"""Where the test accuracy stands among the numbers of a training."""
WIDTH = len(CURVES) * EPOCHS + len(TESTS)
LEAST_LOSS = 1e-4


class Answer(NamedTuple):
    """A training: its curves (epochs,) by name, which end early where it diverged, and its test."""

    curves: Mapping[str, np.ndarray]
    tests: Mapping[str, float]
    diverged: bool

    @property
    def num_epochs(self) -> int:
        return len(self.curves["val_accuracy"])


class Costs(NamedTuple):
    """Seconds of one core: of building a training, of one epoch, of activations that are made once
    for each freeze depth.
    """

    start: float
    epoch: float
    kept: float


class Kept(NamedTuple):
    """The kept tables; epochs by task and training."""

    trainings: Sequence[Mapping[str, Any]]
    epochs: Mapping[tuple[str, int], Sequence[Mapping[str, Any]]]
    times: Sequence[Mapping[str, Any]]


def read_kept(folder: Path) -> Kept:
    """The tables of a folder."""
    epochs = defaultdict(list)
    for row in tables.read(folder, tables.EPOCHS):
        epochs[row["task"], row["training"]].append(row)
    return Kept(tables.read(folder, tables.TRAININGS), epochs, tables.read(folder, tables.TIMES))


def recorded_tasks(*, repeated: bool = False) -> list[str]:
    """Tasks whose first turn is recorded; where they are to be `repeated`, with repetitions."""
    rows = [row for row in read_kept(HERE).trainings if row["baseline"] is None]
    first = Counter(row["task"] for row in rows if not row["redraw"])
    again = {row["task"] for row in rows if row["redraw"]}
    return [t for t in TASKS if first[t] >= TURNS[0] and (t in again or not repeated)]


def answer_of(training: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]]) -> Answer:
    """A recorded training."""
    ordered = sorted(epochs, key=lambda row: int(row["epoch"]))
    return Answer(
        {name: np.array([row[name] for row in ordered], dtype=float) for name in CURVES},
        {name: training[name] for name in TESTS if training[name] is not None},
        diverged=training["ending"] == "diverged",
    )


class Landscape:
    """One task of the kept tables, seen as on the search's own split: what a redraw adds to all
    configurations is taken off, as it favours none.
    """

    def __init__(self, task: str, kept: Kept) -> None:
        self.task, self.config = task, study(task)
        self._depth = highest(self.config.space.freeze_depth)
        self._times = [row for row in kept.times if row["task"] == task]
        self.recorded: dict[tuple[Any, int], Answer] = {}
        self.params: dict[Any, dict[str, Any]] = {}
        for row in kept.trainings:
            if row["task"] == task and row["ending"] in ("complete", "diverged"):
                key = row["baseline"] or tables.key_of(row)
                self.recorded[key, row["redraw"]] = answer_of(
                    row, kept.epochs[task, row["training"]]
                )
                if row["baseline"] is None:
                    self.params[key] = {name: row[name] for name in tables.PARAMS}
        answers = list(self.recorded.values())
        self.chance = min(a.curves["val_accuracy"].min() for a in answers if a.num_epochs)
        self._keys = list(self.params)
        self._features = np.array([self.features(p) for p in self.params.values()], np.float32)
        vectors = {
            (key, redraw): self._vector(answer)
            for (key, redraw), answer in self.recorded.items()
            if key in self.params
        }
        redraws = sorted({redraw for _, redraw in vectors})
        whole = [key for key in self._keys if all((key, s) in vectors for s in redraws)]
        self._repeated = np.array([[vectors[key, s] for s in redraws] for key in whole])
        if len(redraws) > 1 and whole:
            added = self._repeated.mean(0) - self._repeated.mean(0)[0]
            self._repeated = self._repeated - added
            vectors = {(k, s): y - added[redraws.index(s)] for (k, s), y in vectors.items()}
        of_key = {key: [y for (k, _), y in vectors.items() if k == key] for key in self._keys}
        self._y = np.array([np.mean(of_key[key], axis=0) for key in self._keys])
        self._seeds = np.array([len(of_key[key]) for key in self._keys])

    # Configurations.

    def features(self, params: Mapping[str, Any]) -> list[float]:
        """A configuration in units that suit a surrogate: rates by their logarithm, that of the
        lowest open group and that of a step in the long run among them.
        """
        depth = params["freeze_depth"]
        is_sgd = params["optimizer"] == "sgd"
        momentum = params.get("optimizer.sgd.momentum") if is_sgd else None
        lr = math.log10(params["lr"])
        lasting = lr - math.log10(1 - momentum) if momentum is not None else lr
        ratio = math.log10(params["lr_ratio"])
        return [
            depth,
            lr,
            lasting,
            lasting + ratio * max(0.0, self._depth - depth),
            ratio,
            params["warmup_fraction"],
            math.log10(params["weight_decay"]),
            params["dropout"],
            params["batch_size"],
            float(is_sgd),
            -1.0 if momentum is None else momentum,
            float(params["head_init"] == "probe"),
            float(params["norm_statistics"] == "pretrained"),
        ]

    # From curves to rows of numbers and back.

    def _vector(self, answer: Answer) -> np.ndarray:
        """Curves one after another, losses by their logarithm; what a diverged training lacks is
        the worst that there is.
        """
        parts = []
        for name in CURVES:
            curve = answer.curves[name]
            worst = self.chance if name in SHARES else 10.0
            whole = np.concatenate([curve, np.full(EPOCHS - len(curve), worst)])
            parts.append(np.log(np.maximum(whole, LEAST_LOSS)) if name in LOGS else whole)
        tests = [answer.tests.get(n, self.chance if n in SHARES else 10.0) for n in TESTS]
        tests[1] = math.log(max(tests[1], LEAST_LOSS))
        return np.concatenate([*parts, tests])

    def _answer(self, vector: np.ndarray, *, diverged: bool) -> Answer:
        curves = {}
        for i, name in enumerate(CURVES):
            curve = vector[i * EPOCHS : (i + 1) * EPOCHS]
            if name in SHARES:
                curve = np.clip(curve, 0.0, 1.0)
            curves[name] = np.exp(curve) if name in LOGS else curve
        n = self.num_validation
        curves["val_accuracy"] = np.round(curves["val_accuracy"] * n) / n
        tests = {TESTS[0]: float(np.clip(vector[-2], 0, 1)), TESTS[1]: float(np.exp(vector[-1]))}
        if diverged:
            return Answer({name: curve[:0] for name, curve in curves.items()}, {}, True)
        return Answer(curves, tests, False)

    @cached_property
    def num_validation(self) -> int:
        """How many images validate, by the steps in which the accuracy moves."""
        found = np.concatenate([a.curves["val_accuracy"] for a in self.recorded.values()])
        for n in range(2, 2000):
            if np.abs(found * n - np.round(found * n)).max() < n * 1e-6:
                return n
        return 1000

    # The surrogate, and what it does not see.

    @cached_property
    def _surrogate(self) -> Surrogate:
        return Surrogate(self._features, self._y)

    @cached_property
    def _held_out(self) -> np.ndarray:
        """What the surrogate makes of each recorded configuration if it is not fitted to it."""
        found = np.empty_like(self._y)
        for train, test in KFold(FOLDS, shuffle=True, random_state=0).split(self._features):
            surrogate = Surrogate(self._features[train], self._y[train])
            found[test] = surrogate.predict(self._features[test])
        return found

    @cached_property
    def _missed(self) -> np.ndarray:
        """What the surrogate misses of each recorded configuration, less the luck of its seeds,
        whose share of the variance is known from repetitions.
        """
        left = self._y - self._held_out
        luck = self._deviations.reshape(-1, WIDTH).var(0) / np.median(self._seeds)
        share = np.clip(luck / np.maximum(left.var(0), VARIES), 0.0, 1.0)
        factor = np.where((self._seeds > 1)[:, None], 1.0, np.sqrt(1.0 - share))
        found: np.ndarray = left * factor
        return found

    def truth(self, params: Mapping[str, Any], *, world: int) -> np.ndarray:
        """The mean over seeds of what a configuration comes to.

        The surrogate alone would flatten the peaks that a search is after. So each world adds what
        it misses: around each recorded configuration, what it misses of another, which it holds for
        about as good as the one that is asked for.
        """
        key = tables.key_of(params)
        if key in self.params:
            place = self._keys.index(key)
            known: np.ndarray = self._held_out[place] + self._missed[place]
            return known
        features = np.array([self.features(params)], np.float32)
        mean = self._surrogate.predict(features)[0]
        apart = (self._features - features) / scale_of(self._features)
        nearest = int(np.argmin((apart**2).sum(1)))
        alike = np.argsort(np.abs(self._held_out[:, TEST] - mean[TEST]), kind="stable")
        draw = np.random.default_rng(derive_seed(world, self.task, "missed", nearest) % 2**63)
        found: np.ndarray = mean + self._missed[alike[int(draw.integers(NEIGHBOURS))]]
        return found

    def held_out_errors(self) -> dict[str, tuple[float, float]]:
        """Root mean squared error of the surrogate, cross-validated by configuration, and standard
        deviation of the same figure: of each curve's last epoch, and of the test part.
        """
        places = {name: (i + 1) * EPOCHS - 1 for i, name in enumerate(CURVES)}
        places |= {name: WIDTH - len(TESTS) + i for i, name in enumerate(TESTS)}
        places["val_accuracy, epoch 1"] = 0
        left = self._held_out - self._y
        return {
            name: (float(np.sqrt(np.mean(left[:, i] ** 2))), float(self._y[:, i].std()))
            for name, i in places.items()
        }

    # Seeds.

    @cached_property
    def _deviations(self) -> np.ndarray:
        """What each seed adds to each repeated configuration (C, S, W)."""
        if self._repeated.ndim < 3 or self._repeated.shape[1] < 2:
            return np.zeros((1, 1, WIDTH))
        configurations, seeds, _ = self._repeated.shape
        left = self._repeated - self._repeated.mean(1, keepdims=True)
        left = left - left.mean(0)
        freedom = (1 - 1 / seeds) * (1 - 1 / configurations) if configurations > 1 else 1.0
        return np.asarray(left / math.sqrt(freedom))

    def noise(self, test_accuracy: float, draw: np.random.Generator) -> np.ndarray:
        """What one seed adds to a configuration that is expected to end at `test_accuracy`."""
        if len(self._deviations) == 1:
            return np.zeros(WIDTH)
        apart = np.abs(self._repeated.mean(1)[:, TEST] - test_accuracy)
        rows = self._deviations[int(draw.choice(np.argsort(apart, kind="stable")[:NEIGHBOURS]))]
        found: np.ndarray = rows[int(draw.integers(len(rows)))] * draw.choice([-1.0, 1.0])
        return found

    def seed_spread(self) -> dict[str, float]:
        """Between seeds of a configuration: standard deviations of the last validation accuracy and
        of the test accuracy, and their correlation.
        """
        rows = self._deviations.reshape(-1, WIDTH)
        val, test = rows[:, EPOCHS - 1], rows[:, TEST]
        both = float(np.corrcoef(val, test)[0, 1]) if val.std() and test.std() else math.nan
        return {"validation": float(val.std()), "test": float(test.std()), "correlation": both}

    # Answers.

    def answer(self, params: Mapping[str, Any], *, redraw: int, world: int) -> Answer:
        """A training of a configuration. The same `world` always answers alike."""
        key = tables.key_of(params)
        known = self.recorded.get((key, redraw))
        if known is not None:
            return known
        mean = self.truth(params, world=world)
        draw = np.random.default_rng(derive_seed(world, self.task, redraw, *map(str, key)) % 2**63)
        return self._answer(mean + self.noise(mean[TEST], draw), diverged=False)

    def expected_test(self, params: Mapping[str, Any], *, world: int) -> float:
        """The test accuracy of a configuration, in the mean over seeds."""
        return float(np.clip(self.truth(params, world=world)[TEST], 0.0, 1.0))

    def baseline(self, name: str, *, redraw: int) -> Answer:
        """The recorded training of a fixed baseline."""
        return self.recorded[name, redraw]

    def costs(self, params: Mapping[str, Any]) -> Costs:
        """Seconds of a training by its freeze depth and batch size."""
        depth, size = params["freeze_depth"], params["batch_size"]
        rows = [r for r in self._times if r["freeze_depth"] == depth]
        row = min(rows, key=lambda r: abs(r["batch_size"] - size))
        epoch = row["step_seconds"] + row["validation_seconds"]
        return Costs(row["start_seconds"], epoch, row["kept_seconds"])
