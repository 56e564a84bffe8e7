"""The end of a study: confirmation over seeds, one scoring of the test part, one model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlsearch.errors import WorkError
from tlsearch.search.baselines import baseline_spec
from tlsearch.search.champion import Champion, log_champion
from tlsearch.search.confirm import (
    Choice,
    baseline_keys,
    best_trial,
    choose,
    confirm_specs,
    effects_on_test,
)
from tlsearch.search.coordinator import Coordinator
from tlsearch.search.folder import scores_folder, weights_path
from tlsearch.search.interrupts import Interrupts
from tlsearch.search.jobs import ScoreJob, Setting
from tlsearch.search.keeping import keep_examples
from tlsearch.search.ledger import TEST, Ledger
from tlsearch.search.orders import train_job
from tlsearch.search.runs import RunRow
from tlsearch.search.watching import Preparing, Remark, StageStarted, Watcher
from tlsearch.study.config import StudyConfig
from tlsearch.study.search_options import Grid
from tlsearch.study.values import hidden
from tlsearch.tracking.mirror import Mirror
from tlsearch.tracking.records import PARENT
from tlsearch.transfer.model_facts import ModelFacts


def is_finished(ledger: Ledger) -> bool:
    """Whether nothing is left to do: the trials, the baselines, the confirmation, the test."""
    if search_left(ledger) or ledger.num_running() or not is_final(ledger):
        return False
    # Trials beyond a budget that was lowered wait until it is raised again.
    fixed = {row.spec.key: row.state for row in ledger.rows_of(ledger.fixed)}
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
    known = {r.spec.key for r in rows}
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
    complete = frozenset(r.spec.key for r in rows if r.state == "complete")
    scores = scores_folder(folder)
    keys = [*choice.keys, *(k for ks in baseline_keys(ledger.config).values() for k in ks)]
    missing = [k for k in keys if k in complete and not (scores / f"{k}.npz").exists()]
    _make_again(coordinator, rows, missing, folder=folder, watch=watch)
    watch(Preparing(1.0, "scoring the test part"))
    network = {row.spec.key: row.spec.backbone for row in rows}
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
        path = weights_path(folder, row.spec.key)
        if row.spec.key in keys and not path.exists():
            watch(Preparing(0.0, f"making the weights of {row.spec.label} again"))
            coordinator.errand(train_job(row.spec, folder))


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
