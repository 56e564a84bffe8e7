"""Contradictions between fields that are each right by themselves."""

from collections.abc import Callable, Iterator
from math import inf

from tlsearch.config.catalog import groups
from tlsearch.config.comparison_checks import comparison_contradictions
from tlsearch.config.contradiction import dimension
from tlsearch.config.cost import num_batches, train_images
from tlsearch.config.data_checks import (
    backbone_contradictions,
    data_contradictions,
    source_contradictions,
)
from tlsearch.config.dimensions import can_be, highest, lowest, raw
from tlsearch.config.schema import StudyConfig
from tlsearch.config.search_checks import pruner_contradictions, sampler_contradictions
from tlsearch.config.strategy_checks import augmentation_contradictions, fine_tuning_contradictions
from tlsearch.config.validation import Fault, Loc, clash


def contradictions(config: StudyConfig) -> list[Fault]:
    """All contradictions of a study, in the order of its fields; those of a comparison's cells are
    found in the cells.
    """
    if config.comparison is not None:
        return list(comparison_contradictions(config, config.comparison))
    checks = (
        data_contradictions,
        backbone_contradictions,
        _freezing,
        _schedule,
        _warmup,
        _optimizer,
        _stopping,
        augmentation_contradictions,
        _fine_tuning,
        _source,
        sampler_contradictions,
        pruner_contradictions,
    )
    return [found for check in checks for found in check(config)]


def _freezing(config: StudyConfig) -> Iterator[Fault]:
    facts, epochs = config.backbone.shallowest, config.budget.epochs
    names = groups(facts)
    field, freeze, value = dimension(config, "freeze_depth")
    deepest = len(names) - 1
    if highest(freeze) > deepest:
        rule = f"{facts.name} has {len(names)} layer groups ({', '.join(names)})"
        remedy = f"freeze 0 to {deepest}, where {deepest} trains the head alone"
        if len(config.backbone.names) > 1:
            remedy = f"freeze 0 to {deepest}, which all of these networks have"
        yield clash(field, value, rule, remedy, "backbone.name")
    field, opening, value = dimension(config, "unfreeze_every_epochs")
    if highest(opening) > 0 and highest(freeze) == 0:
        rule = "nothing is frozen that could be unfrozen: space.freeze_depth is 0"
        yield clash(field, value, rule, "drop it, or freeze groups", "space.freeze_depth")
    elif highest(opening) >= epochs:
        rule = f"opens nothing within {epochs} epochs"
        yield clash(field, value, rule, _fewer(epochs, "or train longer"), "budget.epochs")


def _fine_tuning(config: StudyConfig) -> Iterator[Fault]:
    yield from _of_each_network(config, fine_tuning_contradictions)


def _source(config: StudyConfig) -> Iterator[Fault]:
    yield from _of_each_network(config, source_contradictions)


def _of_each_network(
    config: StudyConfig, check: Callable[[StudyConfig], Iterator[Fault]]
) -> Iterator[Fault]:
    """Those of each network; what several have in common is told once."""
    told: set[tuple[Loc, str]] = set()
    for name in config.backbone.with_weights:
        for found in check(config.with_backbone(name)):
            if (found.loc, found.rule) not in told:
                told.add((found.loc, found.rule))
                yield found


def _schedule(config: StudyConfig) -> Iterator[Fault]:
    epochs = config.budget.epochs
    # A plateau shows after a first epoch, and a cut needs an epoch after it.
    rules = {
        "schedule.step.every_epochs": ("no step falls", epochs),
        "schedule.plateau.patience_epochs": ("no cut can follow a plateau", epochs - 2),
    }
    for name, found in config.space.dimensions().items():
        told, limit = rules.get(name, ("", inf))
        if highest(found) >= limit:
            rule = f"{told} within {epochs} epochs"
            remedy = _fewer(int(limit), "train longer, or take another schedule")
            field = f"space.{name}"
            yield clash(field, raw(found), rule, remedy, "space.schedule", "budget.epochs")


def _warmup(config: StudyConfig) -> Iterator[Fault]:
    epochs = config.budget.epochs
    field, warm, value = dimension(config, "warmup_epochs")
    steps_field, steps, steps_value = dimension(config, "warmup_steps")
    if highest(warm) >= epochs:
        rule = f"warm-up is as long as training, {epochs} epochs"
        yield clash(field, value, rule, _fewer(epochs, "or train longer"), "budget.epochs")
    if highest(warm) > 0 and highest(steps) > 0:
        rule = "warm-up is given in epochs and in steps"
        yield clash(steps_field, steps_value, rule, "keep one of them, the other 0", field)
    images = train_images(config)
    if images is not None:
        yield from step_contradictions(config, images)
    start_field, start, start_value = dimension(config, "warmup_start_fraction")
    if highest(start) > 0 and highest(warm) == highest(steps) == 0:
        rule = "there is no warm-up that it could start"
        remedy = "drop it, or set space.warmup_epochs"
        yield clash(start_field, start_value, rule, remedy, field, steps_field)


def step_contradictions(config: StudyConfig, images: int) -> Iterator[Fault]:
    """What cannot go together with a training part of so many images; of files their number is
    known only once they are read.
    """
    field, steps, value = dimension(config, "warmup_steps")
    batch = highest(config.space.batch_size)
    total = config.budget.epochs * num_batches(images, batch_size=int(batch))
    if highest(steps) >= total:
        rule = f"warm-up is as long as training, {total} steps at batch size {batch:g}"
        others = ("budget.epochs", "space.batch_size", "data.split", "data.labels_per_class")
        remedy = f"take less than {total}" if total > 1 else "train longer"
        yield clash(field, value, rule, remedy, *others)


def _optimizer(config: StudyConfig) -> Iterator[Fault]:
    dimensions = config.space.dimensions()
    nesterov = dimensions.get("optimizer.sgd.nesterov")
    momentum = dimensions.get("optimizer.sgd.momentum")
    if nesterov and momentum and can_be(nesterov, True) and lowest(momentum) == 0:
        field = "space.optimizer.sgd.nesterov"
        rule = "Nesterov's step needs momentum, which may be 0 here"
        remedy = "raise space.optimizer.sgd.momentum above 0"
        yield clash(field, raw(nesterov), rule, remedy, "space.optimizer.sgd.momentum")


def _stopping(config: StudyConfig) -> Iterator[Fault]:
    epochs = config.budget.epochs
    field, patience, value = dimension(config, "patience_epochs")
    if highest(patience) >= epochs:
        rule = f"never stops a training of {epochs} epochs"
        yield clash(field, value, rule, _fewer(epochs, "or null for never"), "budget.epochs")


def _fewer(epochs: int, otherwise: str) -> str:
    return f"take less than {epochs}, {otherwise}" if epochs > 1 else "train for more epochs"
