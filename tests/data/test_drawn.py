import math
from string import ascii_uppercase

import numpy as np
import pytest
import torch

from tlsearch.config.schema import DataConfig
from tlsearch.config.sources import Glyphs, Letters, Textures
from tlsearch.data.glyph_recipe import RECIPE, TRAINING_FACES
from tlsearch.data.sources import load_images
from tlsearch.data.synthetic.glyphs import render_alphabets, scaled
from tlsearch.data.synthetic.letters import ORNATE_ALPHABETS, PLAIN_ALPHABETS
from tlsearch.data.synthetic.textures import FAMILIES

KINDS = ["glyphs", "letters", "textures"]


def draw(kind, *, size=16, **knobs):
    told = []
    data = DataConfig.model_validate({"source": {kind: knobs}, "size": size})
    images = load_images(data, cache=None, on_progress=lambda share, _text: told.append(share))
    assert told == sorted(told)
    assert told[-1] == 1
    return images


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_knobs_draw_the_same_images(kind):
    first, again, other = (draw(kind, images=80, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.images, again.images)
    assert first.fingerprint == again.fingerprint
    np.testing.assert_array_equal(first.labels, other.labels)
    same = (first.images == other.images).all(axis=(1, 2, 3))
    assert not same.any()
    assert first.fingerprint != other.fingerprint


@pytest.mark.parametrize("kind", KINDS)
def test_more_images_leave_the_first_ones_as_they_were(kind):
    few, many = draw(kind, images=80), draw(kind, images=700)
    np.testing.assert_array_equal(many.labels[:80], few.labels)
    np.testing.assert_array_equal(many.images[:80], few.images)
    uneven = draw(kind, images=200, imbalance=5)
    for label in range(few.num_classes):
        mine, theirs = (found.images[found.labels == label] for found in (uneven, many))
        np.testing.assert_array_equal(mine, theirs[: len(mine)])


@pytest.mark.parametrize("kind", KINDS)
def test_no_image_is_drawn_twice(kind):
    images = draw(kind, images=400).images.reshape(400, -1)
    assert len(np.unique(images, axis=0)) == 400


@pytest.mark.parametrize("kind", KINDS)
def test_torchs_own_generator_is_left_alone(kind):
    before = torch.get_rng_state()
    draw(kind, images=40)
    assert torch.equal(before, torch.get_rng_state())


def test_balanced_classes_take_turns():
    labels = draw("textures", images=20, classes=3).labels
    np.testing.assert_array_equal(labels, np.arange(20) % 3)


def test_sizes_of_classes_by_hand():
    # weights 1, 1/2, 1/4: sevenths 4, 2, 1
    source = Textures(images=14, classes=3, imbalance=4)
    assert source.class_counts() == (8, 4, 2)
    assert source.facts() == (14, 3, 2)
    np.testing.assert_array_equal(
        np.bincount(draw("textures", images=14, classes=3, imbalance=4).labels), [8, 4, 2]
    )
    # a large class does not come first alone: after half the images, half of each class
    np.testing.assert_array_equal(
        np.bincount(draw("textures", images=14, classes=3, imbalance=4).labels[:7]), [4, 2, 1]
    )


def test_every_class_keeps_an_image():
    assert Letters(images=1).class_counts() == (1,) * 26
    assert min(Glyphs(images=100, imbalance=1000).class_counts()) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_fingerprint_depends_on_every_knob(kind):
    changed = [{}, {"difficulty": 0.1}, {"seed": 1}, {"imbalance": 2}, {"images": 61}]
    if kind != "glyphs":
        changed += [{"similarity": 0.3}, {"classes": 5}]
    prints = {draw(kind, size=8, **{"images": 60, **knobs}).fingerprint for knobs in changed}
    prints.add(draw(kind, size=9, images=60).fingerprint)
    assert len(prints) == len(changed) + 1


def test_jitter_is_scaled_from_none_to_the_recipes_and_beyond():
    assert scaled(RECIPE.jitter, 1.0) == RECIPE.jitter
    still = scaled(RECIPE.jitter, 0.0)
    assert (still.rotation, still.warp, still.noise, still.coarse_share) == (0, 0, 0, 0)
    assert (still.scale, still.contrast, still.stroke) == ((1, 1), (1, 1), (0, 0))
    twice = scaled(RECIPE.jitter, 2.0)
    assert (twice.rotation, twice.coarse_share) == (30, 1)
    assert twice.contrast == pytest.approx((0.2, 1.0))


def test_plain_glyphs_are_one_picture_per_font():
    images = draw("glyphs", images=36 * 64, size=24, difficulty=0)
    eights = images.images[images.labels == 8].reshape(64, -1)
    assert len(np.unique(eights, axis=0)) <= len(TRAINING_FACES)
    assert images.images.shape[3] == 1


@pytest.mark.parametrize(("face", "characters"), PLAIN_ALPHABETS + ORNATE_ALPHABETS)
def test_no_letter_is_one_that_the_source_model_was_shown(face, characters):
    assert len(characters) == 26
    assert (face, characters) not in [(seen, ascii_uppercase) for seen in TRAINING_FACES]
    letters = render_alphabets(((face, characters),)).distances[0].flatten(1)
    pairs = torch.cdist(letters, letters) + torch.eye(26) * 9
    assert pairs.min() > 0.1  # no placeholder drawn for two letters
    shown = render_alphabets(tuple((seen, ascii_uppercase) for seen in TRAINING_FACES[::4]))
    assert (shown.distances.flatten(2) - letters).norm(dim=2).median() > 0.5


@pytest.mark.parametrize("kind", ["letters", "textures"])
def test_similar_is_grey_and_dissimilar_coloured(kind):
    for similarity, coloured in ((1, False), (0, True)):
        images = draw(kind, images=60, difficulty=0, similarity=similarity).images.astype(int)
        assert images.shape[3] == 3
        assert bool((images.max(axis=3) - images.min(axis=3)).max() > 30) == coloured


def test_similar_letters_are_mostly_bright_on_dark():
    def dark_backgrounds(similarity):
        images = draw("letters", images=200, difficulty=0, similarity=similarity).images
        return (images[:, 0, 0].mean(axis=1) < 128).mean()

    assert dark_backgrounds(1) > 0.8
    assert dark_backgrounds(0) < 0.4


@pytest.mark.parametrize("kind", KINDS)
def test_harder_is_harder(kind):
    """A nearest mean over pixels is a poor judge, but an honest one."""

    knobs = {"images": 900, **({"similarity": 1} if kind == "letters" else {})}

    def accuracy(difficulty):
        images = draw(kind, difficulty=difficulty, **knobs)
        grey = images.images.reshape(900, -1) / 255.0
        means = np.stack([grey[:600][images.labels[:600] == c].mean(0) for c in range(8)])
        rest = np.flatnonzero(images.labels[600:] < 8) + 600
        away = ((grey[rest, None] - means) ** 2).sum(axis=2)
        return (away.argmin(axis=1) == images.labels[rest]).mean()

    easy, hard = accuracy(0.0), accuracy(1.0)
    assert easy > hard + 0.05
    assert easy > 0.2  # chance is 0.125


def grid(size=64):
    line = torch.linspace(-3, 3, size)
    return line.view(1, 1, 1, -1).expand(2, 1, size, size), line.view(1, 1, -1, 1).expand(
        2, 1, size, size
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_a_pattern(family):
    fields = [FAMILIES[family](*grid(), torch.Generator().manual_seed(seed)) for seed in (0, 0)]
    assert torch.equal(*fields)
    assert fields[0].shape == (2, 1, 64, 64)
    assert fields[0].min() >= 0
    assert fields[0].max() <= 1
    assert fields[0].std() > 0.1


def at(family, x, y):
    value = [torch.full((1, 1, 1, 1), float(v)) for v in (x, y)]
    return FAMILIES[family](*value, torch.Generator()).item()


def test_patterns_by_hand():
    bright = 1 / (1 + math.exp(-8))
    assert at("stripes", 0.25, 5) == pytest.approx(bright)
    assert at("stripes", 0.75, 5) == pytest.approx(1 - bright)
    assert at("checkers", 0.5, 0.5) > 0.99
    assert at("checkers", 1.5, 0.5) < 0.01
    assert at("spots", 0.5, 0.5) > 0.9  # the middle of a cell
    assert at("spots", 0.0, 0.0) < 0.01
    assert at("lattice", 0.5, 0.3) == 1  # on a bar
    assert at("lattice", 0.0, 0.0) == 0
    assert at("bricks", 0.0, 0.25) == 0  # a joint
    assert at("bricks", 0.5, 0.25) == 1
