"""Drawn sources: their seeds, sizes and difficulty, and the glyphs of the source model."""

import math
from dataclasses import replace
from string import ascii_uppercase

import numpy as np
import pytest
import torch

from tlsearch.config.images import DataConfig
from tlsearch.config.sources import Glyphs, Letters, Textures
from tlsearch.data.glyph_recipe import (
    CHARACTERS,
    RECIPE,
    TRAINING_FACES,
    UNSEEN_FACES,
    font_file,
    recipe_key,
)
from tlsearch.data.sources import load_images
from tlsearch.data.synthetic.glyphs import draw_batch, render_alphabets, render_glyphs, scaled
from tlsearch.data.synthetic.letters import ORNATE_ALPHABETS, PLAIN_ALPHABETS
from tlsearch.data.synthetic.textures import FAMILIES

KINDS = ["glyphs", "letters", "textures"]


FEW = {"glyphs": {}, "letters": {"classes": 5}, "textures": {"classes": 5}}
"""Knobs that draw fewer classes, where there are such: every class is drawn in whole chunks."""


def draw(kind, *, size=16, **knobs):
    shares = []
    data = DataConfig.model_validate({"source": {kind: knobs}, "size": size})
    images = load_images(data, cache=None, on_progress=lambda share, _text: shares.append(share))
    assert shares == sorted(shares)
    assert shares[-1] == 1
    return images


@pytest.mark.parametrize("kind", KINDS)
def test_images_follow_the_seed_and_their_number_alone(kind):
    before = torch.get_rng_state()
    few, again, other = (draw(kind, images=80, seed=seed, **FEW[kind]) for seed in (0, 0, 4))
    assert torch.equal(before, torch.get_rng_state())
    np.testing.assert_array_equal(few.images, again.images)
    assert few.fingerprint == again.fingerprint != other.fingerprint
    np.testing.assert_array_equal(few.labels, other.labels)
    assert not (few.images == other.images).all(axis=(1, 2, 3)).any()
    many = draw(kind, images=400, **FEW[kind])
    assert len(np.unique(many.images.reshape(400, -1), axis=0)) == 400  # none is drawn twice
    np.testing.assert_array_equal(many.labels[:80], few.labels)
    np.testing.assert_array_equal(many.images[:80], few.images)
    uneven = draw(kind, images=100, imbalance=5, **FEW[kind])
    for label in range(few.num_classes):
        mine, theirs = (found.images[found.labels == label] for found in (uneven, many))
        np.testing.assert_array_equal(mine, theirs[: len(mine)])


def test_sizes_of_classes_by_hand():
    # weights 1, 1/2, 1/4: sevenths 4, 2, 1
    source = Textures(images=14, classes=3, imbalance=4)
    assert source.class_counts() == (8, 4, 2)
    assert source.facts() == (14, 3, 2)
    labels = draw("textures", images=14, classes=3, imbalance=4).labels
    np.testing.assert_array_equal(np.bincount(labels), [8, 4, 2])
    # A large class does not come first alone: after half the images, half of each class.
    np.testing.assert_array_equal(np.bincount(labels[:7]), [4, 2, 1])
    balanced = draw("textures", images=20, classes=3).labels
    np.testing.assert_array_equal(balanced, np.arange(20) % 3)  # in turns
    assert Letters(images=1).class_counts() == (1,) * 26
    assert min(Glyphs(images=100, imbalance=1000).class_counts()) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_fingerprint_depends_on_every_knob(kind):
    changed = [{}, {"difficulty": 0.1}, {"seed": 1}, {"imbalance": 2}, {"images": 61}]
    if kind != "glyphs":
        changed += [{"similarity": 0.3}, {"classes": 6}]
    few = {"images": 60, **FEW[kind]}
    prints = {draw(kind, size=8, **{**few, **knobs}).fingerprint for knobs in changed}
    prints.add(draw(kind, size=9, **few).fingerprint)
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


def test_no_letter_is_one_that_the_source_model_was_shown():
    shown = render_alphabets(tuple((seen, ascii_uppercase) for seen in TRAINING_FACES[::4]))
    for face, characters in PLAIN_ALPHABETS + ORNATE_ALPHABETS:
        assert len(characters) == 26
        assert face not in TRAINING_FACES or characters != ascii_uppercase
        letters = render_alphabets(((face, characters),))[0].flatten(1)
        pairs = torch.cdist(letters, letters) + torch.eye(26) * 9
        assert pairs.min() > 0.1, face  # no placeholder drawn for two letters
        assert (shown.flatten(2) - letters).norm(dim=2).median() > 0.5, face


@pytest.mark.parametrize("kind", ["letters", "textures"])
def test_similar_is_grey_and_dissimilar_coloured(kind):
    for similarity, coloured in ((1, False), (0, True)):
        images = draw(
            kind, images=200, difficulty=0, similarity=similarity, **FEW[kind]
        ).images.astype(int)
        assert images.shape[3] == 3
        assert bool((images.max(axis=3) - images.min(axis=3)).max() > 30) == coloured
        if kind == "letters":  # similar ones are mostly bright on dark
            dark = (images[:, 0, 0].mean(axis=1) < 128).mean()
            assert dark < 0.4 if coloured else dark > 0.8


@pytest.mark.slow
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


def test_every_family_is_a_pattern():
    line = torch.linspace(-3, 3, 64)
    x, y = line.view(1, 1, 1, -1).expand(2, 1, 64, 64), line.view(1, 1, -1, 1).expand(2, 1, 64, 64)
    for name, family in FAMILIES.items():
        first, again = (family(x, y, torch.Generator().manual_seed(0)) for _ in range(2))
        assert torch.equal(first, again), name
        assert first.shape == (2, 1, 64, 64)
        assert (first.min() >= 0, first.max() <= 1, first.std() > 0.1) == (True,) * 3, name


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


STILL = replace(scaled(RECIPE.jitter, 0), coarse_share=0)


@pytest.fixture(scope="module")
def glyphs():
    return render_glyphs(("DejaVuSans.ttf", "cmr10.ttf"))


def draw_glyphs(glyphs, count=64, size=32, seed=0, **changes):
    return draw_batch(
        glyphs,
        count=count,
        size=size,
        jitter=replace(STILL, **changes),
        generator=torch.Generator().manual_seed(seed),
    )


def test_faces_exist_and_none_is_in_both_parts():
    assert len(set(TRAINING_FACES) | set(UNSEEN_FACES)) == 22
    assert all(font_file(face).is_file() for face in TRAINING_FACES + UNSEEN_FACES)


def test_every_face_has_every_character():
    for face in TRAINING_FACES + UNSEEN_FACES:
        maps = render_glyphs((face,))[0]
        assert maps.shape == (len(CHARACTERS), 64, 64)
        assert (maps > 0).flatten(1).sum(1).min() > 40, face  # no blank
        pairs = torch.cdist(maps.flatten(1), maps.flatten(1)) + torch.eye(36) * 9
        assert pairs.min() > 0.1, face  # no placeholder drawn for two characters


def test_glyphs_are_centred_and_fill_the_box(glyphs):
    for ink in (glyphs > 0).flatten(0, 1):
        rows, columns = torch.nonzero(ink.any(1)), torch.nonzero(ink.any(0))
        sides = [int(places.max() - places.min()) + 1 for places in (rows, columns)]
        assert abs(max(sides) - 0.62 * 64) <= 2
        for places in (rows, columns):  # thin serifs may fall below half a pixel
            assert abs(int(places.max() + places.min()) - 63) <= 2


def test_the_same_seed_draws_the_same_batch(glyphs):
    everything = {name: getattr(RECIPE.jitter, name) for name in RECIPE.jitter.__dataclass_fields__}
    first, second = (draw_glyphs(glyphs, seed=3, **everything) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], draw_glyphs(glyphs, seed=4, **everything)[0])
    assert first[0].shape == (64, 1, 32, 32)
    assert first[0].min() >= 0
    assert first[0].max() <= 1


def test_without_jitter_a_class_has_one_picture_per_face(glyphs):
    images, labels = draw_glyphs(glyphs, count=400)
    pictures = images[labels == 8].unique(dim=0)
    assert len(pictures) == 2


def test_at_the_stored_size_the_ink_is_where_the_distance_is_positive(glyphs):
    images, labels = draw_glyphs(glyphs[:1], size=64)
    distances = glyphs[0, labels]
    clear = distances.abs() > 1e-5  # an outline through a pixel's middle may fall to either side
    assert torch.equal(images[:, 0][clear] > 0.5, distances[clear] > 0)


def test_each_jitter_does_what_its_name_says(glyphs):
    still = draw_glyphs(glyphs)[0]
    thin, thick = (draw_glyphs(glyphs, stroke=(s, s))[0].sum() for s in (-0.01, 0.03))
    assert thin < still.sum() < thick
    assert draw_glyphs(glyphs, scale=(0.5, 0.5))[0].sum() < 0.5 * still.sum()
    torch.testing.assert_close(draw_glyphs(glyphs, inverted_share=1.0)[0], 1 - still)
    coarse = draw_glyphs(glyphs, coarse_share=0.5)[0]
    assert torch.equal(still[32:], coarse[32:])
    assert not torch.equal(still[:32], coarse[:32])


def test_the_key_changes_with_all_that_the_weights_depend_on():
    key = recipe_key(RECIPE, backbone="resnet18", image_size=32)
    assert key == recipe_key(RECIPE, backbone="resnet18", image_size=32)
    warped = replace(RECIPE, jitter=replace(RECIPE.jitter, warp=0.5))
    others = {
        recipe_key(RECIPE, backbone="resnet34", image_size=32),
        recipe_key(RECIPE, backbone="resnet18", image_size=64),
        recipe_key(replace(RECIPE, num_images=1), backbone="resnet18", image_size=32),
        recipe_key(warped, backbone="resnet18", image_size=32),
    }
    assert len(others | {key}) == 5
