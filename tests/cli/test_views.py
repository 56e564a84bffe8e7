"""`tlsearch check --views`: the views that trials of the study see, of its own training images."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from tests.cli.conftest import Files, Invoke
from tests.training.small import CPU
from tlsearch.config.loader import read_study
from tlsearch.config.runtime import no_progress
from tlsearch.config.schema import BackboneConfig, StudyConfig
from tlsearch.config.strategy import Strategy
from tlsearch.data.sources import read_images
from tlsearch.data.splits import draw_splits
from tlsearch.execution.examples import NUM_TRAINED, NUM_VIEWED_EPOCHS, policies, views_of
from tlsearch.execution.source import own_source
from tlsearch.models.backbones import MEAN, STD
from tlsearch.training.augmentation import make_stages, through
from tlsearch.training.batches import Pixels, unit_batch
from tlsearch.training.domain_adaptation import drawn_for

RESNET10 = BackboneConfig.model_validate({"name": "resnet10", "weights": "none"})

SETS = ("--set", "space.augmentation=[none, basic, trivial]", "--set", "backbone.name=resnet10")


def study(*overrides: str) -> StudyConfig:
    given = ["backbone.name=resnet10", "space.erasing=0.5", *overrides]
    return read_study(Path("study.yaml"), overrides=given, preset=None)


def rows_shown(shown: np.ndarray, images: np.ndarray, among: np.ndarray) -> list[int]:
    """Which of the grey `images` stand in the first column."""
    originals = np.repeat(images[among], 3, axis=-1)
    return [
        int(among[int((originals == image).all(axis=(1, 2, 3)).argmax())]) for image in shown[:, 0]
    ]


def test_a_picture_is_written_and_nothing_else(here: Path, tlsearch: Invoke, files: Files) -> None:
    before = set(files())
    done = tlsearch("check", "study.yaml", *SETS, "--views", "v.png")
    assert done.stdout.splitlines()[-1] == "views: v.png"
    assert set(files()) - before <= {"v.png", "cache", "cache/images"}
    with Image.open(here / "v.png") as picture:
        # Two augmentations of four images, above each other, at two times their size.
        assert picture.height > 2 * NUM_TRAINED * 64
        assert picture.width > (1 + NUM_VIEWED_EPOCHS) * 64
    result = json.loads(
        tlsearch("check", "study.yaml", *SETS, "--json", "--views", "v.html").stdout
    )
    assert result["searched"]["augmentation"] == ["none", "basic", "trivial"]
    assert "<h2>trivial</h2>" in (here / "v.html").read_text()


def test_mistakes_are_shown_in_one_line(here: Path, tlsearch: Invoke) -> None:
    assert here.exists()
    done = tlsearch("check", "study.yaml", *SETS, "--views", "v.jpg", code=2)
    assert "--views = 'v.jpg': must end in .png or .html" in done.stderr
    assert not done.stdout
    done = tlsearch("check", "study.yaml", *SETS, "--views", "no/such/v.png", code=1)
    assert "no/such/v.png: No such file or directory" in done.stderr


def test_a_study_without_augmentation_shows_its_images_as_they_are_decoded(
    here: Path, tlsearch: Invoke
) -> None:
    done = tlsearch("check", "study.yaml", "--views", "v.html")
    assert done.stdout.splitlines()[-1] == "views: v.html"
    assert "<h2>as decoded</h2>" in (here / "v.html").read_text()
    config = read_study(Path("study.yaml"), overrides=[], preset=None)
    (shown,) = views_of(config, cache=here / "cache", on_progress=no_progress)
    data, _ = read_images(config.data, cache=here / "cache" / "images", on_progress=no_progress)
    assert shown.images.shape == (NUM_TRAINED, 1, 32, 32, 3)
    assert len(rows_shown(shown.images, data.images, np.arange(len(data.labels)))) == NUM_TRAINED


def test_the_views_are_those_that_trials_see(here: Path) -> None:
    config = study("space.augmentation={basic: {flip: 0}}", "search.seed=3")
    shown = views_of(config, cache=here / "cache", on_progress=no_progress)
    assert [one.title for one in shown] == ["basic", "erasing"]
    data, _ = read_images(config.data, cache=here / "cache" / "images", on_progress=no_progress)
    (parts,) = draw_splits(
        data, split=config.data.split, labels_per_class=config.data.labels_per_class, redraw=0
    )
    pixels = Pixels(data.images, data.labels, MEAN, STD)
    for one, policy in zip(shown, policies(config.space), strict=True):
        assert one.images.shape == (NUM_TRAINED, 1 + NUM_VIEWED_EPOCHS, 32, 32, 3)
        rows = rows_shown(one.images, data.images, parts.train)
        assert len(set(data.labels[rows])) == NUM_TRAINED
        chosen = Strategy.from_params(policy.params, init="random")
        stages = make_stages(chosen, mean=MEAN, seed=3)
        images = unit_batch(pixels, np.array(rows), device=CPU)
        for epoch in (1, NUM_VIEWED_EPOCHS):
            view = through(stages, images, np.array(rows), epoch=epoch)
            expected = (view * 255).round().byte().permute(0, 2, 3, 1).numpy()
            np.testing.assert_array_equal(one.images[:, epoch], expected)


def test_attacks_are_on_every_image_and_mixtures_among_those_shown(here: Path) -> None:
    config = study("space.adversarial={fgsm: {epsilon: 0.1}}", "space.mixing=mixup")
    found = {
        one.title: one.images.astype(int)
        for one in views_of(config, cache=here / "cache", on_progress=no_progress)
    }
    change = np.abs(found["fgsm"][:, 1:] - found["fgsm"][:, :1]).max(axis=(2, 3, 4))
    assert ((change >= 25) & (change <= 26)).all()  # 0.1 of 255, rounded
    own, mixed = found["mixup"][:, 0], found["mixup"][:, 1]
    low, high = np.minimum(own, np.roll(own, 1, 0)), np.maximum(own, np.roll(own, 1, 0))
    assert ((mixed >= low - 1) & (mixed <= high + 1)).all()


def test_adaptation_borrows_from_the_source(here: Path) -> None:
    """A view has the brightness of the source image that is drawn for it in that epoch."""
    source = "backbone.source={textures: {images: 200, classes: 4}}"
    config = study("space.erasing=0", "space.adaptation=moments", source, "search.seed=5")
    (shown,) = views_of(config, cache=here / "cache", on_progress=no_progress)
    assert (shown.title, shown.detail) == ("moments", "strength 1")
    asked = config.data.model_copy(update={"source": config.backbone.source})
    lenders, _ = read_images(asked, cache=here / "cache" / "i", on_progress=no_progress)
    pixels, among = own_source(lenders, backbone=RESNET10).train
    data, _ = read_images(config.data, cache=here / "cache" / "images", on_progress=no_progress)
    rows = rows_shown(shown.images, data.images, np.arange(len(data.labels)))
    for epoch in (1, NUM_VIEWED_EPOCHS):
        drawn = drawn_for(np.array(rows), among=among, seed=5, epoch=epoch)
        means = pixels.images[drawn].mean(axis=(1, 2, 3))
        # Pixels are clipped at both ends, which moves a mean a little.
        np.testing.assert_allclose(shown.images[:, epoch].mean(axis=(1, 2, 3)), means, atol=6)
    assert np.ptp(means) > 12


def test_of_a_comparison_every_arm_is_shown_once(here: Path) -> None:
    text = (Path(__file__).parents[2] / "studies" / "c08_augmentation.yaml").read_text()
    (here / "c.yaml").write_text(text)
    config = read_study(here / "c.yaml", overrides=[], preset=None)
    shown = views_of(config, cache=here / "cache", on_progress=no_progress)
    assert [one.title for one in shown] == ["basic", "trivial", "mixup"]
    assert shown[1].detail == "arm trivial"
    assert shown[0].detail.endswith("arm augmented")
