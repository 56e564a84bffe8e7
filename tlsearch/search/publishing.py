"""The answer of a study beside its runs in MLflow and its trials in Optuna Dashboard."""

import importlib.util
from collections.abc import Callable, Mapping
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from tlsearch.errors import WorkError
from tlsearch.search.ledger import MIRRORED, MLFLOW, NOTED, PUBLISHED, Ledger
from tlsearch.search.stage import tracking_address
from tlsearch.study.layout import Layout
from tlsearch.tracking.address import absolute_address
from tlsearch.tracking.publishing import publish as publish_in_mlflow

if TYPE_CHECKING:
    import optuna

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
        numbers = {row.spec.key: row.number for row in ledger.rows_of(search)}
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
