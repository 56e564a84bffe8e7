"""What a study may cost at most: trainings, images, multiply-adds, and a guess at the time."""

from collections.abc import Mapping
from typing import NamedTuple

from tlsearch.config.catalog import CATALOGUE, BackboneFacts, groups
from tlsearch.config.cells import Cell, cell_config, cells, compared
from tlsearch.config.runtime import planned_workers, usable_cores
from tlsearch.config.schema import StudyConfig
from tlsearch.config.sources import known_facts
from tlsearch.config.space import Fixed, Space, highest, lowest, values

# On one core, in fp32 and with AdamW: least squares over sixteen networks at 32, 96 and 160 px,
# whose estimates are 0.7 to 1.5 times what was measured (benchmarks/step_times.py). Depthwise
# convolutions compute little and give as many numbers as others.
_SECONDS_PER_GIGA_MAC, _SECONDS_PER_GIGA_ACTIVATION = 0.0104, 3.9
_SECONDS_PER_STEP, _SECONDS_PER_GIGA_PARAMETER = 0.005, 15.0
_SECONDS_PER_HEAD_STEP = 0.001  # a guess
_SECONDS_PER_TRAINING = 1.0  # a guess: building the network, and measuring what was trained
# Through a layer, backward computes two products (by weights and by inputs) for forward's one.
_BACKWARD = 2
STYLE_STEPS = 60
"""Steps in which an image takes on another's style; each is one pass forward and one product back
through each layer.
"""


class Estimate(NamedTuple):
    """An upper bound: pruning, freezing and early stopping only lower it.

    `seconds` is a guess from multiply-adds, activations, steps and the number of workers, good to a
    factor of 2 or 3 on a machine that does nothing else. What a frozen part saves is credited where
    the head alone trains on kept features; source models that must be made first are not counted.
    """

    search_trainings: int
    baseline_trainings: int
    confirm_trainings: int
    train_images: int
    eval_images: int
    giga_macs: float
    workers: int
    seconds: float

    @property
    def trainings(self) -> int:
        """All trainings together."""
        return self.search_trainings + self.baseline_trainings + self.confirm_trainings


def num_batches(num_images: int, *, batch_size: int) -> int:
    """Optimizer steps of an epoch. What is left after the last whole batch is a smaller one of its
    own, or, if it is less than a quarter of one or a single image, joins the one before.

    Of a single image BatchNorm has no variance, and the statistics of a few upset it where the last
    maps are one pixel, as ResNet-18's are at 32 px.
    """
    whole, rest = divmod(num_images, batch_size)
    return max(1, whole + (rest >= max(2, batch_size / 4)))


def train_images(config: StudyConfig) -> int | None:
    """Images that one epoch trains on, at least 1, of the smallest fold; None before files are
    read.
    """
    source = known_facts(config.data.source)
    if source is None:
        return None
    folds, _ = part_sizes(config, num_images=source.images, num_classes=source.classes)
    return min(train for train, _ in folds)


def estimate(
    config: StudyConfig,
    *,
    num_images: int,
    num_classes: int,
    speed: float = 1.0,
) -> Estimate:
    """The cost of a whole study, with workers that compute `speed` times as fast as one core."""
    folds, test = part_sizes(config, num_images=num_images, num_classes=num_classes)
    train, validation = (sum(part) / len(folds) for part in zip(*folds, strict=True))
    epochs, confirm, baselines = config.budget.epochs, config.confirm, config.baselines
    search = config.num_trials() * len(folds)
    rounds = {"fixed": 0 if confirm.seeds else 1, "tuned": config.num_trials()}
    compared = sum(rounds[mode] for mode in baselines.values()) * len(folds)
    repeated = sum(min(size, config.num_trials()) for size in confirm.rounds)
    confirmed = repeated + len(baselines) * confirm.seeds
    trainings = search + compared + confirmed
    # The probe's trunk is frozen: forward alone, and its features could even be reused.
    probes = (confirm.seeds or len(folds)) if "linear_probe" in baselines else 0
    train_passes = round(trainings * epochs * train)
    eval_passes = round(trainings * epochs * validation) + confirmed * test
    own = search + repeated  # not baselines
    kept = own if reuses_features(config) else 0
    forward = round((trainings - kept) / trainings * (train_passes + eval_passes))
    forward += num_images if kept else 0
    backward = (trainings - kept - probes) * epochs * train * _BACKWARD
    # The source's batch is as large as the target's.
    if highest(config.space.source_task_weight) > 0:
        forward, backward = forward + train_passes, 2 * backward
        train_passes *= 2
    # Baselines are not attacked.
    attacks = own * epochs * train * attack_passes(config.space)
    # Of several networks a sampler may come to try little but the largest.
    networks, size = [CATALOGUE[name] for name in config.backbone.names], config.data.size
    # Every draw of the parts changes the style of its images once.
    restyles = 2 * STYLE_STEPS if "style" in config.space.adaptation.names else 0
    styled = (len(folds) + confirm.seeds) * (train + validation) * restyles
    passes = forward + backward + attacks + styled
    steps = epochs * num_batches(round(train), batch_size=int(lowest(config.space.batch_size)))
    alone = kept + probes
    # Besides what grows with the images.
    per_step = max(map(seconds_per_step, networks))
    seconds = passes * max(seconds_per_image(facts, size) for facts in networks)
    seconds += steps * ((trainings - alone) * per_step + alone * _SECONDS_PER_HEAD_STEP)
    seconds = seconds / speed + trainings * _SECONDS_PER_TRAINING
    workers = planned_workers(config.workers, device=config.device)
    return Estimate(
        search_trainings=search,
        baseline_trainings=compared,
        confirm_trainings=confirmed,
        train_images=train_passes,
        eval_images=eval_passes,
        giga_macs=passes * max(giga_macs(facts, size) for facts in networks),
        workers=workers,
        seconds=seconds / min(workers, usable_cores()),
    )


def attack_passes(space: Space) -> float:
    """Forward passes that adversarial training adds for each training image, at the most.

    A step of an attack takes one forward, and through each layer one product backward: that by its
    weights, for the gradient of its inputs.
    """
    passes = [0.0]
    for name, fields in space.adversarial.options.items():
        if name != "none":
            steps = highest(fields.get("num_steps", Fixed(1)))
            passes.append(2 * steps * highest(fields["share"]))
    return max(passes)


def giga_macs(facts: BackboneFacts, image_size: int) -> float:
    """Multiply-adds of one image forward, in 10⁹; convolutions grow with its area."""
    return facts.giga_macs * (image_size / facts.native_size) ** 2


def seconds_per_image(facts: BackboneFacts, image_size: int) -> float:
    """A pass forward of one image on one core; a pass back through each layer takes twice that."""
    activations = facts.mega_activations / 1000 * (image_size / facts.native_size) ** 2
    computed = giga_macs(facts, image_size) * _SECONDS_PER_GIGA_MAC
    return computed + activations * _SECONDS_PER_GIGA_ACTIVATION


def seconds_per_step(facts: BackboneFacts) -> float:
    """What a step of the optimizer takes on one core however few its images."""
    return _SECONDS_PER_STEP + facts.num_parameters / 1e9 * _SECONDS_PER_GIGA_PARAMETER


def part_sizes(
    config: StudyConfig, *, num_images: int, num_classes: int
) -> tuple[list[tuple[int, int]], int]:
    """About how many images train and validate, of each fold, and test."""
    split, labels = config.data.split, config.data.labels_per_class
    test = round(num_images * split.test)
    rest = num_images - test
    folds = split.folds or 1
    if split.strategy == "time":
        rest -= split.gap
        held = rest // (folds + 1) if split.folds else round(num_images * split.validation)
        found = [(rest - split.gap - held * left, held) for left in range(folds, 0, -1)]
    elif split.folds:
        held = rest // folds
        found = [(rest - held, held)] * folds
    else:
        held = round(num_images * split.validation)
        found = [(rest - held, held)]
    most = num_images if labels is None else labels * num_classes
    return [(max(1, min(train, most)), held) for train, held in found], test


# What a comparison will take: trainings of each cell, and a guess at the time.


class Plan(NamedTuple):
    """Trainings of a whole comparison; `seconds` is a guess, good to a factor of 2 or 3."""

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
    found = []
    for cell in cells(compared(config)):
        ours = cell_config(config, cell)
        images, classes = sizes[cell.scenario]
        cost = estimate(ours, num_images=images, num_classes=classes)
        seconds = cost.seconds / cost.trainings * num_runs(ours, cell)
        found.append((num_tuning(ours), ours.confirm.seeds, num_swept(ours, cell), seconds))
    return Plan(*map(sum, zip(*found, strict=True)))


def num_tuning(config: StudyConfig) -> int:
    """How many trials a cell tunes with; none where its strategy leaves nothing open."""
    return config.num_trials() if config.searched() else 0


def num_swept(config: StudyConfig, cell: Cell) -> int:
    """Trainings of a cell's sweeps; a setting that the confirmation trains anyway is counted."""
    comparison = compared(config)
    sweeps = [sweep for sweep in comparison.sweeps_in(cell.scenario) if sweep.arm == cell.arm]
    return sum(len(sweep.values) for sweep in sweeps) * comparison.sweeps.seeds


def num_runs(config: StudyConfig, cell: Cell) -> int:
    """All trainings of a cell."""
    return num_tuning(config) + config.confirm.seeds + num_swept(config, cell)


# Which part of a network the strategies of a study train at the most.


def head_alone_trains(config: StudyConfig) -> bool:
    """Whether no strategy of the space trains more than the head."""
    space, deepest = config.space, len(groups(config.backbone.facts)) - 1
    stands = lowest(space.freeze_depth) >= deepest and highest(space.unfreeze_every_epochs) == 0
    return stands or values(space.trained) == [groups(config.backbone.facts)[-1]]


def reuses_features(config: StudyConfig) -> bool:
    """Whether every strategy, on each network, trains the head alone on images that never change:
    what the body makes of them is then computed once and kept.
    """
    space = config.space
    changes = (space.augmentation, space.mixing, space.adversarial, space.adaptation)
    is_plain = highest(space.erasing) <= 0 and all(set(c.names) <= {"none"} for c in changes)
    return is_plain and all(
        head_alone_trains(config.with_backbone(name)) for name in config.backbone.names
    )
