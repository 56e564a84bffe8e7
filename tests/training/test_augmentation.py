"""Augmentation: the contract of every stage, moves and colours as torchvision has them, mixing."""

import math
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as vision

from tests.models.strategies import strategy
from tests.training.small import CPU, data, figures, same, store, trainer, weights
from tlsearch.config.augmentation import (
    BasicAugmentation,
    CutMix,
    Mixup,
    RandAugment,
    TrivialAugment,
)
from tlsearch.training.augmentation import (
    ASPECT,
    View,
    blended,
    crop_sides,
    grey_of,
    hue_shifted,
    make_stages,
    mixed,
    sampling_matrices,
    through,
    warped,
)
from tlsearch.training.batches import draw_keys, epoch_order, normalised, unit_batch
from tlsearch.training.plan import batch_bounds

STILL = BasicAugmentation(
    flip=0.0,
    vertical_flip=0.0,
    rotation=0.0,
    shift=0.0,
    shear=0.0,
    zoom=0.0,
    crop=1.0,
    colour=0.0,
)
STRONG = BasicAugmentation(
    flip=0.5,
    vertical_flip=0.5,
    rotation=30.0,
    shift=0.2,
    shear=20.0,
    zoom=0.3,
    crop=0.3,
    colour=0.8,
)
STAGES: Mapping[str, dict[str, Any]] = {
    "basic": {"augmentation": STRONG},
    "trivial": {"augmentation": TrivialAugment()},
    "randaugment": {"augmentation": RandAugment(num_ops=2, magnitude=15)},
    "erasing": {"erasing": 0.9},
    "trivial and erasing": {"augmentation": TrivialAugment(), "erasing": 0.5},
}
"""Changes to a strategy that make each kind of stage."""


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


@pytest.mark.parametrize("name", STAGES)
def test_contract(name: str) -> None:
    torch.manual_seed(5)
    plain = torch.rand(4)
    torch.manual_seed(5)
    first = view(name)
    assert torch.equal(torch.rand(4), plain), "dropout draws as if there were no augmentation"
    np.random.default_rng().random()
    assert torch.equal(view(name), first), "seed, epoch and row decide"
    assert first.shape == (8, 3, 16, 16)
    assert first.dtype == torch.float32
    assert 0 <= float(first.min()) < float(first.max()) <= 1
    assert sum(not torch.equal(a, b) for a, b in zip(first, images(), strict=True)) >= 5
    for other in (view(name, epoch=2), view(name, seed=1)):
        assert sum(torch.equal(a, b) for a, b in zip(first, other, strict=True)) < 4
    for part in (slice(0, 1), slice(2, 5), slice(None, None, -1)):  # to the last bit
        assert torch.equal(view(name, rows=ROWS[part]), first[list(range(8))[part]])
    stages, given = make_stages(strategy(**STAGES[name]), mean=MEAN, seed=0), images()
    through(stages, given, ROWS, epoch=1)
    assert torch.equal(given, images()), "what comes in stays as it is"
    one = images()[:1].expand(8, -1, -1, -1)
    found = through(stages, one, ROWS, epoch=1)
    assert len({v.numpy().tobytes() for v in found}) >= 5, "equal images of different rows"
    # No transformation of space makes an edge where there was none, but for torchvision's black
    # corners and boxes.
    grey = through(stages, torch.full((8, 3, 16, 16), 0.6), ROWS, epoch=1)
    assert grey.isfinite().all()
    if name == "basic":
        assert float((grey.amax(dim=(2, 3)) - grey.amin(dim=(2, 3))).max()) < 1e-5


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


# Within a training: which images are augmented, and which are not.


def test_an_image_that_is_drawn_often_has_other_views_each_time() -> None:
    order = np.array([5, 2, 5, 5, 2, 9])
    assert draw_keys(order, num_images=10).tolist() == [5, 2, 15, 25, 12, 9]
    training = trainer(strategy(augmentation=STRONG), num_epochs=1, seed=4, on=data())
    rows = np.full(3, 5)
    keys = draw_keys(rows, num_images=len(data().pixels.labels))
    first, *others = training.views.images(rows, keys, epoch=1)[0]
    alone = training.views.images(rows[:1], rows[:1], epoch=1)[0]
    assert torch.equal(first, alone[0])
    assert not any(torch.equal(first, other) for other in others)


def test_an_epoch_on_augmented_images_is_a_bare_torch_loop_to_the_last_bit() -> None:
    on, chosen = data(), strategy(augmentation=STRONG, erasing=0.5)
    training, bare = (trainer(chosen, num_epochs=2, seed=4, on=on) for _ in range(2))
    results = list(training.epochs())
    model = bare.backbone.model
    optimizer = torch.optim.SGD(model.parameters(), lr=chosen.lr, momentum=0.9, fused=True)
    stages = make_stages(chosen, mean=on.pixels.mean, seed=4)
    labels = torch.from_numpy(on.pixels.labels)
    for epoch in (1, 2):
        model.train()
        order, sums, hits = epoch_order(on.train, seed=4, epoch=epoch), 0.0, 0
        for low, high in batch_bounds(len(order), batch_size=8):
            rows = order[low:high]
            view = through(stages, unit_batch(on.pixels, rows, device=CPU), rows, epoch=epoch)
            logits = model(normalised(view, on.pixels))
            loss = F.cross_entropy(logits, labels[rows])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            sums += loss.item() * len(rows)
            hits += int((logits.argmax(1) == labels[rows]).sum())
        assert results[epoch - 1].train_loss == sums / len(order)
        assert results[epoch - 1].train_accuracy == hits / len(order)
    assert same(weights(training), model.state_dict())


def test_frozen_groups_see_every_view_though_plain_activations_are_kept(tmp_path: Path) -> None:
    depth = 3
    chosen = strategy(freeze_depth=depth, augmentation=STRONG)
    kept = trainer(chosen, activations=store(tmp_path))
    direct = trainer(chosen)
    plain = trainer(strategy(freeze_depth=depth))
    results = figures(kept.epochs())
    assert results == figures(direct.epochs())
    assert results[0].train_loss != next(plain.epochs()).train_loss
    assert same(weights(kept), weights(direct))
    assert kept.forward._kept is not None, "validation reads them"


def test_validation_sees_plain_images() -> None:
    """At a rate of almost nothing the two networks are the same, and so are their answers."""
    on = data()
    plain, augmented = (
        trainer(strategy(lr=1e-30, freeze_depth=5, **changes), num_epochs=2, on=on)
        for changes in ({}, {"augmentation": STRONG, "mixing": Mixup(alpha=1.0), "erasing": 1.0})
    )
    for one, other in zip(plain.epochs(), augmented.epochs(), strict=True):
        assert one.val_loss == other.val_loss
        assert one.train_loss != other.train_loss


def test_every_trial_of_a_study_sees_the_same_views() -> None:
    """Other rates, other depths, other batches: the view of an image is that of its epoch."""
    on = data()
    trials = [
        trainer(strategy(augmentation=STRONG, erasing=0.5, **changes), on=on, seed=2)
        for changes in ({}, {"lr": 0.3, "freeze_depth": 4, "dropout": 0.5})
    ]
    rows = on.train[:5]
    first, second = (trial.views.images(rows, rows, epoch=3)[0] for trial in trials)
    assert torch.equal(first, second)
    turned = rows[::-1].copy()
    assert torch.equal(trials[0].views.images(turned, turned, epoch=3)[0], first.flip(0))


def moved(images: Tensor, **changes: Any) -> Tensor:
    """All images moved alike."""
    still = {"rotation": 0.0, "shear": 0.0, "zoom": 1.0}
    still |= {"shift": (0.0, 0.0), "crop": (1.0, 1.0), "place": (0.5, 0.5)}
    values = {name: np.array([value]) for name, value in {**still, **changes}.items()}
    height, width = images.shape[2:]
    return warped(images, sampling_matrices(**values, height=height, width=width))


@pytest.fixture
def blurred() -> Tensor:
    draw = torch.rand(1, 3, 24, 30, generator=torch.Generator().manual_seed(0))
    return vision.gaussian_blur(draw, [5, 5])


def test_what_comes_in_from_beyond_the_edge_is_mirrored(blurred: Tensor) -> None:
    right = moved(blurred, shift=(3 / 30, 0.0))
    torch.testing.assert_close(right[..., 3:], blurred[..., :-3], atol=1e-4, rtol=0)
    torch.testing.assert_close(right[..., :3], blurred[..., :3].flip(3), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("changes", "theirs"),
    [
        ({"rotation": -65.0}, {"angle": -65.0}),
        ({"shear": 15.0}, {"shear": [15.0, 0.0]}),
        ({"zoom": 1.3}, {"scale": 1.3}),
        (
            {"rotation": 25.0, "shear": -10.0, "zoom": 0.9, "shift": (2 / 30, -3 / 24)},
            {"angle": 25.0, "shear": [-10.0, 0.0], "scale": 0.9, "translate": [2, -3]},
        ),
    ],
)
def test_moves_as_torchvision_has_them(
    blurred: Tensor, changes: dict[str, Any], theirs: dict[str, Any]
) -> None:
    radians = {k: math.radians(v) if k in ("rotation", "shear") else v for k, v in changes.items()}
    settings = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0], **theirs}
    expected = vision.affine(blurred, **settings, interpolation=InterpolationMode.BILINEAR)
    inside = vision.affine(torch.ones_like(blurred), **settings) == 1
    # Two pixels in from torchvision's black corners, with which it blends the edge.
    inside = -torch.nn.functional.max_pool2d(-inside.float(), 5, 1, 2) == 1
    assert inside.double().mean() > 0.2
    found = moved(blurred, **radians)
    torch.testing.assert_close(found[inside], expected[inside], atol=1e-3, rtol=0)


def test_a_crop_is_a_part_of_the_image_enlarged(blurred: Tensor) -> None:
    found = moved(blurred, crop=(0.5, 0.5), place=(1.0, 0.0))
    expected = vision.resize(blurred[:, :, :12, 15:], [24, 30], antialias=False)
    # At the crop's own border we look beyond it, and resizing does not.
    torch.testing.assert_close(found[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], atol=1e-4, rtol=0)


def test_sides_of_crops() -> None:
    area = np.array([0.25, 0.25, 0.25, 1.0, 0.9])
    width, height = crop_sides(area, np.array([0, 1, -1, 1, 1])).T
    np.testing.assert_allclose(width * height, area)
    np.testing.assert_allclose(width / height, [1, ASPECT, 1 / ASPECT, 1, 1 / 0.9])


def test_colours_as_torchvision_has_them() -> None:
    factors, turns = torch.tensor([0.0, 0.4, 1.0, 1.7]), torch.tensor([-0.25, 0.0, 0.1, 0.5])
    images = torch.rand(4, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    images[:, :, 0, :3] = torch.eye(3)  # pure red, green and blue
    images[:, :, 1] = 0.3  # grey has no hue
    mean_grey = grey_of(images).mean(dim=(1, 2, 3), keepdim=True)
    cases: list[tuple[Tensor, Callable[[Tensor, float], Tensor], Tensor]] = [
        (blended(images, 0, factors), vision.adjust_brightness, factors),
        (blended(images, mean_grey, factors), vision.adjust_contrast, factors),
        (blended(images, grey_of(images), factors), vision.adjust_saturation, factors),
        (hue_shifted(images, turns), vision.adjust_hue, turns),
    ]
    for found, theirs, strengths in cases:
        expected = [theirs(image, float(f)) for image, f in zip(images, strengths, strict=True)]
        torch.testing.assert_close(found, torch.stack(expected), atol=2e-5, rtol=0)


# Two images made into one.

KINDS = {"mixup": Mixup(alpha=1.0), "cutmix": CutMix(alpha=1.0)}
BATCH = np.array([5, 9, 2, 7])


@pytest.fixture
def unlike() -> Tensor:
    return torch.rand(4, 3, 10, 14, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("chosen", KINDS.values(), ids=KINDS)
def test_the_same_batch_is_mixed_the_same_way(chosen: Mixup | CutMix, unlike: Tensor) -> None:
    given = unlike.clone()
    found = mixed(chosen, unlike, BATCH, epoch=2, seed=3)
    again = mixed(chosen, unlike, BATCH, epoch=2, seed=3)
    assert torch.equal(unlike, given)
    assert torch.equal(found.images, again.images)
    assert found.images.shape == unlike.shape
    assert found.partners.tolist() == [7, 5, 9, 2]
    others = {
        mixed(chosen, unlike, BATCH, epoch=3, seed=3).share,
        mixed(chosen, unlike, BATCH, epoch=2, seed=4).share,
        mixed(chosen, unlike, BATCH[1:], epoch=2, seed=3).share,
    }
    assert found.share == again.share
    assert found.share not in others


def test_mixup_is_the_weighted_mean_by_its_share(unlike: Tensor) -> None:
    found = mixed(KINDS["mixup"], unlike, BATCH, epoch=1, seed=0)
    assert 0 < found.share < 1
    expected = found.share * unlike + (1 - found.share) * unlike[[3, 0, 1, 2]]
    torch.testing.assert_close(found.images, expected)


def test_cutmix_pastes_one_box_and_its_share_is_its_area(unlike: Tensor) -> None:
    shares = []
    for epoch in range(1, 9):
        found = mixed(KINDS["cutmix"], unlike, BATCH, epoch=epoch, seed=0)
        pasted = (found.images != unlike).any(dim=1)
        assert all(torch.equal(pasted[0], where) for where in pasted)
        where = pasted[0].expand(4, 3, -1, -1)
        assert torch.equal(found.images[where], unlike.roll(1, 0)[where])
        assert found.share == pytest.approx(1 - float(pasted[0].double().mean()))
        assert int(where[0, 0].sum()) == int(
            pasted[0].any(dim=0).sum() * pasted[0].any(dim=1).sum()
        )
        shares.append(found.share)
    assert len(set(shares)) > 4


@pytest.mark.parametrize("alpha", [0.1, 10.0])
def test_shares_are_drawn_as_torchvision_draws_them(alpha: float) -> None:
    """Of Beta(alpha, alpha): mean 1/2, variance 1 / (4 (2 alpha + 1))."""
    image, chosen = torch.zeros(2, 1, 1, 1), Mixup(alpha=alpha)
    shares = [mixed(chosen, image, np.array([i, 0]), epoch=1, seed=0).share for i in range(1000)]
    theirs = v2.MixUp(alpha=alpha, num_classes=2)._dist
    assert np.mean(shares) == pytest.approx(float(theirs.mean), abs=0.07)
    assert np.var(shares) == pytest.approx(float(theirs.variance), rel=0.2)
    assert np.var(shares) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.2)


@pytest.mark.parametrize(("smoothing", "weighted"), [(0.0, False), (0.2, True)])
def test_the_loss_by_hand(smoothing: float, weighted: bool) -> None:
    on = data()
    if weighted:
        on = on._replace(weights=1.0 + np.arange(len(on.pixels.labels)) % 4)
    training = trainer(strategy(label_smoothing=smoothing), on=on)
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, 1.0, 3.0]])
    rows, partners = on.train[[1, 2]], on.train[[2, 1]]
    assert on.pixels.labels[rows].tolist() == [1, 2]
    found = training._loss(View(logits, rows, partners, 0.7)).item()
    scale = 1.0 if on.weights is None else 1 / on.weights[on.train].mean()
    expected = 0.0
    for one in range(2):
        probabilities = torch.softmax(logits[one], 0).log()
        for share, of in ((0.7, rows[one]), (0.3, partners[one])):
            target = torch.full((3,), smoothing / 3)
            target[int(on.pixels.labels[of])] += 1 - smoothing
            weight = 1.0 if on.weights is None else float(on.weights[of]) * scale
            expected -= share * weight * float((target * probabilities).sum()) / 2
    assert found == pytest.approx(expected, rel=1e-5)


def test_the_heavier_label_is_the_right_answer() -> None:
    view = View(torch.zeros(2, 3), np.array([1, 2]), np.array([2, 1]), 0.6)
    assert view.heavier.tolist() == [1, 2]
    assert view._replace(share=0.4).heavier.tolist() == [2, 1]
    assert view._replace(partners=None, share=1.0).heavier.tolist() == [1, 2]


def test_a_heavy_partner_is_no_explosion() -> None:
    """The bound on the loss goes by the heaviest image of the batch, partners included."""
    on = data()
    heavy = np.ones(len(on.pixels.labels))
    heavy[on.train[0]] = 1e4
    chosen = replace(strategy(batch_size=4, lr=1e-9), mixing=Mixup(alpha=1.0))
    results = list(trainer(chosen, num_epochs=2, on=on._replace(weights=heavy)).epochs())
    assert len(results) == 2
