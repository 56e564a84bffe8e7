"""What a worker is told of a comparison's run: which figures to take, where its answers go."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tlsearch.search.folder import scores_path
from tlsearch.search.jobs import TrainJob
from tlsearch.search.orders import MakeJob, train_job
from tlsearch.search.runs import RunSpec
from tlsearch.study.cells import Cell, cell_config, cells, compared
from tlsearch.study.config import StudyConfig

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
    "C": (
        "oscillation",
        "epochs_to_share",
        "epochs_spent",
        "cka_drift",
        "weight_drift",
        "source_accuracy",
        "early_gradient_norm",
        "largest_step_norm",
        "generalisation_gap",
        "sparsity",
        "weight_norm",
        "images_per_second",
        "noise_scale",
        "seconds",
    ),
    "own": ("generalisation_gap", "epochs_spent", "seconds"),
}
"""What is taken from every confirmed model, by table."""


def comparison_job(config: StudyConfig) -> MakeJob:
    """How this comparison's runs are ordered: tuning alone never touches the test part."""
    comparison = compared(config)
    splits = {cell: cell_config(config, cell).data.split for cell in cells(comparison)}

    def make(spec: RunSpec, folder: Path) -> TrainJob:
        by_future = comparison.table == "B"
        confirms = spec.kind == "confirm"
        return replace(
            train_job(spec, folder),
            weights_to=None,
            measures=MEASURES[comparison.table] if confirms else (),
            scores_to=None if spec.kind == "search" or by_future else scores_path(folder, spec.key),
            split=splits[Cell(spec.scenario, spec.arm)] if by_future else None,
            future=comparison.future if by_future else None,
        )

    return make
