"""What contradicts one another is refused with what to write; what is good to know is noted."""

import pytest

from tests.config.conftest import Read, Refused
from tlsearch.config.augmentation import Fourier, Moments, Style
from tlsearch.config.checks import knows_source, notes
from tlsearch.config.strategy import Strategy
from tlsearch.errors import StudyError

HEAD = "name: s\ndata: {source: digits, size: %s}\nbackbone: {name: %s, weights: %s}\n"
OWN = "backbone.source={folder: photos}"
FILE = "backbone.weights=own.safetensors"
GLYPHS = "backbone.weights=glyphs"
NONE = "backbone.weights=none"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            "space: {freeze_depth: 6}",
            "space.freeze_depth = 6: resnet18 has 6 layer groups (stem, layer1, layer2, layer3, "
            "layer4, head) — freeze 0 to 5, where 5 trains the head alone",
        ),
        ("space: {freeze_depth: [0, 9]}", "space.freeze_depth = [0, 9]: resnet18 has 6 layer"),
        (
            "space: {warmup_epochs: {low: 0, high: 10}}",
            "space.warmup_epochs = {low: 0, high: 10}: warm-up is as long as training, 10 epochs — "
            "take less than 10, or train longer",
        ),
        (
            "space: {warmup_epochs: [0, 1], warmup_steps: {low: 0, high: 5}}",
            "space.warmup_steps = {low: 0, high: 5}: warm-up is given in epochs and in steps — "
            "keep one of them, the other 0",
        ),
        (
            "space: {warmup_epochs: 1, warmup_fraction: {low: 0.0, high: 0.3}}",
            "space.warmup_fraction = {low: 0.0, high: 0.3}: warm-up is given in epochs and as a "
            "share of the training — keep one of them, the other 0",
        ),
        ("space: {warmup_fraction: 1.0}", "space.warmup_fraction = 1.0: must be below 1"),
        (
            "space: {warmup_steps: 340, batch_size: [16, 32]}",
            # 1797 - 359 - 359 = 1079 images: 34 steps of 32, ten times
            "space.warmup_steps = 340: warm-up is as long as training, 340 steps at batch size 32",
        ),
        (
            "space: {warmup_start_fraction: 0.1}",
            "space.warmup_start_fraction = 0.1: there is no warm-up that it could start",
        ),
        (
            "space: {unfreeze_every_epochs: 2}",
            "space.unfreeze_every_epochs = 2: nothing is frozen that could be unfrozen",
        ),
        (
            "space: {unfreeze_every_epochs: 10, freeze_depth: 3}",
            "space.unfreeze_every_epochs = 10: opens nothing within 10 epochs — take less than 10",
        ),
        (
            "space: {schedule: {step: {every_epochs: [5, 10]}}}",
            "space.schedule.step.every_epochs = [5, 10]: no step falls within 10 epochs",
        ),
        (
            "space: {schedule: [cosine, plateau]}\nbudget: {epochs: 4}",
            "space.schedule.plateau.patience_epochs = 2: no cut can follow a plateau within 4 "
            "epochs — take less than 2",
        ),
        (
            "space: {optimizer: {sgd: {momentum: [0, 0.9], nesterov: true}}}",
            "space.optimizer.sgd.nesterov = true: Nesterov's step needs momentum, which may be 0",
        ),
        (
            "space: {patience_epochs: [null, 10]}",
            "space.patience_epochs = [null, 10]: never stops a training of 10 epochs — take less "
            "than 10, or null for never",
        ),
        (
            "search: {pruner: {median: {n_warmup_steps: 10}}}",
            "search.pruner.median.n_warmup_steps = 10: prunes nothing within 10 epochs",
        ),
        (
            "search: {pruner: {percentile: {n_warmup_steps: 12}}}",
            "search.pruner.percentile.n_warmup_steps = 12: prunes nothing within 10 epochs",
        ),
        (
            "search: {pruner: {successive_halving: {min_resource: 11}}}",
            "search.pruner.successive_halving.min_resource = 11: the first rung, after 11 epochs, "
            "is beyond the 10 of a trial — lower it, or train longer",
        ),
        (
            "search: {pruner: {successive_halving: {min_early_stopping_rate: 2}}}",
            "search.pruner.successive_halving.min_early_stopping_rate = 2: the first rung, after "
            "16 epochs",
        ),
        (
            "search: {pruner: {successive_halving: {min_early_stopping_rate: 1000000}}}",
            "after countless epochs",
        ),
        (
            "search: {pruner: {hyperband: {min_resource: 11}}}",
            "search.pruner.hyperband.min_resource = 11: the first rung, after 11 epochs",
        ),
        (
            "search: {pruner: {hyperband: {max_resource: 27}}}",
            "search.pruner.hyperband.max_resource = 27: plans rungs beyond the 10 epochs of a "
            "trial — write auto",
        ),
        (
            "search: {pruner: {hyperband: {min_resource: 5, max_resource: 4}}}",
            "search.pruner.hyperband.max_resource = 4: min_resource = 5 is above it — swap them",
        ),
        (
            "search: {pruner: {wilcoxon: {n_startup_steps: 10}}}",
            "search.pruner.wilcoxon.n_startup_steps = 10: prunes nothing within 10 epochs",
        ),
        (
            "search: {pruner: {wilcoxon: {p_threshold: 0.0001}}}",
            "search.pruner.wilcoxon.p_threshold = 0.0001: 10 epochs can never be that sure — "
            "train for 14 epochs or more",
        ),
        (
            "search: {sampler: {tpe: {multivariate: false, group: true}}}",
            "search.sampler.tpe.group = true: groups are modelled by the multivariate estimator",
        ),
        (
            "search: {sampler: cmaes}\nspace: {batch_size: [16, 32]}",
            'search.sampler = "cmaes": searches ranges of numbers, and space has too few of them',
        ),
        (
            "search: {sampler: {cmaes: {with_margin: true, lr_adapt: true}}}\n"
            "space: {dropout: {low: 0, high: 0.5}}",
            "search.sampler.cmaes.lr_adapt = true: excludes with_margin — keep one of them",
        ),
        (
            "search: {sampler: gp}\nspace: {optimizer: {adam: {}, sgd: {momentum: [0.8, 0.9]}}}",
            "space.optimizer.sgd.momentum = [0.8, 0.9]: is searched for some choices only, which "
            "the sampler gp cannot do — fix it, or use tpe or random",
        ),
        (
            "search: {sampler: grid}\nbudget: {trials: 4}\n"
            "space: {lr: {low: 0.1, high: 1, log: true}}",
            "space.lr = {low: 0.1, high: 1.0, log: true}: has no grid of values — list its values, "
            "such as [0.1, …, 1]",
        ),
        (
            "search: {sampler: grid}\nspace: {dropout: {low: 0, high: 0.5}}",
            "has no grid of values — list its values, such as [0, …, 0.5], or add a step",
        ),
        (
            "search: {sampler: grid}\nspace: {batch_size: [8, 16], freeze_depth: [0, 1, 2]}",
            "budget.trials = 30: the grid has only 6 points — write 6",
        ),
        (
            "search: {sampler: grid}\nspace: {batch_size: {low: 2, high: 1000001}}",
            'search.sampler = "grid": the grid has 1000000 points, more than 100000',
        ),
    ],
)
def test_contradictions(refused: Refused, lines: str, expected: str) -> None:
    (message,) = refused(lines)
    assert message.startswith("line ")
    assert expected in message


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            "split: {validation: 0.4, test: 0.6}",
            "data.split = {validation: 0.4, test: 0.6}: validation + test = 1 leaves nothing to "
            "train on — lower one of them, to a sum below 1",
        ),
        (
            # 174 images of the smallest class, of which a fifth trains
            "split: {validation: 0.2, test: 0.6}, labels_per_class: 35",
            "data.labels_per_class = 35: the training part has 34 images of its smallest class — "
            "take 34 or less, or null for all",
        ),
        ("labels_per_class: 175, split: {strategy: random}", "take 174 or less, or null for all"),
    ],
)
def test_contradictions_in_the_data(refused: Refused, data: str, expected: str) -> None:
    head = f"name: s\ndata: {{source: digits, {data}}}\nbackbone: {{name: vgg11, weights: none}}\n"
    (message,) = refused("", head=head)
    assert message.startswith("line 2: ")
    assert expected in message


@pytest.mark.parametrize(
    ("size", "name", "weights", "expected"),
    [
        (
            7,
            "resnet18",
            "none",
            "line 2: data.size = 7: resnet18 needs images of at least 8 pixels",
        ),
        (31, "vgg11", "none", "data.size = 31: vgg11 needs images of at least 32 pixels"),
        (
            40,
            "vit_b_16",
            "none",
            "whose side is a multiple of 16 pixels — write 32 or 48",
        ),
        (20, "vit_b_16", "none", "multiple of 16 pixels — write 16 or 32"),
        (
            32,
            "resnet18",
            "IMAGENET1K_V2",
            'line 3: backbone.weights = "IMAGENET1K_V2": torchvision has no such weights for '
            "resnet18 — did you mean 'IMAGENET1K_V1'?",
        ),
        (
            224,
            "vit_b_16",
            "IMAGENET1K_SWAG_V1",
            "(known: IMAGENET1K_V1, IMAGENET1K_SWAG_E2E_V1, IMAGENET1K_SWAG_LINEAR_V1)",
        ),
    ],
)
def test_backbones(refused: Refused, size: int, name: str, weights: str, expected: str) -> None:
    (message,) = refused("", head=HEAD % (size, name, weights))
    assert expected in message


@pytest.mark.parametrize(
    "lines",
    [
        "space: {freeze_depth: {low: 0, high: 5}, warmup_epochs: 9}",
        "budget: {epochs: 1, trials: 1}\nconfirm: {top: 1}",
        "budget: {trials: 1}\nconfirm: null",
        "space: {warmup_epochs: [0, 2], warmup_steps: 0, warmup_start_fraction: [0, 0.1]}",
        "space: {warmup_steps: 339}",
        "space: {warmup_fraction: {low: 0, high: 0.9}, warmup_start_fraction: 0.1}",
        "space: {optimizer: {sgd: {nesterov: [true, false]}}}",
        "search: {sampler: grid}\nbudget: {trials: 4}\nspace: {optimizer: [sgd, adam], l1: [0, 1]}",
        "search: {sampler: cmaes}\nspace: {lr: {low: 0.1, high: 1, log: true}, l1: [0, 1]}",
        "search: {sampler: qmc, pruner: wilcoxon}\nspace: {lr: {low: 0.1, high: 1}}",
        "search: {pruner: {successive_halving: {min_resource: 2, min_early_stopping_rate: 1}}}",
        "search: {pruner: {hyperband: {min_resource: 2, max_resource: 8}}}",
    ],
)
def test_no_contradiction(read: Read, lines: str) -> None:
    read(lines)


def test_all_contradictions_at_once(refused: Refused) -> None:
    messages = refused(
        "budget: {epochs: 4}\n"
        "space: {freeze_depth: 8, warmup_epochs: 4, patience_epochs: 5}\n"
        "search: {pruner: {hyperband: {min_resource: 9}}}\n"
        "confirm: {top: 40}\n"
    )
    assert [m.split(" = ")[0] for m in messages] == [
        "line 5: space.freeze_depth",
        "line 5: space.warmup_epochs",
        "line 5: space.patience_epochs",
        "line 6: search.pruner.hyperband.min_resource",
    ]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("", ["space searches nothing: there is 1 configuration", "confirm.top = 3"]),
        ("space: {l1: {low: 0, high: 1}}", []),
        (
            "space: {l1: [0, 1], lr: [0.1, 0.2]}\nbudget: {trials: 8}\nconfirm: {top: 5}",
            ["there are 4 different configurations", "confirm.top = 5: all 4 trials"],
        ),
        (
            "space: {l1: {low: 0, high: 1}}\nbudget: {trials: 10}",
            ["the sampler's first 10 trials are random, so all 10 trials will be"],
        ),
        (
            "space: {l1: [0, 1], dropout: {low: 0, high: 0.5}}\nsearch: {sampler: cmaes}",
            ["cmaes leaves lists to chance: l1"],
        ),
        (
            "space: {l1: {low: 0, high: 1}}\nsearch: {pruner: hyperband}",
            ["hyperband splits the trials into 3 brackets"],
        ),
        ("space: {l1: {low: 0, high: 1}}\nconfirm: {top: 31}", ["confirm.top = 31: all 30 trials"]),
        (
            "space: {l1: {low: 0, high: 1}}\nsearch: {stop: {gain: 0.002}}",
            [
                "search.stop: after 15 trials or more the search ends once the rest of its 30 "
                "trials would probably gain less than 0.2 points of accuracy"
            ],
        ),
        (
            "space: {l1: {low: 0, high: 1}}\nbudget: {trials: 40}\n"
            "search: {stop: {gain: 0.01}, metric: log_loss, sampler: "
            "{tpe: {n_startup_trials: 22}}}",
            [
                "search.stop: after 30 trials or more the search ends once the rest of its 40 "
                "trials would probably gain less than 0.01 nats of log loss"
            ],
        ),
        (
            "space: {l1: {low: 0, high: 1}}\nbudget: {trials: 15}\nsearch: {stop: {gain: 0.1}}",
            ["search.stop: the search cannot stop early: it may after 15 trials, and has 15"],
        ),
        (
            "space: {l1: {low: 0, high: 1}}\nsearch: {pruner: {wilcoxon: {p_threshold: 0.2}}}",
            ["wilcoxon compares learning curves"],
        ),
    ],
)
def test_notes(read: Read, lines: str, expected: list[str]) -> None:
    found = notes(read(lines))
    assert len(found) == len(expected)
    assert all(a.startswith(b) for a, b in zip(found, expected, strict=True))


DATA = "name: s\ndata: {source: digits, split: %s}\nbackbone: {name: resnet18, weights: none}\n"
FIVE = "{folds: 5}"


@pytest.mark.parametrize(
    ("split", "lines", "expected"),
    [
        (
            FIVE,
            "search: {pruner: {hyperband: {min_resource: 6}}}",
            "search.pruner.hyperband.min_resource = 6: the first rung, after 6 folds, is beyond "
            "the 5 of a trial — lower it, or take more folds",
        ),
        (
            FIVE,
            "search: {pruner: {hyperband: {max_resource: 6}}}",
            "search.pruner.hyperband.max_resource = 6: plans rungs beyond the 5 folds of a trial",
        ),
        (
            FIVE,
            "search: {pruner: {median: {n_warmup_steps: 5}}}",
            "search.pruner.median.n_warmup_steps = 5: prunes nothing within 5 folds",
        ),
        (
            FIVE,
            "search: {pruner: {wilcoxon: {p_threshold: 0.03}}}",
            "search.pruner.wilcoxon.p_threshold = 0.03: 5 folds can never be that sure — take 6",
        ),
        (
            "{strategy: time, gap: 600}",
            "",
            "data.split.gap = 600: leaves none of 1797 images to train on — lower it",
        ),
        (
            "{strategy: time, gap: 250, folds: 4}",
            "",
            "data.split.gap = 250: leaves none of 1797 images to train on",
        ),
        ("{folds: 5, gap: 3}", "", "data.split.gap = 3: a split that is stratified has no order"),
        (
            "{folds: 5}",
            # 5 folds of 1438 train on 1150 images: 36 steps of 32, ten times
            "space: {warmup_steps: 360}",
            "space.warmup_steps = 360: warm-up is as long as training, 360 steps",
        ),
        (
            "{strategy: time, folds: 4}",
            # 1438 in five runs of 287: the first fold trains on 290, 9 steps, ten times
            "space: {warmup_steps: 90}",
            "space.warmup_steps = 90: warm-up is as long as training, 90 steps",
        ),
    ],
)
def test_folds_and_time(refused: Refused, split: str, lines: str, expected: str) -> None:
    (message,) = refused(lines, head=DATA % split)
    assert expected in message


@pytest.mark.parametrize(
    ("split", "lines"),
    [
        (FIVE, "search: {pruner: {hyperband: {min_resource: 5}}}\nbudget: {epochs: 2}"),
        (FIVE, "search: {pruner: {wilcoxon: {p_threshold: 0.04}}}\nbudget: {epochs: 2}"),
        ("{folds: 2, test: 0.9}", ""),
        ("{strategy: time, gap: 500}", ""),
        (FIVE, "space: {warmup_steps: 359}"),
        ("{strategy: time, folds: 4}", "space: {warmup_steps: 89}"),
    ],
)
def test_folds_and_time_that_go_together(read: Read, split: str, lines: str) -> None:
    read(lines, head=DATA % split)


@pytest.mark.parametrize(
    ("split", "lines", "expected"),
    [
        (FIVE, "search: {pruner: hyperband}", ["hyperband splits", "a trial's value is the mean"]),
        (FIVE, "confirm: null", ["median and percentile judge"]),
        (FIVE, "confirm: null\nsearch: {pruner: wilcoxon}", []),
        ("{strategy: time}", "", ["time cannot be drawn again"]),
    ],
)
def test_notes_on_folds_and_time(read: Read, split: str, lines: str, expected: list[str]) -> None:
    found = notes(read(f"{lines}\nspace: {{l1: {{low: 0, high: 1}}}}", head=DATA % split))
    assert len(found) == len(expected)
    assert all(a.startswith(b) for a, b in zip(found, expected, strict=True))


# What needs source images, and what cannot be planted.


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            ("space.adaptation=fourier", FILE),
            ["fourier takes images towards the source's", "backbone.source"],
        ),
        (("space.adaptation=[none, moments]", NONE), ["none are known — write backbone.source"]),
        (("space.source_task_weight=[0, 0.5]", FILE), ["no images of the source task are known"]),
        ((OWN, GLYPHS), ["the weights glyphs know their source", "drop it"]),
        (("space.adaptation=style", OWN, NONE), ["an untrained network has no style"]),
        (
            ("space.adaptation={style: {layers: [2, 6]}}", GLYPHS),
            ["resnet18 has 5 layer groups before its head", "take 1 to 5"],
        ),
        (
            ("space.source_task_weight=0.5", "space.freeze_depth=5", GLYPHS),
            ["the head alone trains", "write 0, or let more train"],
        ),
        (
            ("space.source_task_weight=0.5", "space.trained=head", GLYPHS),
            ["the head alone trains", "write 0, or let more train"],
        ),
        (("space.adaptation={fourier: {band: 0}}", GLYPHS), ["0 changes no image"]),
        (("space.adaptation={none: {}, style: {strength: 0}}", GLYPHS), ["0 changes no image"]),
        (("space.adaptation=forier", GLYPHS), ["must be one of none, fourier", "did you mean"]),
        (("space.adaptation={fourier: {bend: 0.1}}", GLYPHS), ["unknown field", "'band'"]),
        (("space.adaptation={fourier: {band: 1.5}}", GLYPHS), ["at most 1"]),
        (("space.adaptation={moments: {strength: -1}}", GLYPHS), ["at least 0"]),
        (
            ("space.adaptation={style: {layers: 0}}", GLYPHS),
            ["at least 1"],
        ),
        (("space.source_task_weight=-1", GLYPHS), ["at least 0"]),
        (("backbone.source=photos/", FILE), ["write {folder:"]),
    ],
)
def test_refused_before_training(read: Read, options: tuple[str, ...], expected: list[str]) -> None:
    with pytest.raises(StudyError) as caught:
        read("", *options)
    text = str(caught.value)
    assert all(part in text for part in expected), text
    assert "1 problem" in text


@pytest.mark.parametrize(
    "options",
    [
        ("space.adaptation=[none, fourier, moments, style]", GLYPHS),
        ("space.adaptation={none: {}, fourier: {band: {low: 0, high: 0.3}}}", FILE, OWN),
        ("space.source_task_weight={low: 0.01, high: 1, log: true}", GLYPHS),
        (
            "space.source_task_weight=0.5",
            "space.freeze_depth=5",
            "space.unfreeze_every_epochs=2",
            GLYPHS,
        ),
        ("space.source_task_weight=0.5", "space.freeze_depth={low: 0, high: 5}", GLYPHS),
        ("space.adaptation=moments", OWN, NONE),
        ("space.source_task_weight=0", FILE),
    ],
)
def test_allowed(read: Read, options: tuple[str, ...]) -> None:
    config = read("", *options)
    found = knows_source(config)
    assert found or options == ("space.source_task_weight=0", FILE)


def test_every_adaptation_is_both_searched_and_carried_out(read: Read) -> None:
    config = read("", "space.adaptation={fourier: {band: 0.2}}", GLYPHS)
    params = config.space.assign(lambda _n, _d: None)
    made = Strategy.from_params(params, init="pretrained").adaptation
    assert made == Fourier(band=0.2, strength=1.0)
    for name, wanted in (
        ("moments", Moments(strength=1.0)),
        ("style", Style(strength=1.0, layers=3)),
    ):
        params = read("", f"space.adaptation={name}", GLYPHS).space.assign(lambda _n, _d: None)
        assert Strategy.from_params(params, init="pretrained").adaptation == wanted


GIVEN = "data.split.strategy=given"
PLANT = "data.planted.label_noise=0.1"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((PLANT,), "write data.split.strategy: given"),
        ((PLANT, GIVEN, "data.split.folds=5"), "would validate once"),
        ((PLANT, GIVEN, "data.source={folder: photos}"), "into no images of yours"),
        (("data.planted.seed=1", GIVEN), "plants nothing"),
        (("data.planted.label_noise=1", GIVEN), "must be below 1"),
        (("data.planted.duplicates=-1", GIVEN), "must be at least 0"),
        (("data.planted.duplicate=1", GIVEN), "did you mean 'duplicates'"),
        ((GIVEN,), "has no parts"),
    ],
)
def test_what_cannot_be_planted_is_refused(
    read: Read, options: tuple[str, ...], expected: str
) -> None:
    with pytest.raises(StudyError, match="1 problem") as caught:
        read("", *options)
    assert expected in str(caught.value)


def test_planting_needs_parts_that_stand(read: Read) -> None:
    assert read("", PLANT, GIVEN).data.planted is not None
