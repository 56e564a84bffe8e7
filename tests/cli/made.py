"""Runs, rows and summaries made by hand."""

from typing import Any

from tlsearch.config.space import with_defaults
from tlsearch.execution.runs import Run, RunRow
from tlsearch.search.summary import Summary
from tlsearch.training.results import EpochResult

PARAMS = with_defaults({"freeze_depth": 2, "lr": 0.012345678, "lr_ratio": 0.5, "optimizer": "sgd"})


def spec(number: int = 0, *, baseline: str = "", epochs: int = 10) -> Run:
    return Run(
        study="quickstart",
        scenario="",
        arm="",
        role="baseline" if baseline else "trial",
        name=baseline,
        trial=None if baseline else number,
        params=PARAMS,
        init="pretrained",
        seed=0,
        redraw=number if baseline else 0,
        folds=(0,),
        num_epochs=epochs,
        backbone="resnet18",
    )


def epoch(number: int, accuracy: float) -> EpochResult:
    return EpochResult(number, 1.0, 0.5, 1 - accuracy, accuracy, 0.01, 2.0, 0.1)


def row(number: int, state: str, value: float | None) -> RunRow:
    return RunRow(
        run=spec(number),
        number=number,
        state=state,
        value=value,
        reason="",
        epochs=(),
        folds=(),
        max_grad_norm=1.0,
        measures={},
        images_trained=10,
        seconds=1.0,
        step_seconds=0.8,
        started=None,
        ended=None,
        sampled={"lr": PARAMS["lr"], "optimizer": "sgd"},
    )


def found(mean: float, low: float, high: float, seeds: int = 3) -> dict[str, Any]:
    return {"mean": mean, "low": low, "high": high, "num_seeds": seeds, "num_images": 1078}


def summary(**changes: Any) -> Summary:
    settings: dict[str, Any] = {
        "name": "quickstart",
        "metric": "val_accuracy",
        "rows": [row(0, "complete", 0.9), row(1, "pruned", None), row(2, "failed", None)],
        "counts": {"complete": 1, "pruned": 1, "failed": 1},
        "budget": 30,
        "is_search": True,
        "confirms": True,
        "best": row(0, "complete", 0.9),
        "baselines": {"linear_probe": 0.85, "from_scratch": None},
        "recipes": {
            name: {"recipe": "fixed", "trials": 1} for name in ("linear_probe", "from_scratch")
        },
        "classes": None,
        "test": {},
        "is_finished": False,
        "precision": "bf16",
        "mlflow": {"tracking_uri": "sqlite:////a b/mlflow.db", "experiment_id": "7"},
        "storage": "/a b/optuna.journal",
    }
    return Summary(**(settings | changes))


def record_of(*, scratch: dict[str, Any], scorings: int = 1, seeds: int = 3) -> dict[str, Any]:
    return {
        "winner": 0,
        "mean_validation": 0.89,
        "keys": ["confirm-0000-seed-1"],
        "champion": "confirm-0000-seed-1",
        "scorings": scorings,
        "accuracy": found(0.961, 0.95, 0.972, seeds),
        "champion_accuracy": found(0.958, 0.94, 0.97, 1),
        "baselines": {
            "linear_probe": {"accuracy": found(0.9, 0.88, 0.92), "gain": found(0.061, 0.04, 0.08)},
            "from_scratch": {"accuracy": found(0.95, 0.93, 0.97), "gain": scratch},
        },
        "model": "models:/m-1",
    }
