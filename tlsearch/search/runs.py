"""What a run is, and what the stores know of it."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from tlsearch.config.cells import cell_of, compared
from tlsearch.config.schema import BACKBONE, StudyConfig
from tlsearch.config.space import Suggest, with_defaults
from tlsearch.config.strategy import ALL, Strategy
from tlsearch.training.results import EpochResult, FoldResult, TrainResult

Kind = Literal["search", "baseline", "confirm", "sweep"]
Ending = Literal["complete", "pruned", "diverged", "failed"]

RUN, RESULT = "tlsearch:run", "tlsearch:result"
"""User attributes of a trial: which run it is, how it ended."""


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """One training that the study wants, apart from how often it was started.

    `params` are flat and complete. `folds`, counted from 0, are those of the split that it trains,
    for `num_epochs` each; more than one are a cross-validation. `source` is the number of the trial
    that a confirmation repeats, or None. `table`, `scenario` and `arm` place it in a comparison,
    and are empty outside one. `backbone` is the network; empty in records from before a study could
    hold several, which are of the one that it has.
    """

    key: str
    kind: Kind
    label: str
    params: Mapping[str, Any]
    init: Literal["pretrained", "random"]
    seed: int
    redraw: int
    folds: tuple[int, ...]
    num_epochs: int
    source: int | None
    table: str
    scenario: str
    arm: str
    backbone: str

    @property
    def total_epochs(self) -> int:
        """Epochs over all folds."""
        return self.num_epochs * len(self.folds)

    @property
    def strategy(self) -> Strategy:
        """The strategy that `params` describe."""
        params = {name: value for name, value in self.params.items() if name != BACKBONE}
        return Strategy.from_params(params, init=self.init)

    @property
    def scope(self) -> str:
        """What of the network trains, in a few words: `freeze 3`, `train norms`; of several
        networks which one: `resnet18, freeze 3`.
        """
        trained = self.params["trained"]
        network = f"{self.params[BACKBONE]}, " if BACKBONE in self.params else ""
        scope = f"freeze {self.params['freeze_depth']}" if trained == ALL else f"train {trained}"
        return f"{network}{scope}"


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """A run as the stores know it; `state` is "running" or "waiting" before it has an ending.

    `measures` are empty where none were asked for; not a number where one could not be taken.
    `step_seconds` is None in records from before it was kept.
    """

    spec: RunSpec
    number: int
    state: str
    value: float | None
    reason: str
    epochs: tuple[EpochResult, ...]
    folds: tuple[FoldResult, ...]
    max_grad_norm: float
    measures: Mapping[str, float]
    images_trained: int
    seconds: float
    step_seconds: float | None
    started: Any
    ended: Any
    sampled: Mapping[str, Any]

    @property
    def val_loss(self) -> float:
        """The validation loss of the weights that `value` is of; over folds their mean. Infinite
        where the stores hold none.
        """
        if self.folds:
            return self.folds[-1].mean_val_loss
        return math.inf if self.kept is None else self.kept.val_loss

    @property
    def kept(self) -> EpochResult | None:
        """The epoch whose weights `value` is of; None where the stores hold none."""
        if self.spec.params["patience_epochs"] is None:
            return self.epochs[-1] if self.epochs else None
        # Early stopping keeps the first of the best epochs.
        kept = (e for e in self.epochs if self.value in (e.val_accuracy, e.val_loss))
        return next(kept, None)


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


def search_spec(config: StudyConfig, number: int, params: Mapping[str, Any]) -> RunSpec:
    """The run of the search's trial `number`."""
    cell = cell_of(config)
    network = params.get(BACKBONE) or config.backbone.name
    return RunSpec(
        key=f"{cell.key}.trial-{number:04d}" if cell else f"trial-{number:04d}",
        kind="search",
        label=f"{cell.arm} in {cell.scenario}, trial {number}" if cell else f"trial {number}",
        params=params,
        init="random" if config.backbone.weights_of(network) == "none" else "pretrained",
        seed=config.search.seed,
        redraw=0,
        folds=all_folds(config),
        num_epochs=config.budget.epochs,
        source=None,
        table=compared(config).table if cell else "",
        scenario=cell.scenario if cell else "",
        arm=cell.arm if cell else "",
        backbone=network,
    )


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


def _row(spec: RunSpec, trial: FrozenTrial) -> RunRow:
    result = trial.user_attrs.get(RESULT, {})
    columns = result.get("epochs", {})
    epochs = zip(*(columns[name] for name in EpochResult._fields), strict=True) if columns else ()
    open_state = {TrialState.RUNNING: "running", TrialState.WAITING: "waiting"}
    return RunRow(
        spec=spec,
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
    spec: RunSpec, ending: Ending, result: TrainResult | None, reason: str
) -> dict[str, str | int | float]:
    """What Optuna Dashboard shows of a run, a column each: `result_json` is for us to read."""
    shown: dict[str, str | int | float] = {"ending": ending, "strategy": spec.scope}
    if spec.kind != "search":  # the trial's number tells nothing
        shown = {"run": spec.label, **shown}
    if reason:
        shown["reason"] = reason
    if result is not None:
        shown |= {"epochs": len(result.epochs), "training seconds": round(result.seconds, 1)}
    return shown


def _json_number(value: float) -> float | str:
    """The value, or its name where JSON has no such number: "nan", "inf", "-inf"."""
    return value if math.isfinite(value) else str(value)


def read_spec(record: Mapping[str, Any]) -> RunSpec:
    """A run as `spec_json` wrote it."""
    placed = {
        "table": "",
        "scenario": "",
        "arm": "",
        "backbone": "",
        **record,
    }  # older records are of no comparison, and of the study's only network
    # Records may be older than a dimension, which then was at its default.
    params = with_defaults(record["params"])
    return RunSpec(**{**placed, "params": params, "folds": tuple(record["folds"])})


def spec_json(spec: RunSpec) -> dict[str, Any]:
    """A run as a user attribute."""
    return {name: getattr(spec, name) for name in RunSpec.__dataclass_fields__}
