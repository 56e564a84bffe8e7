"""Augmentation in a study file: how it is written, what is refused, what it costs."""

from pathlib import Path

import pytest
import yaml

from tests.config.conftest import Read, Refused
from tests.config.test_space import Asked
from tlsearch.config.augmentation import (
    ADAPTATIONS,
    ATTACKS,
    AUGMENTATIONS,
    IMAGE_CHANGES,
    MIXINGS,
    BasicAugmentation,
    Mixup,
    NoAttack,
    NoAugmentation,
    NoMixing,
    PgdAttack,
    RandAugment,
    TrivialAugment,
)
from tlsearch.config.checks import notes
from tlsearch.config.cost import attack_passes, estimate
from tlsearch.config.loader import read_study
from tlsearch.config.resolved import changes, identity
from tlsearch.config.space import Space, with_defaults
from tlsearch.config.strategy import Strategy
from tlsearch.execution.examples import policies

STUDIES = Path(__file__).parents[2] / "studies"


def chosen(space: Space, **answers: object) -> Strategy:
    return Strategy.from_params(space.assign(Asked(answers)), init="pretrained")


def test_it_is_off_unless_asked() -> None:
    plain = chosen(Space())
    assert plain.augmentation == NoAugmentation()
    assert plain.mixing == NoMixing()
    assert plain.adversarial == NoAttack()
    assert plain.erasing == 0.0


def test_the_ways_to_write_it(read: Read) -> None:
    assert chosen(read("space: {augmentation: trivial}").space).augmentation == TrivialAugment()
    by_option = read("", "space.augmentation=trivial").space
    assert chosen(by_option).augmentation == TrivialAugment()
    listed = read("space: {augmentation: [none, basic, trivial]}").space
    assert listed.augmentation.names == ("none", "basic", "trivial")
    assert isinstance(chosen(listed, augmentation="basic").augmentation, BasicAugmentation)
    mapped = read("space: {augmentation: {none: {}, basic: {rotation: {low: 0, high: 30}}}}").space
    assert list(mapped.searched()) == ["augmentation", "augmentation.basic.rotation"]
    assert mapped.conditional() == ("augmentation.basic.rotation",)
    found = chosen(
        mapped, **{"augmentation": "basic", "augmentation.basic.rotation": 12.5}
    ).augmentation
    assert isinstance(found, BasicAugmentation)
    assert (found.rotation, found.flip, found.crop) == (12.5, 0.5, 1.0)


def test_all_of_it_at_once(read: Read) -> None:
    lines = (
        "space:\n"
        "  augmentation: {randaugment: {num_ops: 3}}\n"
        "  erasing: 0.25\n"
        "  mixing: {mixup: {alpha: 0.4}}\n"
        "  adversarial: {pgd: {epsilon: 0.0157, share: 1}}\n"
    )
    found = chosen(read(lines).space)
    assert found.augmentation == RandAugment(num_ops=3, magnitude=9)
    assert found.erasing == 0.25
    assert found.mixing == Mixup(alpha=0.4)
    assert found.adversarial == PgdAttack(epsilon=0.0157, num_steps=7, share=1.0)


NAMES = "must be one of none, basic, trivial, randaugment"
PIXELS = "must be a number above 0 and at most 1 — a share of the pixel range 0 … 1: write"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("augmentation: trivail", f"augmentation = \"trivail\": {NAMES} — did you mean 'trivial'?"),
        ("augmentation: null", f"augmentation = null: {NAMES} — write none"),
        ("augmentation: false", f"augmentation = false: {NAMES} — write none"),
        (
            "augmentation: {basic: {rotate: 30}}",
            "augmentation.basic.rotate = 30: unknown field — did you mean 'rotation'?",
        ),
        ("augmentation: {basic: {flip: 2}}", "augmentation.basic.flip = 2: must be at most 1"),
        ("augmentation: {basic: {crop: 0}}", "augmentation.basic.crop = 0: must be above 0"),
        ("augmentation: {basic: {rotation: 200}}", "rotation = 200: must be at most 180"),
        (
            "augmentation: {trivial: {magnitude: 3}}",
            "trivial.magnitude = 3: unknown field — there is nothing to set here: drop it",
        ),
        ("augmentation: {randaugment: {num_ops: 0}}", "num_ops = 0: must be at least 1"),
        ("augmentation: {randaugment: {magnitude: 31}}", "magnitude = 31: must be at most 30"),
        ("erasing: 1.5", "erasing = 1.5: must be at most 1"),
        ("mixing: {mixup: {alpha: 0}}", "mixing.mixup.alpha = 0: must be above 0"),
        ("mixing: {cutmix: {alpha: -1}}", "mixing.cutmix.alpha = -1: must be above 0"),
        ("mixing: cutmx", 'mixing = "cutmx": must be one of none, mixup, cutmix — did you mean'),
        ("adversarial: {pgd: {epsilon: 8}}", f"epsilon = 8: {PIXELS} 8/255 = 0.031"),
        ("adversarial: {fgsm: {epsilon: 4/255}}", f'epsilon = "4/255": {PIXELS} 4/255 = 0.016'),
        ("adversarial: {fgsm: {epsilon: [0.1, 2]}}", f"epsilon[1] = 2: {PIXELS} 2/255 = 0.0078"),
        ("adversarial: {fgsm: {epsilon: 0}}", f"epsilon = 0: {PIXELS} 8/255 = 0.031"),
        ("adversarial: {fgsm: {epsilon: {low: 0, high: 0.1}}}", f"epsilon.low = 0: {PIXELS}"),
        ("adversarial: {pgd: {num_steps: 0}}", "num_steps = 0: must be at least 1"),
        ("adversarial: {pgd: {share: 0}}", "share = 0: must be above 0"),
        (
            "augmentation: {basic: {flip: 0, rotation: 0, shift: 0, zoom: 0, colour: 0}}",
            'augmentation = "basic": changes nothing: all its strengths are off',
        ),
    ],
)
def test_what_is_refused(refused: Refused, fields: str, expected: str) -> None:
    (problem,) = refused(f"space: {{{fields}}}")
    assert expected in problem


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("augmentation: mixup", f'augmentation = "mixup": {NAMES} — write space.mixing: mixup'),
        ("augmentation: [basic, style]", "— write space.adaptation: style"),
        ("augmentation: {erasing: 0.2}", f"{NAMES} — write space.erasing: 0.5"),
        (
            "augmentation: flip",
            "— a strength of basic: write space.augmentation: {basic: {flip: 0.5}}",
        ),
        ("mixing: trivial", "— write space.augmentation: trivial"),
        ("adversarial: cutmix", "— write space.mixing: cutmix"),
        ("adaptation: pgd", "— write space.adversarial: pgd"),
    ],
)
def test_what_stands_under_the_wrong_field_is_shown_its_own_place(
    refused: Refused, fields: str, expected: str
) -> None:
    (problem,) = refused(f"space: {{{fields}}}")
    assert expected in problem


def test_every_change_of_images_has_its_place_and_can_be_written_there() -> None:
    spaces = (AUGMENTATIONS, MIXINGS, ATTACKS, ADAPTATIONS)
    names = {name for kinds in spaces for name in kinds} - {"none"}
    strengths = set(BasicAugmentation.__dataclass_fields__)
    assert set(IMAGE_CHANGES) == names | strengths | {"erasing"}
    for name, remedy in IMAGE_CHANGES.items():
        written = yaml.safe_load(remedy.rpartition("write space.")[2])
        found = Space.model_validate(written)
        assert found != Space()
        assert name in remedy


def test_the_picture_in_the_docs_is_of_every_augmentation() -> None:
    space = read_study(STUDIES / "augmentations.yaml", overrides=[], preset=None).space
    spaces = (AUGMENTATIONS, MIXINGS, ATTACKS)
    names = {name for kinds in spaces for name in kinds} - {"none"}
    drawn = {policy.title: policy for policy in policies(space)}
    assert set(drawn) == names | {"erasing"}
    for strength in BasicAugmentation.__dataclass_fields__:  # none is off
        assert strength.replace("_", " ") in drawn["basic"].detail.replace("at least ", "")


def test_all_mistakes_are_shown_at_once(refused: Refused) -> None:
    found = refused(
        "space:\n"
        "  augmentation: {basic: {shear: 90}, trvial: {}}\n"
        "  mixing: {mixup: {alpha: 0}}\n"
        "  adversarial: {pgd: {epsilon: 8, num_steps: 0}}\n"
    )
    assert len(found) == 5


@pytest.mark.parametrize(
    "fields",
    [
        "adversarial: fgsm, freeze_depth: 5",
        "augmentation: {basic: {flip: 0, rotation: 0, shift: 0, zoom: 0, colour: [0, 1]}}",
        "augmentation: {basic: {flip: 0, rotation: 0, shift: 0, zoom: 0, colour: 0, crop: 0.5}}",
        "augmentation: trivial, erasing: 0.2, mixing: cutmix, adversarial: pgd",
    ],
)
def test_what_is_fine(read: Read, fields: str) -> None:
    read(f"space: {{{fields}}}")


@pytest.mark.parametrize(
    ("source", "fields", "expected"),
    [
        ("digits", "basic", True),
        ("{torchvision: MNIST}", "basic", True),
        ("{torchvision: CIFAR10}", "basic", False),
        ("textures", "basic", False),
        ("digits", "{basic: {flip: 0}}", False),
        ("digits", "[none, trivial]", False),
        ("letters", "{none: {}, basic: {flip: 0, vertical_flip: [0, 0.5]}}", True),
    ],
)
def test_flipped_characters_are_noted(read: Read, source: str, fields: str, expected: bool) -> None:
    study = read(f"space: {{augmentation: {fields}}}", f"data.source={source}")
    found = [note for note in notes(study) if "flipped character" in note]
    assert len(found) == expected
    if expected:
        assert "flip = " in found[0]


def test_an_older_study_carries_on(read: Read) -> None:
    """What was stored before there was augmentation had none."""
    study = read("space: {lr: [0.1, 0.2], optimizer: {adam: {}}}")
    new = identity(study)
    words = ("augmentation", "erasing", "mixing", "adversarial")
    old = {k: v for k, v in new.items() if k.removeprefix("space.").split(".")[0] not in words}
    assert len(old) == len(new) - 4
    assert changes(old, new) == []
    now = identity(read("space: {lr: [0.1, 0.2], optimizer: {adam: {}}, augmentation: trivial}"))
    assert changes(old, now) == ['space.augmentation: "none" → "trivial"']
    assert changes(new, now) == changes(old, now)


def test_defaults_fill_what_is_absent_and_nothing_else() -> None:
    known = {"lr": 0.5, "optimizer": "adam", "optimizer.adam.beta1": 0.8}
    found = with_defaults(known)
    assert found["lr"] == 0.5
    assert not [name for name in found if name.startswith("optimizer.sgd")]
    assert found["optimizer.adam.beta1"] == 0.8
    assert found["schedule.cosine.final_lr_fraction"] == 0.0
    assert found["clip_norm"] is None
    complete = Space().assign(Asked({}))
    assert with_defaults(complete) == complete == with_defaults({})


@pytest.mark.parametrize(
    ("fields", "passes"),
    [
        ("none", 0),
        ("fgsm", 2 * 0.5),
        ("{pgd: {num_steps: [3, 7], share: {low: 0.1, high: 1}}}", 2 * 7 * 1.0),
        ("{none: {}, fgsm: {share: 1}, pgd: {num_steps: 1, share: 0.5}}", 2 * 1.0),
    ],
)
def test_attacks_cost_passes(read: Read, fields: str, passes: float) -> None:
    study = read(f"space: {{adversarial: {fields}, l1: {{low: 0, high: 1}}}}")
    plain_study = read("space: {l1: {low: 0, high: 1}}")
    assert attack_passes(study.space) == passes
    cost, plain = (
        estimate(found, num_images=1000, num_classes=10) for found in (study, plain_study)
    )
    attacked = cost.trainings - cost.baseline_trainings - 3 * 3  # baselines are not attacked
    train = cost.train_images / cost.trainings
    per_pass = 1.814 * (study.data.size / 224) ** 2
    assert cost.giga_macs - plain.giga_macs == pytest.approx(per_pass * attacked * train * passes)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            ["data.size=32"],
            "space.augmentation: trivial shifts some images by up to 32 pixels, 100% of the side "
            "and turns some by up to 135 degrees, and a 6 may be read as a 9; basic keeps to what "
            "you allow",
        ),
        (
            ["data.size=48", "data.source=textures"],
            "space.augmentation: trivial shifts some images by up to 32 pixels, 67% of the side; "
            "basic keeps to what you allow",
        ),
        (["data.size=128", "data.source=textures"], None),
        (["data.size=32", "space.augmentation=randaugment"], None),
    ],
)
def test_what_trivial_does_to_small_images_is_noted(
    read: Read, options: list[str], expected: str | None
) -> None:
    found = notes(read("space: {augmentation: [none, trivial], lr: [0.1, 0.2]}", *options))
    assert [note for note in found if "trivial" in note] == ([expected] if expected else [])
