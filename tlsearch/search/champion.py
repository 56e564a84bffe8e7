"""The winner as a model that others can load: logged to MLflow and registered there, from a process
of its own.

It needs torch and mlflow together, which neither the coordinator nor a worker carries.
"""

import importlib.util
import multiprocessing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from tlsearch.config.paths import Layout
from tlsearch.errors import TlsearchError, WorkError, hidden
from tlsearch.execution.interrupts import Interrupted, Interrupts
from tlsearch.execution.worker import ignore_interrupts, leave_with_parent
from tlsearch.models.model_facts import ModelFacts
from tlsearch.search.ledger import MIRRORED, MLFLOW, NOTED, PUBLISHED, Ledger
from tlsearch.search.scheduler import POLL_SECONDS
from tlsearch.search.stage import tracking_address
from tlsearch.tracking.address import absolute_address
from tlsearch.tracking.registry import publish as publish_in_mlflow

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True, kw_only=True)
class Champion:
    """Which weights to log, and where; `tags` are those of its version in the registry."""

    weights: Path
    tracking_uri: str
    run_id: str
    facts: ModelFacts
    tags: Mapping[str, str]


class Logged(NamedTuple):
    """The address of the model, and the one in the registry; None, and why, if it has none."""

    model: str
    registered: str | None
    remark: str


def log_champion(champion: Champion, *, interrupts: Interrupts) -> Logged:
    """Log and register the model, each once however often this is called or cut off.

    Raises:
        WorkError: MLflow could not take it, with MLflow's own words.
        Interrupted: the user asked to leave; the next run deletes what is half logged.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_log, args=(theirs, champion), daemon=True)
    process.start()
    theirs.close()
    while not ours.poll(POLL_SECONDS):
        if interrupts.stopping:
            process.kill()
            process.join()
            raise Interrupted("stopped as asked; run again to log the model")
    try:
        answer: Logged | str = ours.recv()
    except EOFError:
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
    try:
        model = _write(champion)
        pipe.send(Logged(model, *_register(champion, model)))
    except TlsearchError as error:
        pipe.send(str(error))
    except Exception as error:  # whatever MLflow or torch raise: the parent words it
        pipe.send(f"{type(error).__name__}: {error}")


def _register(champion: Champion, model: str) -> tuple[str | None, str]:
    """The address in the registry, or why there is none: a model that is logged is not lost."""
    from tlsearch.tracking.registry import register_model

    try:
        address = register_model(
            tracking_uri=champion.tracking_uri,
            name=champion.facts.study,
            model=model,
            run_id=champion.run_id,
            tags=champion.tags,
        )
    except Exception as error:  # a registry is a server's own affair: no kind of failure ends a run
        return None, f"{error} — it is logged all the same: {model}"
    return address, ""


def _write(champion: Champion) -> str:
    import numpy as np

    from tlsearch.models.export import load_classifier
    from tlsearch.search.provenance import requirements
    from tlsearch.tracking.registry import log_model

    facts = champion.facts
    size = facts.image_size
    return log_model(
        tracking_uri=champion.tracking_uri,
        run_id=champion.run_id,
        model_key=champion.weights.stem,
        module=load_classifier(
            champion.weights,
            backbone=facts.backbone,
            num_classes=len(facts.class_names),
            image_size=size,
        ),
        example=np.zeros((2, 3, size, size), dtype=np.float32),
        class_names=facts.class_names,
        metadata=facts.as_json(),
        pip_requirements=requirements(),
    )


# The answer of a study beside its runs in MLflow and its trials in Optuna Dashboard.


CONFUSION = "confusion.png"


class Stills(NamedTuple):
    """Figures as PNG: those of the study by file name, confusion matrices by the run's key."""

    study: Mapping[str, bytes]
    trials: Mapping[str, bytes]


def publish(
    ledger: Ledger, layout: Layout, *, text: str, report: Path, draw: Callable[[], Stills]
) -> str | None:
    """Make `text` (Markdown) the description of the study in both, and give them the page and what
    `draw` makes; once for each answer, where MLflow was left whole, and again until all of it is
    there. What a user has written there stays.

    Returns what went wrong, if anything did: no reason to fail a study.
    """
    run_id = ledger.search.user_attrs.get(MLFLOW, {}).get("run_id")
    shown = {"run": run_id, "text": _digest(text)}
    before = ledger.search.user_attrs.get(PUBLISHED) or {}
    is_there = run_id is not None and ledger.search.user_attrs.get(MIRRORED)
    if not is_there or before == shown:
        return None
    stills, troubles = Stills({}, {}), []
    try:
        stills = draw()
    except Exception as error:  # a defect of ours, or a library's: the study is done all the same
        why = f"{type(error).__name__}: {error}"
        troubles.append(f"figures could not be drawn for the dashboards ({why})")
    _note(ledger, text)
    try:
        _attach(ledger, layout.optuna_artifacts, stills)
    except OSError as error:
        troubles.append(f"figures could not be added to Optuna's artifacts ({error})")
    try:
        publish_in_mlflow(
            tracking_uri=absolute_address(tracking_address(ledger.config, layout)),
            run_id=run_id,
            text=text,
            report=report,
            figures=stills.study,
            children={key: {CONFUSION: content} for key, content in stills.trials.items()},
        )
    except WorkError as error:
        troubles.append(str(error))
    if not troubles:
        ledger.search.set_user_attr(PUBLISHED, shown)
    return "; ".join(troubles) or None


def _note(ledger: Ledger, text: str) -> None:
    """Optuna Dashboard's note of the study, unless a user has written another one."""
    if importlib.util.find_spec("optuna_dashboard") is None:
        return
    from optuna_dashboard import get_note, save_note

    known, attributes = get_note(ledger.search), ledger.search.user_attrs
    # Earlier releases kept the digest with the rest, and a killed run may have kept none.
    published = (attributes.get(PUBLISHED) or {}).get("text")
    ours = (attributes.get(NOTED) or published, _digest(text))
    if not known or _digest(known) in ours:
        save_note(ledger.search, text)
        ledger.search.set_user_attr(NOTED, _digest(text))


def _attach(ledger: Ledger, folder: Path, stills: Stills) -> None:
    """Give Optuna the pictures. A trial that has ended takes no artifact any more: its picture
    stands beside the study, and its note shows it, unless a user has written one.
    """
    import optuna

    folder.mkdir(parents=True, exist_ok=True)
    store, search = optuna.artifacts.FileSystemArtifactStore(folder), ledger.search
    files = {**stills.study} | {f"{key}-{CONFUSION}": png for key, png in stills.trials.items()}
    found = optuna.artifacts.get_all_artifact_meta(search)
    known = {meta.filename: meta.artifact_id for meta in found}
    with TemporaryDirectory() as draft:
        for name, content in files.items():
            if name in known:  # drawn anew: the same picture of more trials
                store.write(known[name], BytesIO(content))
                continue
            path = Path(draft) / name
            path.write_bytes(content)
            known[name] = optuna.artifacts.upload_artifact(
                artifact_store=store, file_path=str(path), study_or_trial=search
            )
    if importlib.util.find_spec("optuna_dashboard") is not None:
        numbers = {row.run.key: row.number for row in ledger.rows_of(search)}
        for key in stills.trials:
            _note_picture(search, numbers[key], known[f"{key}-{CONFUSION}"])


def _note_picture(study: "optuna.Study", number: int, artifact_id: str) -> None:
    import optuna
    from optuna_dashboard import get_note, save_note
    from optuna_dashboard.artifact import get_artifact_path

    study.sampler = optuna.samplers.RandomSampler()  # a `Trial` asks the sampler when it is made
    trial = optuna.Trial(study, study.get_trials(deepcopy=False)[number]._trial_id)
    if not get_note(trial):
        save_note(trial, f"![Confusion matrix]({get_artifact_path(study, artifact_id)})")


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]
