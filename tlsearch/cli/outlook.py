"""What a comparison takes, and what so many seeds and test images can show."""

from collections.abc import Mapping
from typing import NamedTuple

from tlsearch.cli import source_models
from tlsearch.cli.asked_claims import claims_of
from tlsearch.cli.auditing import Checked
from tlsearch.cli.checking import told_time
from tlsearch.study.cells import Cell, cell_config, cells, compared
from tlsearch.study.config import StudyConfig
from tlsearch.study.cost import part_sizes
from tlsearch.study.plan import Plan, plan


class Outlook(NamedTuple):
    """What a comparison takes, source models that must be trained before, and the least difference
    in test accuracy that it should find in one scenario and over all of them; None for table B,
    which compares splits and not accuracy.
    """

    plan: Plan
    source_models: list[str]
    smallest_effect: float | None
    smallest_effect_pooled: float | None


class Sizes(NamedTuple):
    """A scenario's images that any part may hold, its classes, and the images of each part."""

    images: int
    classes: int
    train: int
    validation: int
    test: int


def sizes_of(config: StudyConfig, scenario: str, found: Checked) -> Sizes:
    """Counted where the images were read, and about right where they are known to be."""
    ours, future = cell_config(config, Cell(scenario, "")), compared(config).future
    images = round(found.audit.num_used * (1 - (future or 0)))
    classes = sum(count > 0 for _, count in found.audit.class_counts)
    if found.parts is not None and not future:
        return Sizes(images, classes, *(sum(counts) for counts in found.parts.values()))
    ((train, validation), *_), test = part_sizes(ours, num_images=images, num_classes=classes)
    return Sizes(images, classes, train, validation, test)


def outlook_of(config: StudyConfig, checked: Mapping[str, Checked]) -> Outlook:
    """Of scenarios whose images are as the study wants them."""
    sizes = {scenario: sizes_of(config, scenario, found) for scenario, found in checked.items()}
    costs = plan(config, {scenario: (s.images, s.classes) for scenario, s in sizes.items()})
    configs = [cell_config(config, cell) for cell in cells(compared(config))]
    models = source_models.to_be_trained(configs)
    return Outlook(costs, models, *_smallest_effects(config, sizes))


def _smallest_effects(
    config: StudyConfig, sizes: Mapping[str, Sizes]
) -> tuple[float | None, float | None]:
    """In the scenario with the fewest test images, and pooled over the test parts that differ."""
    from tlsearch.evidence.planning import ALPHA, POWER, TYPICAL_ACCURACY, smallest_effect

    comparison = compared(config)
    tested = sum(claim.direction != "none" for claim in claims_of(config))
    if comparison.table == "B" or not tested:
        return None, None
    data = [cell_config(config, Cell(scenario, "")).data for scenario in sizes]
    tests = {found.model_dump_json(exclude={"labels_per_class"}) for found in data}
    num_images = max(2, min(size.test for size in sizes.values()))
    noise = TYPICAL_ACCURACY._replace(num_images=num_images)
    one, pooled = (
        smallest_effect(
            noise,
            seeds=comparison.confirm.seeds,
            claims=tested,
            blocks=blocks,
            alpha=ALPHA,
            power=POWER,
        )
        for blocks in (1, len(tests))
    )
    return one, pooled


def outlook_lines(config: StudyConfig, outlook: Outlook) -> list[str]:
    """The same as a user reads it."""
    comparison, costs = compared(config), outlook.plan
    num_cells = len(cells(comparison))
    lines = [
        f"at most {costs.trainings:,} trainings: {costs.tuning:,} to tune {num_cells} cells, "
        f"{costs.confirmations:,} to confirm each on {comparison.confirm.seeds} seeds, "
        f"{costs.swept:,} for sweeps",
        f"{told_time(costs.seconds)} (a guess from multiply-adds and steps, good to a factor of 2 "
        "or 3 on a machine that does nothing else)",
        *source_models.told(outlook.source_models),
    ]
    one, pooled = outlook.smallest_effect, outlook.smallest_effect_pooled
    if one is not None and pooled is not None:
        over = f", of {100 * pooled:.1f} over all" if pooled < one else ""
        lines.append(
            f"a difference of {100 * one:.1f} points of test accuracy should show in one scenario"
            f"{over} (in 8 of 10 such comparisons; a guess from typical noise)"
        )
    return lines
