"""Starting a study over: what was there is set aside under another name, never deleted."""

import shutil
from datetime import datetime
from pathlib import Path

import optuna
from optuna.trial import TrialState

from tlsearch.search.folder import PARTS
from tlsearch.search.runs import aside_name


def set_aside(name: str, *, storage: optuna.storages.BaseStorage, folder: Path) -> None:
    """Rename the Optuna studies of `name` and drop its checkpoints and weights.

    The search's study goes last: whatever comes in between, what is left of the old study is one
    that can be carried on, and nothing of it is taken for the new one's. MLflow keeps what it
    has: a fresh study has a new key, and so a parent run of its own.
    """
    stamp = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
    known = {s.study_name for s in storage.get_all_studies()}
    # Cells of a comparison, what is fixed, and the study itself, which goes last.
    ours = sorted(s for s in known if s.startswith(f"{name}:") and aside_name("", "") not in s)
    studies = [*ours, *([name] if name in known else [])]
    for study in studies:
        aside = aside_name(study, stamp)
        optuna.copy_study(
            from_study_name=study,
            from_storage=storage,
            to_storage=storage,
            to_study_name=aside,
        )
        _end_open_trials(optuna.load_study(study_name=aside, storage=storage), storage)
    for study in studies:
        if study == name:
            _drop_files(folder)
        optuna.delete_study(study_name=study, storage=storage)
    _drop_files(folder)


def _end_open_trials(study: optuna.Study, storage: optuna.storages.BaseStorage) -> None:
    """Nobody will carry them on, and none may stay RUNNING for ever."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING)):
        storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)


def _drop_files(folder: Path) -> None:
    for part in PARTS:
        shutil.rmtree(folder / part, ignore_errors=True)
