"""What needs source images, and what cannot be planted, is refused with what to write."""

import pytest

from tests.config.conftest import Read
from tlsearch.config.augmentation import Fourier, Moments, Style
from tlsearch.config.checks import knows_source
from tlsearch.config.strategy import Strategy
from tlsearch.errors import StudyError

OWN = "backbone.source={folder: photos}"
FILE = "backbone.weights=own.safetensors"
GLYPHS = "backbone.weights=glyphs"
NONE = "backbone.weights=none"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            ("space.adaptation=fourier", FILE),
            ["fourier takes images towards the source's", "backbone.source"],
        ),
        (("space.adaptation=[none, moments]", NONE), ["none are known — write backbone.source"]),
        (("space.source_task_weight=[0, 0.5]", FILE), ["no images of the source task are known"]),
        ((OWN, GLYPHS), ["the weights glyphs know their source", "drop it"]),
        (("space.adaptation=style", OWN, NONE), ["has learnt nothing tells no style"]),
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
def test_refused_before_training(read: Read, options: tuple[str, ...], told: list[str]) -> None:
    with pytest.raises(StudyError) as caught:
        read("", *options)
    text = str(caught.value)
    assert all(part in text for part in told), text
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
    ("options", "told"),
    [
        ((PLANT,), "write data.split.strategy: given"),
        ((PLANT, GIVEN, "data.split.folds=5"), "would validate once"),
        ((PLANT, GIVEN, "data.source={folder: photos}"), "into no images of yours"),
        (("data.planted.seed=1", GIVEN), "plants nothing"),
        (("data.planted.label_noise=1", GIVEN), "must be below 1"),
        (("data.planted.duplicates=-1", GIVEN), "must be at least 0"),
        (("data.planted.duplicate=1", GIVEN), "did you mean 'duplicates'"),
        ((GIVEN,), "tells no parts"),
    ],
)
def test_what_cannot_be_planted_is_refused(read: Read, options: tuple[str, ...], told: str) -> None:
    with pytest.raises(StudyError, match="1 problem") as caught:
        read("", *options)
    assert told in str(caught.value)


def test_planting_needs_parts_that_stand(read: Read) -> None:
    assert read("", PLANT, GIVEN).data.planted is not None
