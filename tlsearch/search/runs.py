"""What the stores know of a run."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from tlsearch.config.cells import SEPARATOR, cell_of
from tlsearch.config.schema import BACKBONE, StudyConfig
from tlsearch.config.space import Suggest, with_defaults
from tlsearch.execution.runs import Ending, Run, RunRow
from tlsearch.training.results import EpochResult, FoldResult, TrainResult

RUN, RESULT = "tlsearch:run", "tlsearch:result"
"""User attributes of a trial: which run it is, how it ended."""


def read_rows(config: StudyConfig, study: optuna.Study) -> Iterator[RunRow]:
    """The runs of an Optuna study that tlsearch made."""
    for trial in study.get_trials(deepcopy=False):
        if study.study_name == config.name:
            try:
                params = config.assign(lookup(trial.params))
            except KeyError:
                continue  # killed while it was asked: it has no strategy yet
            spec = search_spec(config, trial.number, params)
        else:
            spec = read_spec(trial.user_attrs[RUN])
        yield _row(spec, trial)


def lookup(found: Mapping[str, Any]) -> Suggest:
    """Answers with stored values; a KeyError where there is none."""
    return lambda name, _dimension: found[name]


def search_spec(config: StudyConfig, number: int, params: Mapping[str, Any]) -> Run:
    """The run of the search's trial `number`."""
    cell = cell_of(config)
    network = params.get(BACKBONE) or config.backbone.name
    return Run(
        study=study_name(config),
        scenario=cell.scenario if cell else "",
        arm=cell.arm if cell else "",
        role="trial",
        name="",
        trial=number,
        params=params,
        init="random" if config.backbone.weights_of(network) == "none" else "pretrained",
        seed=config.search.seed,
        redraw=0,
        folds=all_folds(config),
        num_epochs=config.budget.epochs,
        backbone=network,
    )


def study_name(config: StudyConfig) -> str:
    """The name that the user gave, of a cell that of its comparison."""
    return config.name.partition(SEPARATOR)[0]


def all_folds(config: StudyConfig) -> tuple[int, ...]:
    """The folds of a search's trial: all of them, or the one holdout."""
    return tuple(range(config.data.split.folds or 1))


def confirm_fold(config: StudyConfig, seed: int) -> tuple[int, ...]:
    """The one fold that a confirmation's seed, counted from 1, holds out of its own redraw: seeds
    take turns, so that as many seeds as folds validate on every image. In time the folds are no
    equals: the last one trains on all that came before it.
    """
    if config.data.split.strategy == "time":
        return (len(all_folds(config)) - 1,)
    return ((seed - 1) % len(all_folds(config)),)


def aside_name(name: str, stamp: str) -> str:
    """Name of an Optuna study that was set aside at a time; there is no space in a user's name."""
    return f"{name} until {stamp}"


def fixed_name(name: str) -> str:
    """Name of the Optuna study with a study's fixed runs; `:` is in no user's study name."""
    return f"{name}:fixed"


def _row(spec: Run, trial: FrozenTrial) -> RunRow:
    result = trial.user_attrs.get(RESULT, {})
    columns = result.get("epochs", {})
    epochs = zip(*(columns[name] for name in EpochResult._fields), strict=True) if columns else ()
    open_state = {TrialState.RUNNING: "running", TrialState.WAITING: "waiting"}
    return RunRow(
        run=spec,
        number=trial.number,
        state=open_state.get(trial.state) or result.get("ending", "failed"),
        value=trial.value if trial.state == TrialState.COMPLETE else None,
        reason=result.get("reason", ""),
        epochs=tuple(EpochResult(*row) for row in epochs),
        folds=tuple(FoldResult(*row) for row in result.get("folds", ())),
        max_grad_norm=result.get("max_grad_norm", 0.0),
        measures={name: float(value) for name, value in result.get("measures", {}).items()},
        images_trained=result.get("images_trained", 0),
        seconds=result.get("seconds", 0.0),
        step_seconds=result.get("step_seconds"),
        started=trial.datetime_start,
        ended=trial.datetime_complete,
        sampled=trial.params,
    )


def result_json(ending: Ending, result: TrainResult | None, reason: str) -> dict[str, Any]:
    """How a run ended as a user attribute; the epochs column by column."""
    if result is None:
        return {"ending": ending, "reason": reason}
    columns = zip(*result.epochs, strict=True)
    return {
        "ending": ending,
        "reason": reason,
        "epochs": dict(zip(EpochResult._fields, map(list, columns), strict=False)),
        "folds": [list(fold) for fold in result.folds],
        "max_grad_norm": result.max_grad_norm,
        "measures": {name: _json_number(value) for name, value in result.measures.items()},
        "images_trained": result.images_trained,
        "seconds": result.seconds,
        "step_seconds": result.step_seconds,
    }


def attributes(
    spec: Run, ending: Ending, result: TrainResult | None, reason: str
) -> dict[str, str | int | float]:
    """What Optuna Dashboard shows of a run, a column each: `result_json` is for us to read."""
    shown: dict[str, str | int | float] = {"ending": ending, "strategy": spec.scope}
    if spec.role != "trial":  # the trial's number tells nothing
        shown = {"run": spec.label, **shown}
    if reason:
        shown["reason"] = reason
    if result is not None:
        shown |= {"epochs": len(result.epochs), "training seconds": round(result.seconds, 1)}
    return shown


def _json_number(value: float) -> float | str:
    """The value, or its name where JSON has no such number: "nan", "inf", "-inf"."""
    return value if math.isfinite(value) else str(value)


def read_spec(record: Mapping[str, Any]) -> Run:
    """A run as `spec_json` wrote it."""
    # Records may be older than a dimension, which then was at its default.
    params = with_defaults(record["params"])
    return Run(**{**record, "params": params, "folds": tuple(record["folds"])})


def spec_json(spec: Run) -> dict[str, Any]:
    """A run as a user attribute."""
    return {name: getattr(spec, name) for name in Run.__dataclass_fields__}
