"""From stored runs and answers to the arrays that tables are made from."""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from tlsearch.comparison.answers import Tables, tables_csv, tables_json
from tlsearch.comparison.design import ArmResults, ComparisonResults, ScenarioResults, SweepResults
from tlsearch.comparison.tables import make_tables
from tlsearch.config.cells import Cell, compared
from tlsearch.config.comparison import SweepConfig
from tlsearch.config.paths import scores_path, write_text
from tlsearch.execution.runs import Run, RunRow
from tlsearch.search.confirm import (
    Candidate,
    chosen,
    confirm_runs,
    counted_trials,
    sweep_runs,
    swept_dimension,
)
from tlsearch.search.provenance import provenance_of
from tlsearch.search.store import NETWORKS, SHARES, SURVEY, Store
from tlsearch.search.summary import SCORES

_ENDED = ("complete", "diverged")


def collect(store: Store, folder: Path) -> ComparisonResults:
    """All that a comparison measured so far; arms without a confirmed configuration are absent.

    A diverged run answers nothing rightly; a run that failed, or was not run yet, is not a number.
    """
    comparison = compared(store.config)
    return ComparisonResults(
        name=store.config.name,
        table=comparison.table,
        reference=comparison.reference_arm,
        scenarios=tuple(_Place(store, name, folder).results() for name in comparison.used),
        trials=comparison.tuning.trials,
        epochs=comparison.tuning.epochs,
        future=comparison.future,
    )


class _Place:
    """One scenario: its runs, and which of its test images they answer rightly by their scores."""

    def __init__(self, store: Store, name: str, folder: Path) -> None:
        self._store, self._name, self._folder = store, name, folder
        self._future = compared(store.config).future
        self._noted = store.noted(SURVEY, name) or {}
        self._facts: dict[str, float] = {
            key: value for key, value in self._noted.items() if isinstance(value, int | float)
        }
        if self._future is not None:
            later = self._past * self._future / (1 - self._future)
            self._facts["later_images"] = round(later)
        self._rows = {row.run.key: row for row in store.fixed_rows(name)}
        self._tested = b""

    @property
    def _past(self) -> float:
        """Images before the future, but for those that a split leaves out of all parts."""
        return sum(self._facts.get(f"{part}_images", 0) for part in ("train", "validation", "test"))

    def results(self) -> ScenarioResults:
        """What was measured here so far."""
        store, comparison = self._store, compared(self._store.config)
        arms: dict[str, ArmResults] = {}
        sweeps: list[SweepResults] = []
        for cell in store.cells:
            best = chosen(store, cell) if cell.scenario == self._name else None
            if best is None:
                continue
            arms[cell.arm] = self._arm(cell, best)
            sweeps += [
                self._sweep(cell, best, sweep)
                for sweep in comparison.sweeps_in(self._name)
                if sweep.arm == cell.arm and swept_dimension(best, sweep)
            ]
        means = [_mean(arm.answers) for arm in arms.values() if arm.answers.size]
        if means and np.isfinite(highest := max(means)):
            self._facts["difficulty"] = 1.0 - highest
        # The same for scenarios that share their test images.
        data = str(self._noted.get("data", self._name)).encode()
        return ScenarioResults(
            name=self._name,
            traits=comparison.scenarios[self._name].traits,
            facts=self._facts,
            block=f"test part {sha256(data + self._tested).hexdigest()[:8]}",
            arms=arms,
            sweeps=tuple(sweeps),
        )

    def _arm(self, cell: Cell, best: Candidate) -> ArmResults:
        store = self._store
        runs = confirm_runs(store, cell, [best])
        confirmed = [self._rows.get(run.key) for run in runs]
        # As they were taken, so that layer groups keep the network's order.
        names = dict.fromkeys(name for row in confirmed if row for name in row.measures)
        values = {
            name: np.array([row.measures.get(name, np.nan) if row else np.nan for row in confirmed])
            for name in names
        }
        return ArmResults(
            tuning=np.array(
                [_val_accuracy(r) for r in counted_trials(store, cell) if r.state in _ENDED]
            ),
            params=best.params,
            settings=len(store.cells[cell].searched()),
            answers=self._answers(runs),
            values={**values, **self._network_scores(runs), **self._split_facts(cell, len(runs))},
            seeds=tuple(run.seed for run in runs),
        )

    def _network_scores(self, runs: Sequence[Run]) -> dict[str, np.ndarray]:
        """The scores of an arm's network, where they were taken and it did not start at random."""
        if runs[0].init != "pretrained":
            return {}
        noted = self._store.noted(NETWORKS, self._name) or {}
        scores = noted.get("scores", {}).get(runs[0].backbone, {})
        return {
            name: np.full(len(runs), float(scores[name]))
            for name in SCORES
            if scores.get(name) is not None
        }

    def _split_facts(self, cell: Cell, num_seeds: int) -> dict[str, np.ndarray]:
        """What is known of an arm's split, where there is a future."""
        if self._future is None:
            return {}
        shares = (self._store.noted(SHARES, cell.scenario) or {}).get(cell.arm, ())
        tested = self._facts.get("test_images", 0)
        if self._store.cells[cell].data.split.strategy not in ("time", "given"):  # drawn anew
            tested = min(tested * num_seeds, self._past)
        return {
            "class_share_distance": np.array(shares),
            "estimate_images": np.full(num_seeds, float(tested)),
        }

    def _sweep(self, cell: Cell, best: Candidate, sweep: SweepConfig) -> SweepResults:
        runs = sweep_runs(self._store, cell, best, sweep)
        shape = (len(sweep.values), len(runs) // len(sweep.values))
        validation, diverged = np.full(shape, np.nan), np.zeros(shape, dtype=bool)
        for (place, seed), run in runs.items():
            row = self._rows.get(run.key)
            if row is not None and row.state in _ENDED:
                validation[place, seed - 1] = _val_accuracy(row)
                diverged[place, seed - 1] = row.state == "diverged"
        by_setting = [
            self._answers([runs[place, seed + 1] for seed in range(shape[1])])
            for place in range(shape[0])
        ]
        return SweepResults(
            arm=sweep.arm,
            dimension=swept_dimension(best, sweep),
            settings=sweep.values,
            validation=validation,
            answers=np.stack(by_setting),
            diverged=diverged,
        )

    def _answers(self, runs: Sequence[Run]) -> np.ndarray:
        """(runs, images) of 1 and 0; all 0 of a run that diverged, not a number without scores."""
        tested = 0 if self._future is not None else int(self._facts.get("test_images", 0))
        found = np.full((len(runs), tested), np.nan)
        for place, run in enumerate(runs):
            row, path = self._rows.get(run.key), scores_path(self._folder, run.key)
            if path.exists():
                with np.load(path) as file:
                    self._tested = file["rows"].tobytes()
                    found[place] = file["probabilities"].argmax(1) == file["labels"]
            elif row is not None and row.state == "diverged":
                found[place] = 0.0
        return found


def _val_accuracy(row: RunRow) -> float:
    """Of the last epoch; 0 for a diverged run, not a number for one that failed."""
    if row.state == "diverged":
        return 0.0
    return np.nan if row.value is None or not row.epochs else row.epochs[-1].val_accuracy


def _mean(answers: np.ndarray) -> float:
    whole = answers[np.isfinite(answers).all(axis=1)]
    return float(whole.mean()) if whole.size else float("nan")


# The tables of a comparison as it stands, and the files that keep them.


RESAMPLES = 9999
"""Draws of the second opinions."""
JSON_FILE, CSV_FILE = "tables.json", "tables.csv"


def tables_of(store: Store, folder: Path) -> Tables:
    """Every verdict that the runs so far allow."""
    return make_tables(
        collect(store, folder),
        resamples=RESAMPLES,
        seed=store.config.search.seed,
        provenance=provenance_of(store),
    )


def write_tables(store: Store, folder: Path) -> Mapping[str, Any]:
    """Keep the tables beside the study; the same as artifacts of MLflow's parent run."""
    tables = tables_of(store, folder)
    content, lines = tables_json(tables), tables_csv(tables)
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_text(folder / JSON_FILE, text)
    write_text(folder / CSV_FILE, lines)
    return {JSON_FILE: content, CSV_FILE: lines}
