"""Contradictions between fields that are each right by themselves."""

from collections.abc import Callable, Iterator
from functools import partial
from math import inf

from tlsearch.config.catalog import (
    LAST_ACTIVATION,
    NEVER_NEGATIVE,
    NUM_FEATURES,
    USUAL_MOMENTUM,
    groups,
    norm_momentum,
)
from tlsearch.config.cells import comparison_contradictions
from tlsearch.config.cost import dimension, head_alone_trains, num_batches, train_images
from tlsearch.config.data_checks import (
    backbone_contradictions,
    data_contradictions,
    source_contradictions,
)
from tlsearch.config.schema import StudyConfig
from tlsearch.config.search_options import (
    CmaEs,
    Hyperband,
    Median,
    Percentile,
    Tpe,
    Wilcoxon,
    pruning_steps,
)
from tlsearch.config.sources import TorchvisionSet, source_name
from tlsearch.config.space import (
    Choice,
    Dimension,
    Fixed,
    can_be,
    highest,
    lowest,
    raw,
    values,
)
from tlsearch.config.strategy import ALL, NORMS
from tlsearch.config.validation import Fault, Loc, clash
from tlsearch.errors import nearest


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
        partial(_of_each_network, fine_tuning_contradictions),
        partial(_of_each_network, source_contradictions),
        _search,
    )
    return [found for check in checks for found in check(config)]


def _search(config: StudyConfig) -> Iterator[Fault]:
    yield from config.search.sampler.contradictions(config)
    yield from config.search.pruner.contradictions(pruning_steps(config))


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


def _of_each_network(
    check: Callable[[StudyConfig], Iterator[Fault]], config: StudyConfig
) -> Iterator[Fault]:
    """Those of each network; what several have in common comes once."""
    seen: set[tuple[Loc, str]] = set()
    for name in config.backbone.with_weights:
        for found in check(config.with_backbone(name)):
            if (found.loc, found.rule) not in seen:
                seen.add((found.loc, found.rule))
                yield found


def _schedule(config: StudyConfig) -> Iterator[Fault]:
    epochs = config.budget.epochs
    # A plateau shows after a first epoch, and a cut needs an epoch after it.
    rules = {
        "schedule.step.every_epochs": ("no step falls", epochs),
        "schedule.plateau.patience_epochs": ("no cut can follow a plateau", epochs - 2),
    }
    for name, found in config.space.dimensions().items():
        problem, limit = rules.get(name, ("", inf))
        if highest(found) >= limit:
            rule = f"{problem} within {epochs} epochs"
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


# What trains, what pulls it back, and what the head starts from.


_FREEZE, _TRAINED, _WEIGHTS = "space.freeze_depth", "space.trained", "backbone.weights"
LAGGING = 0.1
"""The share of old running statistics from which on they are remarked on. A guess."""
_NO_START = "there are no pretrained weights"


def fine_tuning_contradictions(config: StudyConfig) -> Iterator[Fault]:
    """What cannot go together among these dimensions, with the backbone, or with freezing."""
    yield from _trained(config)
    yield from _rates(config)
    yield from _pretrained(config)
    yield from _selection(config)
    yield from _norms(config)


def fine_tuning_notes(config: StudyConfig) -> list[str]:
    """What is no mistake, but good to know before running: one sentence each."""
    found, images = [], train_images(config)
    if highest(config.space.l2_sp) > 0 and highest(config.space.weight_decay) > 0:
        found.append("with l2_sp above 0, weight_decay is the head's alone")
    return found if images is None else found + step_notes(config, images)


def step_notes(config: StudyConfig, images: int) -> list[str]:
    """What is good to know of trainings on so many images; of files their number is known only once
    they are read.
    """
    batch_size = int(lowest(config.space.batch_size))
    steps = config.budget.epochs * num_batches(images, batch_size=batch_size)
    found, decay = [], highest(config.space.ema_decay)
    reached = (1 + steps) / (10 + steps)
    if decay > reached:
        found.append(
            f"ema_decay = {decay:g} is not reached: the average warms up, and a training, of "
            f"{steps} steps at the most, comes to {reached:.3g}"
        )
    return found + _lagging_norms(config, steps)


def _lagging_norms(config: StudyConfig, steps: int) -> list[str]:
    """Networks whose running statistics would largely be the pretrained ones after so many."""
    found: list[str] = []
    if highest(config.space.norm_momentum) > 0:
        return found
    for ours in map(config.with_backbone, config.backbone.names):
        momentum = norm_momentum(ours.backbone.facts) or USUAL_MOMENTUM
        left = (1 - momentum) ** steps
        if momentum < USUAL_MOMENTUM and left > LAGGING and not head_alone_trains(ours):
            found.append(
                f"{ours.backbone.name}'s running BatchNorm statistics take {momentum:g} of each "
                f"batch, and a training has {steps} steps at the most: {left:.0%} of those that "
                "it is validated by would still be the old ones — set space.norm_momentum: 0.1"
            )
    return found


def _trained(config: StudyConfig) -> Iterator[Fault]:
    facts = config.backbone.facts
    field, trained, value = dimension(config, "trained")
    known = groups(facts)
    wanted = [str(choice) for choice in values(trained)]
    for name in dict.fromkeys(name for choice in wanted for name in choice.split("+")):
        if name not in (ALL, NORMS, *known):
            rule = f"{facts.name} has no layer group {name} (it has {', '.join(known)})"
            remedy = nearest(name, [*known, ALL, NORMS]) or "name some of these"
            yield clash(field, value, rule, remedy, "backbone.name")
    if NORMS in wanted and facts.family == "vgg" and not facts.name.endswith("_bn"):
        rule = f"{facts.name} has no normalisation layers"
        yield clash(field, value, rule, f"take {facts.name}_bn", "backbone.name")
    if wanted != [ALL] and highest(config.space.freeze_depth) > 0:
        rule = "says by name what trains, and space.freeze_depth says it by depth"
        yield clash(field, value, rule, "set space.freeze_depth: 0", _FREEZE)


def _rates(config: StudyConfig) -> Iterator[Fault]:
    field, decay, value = dimension(config, "layer_decay")
    ratio_field, ratio, ratio_value = dimension(config, "lr_ratio")
    if lowest(decay) < 1 and lowest(ratio) < 1:
        rule = "the rate falls per layer, and by space.lr_ratio per group as well"
        yield clash(field, value, rule, "keep one of them, the other 1", ratio_field)
    if lowest(decay) < 1 and head_alone_trains(config):
        yield clash(field, value, *_NOTHING_TRAINS, _FREEZE, _TRAINED)
    if lowest(ratio) < 1 and head_alone_trains(config):
        yield clash(ratio_field, ratio_value, *_NOTHING_TRAINS, _FREEZE, _TRAINED)


_NOTHING_TRAINS = ("nothing trains but the head", "drop it, or let more train")


def _pretrained(config: StudyConfig) -> Iterator[Fault]:
    field, pull, value = dimension(config, "l2_sp")
    if highest(pull) > 0 and config.backbone.weights == "none":
        rule = f"{_NO_START} to be pulled towards"
        remedy = "write 0, or choose backbone.weights; decay towards 0 is space.weight_decay"
        yield clash(field, value, rule, remedy, _WEIGHTS)
    if highest(pull) > 0 and head_alone_trains(config):
        yield clash(field, value, *_NOTHING_TRAINS, _FREEZE, _TRAINED)
    norms_stay = NORMS in values(config.space.trained) and can_be(
        config.space.decay_norm_and_bias, False
    )
    if highest(pull) > 0 and norms_stay:
        rule = "norms may train alone, and it pulls them only where they decay"
        remedy = "write 0, train more than norms, or set space.decay_norm_and_bias: true"
        yield clash(field, value, rule, remedy, _TRAINED, "space.decay_norm_and_bias")
    field, start, value = dimension(config, "head_init")
    if can_be(start, "probe") and config.backbone.weights == "none":
        rule = f"{_NO_START} whose features a probe could read"
        yield clash(field, value, rule, "write random, or choose backbone.weights", _WEIGHTS)


def _norms(config: StudyConfig) -> Iterator[Fault]:
    field, momentum, value = dimension(config, "norm_momentum")
    facts = config.backbone.facts
    if highest(momentum) > 0 and norm_momentum(facts) is None:
        rule = f"{facts.name} has no BatchNorm, whose running statistics it would be of"
        yield clash(field, value, rule, "write null", "backbone.name")


def _selection(config: StudyConfig) -> Iterator[Fault]:
    selection, facts = config.space.feature_selection, config.backbone.facts
    chosen = [name for name in selection.names if name != "none"]
    if not chosen:
        return
    field, deepest = "space.feature_selection", len(groups(facts)) - 1
    if not head_alone_trains(config):
        rule = "features are selected before training, so nothing but the head may train"
        remedy = f"set space.freeze_depth: {deepest}, or write none"
        yield clash(field, selection.written(), rule, remedy, _FREEZE, _TRAINED)
    last = LAST_ACTIVATION.get(facts.family)
    if "chi2" in chosen and last is not None and last not in NEVER_NEGATIVE:
        rule = f"χ² wants features that are never negative, and {facts.name}'s come from {last}"
        yield clash(f"{field}.chi2", "chi2", rule, "take anova", "backbone.name")
    width = NUM_FEATURES.get(facts.name)
    for name in chosen:
        found = selection.options[name]["k"]
        if width is not None and highest(found) > width:
            rule = f"the head of {facts.name} sees {width} features"
            remedy = f"write {width} or less"
            yield clash(f"{field}.{name}.k", raw(found), rule, remedy, "backbone.name")


# Augmentation that does nothing, or that may make another class of an image.


TRIVIAL_SHIFT = 32
"""Pixels by which TrivialAugment shifts at the most, whatever the size (arXiv:2103.10158)."""

_BASIC = "augmentation.basic."
_CHARACTERS = ("digits", "glyphs", "letters")
_CHARACTER_SETS = ("MNIST", "EMNIST", "KMNIST", "QMNIST", "USPS", "SVHN", "Omniglot")


def augmentation_contradictions(config: StudyConfig) -> Iterator[Fault]:
    """A choice of `basic` that leaves every image as it is."""
    found = _basic(config)
    if found and all(_is_off(name, dimension) for name, dimension in found.items()):
        strengths = ", ".join(found)
        rule = f"changes nothing: all its strengths are off ({strengths})"
        yield clash("space.augmentation", "basic", rule, "write none, or raise one of them")


def augmentation_notes(config: StudyConfig) -> list[str]:
    """What may make another class of an image, or none: a sentence each."""
    return [*_flip_notes(config), *_trivial_notes(config)]


def _flip_notes(config: StudyConfig) -> list[str]:
    flips = {n: d for n, d in _basic(config).items() if n.endswith("flip") and highest(d) > 0}
    if not flips or not _shows_characters(config):
        return []
    fields = " and ".join(f"space.{_BASIC}{n} = {raw(d)}" for n, d in flips.items())
    zeros = ", ".join(f"{name}: 0" for name in flips)
    return [f"{fields}: a flipped character is another one, or none; write {zeros}"]


def _trivial_notes(config: StudyConfig) -> list[str]:
    if "trivial" not in config.space.augmentation.names:
        return []
    found = []
    if config.data.size < 2 * TRIVIAL_SHIFT:
        share = min(1.0, TRIVIAL_SHIFT / config.data.size)
        found.append(f"shifts some images by up to {TRIVIAL_SHIFT} pixels, {share:.0%} of the side")
    if _shows_characters(config):
        found.append("turns some by up to 135 degrees, and a 6 may be read as a 9")
    effects = " and ".join(found)
    return (
        [f"space.augmentation: trivial {effects}; basic keeps to what you allow"] if found else []
    )


def _basic(config: StudyConfig) -> dict[str, Dimension]:
    """The strengths of `basic`; empty where it is no choice."""
    return {
        name.removeprefix(_BASIC): dimension
        for name, dimension in config.space.dimensions().items()
        if name.startswith(_BASIC)
    }


def _is_off(name: str, dimension: Dimension) -> bool:
    if name == "crop":
        return lowest(dimension) == 1
    return isinstance(dimension, Fixed) and highest(dimension) == 0


def _shows_characters(config: StudyConfig) -> bool:
    source = config.data.source
    if isinstance(source, TorchvisionSet):
        return source.name in _CHARACTER_SETS
    return source_name(source) in _CHARACTERS


# What is no mistake, but good to know before running.


def notes(config: StudyConfig) -> list[str]:
    """What is no mistake, but good to know before running: one sentence each."""
    found: list[str] = []
    trials, search = config.budget.trials, config.search
    if not config.searched():
        found.append("space searches nothing: all trials train the same strategy")
    startup = getattr(search.sampler, "n_startup_trials", 0)
    if startup >= trials and config.searched():
        found.append(
            f"the sampler's first {startup} trials are random, so all {trials} trials will be"
        )
    if config.confirm.seeds and config.confirm.top > trials:
        found.append(f"confirm.top = {config.confirm.top}: all {trials} trials may be confirmed")
    if isinstance(search.sampler, CmaEs):
        unmodelled = [n for n, d in config.searched().items() if isinstance(d, Choice)]
        if unmodelled:
            found.append(f"cmaes leaves lists to chance: {', '.join(unmodelled)}")
    if isinstance(search.pruner, Hyperband):
        brackets = search.pruner.brackets(pruning_steps(config).number)
        if brackets > 1 and isinstance(search.sampler, Tpe):
            found.append(
                f"hyperband splits the trials into {brackets} brackets, and tpe learns in each "
                f"apart: its first {startup} trials there are random"
            )
    if isinstance(search.pruner, Wilcoxon) and not config.data.split.folds:
        found.append(
            "wilcoxon compares learning curves epoch by epoch as if epochs were independent; "
            "it is made for folds, so read its p_threshold as a setting and not as a probability"
        )
    split = config.data.split
    if split.folds and isinstance(search.pruner, Median | Percentile):
        found.append(
            "median and percentile judge a trial by the best of its means so far, so a lucky first "
            "fold protects it; hyperband and wilcoxon do not"
        )
    if split.folds and config.confirm.seeds and split.strategy != "time":
        found.append(
            f"a trial's value is the mean over {split.folds} folds; each confirmation seed trains "
            "once and holds out one fold of a draw of its own"
        )
    found += [*augmentation_notes(config), *fine_tuning_notes(config)]
    return [*found, *seed_notes(config)]


def seed_notes(config: StudyConfig) -> list[str]:
    """What confirmation seeds do not redraw: a sentence, or none."""
    split = config.data.split
    if split.strategy != "time" or not config.confirm.seeds:
        return []
    last = "all train on the last fold's parts; " if split.folds else ""
    return [
        f"{last}time cannot be drawn again: confirmation seeds differ in initial weights, in "
        "order and in which labels labels_per_class picks, not in their parts"
    ]
