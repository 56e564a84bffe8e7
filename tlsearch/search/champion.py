"""The winner of a search: scored on the test part once, logged as a model, its answer published.

Logging needs torch and mlflow together, which neither the coordinator nor a worker carries, so it
has a process of its own.
"""

import importlib.util
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tlsearch.comparison.variance import loss_effect, paired_effect
from tlsearch.config.cells import Cell
from tlsearch.config.paths import (
    Layout,
    checkpoint_path,
    examples_path,
    scores_folder,
    scores_path,
    weights_path,
)
from tlsearch.config.schema import StudyConfig
from tlsearch.config.search_options import METRICS
from tlsearch.errors import RequestError, TlsearchError, WorkError, hidden
from tlsearch.execution.executor import start_process
from tlsearch.execution.interrupts import Interrupted, Interrupts
from tlsearch.execution.messages import ExamplesJob, Preparing, Remark, ScoreJob, Setting
from tlsearch.execution.scheduler import POLL_SECONDS
from tlsearch.execution.worker import ignore_interrupts, leave_with_parent
from tlsearch.metrics.curves import class_balance
from tlsearch.metrics.objectives import TERMS, Answers, class_weight
from tlsearch.search.confirm import (
    BEST_TRIAL,
    Choice,
    baseline_keys,
    choose,
    is_about,
    num_trials,
    test_record,
)
from tlsearch.search.coordinator import Coordinator, tracking_address
from tlsearch.search.history import record_tags
from tlsearch.search.jobs import train_job
from tlsearch.search.provenance import requirements
from tlsearch.search.storage import trial_of
from tlsearch.search.store import MIRRORED, MLFLOW, NOTED, PUBLISHED, SEARCH, TEST, Store
from tlsearch.tracking.address import absolute_address
from tlsearch.tracking.reconcile import PARENT, wanted
from tlsearch.tracking.registry import digest
from tlsearch.tracking.registry import publish as publish_in_mlflow

if TYPE_CHECKING:
    from tlsearch.models.facts import ModelFacts


def test_and_log(work: Coordinator, setting: Setting) -> None:
    """Choose the winner of the confirmation, score it and the baselines once, log its model."""
    store, watch = work.store, work.watch
    choice = choose(store)
    if choice is None:
        if any(row.run.role == "confirm" for row in store.fixed_rows()):
            watch(Remark("no trial completed its confirmation: the test part stays untouched"))
        return
    record = _score(work, choice, setting.data.class_names)
    if _holds_model(work, record):
        keep_examples(work, choice.champion)
    else:
        watch(Preparing(1.0, "logging the model"))
        _train_again(work, [choice.champion])
        _log_model(work, setting, choice, record)
    # Free the disk of all weights but the champion's; probabilities stay, and what a larger budget
    # calls for is trained again.
    for path in (work.folder / "weights").glob("*.safetensors"):
        if path.stem != choice.champion:
            path.unlink()


def _score(work: Coordinator, choice: Choice, class_names: Sequence[str]) -> dict[str, Any]:
    """Score the winner and the baselines on the test part, unless that was done before."""
    store, folder, watch = work.store, work.folder, work.watch
    record, baselines = dict(test_record(store)), baseline_keys(store, choice)
    if is_about(record, choice, baselines):
        return record
    # A baseline that was added later is scored beside the same winner, which is not chosen anew.
    is_new = not record or record["keys"] != list(choice.keys)
    times = record.get("scorings", 0) + is_new
    if is_new and times > 1:
        watch(
            Remark(
                f"the test part is scored for the {times}. time, for a new winner or more seeds: "
                "its figure is no longer that of untouched data"
            )
        )
    rows = {row.run.key: row for row in store.fixed_rows()}
    wanted = [*choice.keys, *(key for keys in baselines.values() for key in keys)]
    missing = [key for key in wanted if not scores_path(folder, key).exists()]
    _train_again(work, missing)
    watch(Preparing(1.0, "scoring the test part"))
    jobs = []
    for backbone in dict.fromkeys(rows[key].run.backbone for key in missing):
        keys = [key for key in missing if rows[key].run.backbone == backbone]
        shares = (tuple(keys[start :: work.num_workers]) for start in range(work.num_workers))
        jobs += [ScoreJob(keys=share, backbone=backbone) for share in shares if share]
    work.scheduler.run_jobs(jobs)
    record = {
        "winner": None if choice.baseline else choice.number,
        "baseline": choice.baseline,
        "best_trial": choice.number,
        "mean_validation": choice.mean,
        "keys": list(choice.keys),
        "baseline_keys": baselines,
        "champion": choice.champion,
        "backbone": rows[choice.champion].run.backbone,
        "scorings": times,
        **effects_on_test(choice, baselines, scores_folder(folder), class_names),
    }
    for name, found in record["baselines"].items():
        found |= recipe_of(store, name)
    store.note(TEST, record)
    return record


def recipe_of(store: Store, name: str) -> dict[str, Any]:
    """How a baseline, or the best trial where one wins, came to its configuration: one fixed
    recipe, or the best of so many trials.
    """
    cell = Cell("", name)
    if name == BEST_TRIAL:
        cell = SEARCH
    if cell not in store.cells:
        return {"recipe": "fixed", "trials": 1}
    return {"recipe": "tuned", "trials": num_trials(store, cell)}


def effects_on_test(
    choice: Choice, baselines: Mapping[str, Sequence[str]], scores: Path, class_names: Sequence[str]
) -> dict[str, Any]:
    """The winner's test accuracy over seeds and its other `scores`, what classes of differing sizes
    hide of it, the accuracy of the exported model alone, and the winner's gain over each baseline,
    paired by seed and image, on the seeds that both have; `gains` are positive where the winner is
    better.
    """

    def figures(models: Sequence[Answers]) -> dict[str, Any]:
        found = score_effects(models, None)
        confusion = np.sum([model.confusion for model in models], axis=0)
        classes = class_balance(confusion, class_names)._asdict()
        return {"accuracy": found["accuracy"], "scores": found, "classes": classes}

    winner, compared = _answers(scores, choice.keys), dict[str, dict[str, Any]]()
    for name, keys in baselines.items():
        reference = _answers(scores, keys)
        gains = score_effects(winner[: len(reference)], reference)
        compared[name] = {**figures(reference), "gain": gains["accuracy"], "gains": gains}
    champion = score_effects(winner[:1], None)
    return {
        **figures(winner),
        "champion_accuracy": champion["accuracy"],
        "champion_scores": champion,
        "baselines": compared,
    }


def score_effects(
    models: Sequence[Answers], reference: Sequence[Answers] | None
) -> dict[str, dict[str, Any]]:
    """Every metric of models over seeds by its name, or what they gain over their reference."""
    found = {}
    weight = class_weight(models[0])
    for key, metric in METRICS.items():
        values = np.stack([TERMS[key](model) for model in models])
        other = None
        if reference is not None:
            other = np.stack([TERMS[key](model) for model in reference])
            values, other = (values, other) if metric.maximise else (other, values)
        if metric.is_share:
            heavy = weight if metric.counts_classes else 1.0
            found[metric.name] = paired_effect(values, other, weight=heavy)._asdict()
        else:
            found[metric.name] = loss_effect(values, other)._asdict()
    return found


def _answers(scores: Path, keys: Sequence[str]) -> list[Answers]:
    """What each model says of the test images."""
    found = []
    for key in keys:
        with np.load(scores / f"{key}.npz") as file:
            found.append(Answers(file["labels"], file["probabilities"]))
    return found


def _train_again(work: Coordinator, keys: Sequence[str]) -> None:
    """Train runs again, with the same bits, whose weights were freed before they were wanted: a
    larger budget may call for a candidate that had lost. Or somebody deleted them.
    """
    for row in work.store.fixed_rows():
        path = weights_path(work.folder, row.run.key)
        if row.run.key in keys and not path.exists():
            work.watch(Preparing(0.0, f"making the weights of {row.run.label} again"))
            work.scheduler.run_job(train_job(work.store.config, row.run))
            checkpoint_path(work.folder, row.run.key).unlink(missing_ok=True)


def has_examples(record: Mapping[str, Any], folder: Path) -> bool:
    """Whether the pictures of the champion are there, or none are due: `record` is what the test
    part said, empty before.
    """
    return not record or examples_path(folder, record["champion"]).exists()


def keep_examples(work: Coordinator, champion: str) -> None:
    """Keep the pictures that the report shows of the champion, unless they are there. A study does
    not fail for want of them: it says so, and the next run tries again.

    Raises:
        Interrupted: the user asked to leave.
    """
    if examples_path(work.folder, champion).exists():
        return
    run = next(row.run for row in work.store.fixed_rows() if row.run.key == champion)
    try:
        work.scheduler.run_job(ExamplesJob(run=run))
    except (RequestError, WorkError) as error:
        work.watch(Remark(f"the report will be without pictures: {error}"))


# The model in MLflow.


def _holds_model(work: Coordinator, record: Mapping[str, Any]) -> bool:
    """Whether the parent run in this MLflow is the one that the model was logged to."""
    if not record.get("model"):
        return False
    work.mirror.flush()
    return work.mirror.run_id(PARENT) in (None, record.get("model_run"))


def _log_model(work: Coordinator, setting: Setting, choice: Choice, record: dict[str, Any]) -> None:
    """Log and register the champion under the parent run and remember its addresses; meanwhile a
    worker keeps its examples.
    """
    store, mirror = work.store, work.mirror
    weights = weights_path(work.folder, record["champion"])
    result = {**_result_tags(record), **record_tags(store, setting, choice)}
    mirror.show(wanted(PARENT, tags=result, artifacts={"test.json": record}))
    mirror.flush()
    run_id = mirror.run_id(PARENT)
    if run_id is None:
        raise WorkError(
            f"MLflow at {hidden(mirror.tracking_uri)} is gone, so the model cannot be logged — "
            f"its weights are kept in {weights}; run again to try once more"
        )
    logged = log_champion(
        Champion(
            weights=weights,
            tracking_uri=mirror.tracking_uri,
            run_id=run_id,
            facts=champion_facts(
                store.config, record, setting.data.class_names, white=setting.data.white
            ),
            tags=_version_tags(record),
        ),
        interrupts=work.interrupts,
        meanwhile=lambda: keep_examples(work, record["champion"]),
    )
    if logged.remark:
        work.watch(Remark(logged.remark))
    addresses = {"model": logged.model, "registered": logged.registered}
    store.note(TEST, {**record, **addresses, "model_run": run_id})
    tags = {f"tlsearch.{name}": address for name, address in addresses.items() if address}
    mirror.show(wanted(PARENT, tags=tags))


def champion_facts(
    config: StudyConfig, record: Mapping[str, Any], class_names: Sequence[str], *, white: int
) -> "ModelFacts":
    """What a champion's file says of it; `record` is what the test part said. The accuracy is that
    of this very model.
    """
    from tlsearch.models.facts import ModelFacts

    mean, std = config.backbone.normalisation_of(record["backbone"])
    return ModelFacts(
        class_names=tuple(class_names),
        image_size=config.data.size,
        fit=config.data.fit,
        backbone=record["backbone"],
        study=config.name,
        trial=record["winner"],
        run=record["champion"],
        test=record["champion_accuracy"],
        weights="float32",
        white=white,
        background=config.data.background,
        max_megapixels=config.data.max_megapixels,
        mean=mean,
        std=std,
    )


def _version_tags(record: Mapping[str, Any]) -> dict[str, str]:
    """Of a version in the registry: the accuracy of this model, and the mean over seeds of the
    configuration that it was trained with.
    """
    own, over_seeds = record["champion_accuracy"], record["accuracy"]
    return {
        **({} if record["winner"] is None else {"tlsearch.trial": str(record["winner"])}),
        "tlsearch.run": record["champion"],
        "tlsearch.test_accuracy": f"{own['mean']:.4f}",
        "tlsearch.test_interval": f"{own['low']:.4f} to {own['high']:.4f}",
        "tlsearch.mean_test_accuracy": f"{over_seeds['mean']:.4f}",
        "tlsearch.mean_test_seeds": str(over_seeds["num_seeds"]),
    }


def _result_tags(record: Mapping[str, Any]) -> dict[str, Any]:
    """Of the parent run: means over seeds, and the exported model's own accuracy."""
    tags = {
        "tlsearch.winner": record["baseline"] or record["winner"],
        **{f"tlsearch.test_{n}": f"{found['mean']:.4f}" for n, found in record["scores"].items()},
        "tlsearch.model_test_accuracy": f"{record['champion_accuracy']['mean']:.4f}",
    }
    for name, found in record["baselines"].items():
        tags[f"tlsearch.gain_over.{name}"] = f"{found['gain']['mean']:+.4f}"
    return tags


@dataclass(frozen=True, kw_only=True)
class Champion:
    """Which weights to log, and where; `tags` are those of its version in the registry."""

    weights: Path
    tracking_uri: str
    run_id: str
    facts: "ModelFacts"
    tags: Mapping[str, str]


class Logged(NamedTuple):
    """The address of the model, and the one in the registry; None, and why, if it has none."""

    model: str
    registered: str | None
    remark: str


def log_champion(
    champion: Champion, *, interrupts: Interrupts, meanwhile: Callable[[], None]
) -> Logged:
    """Log and register the model, each once however often this is called or cut off, in a process
    of its own, and do something else `meanwhile`.

    Raises:
        WorkError: MLflow could not take it, with MLflow's own words.
        Interrupted: the user asked to leave; the next run deletes what is half logged.
    """
    ours, theirs = multiprocessing.Pipe()
    process = start_process(_log, theirs, champion, name="tlsearch-model", daemon=True)
    theirs.close()
    try:
        meanwhile()
        while not ours.poll(POLL_SECONDS):
            if interrupts.stopping:
                raise Interrupted("stopped as asked; run again to log the model")
    except BaseException:
        process.kill()
        process.join()
        raise
    try:
        answer: Logged | str = ours.recv()
    except EOFError:
        process.join()  # before there is a code
        answer = f"the process ended with exit code {process.exitcode}"
    process.join()
    if isinstance(answer, str):
        raise WorkError(
            f"the model could not be logged to MLflow at {hidden(champion.tracking_uri)}: "
            f"{answer} — "
            f"the weights are kept in {champion.weights}; run again to try once more"
        )
    return answer


def _log(pipe: "Connection[Any, Any]", champion: Champion) -> None:
    ignore_interrupts()
    leave_with_parent()
    facts = champion.facts
    try:
        from tlsearch.models.export import load_classifier
        from tlsearch.tracking.registry import log_model, register_model

        model = log_model(
            load_classifier(
                champion.weights,
                backbone=facts.backbone,
                num_classes=len(facts.class_names),
                image_size=facts.image_size,
                normalisation=(facts.mean, facts.std),
            ),
            tracking_uri=champion.tracking_uri,
            run_id=champion.run_id,
            model_key=champion.weights.stem,
            metadata=facts.as_json(),
            pip_requirements=requirements(),
        )
        try:
            address = register_model(
                tracking_uri=champion.tracking_uri,
                name=facts.study,
                model=model,
                run_id=champion.run_id,
                tags=champion.tags,
            )
            pipe.send(Logged(model, address, ""))
        except Exception as error:  # a server's own affair: a model that is logged is not lost
            pipe.send(Logged(model, None, f"{error} — it is logged all the same: {model}"))
    except TlsearchError as error:
        pipe.send(str(error))
    except Exception as error:  # whatever MLflow or torch raise: the parent words it
        pipe.send(f"{type(error).__name__}: {error}")


# The answer of a study beside its runs in MLflow and its trials in Optuna Dashboard.


CONFUSION = "confusion.png"


class Stills(NamedTuple):
    """Figures as PNG: those of the study by file name, confusion matrices by the run's key."""

    study: Mapping[str, bytes]
    trials: Mapping[str, bytes]


def publish(
    store: Store, layout: Layout, *, text: str, report: Path, draw: Callable[[], Stills]
) -> str | None:
    """Make `text` (Markdown) the description of the study in both, and give them the page and what
    `draw` makes; once for each answer, where MLflow was left whole, and again until all of it is
    there. What a user has written there stays.

    Returns what went wrong, if anything did: no reason to fail a study.
    """
    run_id = (store.noted(MLFLOW) or {}).get("run_id")
    shown = {"run": run_id, "text": digest(text)}
    before = store.noted(PUBLISHED) or {}
    if run_id is None or not store.noted(MIRRORED) or before == shown:
        return None
    stills, troubles = Stills({}, {}), []
    try:
        stills = draw()
    except Exception as error:  # a defect of ours, or a library's: the study is done all the same
        why = f"{type(error).__name__}: {error}"
        troubles.append(f"figures could not be drawn for the dashboards ({why})")
    _note(store, text)
    try:
        _attach(store, layout.optuna_artifacts, stills)
    except OSError as error:
        troubles.append(f"figures could not be added to Optuna's artifacts ({error})")
    try:
        publish_in_mlflow(
            tracking_uri=absolute_address(tracking_address(store.config, layout)),
            run_id=run_id,
            text=text,
            report=report,
            figures=stills.study,
            children={key: {CONFUSION: content} for key, content in stills.trials.items()},
        )
    except WorkError as error:
        troubles.append(str(error))
    if not troubles:
        store.note(PUBLISHED, shown)
    return "; ".join(troubles) or None


def _note(store: Store, text: str) -> None:
    """Optuna Dashboard's note of the study, unless a user has written another one."""
    if importlib.util.find_spec("optuna_dashboard") is None:
        return
    from optuna_dashboard import get_note, save_note

    known = get_note(store.study)
    # A run that was killed between the two lines below has noted no digest.
    if not known or digest(known) in (store.noted(NOTED), digest(text)):
        save_note(store.study, text)
        store.note(NOTED, digest(text))


def _attach(store: Store, folder: Path, stills: Stills) -> None:
    """Give Optuna the pictures. A trial that has ended takes no artifact any more: its picture
    stands beside the study, and its note shows it, unless a user has written one.
    """
    import optuna

    folder.mkdir(parents=True, exist_ok=True)
    files_store, search = optuna.artifacts.FileSystemArtifactStore(folder), store.study
    files = {**stills.study} | {f"{key}-{CONFUSION}": png for key, png in stills.trials.items()}
    found = optuna.artifacts.get_all_artifact_meta(search)
    known = {meta.filename: meta.artifact_id for meta in found}
    with TemporaryDirectory() as draft:
        for name, content in files.items():
            if name in known:  # drawn anew: the same picture of more trials
                files_store.write(known[name], BytesIO(content))
                continue
            path = Path(draft) / name
            path.write_bytes(content)
            known[name] = optuna.artifacts.upload_artifact(
                artifact_store=files_store, file_path=str(path), study_or_trial=search
            )
    if stills.trials and importlib.util.find_spec("optuna_dashboard") is not None:
        numbers = {row.run.key: row.number for row in store.trials()}
        for key in stills.trials:
            _note_picture(store, numbers[key], known[f"{key}-{CONFUSION}"])


def _note_picture(store: Store, number: int, artifact_id: str) -> None:
    from optuna_dashboard import get_note, save_note
    from optuna_dashboard.artifact import get_artifact_path

    trial = trial_of(store.study, number, storage=store.storage)
    if not get_note(trial):
        save_note(trial, f"![Confusion matrix]({get_artifact_path(store.study, artifact_id)})")
