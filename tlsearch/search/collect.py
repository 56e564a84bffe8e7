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
from tlsearch.config.paths import scores_folder, write_text
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
        scenarios=tuple(_scenario(store, name, folder) for name in comparison.used),
        trials=comparison.tuning.trials,
        epochs=comparison.tuning.epochs,
        future=comparison.future,
    )


def _scenario(store: Store, name: str, folder: Path) -> ScenarioResults:
    comparison, facts = compared(store.config), store.noted(SURVEY, name) or {}
    found = {key: value for key, value in facts.items() if isinstance(value, int | float)}
    future = comparison.future
    if future is not None:
        found["later_images"] = round(_past(found) * future / (1 - future))
    tested = 0 if future is not None else int(found.get("test_images", 0))
    answers = _Answers(scores_folder(folder), num_images=tested)
    arms: dict[str, ArmResults] = {}
    sweeps: list[SweepResults] = []
    rows = {row.run.key: row for row in store.fixed_rows(name)}
    for cell in store.cells:
        best = chosen(store, cell) if cell.scenario == name else None
        if best is None:
            continue
        arms[cell.arm] = _with_scores(_arm(store, cell, best, rows, answers), store, cell, best)
        if future is not None:
            arms[cell.arm] = _with_split(arms[cell.arm], store, cell, found)
        sweeps += [
            _sweep(store, cell, best, sweep, rows, answers)
            for sweep in comparison.sweeps_in(name)
            if sweep.arm == cell.arm and swept_dimension(best, sweep)
        ]
    highest = max((_mean(arm.answers) for arm in arms.values() if arm.answers.size), default=np.nan)
    if np.isfinite(highest):
        found["difficulty"] = 1.0 - highest
    return ScenarioResults(
        name=name,
        traits=comparison.scenarios[name].traits,
        facts=found,
        block=answers.block(str(facts.get("data", name))),
        arms=arms,
        sweeps=tuple(sweeps),
    )


def _arm(
    store: Store,
    cell: Cell,
    best: Candidate,
    rows: Mapping[str, RunRow],
    answers: "_Answers",
) -> ArmResults:
    specs = confirm_runs(store, cell, [best])
    confirmed = [rows.get(spec.key) for spec in specs]
    trials = counted_trials(store, cell)
    # As they were taken, so that layer groups keep the network's order.
    names = dict.fromkeys(name for row in confirmed if row for name in row.measures)
    values = {
        name: np.array([row.measures.get(name, np.nan) if row else np.nan for row in confirmed])
        for name in names
    }
    return ArmResults(
        tuning=np.array([_val_accuracy(r) for r in trials if r.state in _ENDED]),
        params=best.params,
        settings=len(store.cells[cell].searched()),
        answers=answers.of(specs, rows),
        values=values,
        seeds=tuple(spec.seed for spec in specs),
    )


def _with_scores(arm: ArmResults, store: Store, cell: Cell, best: Candidate) -> ArmResults:
    """The arm with the scores of its network, where they were taken and it did not start at
    random.
    """
    (spec, *_) = confirm_runs(store, cell, [best])
    noted = store.noted(NETWORKS, spec.scenario) or {}
    scores = noted.get("scores", {}).get(spec.backbone, {})
    if spec.init != "pretrained":
        return arm
    known = {
        name: np.full(len(arm.seeds), float(scores[name]))
        for name in SCORES
        if scores.get(name) is not None
    }
    return arm._replace(values={**arm.values, **known})


def _with_split(
    arm: ArmResults, store: Store, cell: Cell, facts: Mapping[str, float]
) -> ArmResults:
    """The arm with what is known of its split beside the figures of its models."""
    shares = (store.noted(SHARES, cell.scenario) or {}).get(cell.arm, ())
    tested = facts.get("test_images", 0)
    if store.cells[cell].data.split.strategy not in ("time", "given"):  # drawn anew
        tested = min(tested * len(arm.seeds), _past(facts))
    known = {
        "class_share_distance": np.array(shares),
        "estimate_images": np.full(len(arm.seeds), float(tested)),
    }
    return arm._replace(values={**arm.values, **known})


def _past(facts: Mapping[str, float]) -> float:
    """Images before the future, but for those that a split leaves out of all parts."""
    return sum(facts.get(f"{part}_images", 0) for part in ("train", "validation", "test"))


def _sweep(
    store: Store,
    cell: Cell,
    best: Candidate,
    sweep: SweepConfig,
    rows: Mapping[str, RunRow],
    answers: "_Answers",
) -> SweepResults:
    specs = sweep_runs(store, cell, best, sweep)
    shape = (len(sweep.values), len(specs) // len(sweep.values))
    validation, diverged = np.full(shape, np.nan), np.zeros(shape, dtype=bool)
    for (place, seed), spec in specs.items():
        row = rows.get(spec.key)
        if row is not None and row.state in _ENDED:
            validation[place, seed - 1] = _val_accuracy(row)
            diverged[place, seed - 1] = row.state == "diverged"
    by_setting = [
        answers.of([specs[place, seed + 1] for seed in range(shape[1])], rows)
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


class _Answers:
    """Which of a scenario's test images its runs answer rightly, read from their stored scores."""

    def __init__(self, folder: Path, *, num_images: int) -> None:
        self._folder, self._num_images = folder, num_images
        self._rows: np.ndarray | None = None

    def of(self, specs: Sequence[Run], rows: Mapping[str, RunRow]) -> np.ndarray:
        """(runs, images) of 1 and 0; all 0 of a run that diverged, not a number without scores."""
        found = np.full((len(specs), self._num_images), np.nan)
        for place, spec in enumerate(specs):
            row = rows.get(spec.key)
            right = self._read(spec.key)
            if right is not None:
                found[place] = right
            elif row is not None and row.state == "diverged":
                found[place] = 0.0
        return found

    def block(self, data: str) -> str:
        """A name for the test images of this scenario, the same for those that share them."""
        rows = b"" if self._rows is None else self._rows.tobytes()
        return f"test part {sha256(data.encode() + rows).hexdigest()[:8]}"

    def _read(self, key: str) -> np.ndarray | None:
        path = self._folder / f"{key}.npz"
        if not path.exists():
            return None
        with np.load(path) as file:
            self._rows = file["rows"]
            right: np.ndarray = file["probabilities"].argmax(1) == file["labels"]
        return right.astype(float)


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
