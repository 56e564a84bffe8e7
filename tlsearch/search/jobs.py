"""What a worker is ordered to do for a run: which figures to take, which results to keep."""

from collections.abc import Mapping

from tlsearch.comparison.claims import advice_about
from tlsearch.config.cells import Cell, cell_config
from tlsearch.config.comparison import ComparisonConfig
from tlsearch.config.schema import StudyConfig
from tlsearch.execution.messages import TrainJob
from tlsearch.execution.runs import Run
from tlsearch.metrics.registry import MEASURES as ALL_MEASURES


def train_job(config: StudyConfig, run: Run) -> TrainJob:
    """What a worker is ordered to do for a run of a study.

    Of a search the weights of all runs over seeds are kept, whose test answers may be wanted. In a
    comparison these answers are ordered at once, and none for tuning: it never touches the test
    part.
    """
    comparison = config.comparison
    if comparison is None:
        return TrainJob(run=run, keep_weights=run.redraw > 0)
    measures = measures_of(comparison) if run.role == "confirm" else ()
    if comparison.table != "B":
        return TrainJob(run=run, keep_scores=run.redraw > 0, measures=measures)
    split = cell_config(config, Cell(run.scenario, run.arm)).data.split
    return TrainJob(run=run, measures=measures, split=split, future=comparison.future)


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
