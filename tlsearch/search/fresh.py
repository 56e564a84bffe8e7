"""Starting a study over: what was there is set aside under another name, never deleted."""

import shutil
from datetime import datetime
from pathlib import Path

import optuna

from tlsearch.search.runs import fixed_name


def set_aside(name: str, *, storage: optuna.storages.BaseStorage, folder: Path) -> None:
    """Rename the Optuna studies of `name` and drop its checkpoints and weights.

    MLflow needs nothing: a fresh study has a new key, and so a parent run of its own.
    """
    stamp = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
    known = {s.study_name for s in storage.get_all_studies()}
    for study in (name, fixed_name(name)):
        if study in known:
            optuna.copy_study(
                from_study_name=study,
                from_storage=storage,
                to_storage=storage,
                to_study_name=f"{study} until {stamp}",
            )
            optuna.delete_study(study_name=study, storage=storage)
    for part in ("checkpoints", "weights", "scores", "evaluations"):
        shutil.rmtree(folder / part, ignore_errors=True)
