"""What a comparison will take: trainings of each cell, and a guess at the time."""

from collections.abc import Mapping
from typing import NamedTuple

from tlsearch.study.cells import Cell, cell_config, cells, compared
from tlsearch.study.config import StudyConfig
from tlsearch.study.cost import estimate


class Plan(NamedTuple):
    """Trainings of a whole comparison; `seconds` is a guess, good to a factor of 2 or 3."""

    scenarios: int
    arms: int
    tuning: int
    confirmations: int
    swept: int
    seconds: float

    @property
    def trainings(self) -> int:
        """All trainings together."""
        return self.tuning + self.confirmations + self.swept


def plan(config: StudyConfig, sizes: Mapping[str, tuple[int, int]]) -> Plan:
    """The cost of a comparison; `sizes` gives images and classes of each scenario."""
    comparison = compared(config)
    tuning = confirmations = swept = 0
    seconds = 0.0
    for cell in cells(comparison):
        found = cell_config(config, cell)
        images, classes = sizes[cell.scenario]
        cost = estimate(found, num_images=images, num_classes=classes)
        seconds += cost.seconds / cost.trainings * num_runs(found, cell)
        tuning += num_tuning(found)
        confirmations += found.confirm.seeds
        swept += num_swept(found, cell)
    return Plan(
        scenarios=len(comparison.used),
        arms=len(comparison.arms),
        tuning=tuning,
        confirmations=confirmations,
        swept=swept,
        seconds=seconds,
    )


def num_tuning(config: StudyConfig) -> int:
    """How many trials a cell tunes with; none where its strategy leaves nothing open."""
    return config.budget.trials if config.searched() else 0


def num_swept(config: StudyConfig, cell: Cell) -> int:
    """Trainings of a cell's sweeps; a setting that the confirmation trains anyway is counted."""
    comparison = compared(config)
    sweeps = [sweep for sweep in comparison.sweeps_in(cell.scenario) if sweep.arm == cell.arm]
    return sum(len(sweep.values) for sweep in sweeps) * comparison.sweeps.seeds


def num_runs(config: StudyConfig, cell: Cell) -> int:
    """All trainings of a cell."""
    return num_tuning(config) + config.confirm.seeds + num_swept(config, cell)
