from dataclasses import replace

import pytest
import torch

from tlsearch.data.glyph_recipe import (
    CHARACTERS,
    RECIPE,
    TRAINING_FACES,
    UNSEEN_FACES,
    Jitter,
    font_file,
    recipe_key,
)
from tlsearch.data.synthetic.glyphs import draw_batch, render_glyphs

STILL = Jitter(
    rotation=0,
    shear=0,
    scale=(1, 1),
    aspect=0,
    shift=0,
    warp=0,
    stroke=(0, 0),
    coarse_share=0,
    coarsest=8,
    inverted_share=0,
    contrast=(1, 1),
    noise=0,
)


@pytest.fixture(scope="module")
def glyphs():
    return render_glyphs(("DejaVuSans.ttf", "cmr10.ttf"))


def draw(glyphs, count=64, size=32, seed=0, **changes):
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


@pytest.mark.parametrize("face", TRAINING_FACES + UNSEEN_FACES)
def test_every_face_has_every_character(face):
    maps = render_glyphs((face,)).distances[0]
    assert maps.shape == (len(CHARACTERS), 64, 64)
    inked = (maps > 0).flatten(1).sum(1)
    assert inked.min() > 40  # no blank
    pairs = torch.cdist(maps.flatten(1), maps.flatten(1)) + torch.eye(36) * 9
    assert pairs.min() > 0.1  # no placeholder drawn for two characters


def test_glyphs_are_centred_and_fill_the_box(glyphs):
    for ink in (glyphs.distances > 0).flatten(0, 1):
        rows, columns = torch.nonzero(ink.any(1)), torch.nonzero(ink.any(0))
        height, width = rows.max() - rows.min() + 1, columns.max() - columns.min() + 1
        assert abs(int(max(height, width)) - 0.62 * 64) <= 2
        assert (
            abs(int(rows.max() + rows.min()) - 63) <= 2
        )  # thin serifs may fall below half a pixel
        assert (
            abs(int(columns.max() + columns.min()) - 63) <= 2
        )  # thin serifs may fall below half a pixel


def test_the_same_seed_draws_the_same_batch(glyphs):
    everything = {name: getattr(RECIPE.jitter, name) for name in RECIPE.jitter.__dataclass_fields__}
    first, second = (draw(glyphs, seed=3, **everything) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], draw(glyphs, seed=4, **everything)[0])
    assert first[0].shape == (64, 1, 32, 32)
    assert first[0].min() >= 0
    assert first[0].max() <= 1


def test_torchs_own_generator_is_left_alone(glyphs):
    before = torch.get_rng_state()
    draw(glyphs, warp=0.02, coarse_share=0.5, noise=0.1)
    assert torch.equal(before, torch.get_rng_state())


def test_without_jitter_a_class_has_one_picture_per_face(glyphs):
    images, labels = draw(glyphs, count=400)
    pictures = images[labels == 8].unique(dim=0)
    assert len(pictures) == 2


def test_at_the_stored_size_the_ink_is_where_the_distance_is_positive(glyphs):
    images, labels = draw(glyphs._replace(distances=glyphs.distances[:1]), size=64)
    distances = glyphs.distances[0, labels]
    clear = distances.abs() > 1e-5  # an outline through a pixel's middle may fall to either side
    assert torch.equal(images[:, 0][clear] > 0.5, distances[clear] > 0)


def test_a_positive_stroke_thickens_and_a_negative_thins(glyphs):
    thin, plain, thick = (draw(glyphs, stroke=(s, s))[0].sum() for s in (-0.01, 0.0, 0.03))
    assert thin < plain < thick


def test_a_shift_moves_by_parts_of_the_canvas(glyphs):
    still, moved = draw(glyphs)[0], draw(glyphs, scale=(0.5, 0.5))[0]
    assert moved.sum() < 0.5 * still.sum()


def test_inverting_all_is_one_minus(glyphs):
    assert torch.allclose(draw(glyphs, inverted_share=1.0)[0], 1 - draw(glyphs)[0], atol=1e-6)


def test_coarsening_touches_its_share_only(glyphs):
    plain, coarse = draw(glyphs)[0], draw(glyphs, coarse_share=0.5)[0]
    assert torch.equal(plain[32:], coarse[32:])
    assert not torch.equal(plain[:32], coarse[:32])


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
