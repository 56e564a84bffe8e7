"""From Optuna's trials to rows and back."""

import math
from collections.abc import Mapping
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from tlsearch.config.schema import StudyConfig
from tlsearch.config.search_options import Wilcoxon
from tlsearch.config.space import with_defaults
from tlsearch.execution.runs import Ending, Run, RunRow
from tlsearch.training.results import EpochResult, FoldResult, TrainResult

RUN, RESULT, UNTIL, FROM = "tlsearch:run", "tlsearch:result", "tlsearch:until", "start"
"""User attributes of a trial: which run it is, how it ended or stands, in a race after which step
it pauses, None for the end, and of the first trials where their values are from.
"""


def step_and_value(
    config: StudyConfig, result: EpochResult, fold: FoldResult | None
) -> tuple[int, float]:
    """The step and the value that a pruner sees."""
    metric = config.search.metric
    if fold is None:
        return result.epoch, getattr(result, metric)
    alone = isinstance(config.search.pruner, Wilcoxon)
    return fold.fold, getattr(fold, metric if alone else f"mean_{metric}")


def row_of(run: Run, trial: FrozenTrial) -> RunRow:
    """A run as its trial in Optuna holds it."""
    result = trial.user_attrs.get(RESULT, {})
    columns = result.get("epochs", {})
    # A study that is older than a column lacks it.
    names = [name for name in EpochResult._fields if name in columns]
    epochs = zip(*(columns[name] for name in names), strict=True)
    open_state = {TrialState.RUNNING: "running", TrialState.WAITING: "waiting"}
    found = tuple(EpochResult(**dict(zip(names, row, strict=True))) for row in epochs)
    folds = tuple(FoldResult(*row) for row in result.get("folds", ()))
    state, until = open_state.get(trial.state), trial.user_attrs.get(UNTIL)
    if state is not None and until is not None:
        state = "paused" if run.steps(found, folds) >= until else state
    return RunRow(
        run=run,
        number=trial.number,
        state=state or result.get("ending", "failed"),
        value=trial.value if trial.state == TrialState.COMPLETE else None,
        reason=result.get("reason", ""),
        epochs=found,
        folds=folds,
        max_grad_norm=result.get("max_grad_norm", 0.0),
        measures={name: float(value) for name, value in result.get("measures", {}).items()},
        images_trained=result.get("images_trained", 0),
        seconds=result.get("seconds", 0.0),
        step_seconds=result.get("step_seconds"),
        started=trial.datetime_start,
        ended=trial.datetime_complete,
        sampled=trial.params,
        start=trial.user_attrs.get(FROM, ""),
    )


def as_pruned(trial: FrozenTrial) -> FrozenTrial:
    """What a sampler is shown of a trial: of one that has not ended, what it came to."""
    if trial.state.is_finished() or not trial.intermediate_values:
        return trial
    return create_trial(
        state=TrialState.PRUNED,
        params=trial.params,
        distributions=trial.distributions,
        intermediate_values=trial.intermediate_values,
    )


def result_json(result: TrainResult) -> dict[str, Any]:
    """What a run came to as a user attribute; the epochs column by column."""
    columns = zip(*result.epochs, strict=True)
    return {
        "epochs": dict(zip(EpochResult._fields, map(list, columns), strict=False)),
        "folds": [list(fold) for fold in result.folds],
        "max_grad_norm": result.max_grad_norm,
        # JSON has no such numbers as NaN: their names stand for them.
        "measures": {n: v if math.isfinite(v) else str(v) for n, v in result.measures.items()},
        "images_trained": result.images_trained,
        "seconds": result.seconds,
        "step_seconds": result.step_seconds,
    }


def shown_attributes(
    run: Run, ending: Ending, result: TrainResult | None, reason: str
) -> dict[str, str | int | float]:
    """What Optuna Dashboard shows of a run, a column each."""
    shown: dict[str, str | int | float] = {"ending": ending, "strategy": run.scope}
    if run.role != "trial":  # the trial's number says nothing
        shown = {"run": run.label, **shown}
    if reason:
        shown["reason"] = reason
    if result is not None:
        shown |= {"epochs": len(result.epochs), "training seconds": round(result.seconds, 1)}
    return shown


def run_json(run: Run) -> dict[str, Any]:
    """A run as a user attribute."""
    return {"key": run.key, **{name: getattr(run, name) for name in Run.__dataclass_fields__}}


def read_run(record: Mapping[str, Any]) -> Run:
    """The run that `run_json` wrote."""
    # Records may be older than a dimension, which then was at its default.
    params = with_defaults(record["params"])
    fields = {name: record[name] for name in Run.__dataclass_fields__}
    return Run(**{**fields, "params": params, "folds": tuple(record["folds"])})
