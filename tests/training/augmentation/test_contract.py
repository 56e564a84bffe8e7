"""What holds for every augmentation: shape, range, and where its chance comes from."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.models.strategies import strategy
from tests.training.augmentation.policies import STAGES, STILL, STRONG
from tlsearch.config.augmentation import AUGMENTATIONS, BasicAugmentation
from tlsearch.training.augmentation import make_stages, through

MEAN = (0.485, 0.456, 0.406)
ROWS = np.array([3, 17, 4, 90, 8, 51, 2, 33])


def images(size: int = 16, rows: np.ndarray = ROWS) -> Tensor:
    """An image for each row, the same one wherever the row stands."""
    return torch.stack(
        [torch.rand(3, size, size, generator=torch.Generator().manual_seed(int(r))) for r in rows]
    )


def view(name: str, *, rows: np.ndarray = ROWS, epoch: int = 1, seed: int = 0) -> Tensor:
    stages = make_stages(strategy(**STAGES[name]), mean=MEAN, seed=seed)
    return through(stages, images(rows=rows), rows, epoch=epoch)


def test_every_augmentation_is_here() -> None:
    kinds = {type(case["augmentation"]) for case in STAGES.values() if "augmentation" in case}
    assert kinds == set(AUGMENTATIONS.values()) - {AUGMENTATIONS["none"]}


@pytest.mark.parametrize("name", STAGES)
def test_shape_type_and_range(name: str) -> None:
    found = view(name)
    assert found.shape == (8, 3, 16, 16)
    assert found.dtype == torch.float32
    assert 0 <= float(found.min()) < float(found.max()) <= 1


@pytest.mark.parametrize("name", STAGES)
def test_something_happens_to_most_images(name: str) -> None:
    changed = [(a != b).any() for a, b in zip(view(name), images(), strict=True)]
    assert sum(map(bool, changed)) >= 5


@pytest.mark.parametrize("name", STAGES)
def test_the_same_seed_and_epoch_give_the_same_view_and_others_do_not(name: str) -> None:
    first = view(name)
    torch.rand(5)
    np.random.default_rng().random()
    assert torch.equal(view(name), first)
    for other in (view(name, epoch=2), view(name, seed=1)):
        same = [torch.equal(a, b) for a, b in zip(first, other, strict=True)]
        assert sum(same) < 4


@pytest.mark.parametrize("name", STAGES)
def test_a_view_does_not_depend_on_the_batch_to_the_last_bit(name: str) -> None:
    whole = view(name)
    for part in (slice(0, 1), slice(2, 5), slice(None, None, -1)):
        assert torch.equal(view(name, rows=ROWS[part]), whole[list(range(8))[part]])


@pytest.mark.parametrize("name", STAGES)
def test_equal_images_of_different_rows_get_different_views(name: str) -> None:
    one = images()[:1].expand(8, -1, -1, -1)
    stages = make_stages(strategy(**STAGES[name]), mean=MEAN, seed=0)
    found = through(stages, one, ROWS, epoch=1)
    assert len({v.numpy().tobytes() for v in found}) >= 5


@pytest.mark.parametrize("name", STAGES)
def test_what_comes_in_stays_as_it_is(name: str) -> None:
    given = images()
    stages = make_stages(strategy(**STAGES[name]), mean=MEAN, seed=0)
    through(stages, given, ROWS, epoch=1)
    assert torch.equal(given, images())


@pytest.mark.parametrize("name", STAGES)
def test_dropout_draws_as_if_there_were_no_augmentation(name: str) -> None:
    torch.manual_seed(5)
    plain = torch.rand(4)
    torch.manual_seed(5)
    view(name)
    assert torch.equal(torch.rand(4), plain)


@pytest.mark.parametrize("name", STAGES)
def test_a_constant_grey_image_stays_one_but_for_what_is_cut_out(name: str) -> None:
    """No transformation of space makes an edge where there was none, but for torchvision's black
    corners and boxes.
    """
    stages = make_stages(strategy(**STAGES[name]), mean=MEAN, seed=0)
    found = through(stages, torch.full((8, 3, 16, 16), 0.6), ROWS, epoch=1)
    assert found.isfinite().all()
    if name == "basic":
        spread = found.amax(dim=(2, 3)) - found.amin(dim=(2, 3))
        assert float(spread.max()) < 1e-5


def test_no_strength_is_the_image_itself() -> None:
    stages = make_stages(strategy(augmentation=STILL), mean=MEAN, seed=0)
    assert torch.equal(through(stages, images(), ROWS, epoch=1), images())
    assert make_stages(strategy(), mean=MEAN, seed=0) == ()


@pytest.mark.parametrize("name", [field.name for field in fields(BasicAugmentation)])
def test_each_strength_of_the_basic_policy_does_something_alone(name: str) -> None:
    alone = replace(STILL, **{name: getattr(STRONG, name)})
    stages = make_stages(strategy(augmentation=alone), mean=MEAN, seed=0)
    found = through(stages, images(), ROWS, epoch=1)
    changed = [not torch.equal(a, b) for a, b in zip(found, images(), strict=True)]
    assert sum(changed) >= (2 if "flip" in name else 8)
    if "flip" in name:
        axis = 2 if name == "flip" else 1
        for got, original, is_changed in zip(found, images(), changed, strict=True):
            assert torch.equal(got, original.flip(axis) if is_changed else original)


def test_a_flip_comes_as_often_as_asked() -> None:
    rows = np.arange(400)
    given = images(size=2, rows=rows)
    for probability in (0.0, 0.2, 1.0):
        chosen = strategy(augmentation=replace(STILL, flip=probability))
        found = through(make_stages(chosen, mean=MEAN, seed=0), given, rows, epoch=1)
        share = (found != given).flatten(1).any(dim=1).double().mean().item()
        # Four standard deviations of 400 draws.
        assert share == pytest.approx(probability, abs=4 * (probability * 0.8 / 400) ** 0.5)


def test_a_larger_strength_moves_the_same_way() -> None:
    """Two strategies see views that differ by their strength alone."""
    ramp = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    found = [
        through(
            make_stages(strategy(augmentation=replace(STILL, shift=s)), mean=MEAN, seed=0),
            ramp,
            np.array([7]),
            epoch=1,
        )[0, 0, 32, 32].item()
        for s in (0.0, 0.1, 0.2)
    ]
    first, second = found[1] - found[0], found[2] - found[0]
    assert second == pytest.approx(2 * first, rel=1e-3)
    assert abs(first) > 1e-3


def test_an_erased_box_has_the_mean_colour() -> None:
    stages = make_stages(strategy(erasing=1.0), mean=MEAN, seed=0)
    given = images()
    found = through(stages, given, ROWS, epoch=1)
    cut = (found != given).any(dim=1)
    shares = cut.double().mean(dim=(1, 2))
    assert ((shares > 0.01) & (shares < 0.4)).all()  # torchvision's 2 to 33 %, in whole pixels
    for image, where in zip(found, cut, strict=True):
        torch.testing.assert_close(
            image[:, where], torch.tensor(MEAN)[:, None].expand(-1, int(where.sum()))
        )
        rows, columns = where.any(dim=1), where.any(dim=0)
        assert int(where.sum()) == int(rows.sum()) * int(columns.sum()), "a box without holes"
