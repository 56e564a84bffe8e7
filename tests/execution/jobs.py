"""Settings and jobs of tests that train in this process."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.search.fakes import setting_of
from tlsearch.config.runtime import no_progress
from tlsearch.config.schema import StudyConfig
from tlsearch.data import dataset as store
from tlsearch.data.dataset import ImageSet
from tlsearch.execution.messages import Setting, TrainJob
from tlsearch.execution.prepare import divide
from tlsearch.execution.runs import Run
from tlsearch.execution.workbench import Workbench


def setting_with(data: ImageSet, config: StudyConfig, folder: Path, **changes: Any) -> Setting:
    """The setting of a study on these images, which are kept in the folder."""
    facts, _ = divide(data, config)
    place = store.save(data, folder / "images")
    return replace(setting_of(config, folder), data=facts, store=place, **changes)


def bench_of(setting: Setting) -> Workbench:
    return Workbench(setting, device_index=None, on_progress=no_progress)


def train_job(
    config: StudyConfig,
    *,
    params: Mapping[str, Any],
    init: Any = "random",
    **changes: Any,
) -> TrainJob:
    """A training of one epoch at a rate of 0.01 where `params` do not say otherwise; `changes` are
    of its run or of the job.
    """
    flat = config.space.assign(lambda _name, _dimension: 0.01)
    known: dict[str, Any] = {
        "study": config.name,
        "scenario": "",
        "arm": "",
        "role": "trial",
        "name": "",
        "trial": 0,
        "seed": 0,
        "redraw": 0,
        "params": {**flat, **params},
        "init": init,
        "folds": (0,),
        "num_epochs": 1,
        "backbone": "",
    }
    run = Run(**known | {name: of for name, of in changes.items() if name in known})
    job = {name: of for name, of in changes.items() if name not in known}
    return TrainJob(run=run, **job)
