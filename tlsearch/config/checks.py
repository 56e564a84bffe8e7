"""Contradictions between fields that are each right by themselves, and what is good to know."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from math import inf

from tlsearch.config.catalog import (
    USUAL_MOMENTUM,
    groups,
    reuse,
)
from tlsearch.config.cells import comparison_contradictions
from tlsearch.config.cost import head_alone_trains, num_batches, train_images
from tlsearch.config.network_checks import network_contradictions
from tlsearch.config.portfolio import start_note
from tlsearch.config.schema import StudyConfig
from tlsearch.config.search_options import CmaEs, Hyperband, Median, Percentile, Tpe, Wilcoxon
from tlsearch.config.sources import (
    Digits,
    EmbeddedSource,
    TorchvisionSet,
    known_facts,
    source_name,
)
from tlsearch.config.space import Choice, Dimension, Fixed, Range, highest, lowest, raw, values
from tlsearch.config.strategy import ALL, NORMS
from tlsearch.config.validation import Fault, Loc, clash
from tlsearch.errors import nearest, shown


def contradictions(config: StudyConfig) -> list[Fault]:
    """All contradictions of a study, in the order of its fields; those of a comparison's cells are
    found in the cells.
    """
    if config.comparison is not None:
        return list(comparison_contradictions(config))
    checks = (
        _data,
        _planted,
        network_contradictions,
        _epochs,
        _warmup,
        _optimizer,
        _basic,
        _of_each_network,
    )
    found = [fault for check in checks for fault in check(config)]
    found += config.search.sampler.contradictions(config)
    found += config.search.pruner.contradictions(config)
    stop = config.search.stop
    return found if stop is None else [*found, *stop.contradictions(config)]


# The section `data`, as far as its contradictions show before files are read.


_FRACTIONS = ("data.split.validation", "data.split.test")
_NEEDS = {"group": "groups", "stratified_group": "groups", "given": "parts", "time": "times"}


def _data(config: StudyConfig) -> Iterator[Fault]:
    data, split, source = config.data, config.data.split, config.data.source
    held_out = split.test + ((1 - split.test) / split.folds if split.folds else split.validation)
    known, labels = known_facts(source), data.labels_per_class
    if held_out >= 1 - 1e-9:
        rule = f"validation + test = {held_out:g} leaves nothing to train on"
        written = shown({"validation": split.validation, "test": split.test})
        involved = tuple(tuple(field.split(".")) for field in _FRACTIONS)
        remedy = "lower one of them, to a sum below 1"
        yield Fault(("data", "split"), written, rule, remedy, involved)
    elif known is not None and labels is not None:
        most = known.smallest_class
        if split.strategy == "stratified":
            # Rounding to whole images may take one from the class.
            most = max(1, int(most * (1 - held_out) + 1e-9))
        if labels > most:
            rule = f"the training part has {most} images of its smallest class"
            remedy = f"take {most} or less, or null for all"
            others = (*_FRACTIONS, "data.split.strategy", "data.source")
            yield clash(config, "data.labels_per_class", rule, remedy, *others)
    if split.gap and split.strategy != "time":
        rule = f"a split that is {split.strategy} has no order in time to leave a gap in"
        remedy = "write strategy: time, or drop the gap"
        yield clash(config, "data.split.gap", rule, remedy, "data.split.strategy")
    needed = _NEEDS.get(split.strategy)
    has_times = isinstance(source, Digits) and needed == "times"
    has_parts = data.planted is not None and needed == "parts"
    if needed and isinstance(source, EmbeddedSource) and not (has_times or has_parts):
        rule = f"the source {source_name(source)} has no {needed}"
        remedy = "write strategy: stratified, or give a manifest that has them"
        yield clash(config, "data.split.strategy", rule, remedy, "data.source")
    if split.strategy == "time" and known is not None:
        before_test = known.images - round(known.images * split.test) - split.gap
        held = round(known.images * split.validation)
        if split.folds:
            held = before_test // (split.folds + 1) * split.folds
        if before_test - held - split.gap < 1:
            rule = f"leaves none of {known.images} images to train on"
            involved_too = (*_FRACTIONS, "data.split.folds", "data.split.strategy", "data.source")
            remedy = "lower it, or validate on less"
            yield clash(config, "data.split.gap", rule, remedy, *involved_too)


def _planted(config: StudyConfig) -> Iterator[Fault]:
    field, planted, split = "data.planted", config.data.planted, config.data.split
    if planted is None:
        return
    if not isinstance(config.data.source, EmbeddedSource):
        rule = "defects are planted into a source that tlsearch carries, into no images of yours"
        remedy = "drop it, or take digits, glyphs, letters or textures"
        yield clash(config, field, rule, remedy, "data.source")
    if split.strategy != "given":
        rule = "parts are drawn, stratified, before anything is planted, and stand as given"
        remedy = "write data.split.strategy: given"
        yield clash(config, field, rule, remedy, "data.split.strategy")
    if split.folds:
        rule = "each image would validate once, those with planted defects too"
        yield clash(config, field, rule, "write data.split.folds: null", "data.split.folds")
    if not planted.label_noise and not planted.duplicates:
        remedy = "set label_noise or duplicates, or write null"
        yield clash(config, field, "plants nothing", remedy)


# How long a training takes: what would come after its end, or before its beginning.


def _epochs(config: StudyConfig) -> Iterator[Fault]:
    """What shows nothing within the epochs of a trial, and freezing beyond the head."""
    space, epochs, facts = config.space, config.budget.epochs, config.backbone.shallowest
    names = groups(facts)
    deepest = len(names) - 1
    if highest(space.freeze_depth) > deepest:
        rule = f"{facts.name} has {len(names)} layer groups ({', '.join(names)})"
        which = f"where {deepest} trains the head alone"
        if len(config.backbone.names) > 1:
            which = "which all of these networks have"
        remedy = f"freeze 0 to {deepest}, {which}"
        yield clash(config, "space.freeze_depth", rule, remedy, "backbone.name")
    limits = _limits(epochs)
    if highest(space.unfreeze_every_epochs) > 0 and highest(space.freeze_depth) == 0:
        del limits["unfreeze_every_epochs"]
        rule = "nothing is frozen that could be unfrozen: space.freeze_depth is 0"
        field, remedy = "space.unfreeze_every_epochs", "drop it, or freeze groups"
        yield clash(config, field, rule, remedy, "space.freeze_depth")
    for name, found in space.dimensions().items():
        limit, problem, otherwise = limits.get(name, (inf, "", ""))
        if highest(found) >= limit:
            remedy = f"take less than {limit}, {otherwise}"
            others = ["space.schedule"] if name.startswith("schedule") else []
            yield clash(
                config,
                f"space.{name}",
                f"{problem} {epochs} epochs",
                remedy if limit > 1 else "train for more epochs",
                *others,
                "budget.epochs",
            )


def _limits(epochs: int) -> dict[str, tuple[int, str, str]]:
    """The dimensions that show nothing from a value on, which is given with why, and what else to
    do than to take less.
    """
    # A plateau shows after a first epoch, and a cut needs an epoch after it.
    longer = "train longer, or take another schedule"
    plateau = "no cut can follow a plateau within"
    return {
        "unfreeze_every_epochs": (epochs, "opens nothing within", "or train longer"),
        "schedule.step.every_epochs": (epochs, "no step falls within", longer),
        "schedule.plateau.patience_epochs": (epochs - 2, plateau, longer),
        "warmup_epochs": (epochs, "warm-up is as long as training,", "or train longer"),
        "patience_epochs": (epochs, "never stops a training of", "or null for never"),
    }


def cut_to_epochs(config: StudyConfig) -> dict[str, Dimension]:
    """What is left of the searched dimensions that reach beyond what `budget.epochs` allows; of a
    warm-up in steps where the number of images is known.
    """
    searched, images = config.space.searched(), train_images(config)
    limits = {name: limit for name, (limit, _, _) in _limits(config.budget.epochs).items()}
    if images is not None:
        limits["warmup_steps"] = _fewest_steps(config, images)
    return {
        name: left
        for name, limit in limits.items()
        if name in searched and highest(searched[name]) >= limit
        if (left := _below(searched[name], limit)) is not None
    }


def _below(dimension: Dimension, limit: int) -> Dimension | None:
    """What is left of a searched dimension below a limit, null included; None if nothing is."""
    numbers = [v for v in values(dimension) if isinstance(v, int) and v < limit]
    if isinstance(dimension, Range) and len(numbers) > 1:
        return replace(dimension, high=numbers[-1])
    left = tuple(v for v in values(dimension) if v is None or v in numbers)
    return (Choice(left) if len(left) > 1 else Fixed(left[0])) if left else None


def _warmup(config: StudyConfig) -> Iterator[Fault]:
    ways = {"epochs": "in epochs", "steps": "in steps", "fraction": "as a share of the training"}
    given = [way for way in ways if highest(getattr(config.space, f"warmup_{way}")) > 0]
    for way in given[1:]:
        rule = f"warm-up is given {ways[given[0]]} and {ways[way]}"
        remedy, other = "keep one of them, the other 0", f"space.warmup_{given[0]}"
        yield clash(config, f"space.warmup_{way}", rule, remedy, other)
    images = train_images(config)
    if images is not None:
        yield from step_contradictions(config, images)
    if highest(config.space.warmup_start_fraction) > 0 and not given:
        rule = "there is no warm-up that it could start"
        remedy = "drop it, or set space.warmup_fraction"
        others = [f"space.warmup_{way}" for way in ways]
        yield clash(config, "space.warmup_start_fraction", rule, remedy, *others)


def _fewest_steps(config: StudyConfig, images: int) -> int:
    """Steps of a training at the largest batch size."""
    batch = int(highest(config.space.batch_size))
    return config.budget.epochs * num_batches(images, batch_size=batch)


def step_contradictions(config: StudyConfig, images: int) -> Iterator[Fault]:
    """What cannot go together with a training part of so many images; of files their number is
    known only once they are read.
    """
    batch, total = highest(config.space.batch_size), _fewest_steps(config, images)
    if highest(config.space.warmup_steps) >= total:
        rule = f"warm-up is as long as training, {total} steps at batch size {batch:g}"
        others = ("budget.epochs", "space.batch_size", "data.split", "data.labels_per_class")
        remedy = f"take less than {total}" if total > 1 else "train longer"
        remedy += ", or write space.warmup_fraction in its place"
        yield clash(config, "space.warmup_steps", rule, remedy, *others)


def _optimizer(config: StudyConfig) -> Iterator[Fault]:
    sgd = config.space.optimizer.options.get("sgd")
    if sgd and True in values(sgd["nesterov"]) and lowest(sgd["momentum"]) == 0:
        field, other = "space.optimizer.sgd.nesterov", "space.optimizer.sgd.momentum"
        rule = "Nesterov's step needs momentum, which may be 0 here"
        yield clash(config, field, rule, f"raise {other} above 0", other)


# What trains, what pulls it back, and what the head starts from, on each network by itself.


_FREEZE, _TRAINED, _WEIGHTS = "space.freeze_depth", "space.trained", "backbone.weights"


def _of_each_network(config: StudyConfig) -> Iterable[Fault]:
    """Those of each network; what several have in common comes once."""
    seen: dict[tuple[Loc, str], Fault] = {}
    checks = (_trained, _head_alone, _pretrained, _norms, _selection, _adaptation, _source_task)
    for name in config.backbone.with_weights:
        ours = config.with_backbone(name)
        for found in (fault for check in checks for fault in check(ours)):
            seen.setdefault((found.loc, found.rule), found)
    return seen.values()


def _trained(config: StudyConfig) -> Iterator[Fault]:
    facts, wanted = config.backbone.facts, [str(v) for v in values(config.space.trained)]
    known = groups(facts)
    for name in dict.fromkeys(name for choice in wanted for name in choice.split("+")):
        if name not in (ALL, NORMS, *known):
            rule = f"{facts.name} has no layer group {name} (it has {', '.join(known)})"
            remedy = nearest(name, [*known, ALL, NORMS]) or "name some of these"
            yield clash(config, _TRAINED, rule, remedy, "backbone.name")
    if NORMS in wanted and not facts.has_norms:
        rule = f"{facts.name} has no normalisation layers"
        remedy = f"take {facts.name}_bn" if facts.family == "vgg" else f"write {ALL}"
        yield clash(config, _TRAINED, rule, remedy, "backbone.name")
    if wanted != [ALL] and highest(config.space.freeze_depth) > 0:
        rule = "says by name what trains, and space.freeze_depth says it by depth"
        yield clash(config, _TRAINED, rule, "set space.freeze_depth: 0", _FREEZE)


def _head_alone(config: StudyConfig) -> Iterator[Fault]:
    """Rates of layers and pulls on them where nothing trains but the head, and two falls of one."""
    space = config.space
    decays, falls = lowest(space.layer_decay) < 1, lowest(space.lr_ratio) < 1
    if decays and falls:
        rule = "the rate falls per layer, and by space.lr_ratio per group as well"
        remedy = "keep one of them, the other 1"
        yield clash(config, "space.layer_decay", rule, remedy, "space.lr_ratio")
    if head_alone_trains(config):
        of_layers = {"layer_decay": decays, "lr_ratio": falls, "l2_sp": highest(space.l2_sp) > 0}
        for name in (name for name, is_set in of_layers.items() if is_set):
            rule, remedy = "nothing trains but the head", "drop it, or let more train"
            yield clash(config, f"space.{name}", rule, remedy, _FREEZE, _TRAINED)


def _pretrained(config: StudyConfig) -> Iterator[Fault]:
    space, lacking = config.space, "there are no pretrained weights"
    is_random = config.backbone.weights == "none"
    if highest(space.l2_sp) > 0 and is_random:
        rule = f"{lacking} to be pulled towards"
        remedy = "write 0, or choose backbone.weights; decay towards 0 is space.weight_decay"
        yield clash(config, "space.l2_sp", rule, remedy, _WEIGHTS)
    norms_stay = NORMS in values(space.trained) and False in values(space.decay_norm_and_bias)
    if highest(space.l2_sp) > 0 and norms_stay:
        rule = "norms may train alone, and it pulls them only where they decay"
        remedy = "write 0, train more than norms, or set space.decay_norm_and_bias: true"
        yield clash(config, "space.l2_sp", rule, remedy, _TRAINED, "space.decay_norm_and_bias")
    if "probe" in values(space.head_init) and is_random:
        rule = f"{lacking} whose features a probe could read"
        remedy = "write random, or choose backbone.weights"
        yield clash(config, "space.head_init", rule, remedy, _WEIGHTS)


def _norms(config: StudyConfig) -> Iterator[Fault]:
    facts = config.backbone.facts
    if highest(config.space.norm_momentum) > 0 and facts.norm_momentum is None:
        rule = f"{facts.name} has no BatchNorm, whose running statistics it would be of"
        yield clash(config, "space.norm_momentum", rule, "write null", "backbone.name")
    if "pretrained" not in values(config.space.norm_statistics):
        return
    name = "space.norm_statistics"
    if facts.norm_momentum is None:
        rule = f"{facts.name} has no BatchNorm, whose statistics they would be"
        yield clash(config, name, rule, "write batch", "backbone.name")
    elif config.backbone.weights == "none":
        rule = "a network with random weights has learnt no statistics"
        yield clash(config, name, rule, "write batch, or choose backbone.weights", _WEIGHTS)
    elif highest(config.space.norm_momentum) > 0 and len(values(config.space.norm_statistics)) == 1:
        rule = "statistics that rest take no share of a batch"
        yield clash(config, "space.norm_momentum", rule, f"write null, or {name}: batch", name)


def _selection(config: StudyConfig) -> Iterator[Fault]:
    selection, facts = config.space.feature_selection, config.backbone.facts
    chosen = [name for name in selection.names if name != "none"]
    field = "space.feature_selection"
    if chosen and not head_alone_trains(config):
        rule = "features are selected before training, so nothing but the head may train"
        remedy = f"set space.freeze_depth: {len(groups(facts)) - 1}, or write none"
        yield clash(config, field, rule, remedy, _FREEZE, _TRAINED)
    if "chi2" in chosen and facts.has_negative_features:
        last = facts.last_activation
        rule = f"χ² wants features that are never negative, and {facts.name}'s come from {last}"
        yield clash(config, f"{field}.chi2", rule, "take anova", "backbone.name", value="chi2")
    for name in chosen:
        most = facts.num_features
        if highest(selection.options[name]["k"]) > most:
            rule, remedy = f"the head of {facts.name} sees {most} features", f"write {most} or less"
            yield clash(config, f"{field}.{name}.k", rule, remedy, "backbone.name")


# What needs images of the task that the weights were trained on, and whether there are any.


_REMEDY = "write backbone.source: {folder: PATH}, labelled images of that task"


def knows_source(config: StudyConfig) -> bool:
    """Whether images of the source task are at hand: the embedded weights know theirs."""
    return config.backbone.weights == "glyphs" or config.backbone.source is not None


def _adaptation(config: StudyConfig) -> Iterator[Fault]:
    field, options = "space.adaptation", config.space.adaptation.options
    chosen = [name for name in options if name != "none"]
    if chosen and not knows_source(config):
        verb = "takes" if len(chosen) == 1 else "take"
        rule = f"{' and '.join(chosen)} {verb} images towards the source's, and none are known"
        yield clash(config, field, rule, _REMEDY, "backbone.source", value=chosen)
    for name, inner in ((name, inner) for name in chosen for inner in ("band", "strength")):
        if highest(options[name].get(inner, Fixed(1.0))) == 0:
            remedy = "raise it, or write space.adaptation: none"
            yield clash(config, f"{field}.{name}.{inner}", "0 changes no image", remedy)
    if "style" in chosen and config.backbone.weights == "none":
        rule = "an untrained network has no style"
        remedy = "take fourier or moments, or pretrained weights"
        yield clash(config, field, rule, remedy, "backbone.weights", value="style")
    facts = config.backbone.facts
    size = len(groups(facts)) - 1
    if "style" in chosen and highest(options["style"]["layers"]) > size:
        rule = f"{config.backbone.name} has {size} layer groups before its head"
        yield clash(config, f"{field}.style.layers", rule, f"take 1 to {size}", "backbone.name")
    elif "style" in chosen and lowest(options["style"]["layers"]) < min(facts.cuts, default=inf):
        rule = f"of {facts.name} they cannot be seen: {reuse(facts)}"
        first = f"take {min(facts.cuts)} or more" if facts.cuts else "take fourier or moments"
        yield clash(config, f"{field}.style.layers", rule, first, "backbone.name")


def _source_task(config: StudyConfig) -> Iterator[Fault]:
    if config.backbone.weights == "glyphs" and config.backbone.source is not None:
        rule = "the weights glyphs know their source: printed characters"
        remedy = "drop it, or give every network weights of one source"
        yield clash(config, "backbone.source", rule, remedy, "backbone.weights")
    if highest(config.space.source_task_weight) <= 0:
        return
    field = "space.source_task_weight"
    if not knows_source(config):
        yield clash(
            config, field, "no images of the source task are known", _REMEDY, "backbone.source"
        )
    if head_alone_trains(config):
        rule = "the head alone trains, so that both tasks share nothing that learns"
        others = ("space.freeze_depth", "space.unfreeze_every_epochs", "space.trained")
        yield clash(config, field, rule, "write 0, or let more train", *others)


# Augmentation that does nothing, or that may make another class of an image.


TRIVIAL_SHIFT = 32
"""Pixels by which TrivialAugment shifts at the most, whatever the size (arXiv:2103.10158)."""
_CHARACTERS = ("digits", "glyphs", "letters")
_CHARACTER_SETS = ("MNIST", "EMNIST", "KMNIST", "QMNIST", "USPS", "SVHN", "Omniglot")


def _basic(config: StudyConfig) -> Iterator[Fault]:
    """A choice of `basic` that leaves every image as it is."""
    found = config.space.augmentation.options.get("basic", {})
    if found and all(_is_off(name, dimension) for name, dimension in found.items()):
        rule = f"changes nothing: all its strengths are off ({', '.join(found)})"
        remedy = "write none, or raise one of them"
        yield clash(config, "space.augmentation", rule, remedy, value="basic")


def _is_off(name: str, dimension: Dimension) -> bool:
    if name == "crop":
        return lowest(dimension) == 1
    return isinstance(dimension, Fixed) and highest(dimension) == 0


def augmentation_notes(config: StudyConfig) -> list[str]:
    """What may make another class of an image, or none: a sentence each."""
    source, options, notes = config.data.source, config.space.augmentation.options, []
    shows_characters = source_name(source) in _CHARACTERS or (
        isinstance(source, TorchvisionSet) and source.name in _CHARACTER_SETS
    )
    basic = options.get("basic", {}).items()
    flips = {n: d for n, d in basic if n.endswith("flip") and highest(d) > 0}
    if flips and shows_characters:
        fields = [f"space.augmentation.basic.{n} = {raw(d)}" for n, d in flips.items()]
        zeros = ", ".join(f"{name}: 0" for name in flips)
        notes.append(
            f"{' and '.join(fields)}: a flipped character is another one, or none; write {zeros}"
        )
    effects = []
    if config.data.size < 2 * TRIVIAL_SHIFT:
        share = min(1.0, TRIVIAL_SHIFT / config.data.size)
        effects.append(
            f"shifts some images by up to {TRIVIAL_SHIFT} pixels, {share:.0%} of the side"
        )
    if shows_characters:
        effects.append("turns some by up to 135 degrees, and a 6 may be read as a 9")
    if "trivial" in options and effects:
        what = " and ".join(effects)
        notes.append(f"space.augmentation: trivial {what}; basic keeps to what you allow")
    return notes


# What is no mistake, but good to know before running: one sentence each.


LAGGING = 0.1
"""The share of old running statistics from which on they are remarked on. A guess."""


def notes(config: StudyConfig) -> list[str]:
    """All notes on a study that searches."""
    found: list[str] = []
    trials, search, split = config.num_trials(), config.search, config.data.split
    startup = getattr(search.sampler, "n_startup_trials", 0)
    if trials < config.budget.trials:
        found.append(few_configurations(config))
    elif startup >= trials:
        found.append(
            f"the sampler's first {startup} trials are random, so all {trials} trials will be"
        )
    if start_note(config):
        found.append(start_note(config))
    if search.stop is not None:
        found.append(search.stop.note(config))
    if config.confirm.seeds and config.confirm.top > trials:
        found.append(f"confirm.top = {config.confirm.top}: all {trials} trials may be confirmed")
    unmodelled = [n for n, d in config.searched().items() if isinstance(d, Choice)]
    if isinstance(search.sampler, CmaEs) and unmodelled:
        found.append(f"cmaes leaves lists to chance: {', '.join(unmodelled)}")
    if isinstance(search.pruner, Hyperband) and isinstance(search.sampler, Tpe):
        brackets = search.pruner.brackets(split.folds or config.budget.epochs)
        if brackets > 1:
            found.append(
                f"hyperband splits the trials into {brackets} brackets, and tpe learns in each "
                f"apart: its first {startup} trials there are random"
            )
    if isinstance(search.pruner, Wilcoxon) and not split.folds:
        found.append(
            "wilcoxon compares learning curves epoch by epoch as if epochs were independent; "
            "it is made for folds, so read its p_threshold as a setting and not as a probability"
        )
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
    return found + strategy_notes(config)


def few_configurations(config: StudyConfig) -> str:
    """What is said where there are fewer configurations than trials."""
    size = config.num_configurations()
    are = "is 1 configuration" if size == 1 else f"are {size} different configurations"
    nothing = "" if config.searched() else "space searches nothing: "
    return (
        f"{nothing}there {are}, and none is trained twice: {size} of the {config.budget.trials} "
        "trials of budget.trials will be run"
    )


def strategy_notes(config: StudyConfig) -> list[str]:
    """Those that hold of a comparison's cells as well."""
    found, split, images = augmentation_notes(config), config.data.split, train_images(config)
    if highest(config.space.l2_sp) > 0 and highest(config.space.weight_decay) > 0:
        found.append("with l2_sp above 0, weight_decay is the head's alone")
    if images is not None:
        found += step_notes(config, images)
    if split.strategy == "time" and config.confirm.seeds:
        last = "all train on the last fold's parts; " if split.folds else ""
        found.append(
            f"{last}time cannot be drawn again: confirmation seeds differ in initial weights, in "
            "order and in which labels labels_per_class picks, not in their parts"
        )
    return found


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
    for ours in map(config.with_backbone, config.backbone.names):
        # Running statistics that would largely be the pretrained ones after so many steps.
        momentum = ours.backbone.facts.norm_momentum or USUAL_MOMENTUM
        left, is_set = (1 - momentum) ** steps, highest(config.space.norm_momentum) > 0
        moves = "batch" in values(ours.space.norm_statistics)
        is_slow = momentum < USUAL_MOMENTUM and left > LAGGING and moves
        if is_slow and not is_set and not head_alone_trains(ours):
            found.append(
                f"{ours.backbone.name}'s running BatchNorm statistics take {momentum:g} of each "
                f"batch, and a training has {steps} steps at the most: {left:.0%} of those that "
                "it is validated by would still be the old ones — set space.norm_momentum: 0.1"
            )
    return found
