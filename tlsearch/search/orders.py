"""What a worker is told of a run."""

from collections.abc import Callable
from pathlib import Path

from tlsearch.search.folder import checkpoint_path, weights_path
from tlsearch.search.jobs import TrainJob
from tlsearch.search.runs import RunSpec

MakeJob = Callable[[RunSpec, Path], TrainJob]


def train_job(spec: RunSpec, folder: Path) -> TrainJob:
    """What a worker is told of a run; the weights of fixed runs are kept, unless each fold has its
    own.
    """
    keep = spec.kind != "search" and len(spec.folds) == 1
    return TrainJob(
        key=spec.key,
        strategy=spec.strategy,
        seed=spec.seed,
        redraw=spec.redraw,
        folds=spec.folds,
        num_epochs=spec.num_epochs,
        checkpoint=checkpoint_path(folder, spec.key),
        weights_to=weights_path(folder, spec.key) if keep else None,
        scores_to=None,
        measures=(),
        split=None,
        future=None,
        backbone=spec.backbone,
    )
