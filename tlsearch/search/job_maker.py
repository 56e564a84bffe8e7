"""What a worker is told of a run."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from tlsearch.comparison.claims import advice_about
from tlsearch.config.cells import Cell, cell_config, cells, compared
from tlsearch.config.comparison import ComparisonConfig
from tlsearch.config.paths import checkpoint_path, scores_path, weights_path
from tlsearch.config.schema import StudyConfig
from tlsearch.execution.messages import TrainJob
from tlsearch.execution.runs import Run
from tlsearch.metrics.registry import MEASURES as ALL_MEASURES

MakeJob = Callable[[Run, Path], TrainJob]


def train_job(spec: Run, folder: Path) -> TrainJob:
    """What a worker is told of a run; the weights of fixed runs are kept, unless each fold has its
    own.
    """
    keep = spec.role != "trial" and len(spec.folds) == 1
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


# What a worker is told of a comparison's run: which figures to take, where its answers go.


_PLAIN = ("generalisation_gap", "epochs_spent", "seconds")
MEASURES: Mapping[str, tuple[str, ...]] = {
    "A": (
        "oscillation",
        "epochs_to_share",
        "cka_drift",
        "weight_drift",
        "source_accuracy",
        "early_gradient_norm",
        "generalisation_gap",
        "epochs_spent",
        "seconds",
    ),
    "B": (),  # the split's own figures alone
    "C": _PLAIN,
    "own": _PLAIN,
}
"""What is taken from every confirmed model at least, by table."""


def measures_of(comparison: ComparisonConfig) -> tuple[str, ...]:
    """What is taken from every confirmed model; of the advice (C), what its arms are there for.
    Taking all would cost more than a short training, and what is timed would include some of it.
    """
    always = (*MEASURES[comparison.table], *_of_domains(comparison))
    if comparison.table != "C":
        return always
    asked = {claim.statistic for claim in advice_about(comparison.arms)}
    return (*always, *(name for name in ALL_MEASURES if name in asked and name not in always))


def _of_domains(comparison: ComparisonConfig) -> tuple[str, ...]:
    """What is taken where an arm of one's own deals with the source's images."""
    if comparison.table != "own":
        return ()
    fields = {str(name) for arm in comparison.arms.values() for name in arm}
    wanted = {
        "space.adaptation": ("domain_distance", "adapted_distance"),
        "space.source_task_weight": ("domain_distance", "source_accuracy"),
    }
    found = {
        n for k, names in wanted.items() for n in names if any(f.startswith(k) for f in fields)
    }
    return tuple(name for name in ALL_MEASURES if name in found)


def asks_for_scores(comparison: ComparisonConfig) -> bool:
    """Whether some advice that the arms are there for speaks of what networks promise."""
    asked = advice_about(comparison.arms) if comparison.table == "C" else []
    return any(claim.statistic == "score_correlation" for claim in asked)


def comparison_job(config: StudyConfig) -> MakeJob:
    """How this comparison's runs are ordered: tuning alone never touches the test part."""
    comparison = compared(config)
    measures = measures_of(comparison)
    splits = {cell: cell_config(config, cell).data.split for cell in cells(comparison)}

    def make(spec: Run, folder: Path) -> TrainJob:
        by_future = comparison.table == "B"
        confirms = spec.role == "confirm"
        return replace(
            train_job(spec, folder),
            weights_to=None,
            measures=measures if confirms else (),
            scores_to=None if spec.role == "trial" or by_future else scores_path(folder, spec.key),
            split=splits[Cell(spec.scenario, spec.arm)] if by_future else None,
            future=comparison.future if by_future else None,
        )

    return make
