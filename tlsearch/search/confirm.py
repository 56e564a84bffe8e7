"""Confirmation: the best trials and the baselines again over seeds, one winner, one test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from tlsearch.evidence.effects import Effect, paired_effect
from tlsearch.search.baselines import baseline_spec
from tlsearch.search.runs import RunRow, RunSpec, confirm_fold
from tlsearch.study.config import StudyConfig


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The winner of the confirmation, by its mean validation value over seeds."""

    number: int
    mean: float
    keys: tuple[str, ...]
    champion: str


def best_first(rows: Sequence[RunRow], *, maximise: bool) -> list[RunRow]:
    """Complete trials of the search from best to worst. Equal accuracies are common where few
    images validate: the smaller loss decides, then the earlier trial.
    """
    complete = [r for r in rows if r.spec.kind == "search" and r.value is not None]
    sign = -1 if maximise else 1
    return sorted(complete, key=lambda r: (sign * (r.value or 0.0), r.val_loss, r.number))


def best_trial(config: StudyConfig, rows: Sequence[RunRow]) -> tuple[float, RunSpec] | None:
    """The search's best trial so far, after its value; None before one is complete."""
    ranked = best_first(rows, maximise=maximises(config))
    if not ranked or ranked[0].value is None:
        return None
    return ranked[0].value, ranked[0].spec


def confirm_specs(config: StudyConfig, rows: Sequence[RunRow]) -> list[RunSpec]:
    """The runs of the confirmation, seed by seed, so that an early stop leaves whole seeds. Each is
    one training: where the search had folds, its seed's own draw holds out one of them.
    """
    top = best_first(rows, maximise=maximises(config))[: config.confirm.top]
    specs: list[RunSpec] = []
    for seed in range(1, config.confirm.seeds + 1):
        specs += [
            replace(
                row.spec,
                key=confirm_key(row.number, seed),
                kind="confirm",
                label=f"trial {row.number} again, seed {seed}",
                seed=config.search.seed + seed,
                redraw=seed,
                folds=confirm_fold(config, seed),
                source=row.number,
            )
            for row in top
        ]
        specs += [baseline_spec(config, name, seed=seed) for name in config.baselines]
    return specs


def choose(config: StudyConfig, rows: Sequence[RunRow]) -> Choice | None:
    """The candidate with the best mean over all seeds; None if none completed them all."""
    maximise = maximises(config)
    seeds = range(1, config.confirm.seeds + 1)
    by_key = {row.spec.key: row for row in rows if row.value is not None}
    found = []
    for row in best_first(rows, maximise=maximise)[: config.confirm.top]:
        keys = [confirm_key(row.number, seed) for seed in seeds]
        if all(key in by_key for key in keys):
            values = {key: by_key[key].value or 0.0 for key in keys}
            champion = (max if maximise else min)(keys, key=values.__getitem__)
            mean = fmean(values.values())
            found.append(Choice(number=row.number, mean=mean, keys=tuple(keys), champion=champion))
    pick = max if maximise else min
    return pick(found, key=lambda c: c.mean) if found else None


def confirm_key(number: int, seed: int) -> str:
    """The key of a trial's confirmation on one seed."""
    return f"confirm-{number:04d}-seed-{seed}"


def maximises(config: StudyConfig) -> bool:
    """Whether more of the metric is better."""
    return config.search.metric == "val_accuracy"


def effects_on_test(
    config: StudyConfig, choice: Choice, complete: frozenset[str], scores: Path
) -> dict[str, Any]:
    """The winner's test accuracy and its gain over each baseline, paired by seed and image.

    A baseline that did not complete every seed is left out.
    """
    winner = _right(scores, choice.keys)
    effects: dict[str, Any] = {
        "accuracy": paired_effect(winner, None)._asdict(),
        "baselines": {},
    }
    for name, keys in baseline_keys(config).items():
        if complete.issuperset(keys):
            reference = _right(scores, keys)
            effects["baselines"][name] = {
                "accuracy": paired_effect(reference, None)._asdict(),
                "gain": paired_effect(winner, reference)._asdict(),
            }
    return effects


def baseline_keys(config: StudyConfig) -> Mapping[str, tuple[str, ...]]:
    """The keys of each baseline's confirmation runs."""
    seeds = range(1, config.confirm.seeds + 1)
    return {name: tuple(f"{name}-seed-{seed}" for seed in seeds) for name in config.baselines}


def effect(record: Mapping[str, Any]) -> Effect:
    """An effect as it was stored."""
    return Effect(**record)


def _right(scores: Path, keys: Sequence[str]) -> np.ndarray:
    """Which test images each model answered rightly, (seeds, images)."""
    rows = []
    for key in keys:
        with np.load(scores / f"{key}.npz") as file:
            rows.append(file["probabilities"].argmax(1) == file["labels"])
    return np.stack(rows)
