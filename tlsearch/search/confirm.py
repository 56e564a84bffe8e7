"""Confirmation: the best trials and the baselines again over seeds, one winner, one test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from tlsearch.comparison.variance import Effect, paired_effect
from tlsearch.config.paths import examples_path, scores_folder, scores_path, weights_path
from tlsearch.config.schema import StudyConfig
from tlsearch.config.search_options import Grid
from tlsearch.errors import RequestError, WorkError, hidden
from tlsearch.execution.interrupts import Interrupts
from tlsearch.execution.messages import ExamplesJob, ScoreJob, Setting
from tlsearch.execution.runs import Run, RunRow
from tlsearch.models.model_facts import ModelFacts
from tlsearch.search.baselines import baseline_spec
from tlsearch.search.champion import Champion, log_champion
from tlsearch.search.events import Preparing, Remark, StageStarted, Watcher
from tlsearch.search.job_maker import train_job
from tlsearch.search.ledger import TEST, Ledger
from tlsearch.search.runs import confirm_fold
from tlsearch.search.scheduler import Coordinator
from tlsearch.tracking.mlflow_logger import Mirror
from tlsearch.tracking.reconcile import PARENT


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
    complete = [r for r in rows if r.run.role == "trial" and r.value is not None]
    sign = -1 if maximise else 1
    return sorted(complete, key=lambda r: (sign * (r.value or 0.0), r.val_loss, r.number))


def best_trial(config: StudyConfig, rows: Sequence[RunRow]) -> tuple[float, Run] | None:
    """The search's best trial so far, after its value; None before one is complete."""
    ranked = best_first(rows, maximise=maximises(config))
    if not ranked or ranked[0].value is None:
        return None
    return ranked[0].value, ranked[0].run


def confirm_specs(config: StudyConfig, rows: Sequence[RunRow]) -> list[Run]:
    """The runs of the confirmation, seed by seed, so that an early stop leaves whole seeds. Each is
    one training: where the search had folds, its seed's own draw holds out one of them.
    """
    top = best_first(rows, maximise=maximises(config))[: config.confirm.top]
    specs: list[Run] = []
    for seed in range(1, config.confirm.seeds + 1):
        specs += [
            replace(
                row.run,
                role="confirm",
                seed=config.search.seed + seed,
                redraw=seed,
                folds=confirm_fold(config, seed),
            )
            for row in top
        ]
        specs += [baseline_spec(config, name, seed=seed) for name in config.baselines]
    return specs


def choose(config: StudyConfig, rows: Sequence[RunRow]) -> Choice | None:
    """The candidate with the best mean over all seeds; None if none completed them all."""
    maximise = maximises(config)
    seeds = range(1, config.confirm.seeds + 1)
    by_key = {row.run.key: row for row in rows if row.value is not None}
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


# Pictures beside the scores of the test part, for the report.


def has_examples(record: Mapping[str, Any], folder: Path) -> bool:
    """Whether the pictures of the champion are there, or none are due: `record` is what the test
    part said, empty before.
    """
    return not record or examples_path(folder, record["champion"]).exists()


def keep_examples(
    coordinator: Coordinator,
    rows: Sequence[RunRow],
    champion: str,
    *,
    folder: Path,
    watch: Watcher,
) -> None:
    """Keep the champion's pictures, unless they are there. A study does not fail for want of them:
    it says so, and the next run tries again.

    Raises:
        Interrupted: the user asked to leave.
    """
    path = examples_path(folder, champion)
    if path.exists():
        return
    spec = next(row.run for row in rows if row.run.key == champion)
    job = ExamplesJob(
        strategy=spec.strategy,
        seed=spec.seed,
        redraw=spec.redraw,
        fold=spec.folds[0],
        num_epochs=spec.num_epochs,
        scores=scores_path(folder, champion),
        examples_to=path,
        backbone=spec.backbone,
    )
    try:
        coordinator.errand(job)
    except (RequestError, WorkError) as error:
        watch(Remark(f"the report will be without pictures: {error}"))


# The end of a study: confirmation over seeds, one scoring of the test part, one model.


def is_finished(ledger: Ledger) -> bool:
    """Whether nothing is left to do: the trials, the baselines, the confirmation, the test."""
    if search_left(ledger) or ledger.num_running() or not is_final(ledger):
        return False
    # Trials beyond a budget that was lowered wait until it is raised again.
    fixed = {row.run.key: row.state for row in ledger.rows_of(ledger.fixed)}
    wanted = {baseline_spec(ledger.config, name, seed=0).key for name in ledger.config.baselines}
    return wanted <= fixed.keys() and not {"running", "waiting"} & set(fixed.values())


def search_left(ledger: Ledger) -> int:
    """How many trials of the budget have no ending yet."""
    budget = ledger.config.budget.trials
    size = ledger.config.grid_size()
    if isinstance(ledger.config.search.sampler, Grid) and size is not None:
        budget = min(budget, size)
    return max(0, budget - ledger.num_ended())


def is_final(ledger: Ledger) -> bool:
    """Whether the confirmation that the trials call for is done, scored and logged."""
    config = ledger.config
    if not config.confirm.seeds:
        return True
    rows = ledger.rows()
    known = {r.run.key for r in rows}
    if any(spec.key not in known for spec in confirm_specs(config, rows)):
        return False
    choice, record = choose(config, rows), test_record(ledger)
    if choice is None:
        return True
    return _is_about(record, choice) and bool(record.get("model"))


def test_record(ledger: Ledger) -> Mapping[str, Any]:
    """What the test part said; empty before it was asked."""
    return dict(ledger.fixed.user_attrs.get(TEST) or {})


def _is_about(record: Mapping[str, Any], choice: Choice) -> bool:
    """Whether the test part was scored for these very models."""
    return bool(record) and record["keys"] == list(choice.keys)


def confirm_and_test(
    ledger: Ledger,
    coordinator: Coordinator,
    mirror: Mirror,
    setting: Setting,
    *,
    folder: Path,
    interrupts: Interrupts,
    watch: Watcher,
    workers: int,
) -> None:
    """Train the best few and the baselines over seeds, choose, score the winner once, log it."""
    config = ledger.config
    rows = ledger.rows()
    specs, best = confirm_specs(config, rows), best_trial(config, rows)
    if not specs:
        return
    ledger.enqueue(specs)
    left = ledger.num_open()
    watch(StageStarted("confirmation", len(specs) - left, len(specs), workers, best))
    coordinator.carry_out(ledger.ask_fixed)
    rows = ledger.rows()
    choice = choose(config, rows)
    if choice is None:
        watch(Remark("no trial completed its confirmation: the test part stays untouched"))
        return
    record = _score(ledger, coordinator, choice, rows, folder=folder, watch=watch)
    keep_examples(coordinator, rows, choice.champion, folder=folder, watch=watch)
    if not _holds_model(mirror, record):
        watch(Preparing(1.0, "logging the model"))
        _make_again(coordinator, rows, [choice.champion], folder=folder, watch=watch)
        record = _log_model(
            ledger,
            mirror,
            setting,
            choice,
            record,
            folder=folder,
            interrupts=interrupts,
            watch=watch,
        )
    _clean(folder, keep=choice.champion)


def _score(
    ledger: Ledger,
    coordinator: Coordinator,
    choice: Choice,
    rows: Sequence[RunRow],
    *,
    folder: Path,
    watch: Watcher,
) -> dict[str, Any]:
    """Score the winner and the baselines on the test part, unless that was done before."""
    record = dict(test_record(ledger))
    if _is_about(record, choice):
        return record
    times = record.get("scorings", 0) + 1
    if times > 1:
        watch(
            Remark(
                f"the test part is scored for the {times}. time, for a new winner or more seeds: "
                "its figure is no longer that of untouched data"
            )
        )
    complete = frozenset(r.run.key for r in rows if r.state == "complete")
    scores = scores_folder(folder)
    keys = [*choice.keys, *(k for ks in baseline_keys(ledger.config).values() for k in ks)]
    missing = [k for k in keys if k in complete and not (scores / f"{k}.npz").exists()]
    _make_again(coordinator, rows, missing, folder=folder, watch=watch)
    watch(Preparing(1.0, "scoring the test part"))
    network = {row.run.key: row.run.backbone for row in rows}
    for backbone in dict.fromkeys(network[key] for key in missing):
        weights = [(k, weights_path(folder, k)) for k in missing if network[k] == backbone]
        coordinator.errand(ScoreJob(weights=tuple(weights), scores_to=scores, backbone=backbone))
    record = {
        "winner": choice.number,
        "mean_validation": choice.mean,
        "keys": list(choice.keys),
        "champion": choice.champion,
        "backbone": network[choice.champion] or ledger.config.backbone.name,
        "scorings": times,
        **effects_on_test(ledger.config, choice, complete, scores),
    }
    ledger.fixed.set_user_attr(TEST, record)
    return record


def _make_again(
    coordinator: Coordinator,
    rows: Sequence[RunRow],
    keys: Sequence[str],
    *,
    folder: Path,
    watch: Watcher,
) -> None:
    """Train runs again, with the same bits, whose weights were freed before they were wanted: a
    larger budget may call for a candidate that had lost. Or somebody deleted them.
    """
    for row in rows:
        path = weights_path(folder, row.run.key)
        if row.run.key in keys and not path.exists():
            watch(Preparing(0.0, f"making the weights of {row.run.label} again"))
            coordinator.errand(train_job(row.run, folder))


def _holds_model(mirror: Mirror, record: Mapping[str, Any]) -> bool:
    """Whether the parent run in this MLflow is the one that the model was logged to."""
    if not record.get("model"):
        return False
    mirror.flush()
    return mirror.run_id(PARENT) in (None, record.get("model_run"))


def _log_model(
    ledger: Ledger,
    mirror: Mirror,
    setting: Setting,
    choice: Choice,
    record: dict[str, Any],
    *,
    folder: Path,
    interrupts: Interrupts,
    watch: Watcher,
) -> dict[str, Any]:
    """Log and register the champion under the parent run and remember its addresses."""
    mirror.annotate(PARENT, tags=_result_tags(record), artifacts={"test.json": record})
    mirror.flush()
    run_id = mirror.run_id(PARENT)
    if run_id is None:
        raise WorkError(
            f"MLflow at {hidden(mirror.tracking_uri)} is gone, so the model cannot be logged — "
            f"its weights are kept in {weights_path(folder, choice.champion)}; run again to "
            "try once more"
        )
    logged = log_champion(
        Champion(
            weights=weights_path(folder, choice.champion),
            tracking_uri=mirror.tracking_uri,
            run_id=run_id,
            facts=champion_facts(ledger.config, record, setting.data.class_names),
            tags=_version_tags(record),
        ),
        interrupts=interrupts,
    )
    if logged.remark:
        watch(Remark(logged.remark))
    addresses = {"model": logged.model, "registered": logged.registered}
    record = {**record, **addresses, "model_run": run_id}
    ledger.fixed.set_user_attr(TEST, record)
    tags = {f"tlsearch.{name}": address for name, address in addresses.items() if address}
    mirror.annotate(PARENT, tags=tags, artifacts={})
    return record


def champion_facts(
    config: StudyConfig, record: Mapping[str, Any], class_names: Sequence[str]
) -> ModelFacts:
    """What a champion's file says of it; `record` is what the test part said."""
    return ModelFacts(
        class_names=tuple(class_names),
        image_size=config.data.size,
        fit=config.data.fit,
        backbone=record.get("backbone") or config.backbone.name,
        study=config.name,
        trial=record["winner"],
        run=record["champion"],
        test=record["accuracy"],
        weights="float32",
    )


def _version_tags(record: Mapping[str, Any]) -> dict[str, str]:
    found = record["accuracy"]
    return {
        "tlsearch.trial": str(record["winner"]),
        "tlsearch.run": record["champion"],
        "tlsearch.test_accuracy": f"{found['mean']:.4f}",
        "tlsearch.test_interval": f"{found['low']:.4f} to {found['high']:.4f}",
    }


def _result_tags(record: Mapping[str, Any]) -> dict[str, Any]:
    tags = {
        "tlsearch.winner": record["winner"],
        "tlsearch.test_accuracy": f"{record['accuracy']['mean']:.4f}",
    }
    for name, found in record["baselines"].items():
        tags[f"tlsearch.gain_over.{name}"] = f"{found['gain']['mean']:+.4f}"
    return tags


def _clean(folder: Path, *, keep: str) -> None:
    """Free the disk of all weights but the champion's; probabilities stay, and what a larger budget
    calls for is made again.
    """
    for path in (folder / "weights").glob("*.safetensors"):
        if path.stem != keep:
            path.unlink()
