"""How runs look in MLflow: names, tags, metrics and files of a child."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tlsearch.config.paths import evaluation_path, write_text
from tlsearch.execution.runs import Run, RunRow
from tlsearch.metrics.curves import class_scores
from tlsearch.tracking.reconcile import EpochMetrics, Status, Wanted, wanted
from tlsearch.training.plan import lr_scales, phases
from tlsearch.training.results import EpochResult, FoldResult

_STATUS: Mapping[str, Status] = {
    "complete": "FINISHED",
    "pruned": "KILLED",
    "diverged": "FAILED",
    "failed": "FAILED",
    "running": "RUNNING",
    "waiting": "SCHEDULED",
    "paused": "SCHEDULED",
}


def run_name(spec: Run) -> str:
    """A name that sorts: `trial-0007 · freeze 3 · lr 2e-03`."""
    return f"{spec.key} · {spec.scope} · lr {spec.params['lr']:.0e}"


def run_params(spec: Run, groups: tuple[str, ...]) -> dict[str, Any]:
    """All parameters of the strategy, and the peak rate of each layer group: 0 where it stands
    still; none where its layers have rates of their own.
    """
    strategy = spec.strategy
    scales = lr_scales(groups, ratio=strategy.lr_ratio)
    opened = {
        group
        for phase in phases(strategy, groups=groups, num_epochs=spec.num_epochs)
        for group in phase.open_groups
    }
    rates = {
        f"group_lr.{group}": strategy.lr * scales[group] if group in opened else 0.0
        for group in groups
        if strategy.layer_decay == 1 or group not in opened or group == groups[-1]
    }
    draw = {"seed": spec.seed, "redraw": spec.redraw, "folds": len(spec.folds)}
    network = {"backbone": spec.backbone} if spec.backbone else {}
    return {**network, **spec.params, **rates, "init": spec.init, **draw}


def run_tags(spec: Run, *, table: str | None = None) -> dict[str, Any]:
    """Tags to filter by. `tlsearch.trial` is the number in Optuna, given to the search's trials;
    `table` is that of the comparison.
    """
    tags: dict[str, Any] = {"tlsearch.kind": "search" if spec.role == "trial" else spec.role}
    if spec.role == "trial":
        tags["tlsearch.trial"] = spec.trial
    if spec.role == "baseline":
        tags["tlsearch.baseline"] = spec.name
    if spec.role in ("confirm", "sweep") and spec.trial is not None:
        tags["tlsearch.confirms"] = spec.trial
    if spec.arm:
        place = {"table": table, "scenario": spec.scenario, "arm": spec.arm}
        tags.update({f"tlsearch.{name}": value for name, value in place.items()})
        tags["tlsearch.seed"] = spec.seed
    return tags


def epoch_metrics(result: EpochResult, fold: FoldResult | None) -> dict[str, float]:
    """The metrics of one epoch; the epoch itself is the step. With the last of a fold come the
    fold's number, its value and the mean over folds so far.
    """
    values: dict[str, float | None] = result._asdict()
    del values["epoch"]
    values["epoch_seconds"] = values.pop("seconds")
    if fold is not None:
        of_fold = fold._asdict()
        del of_fold["last_epoch"]
        values |= {f"fold_{n}" if n.startswith("val_") else n: v for n, v in of_fold.items()}
    return {name: value for name, value in values.items() if value is not None}


def begun(rows: Iterable[RunRow]) -> list[RunRow]:
    """Those that MLflow shows, the earliest first; a run in the queue has no beginning yet."""
    return sorted((row for row in rows if row.started), key=lambda row: row.started)


def mirror_row(row: RunRow, groups: tuple[str, ...], *, folder: Path, table: str | None) -> Wanted:
    """What MLflow must show of a run that has begun; measures are metrics of its last epoch."""
    started, ended = to_ms(row.started), row.ended and to_ms(row.ended)
    moment, folds = ended or started, {fold.last_epoch: fold for fold in row.folds}
    metrics = [
        EpochMetrics(r.epoch, moment, epoch_metrics(r, folds.get(r.epoch))) for r in row.epochs
    ]
    if row.measures:
        measures = {f"measure.{name}": value for name, value in row.measures.items()}
        metrics.append(EpochMetrics(row.epochs[-1].epoch, moment, measures))
    tags = {**run_tags(row.run, table=table), "tlsearch.state": row.state}
    tags |= {"tlsearch.start": row.start} if row.start else {}
    return wanted(
        row.run.key,
        run_name=run_name(row.run),
        params=run_params(row.run, groups),
        tags={**tags, "tlsearch.reason": row.reason} if row.reason else tags,
        metrics=metrics,
        artifacts=_kept_evaluation(folder, row.run.key),
        status=_STATUS[row.state],
        start_ms=started,
        end_ms=ended,
    )


def to_ms(moment: datetime) -> int:
    """A moment as MLflow counts it, in milliseconds."""
    return int(moment.timestamp() * 1000)


# How a training did on its validation part: a file beside the study, so that MLflow can be
# completed from it.


def keep_evaluation(
    folder: Path, key: str, class_names: tuple[str, ...], confusion: Sequence[Sequence[int]]
) -> None:
    """Write a run's evaluation, an artifact of its child in MLflow."""
    write_text(evaluation_path(folder, key), json.dumps(evaluation(class_names, confusion)))


def _kept_evaluation(folder: Path, key: str) -> dict[str, Any]:
    path = evaluation_path(folder, key)
    return {"evaluation.json": json.loads(path.read_text())} if path.exists() else {}


def evaluation(class_names: tuple[str, ...], confusion: Any) -> dict[str, Any]:
    """Confusion matrix (rows true, columns predicted) and scores per class, as JSON."""
    import numpy as np

    scores = class_scores(np.array(confusion))
    return {
        "classes": list(class_names),
        "confusion": [list(row) for row in confusion],
        "per_class": [
            {"class": name, "precision": p, "recall": r, "f1": f, "images": int(n)}
            for name, p, r, f, n in zip(class_names, *(s.tolist() for s in scores), strict=True)
        ],
    }
