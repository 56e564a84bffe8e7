"""A strategy becomes phases, rates per group and steps."""

from itertools import pairwise

import pytest

from tests.models.strategies import strategy
from tlsearch.config.optimization import CosineDecay, PlateauDecay, StepDecay
from tlsearch.config.strategy import Strategy
from tlsearch.errors import RequestError
from tlsearch.training.plan import TrainPlan, batch_bounds, lr_scales, make_plan

GROUPS = ("stem", "layer1", "layer2", "head")


def plan(strategy: Strategy, *, num_train_images: int = 50, num_epochs: int = 6) -> TrainPlan:
    return make_plan(
        strategy, groups=GROUPS, num_train_images=num_train_images, num_epochs=num_epochs
    )


def depths(made: TrainPlan) -> list[int]:
    return [made.groups.index(made.open_in(epoch)[0]) for epoch in range(1, made.num_epochs + 1)]


@pytest.mark.parametrize(
    ("depth", "every", "expected"),
    [
        (3, 1, [3, 2, 1, 0, 0, 0]),
        (3, 2, [3, 3, 2, 2, 1, 1]),
        (2, 2, [2, 2, 1, 1, 0, 0]),
        (1, 5, [1, 1, 1, 1, 1, 0]),
        (1, 6, [1, 1, 1, 1, 1, 1]),
        (0, 2, [0, 0, 0, 0, 0, 0]),
    ],
)
def test_gradual_unfreezing_opens_the_deepest_frozen_group(
    depth: int, every: int, expected: list[int]
) -> None:
    made = plan(strategy(freeze_depth=depth, unfreeze_every_epochs=every))
    assert depths(made) == expected
    assert made.open_groups == GROUPS[min(expected) :]
    assert len(made.phases) == len(set(expected)), "no phase that never comes"


def test_rates_fall_from_the_head_to_the_input() -> None:
    assert lr_scales(GROUPS, ratio=0.5) == {
        "stem": 0.125,
        "layer1": 0.25,
        "layer2": 0.5,
        "head": 1.0,
    }
    assert set(lr_scales(GROUPS, ratio=1.0).values()) == {1.0}
    assert dict(plan(strategy(lr_ratio=0.1)).lr_scales) == pytest.approx(
        {"stem": 1e-3, "layer1": 1e-2, "layer2": 0.1, "head": 1.0}
    )


def test_durations_become_steps() -> None:
    made = plan(strategy(batch_size=8, warmup_epochs=2))  # 50 images: 6 batches of 8 and 2 more
    assert (made.steps_per_epoch, made.total_steps, made.warmup_steps) == (7, 42, 14)
    assert plan(strategy(batch_size=8, warmup_steps=5)).warmup_steps == 5
    for share, steps in {0.1: 4, 0.5: 21, 0.99: 41, 0.001: 0}.items():
        assert plan(strategy(batch_size=8, warmup_fraction=share)).warmup_steps == steps
    assert plan(strategy(batch_size=64)).steps_per_epoch == 1


def test_base_rate_over_the_training() -> None:
    made = plan(
        strategy(lr=2.0, batch_size=25, warmup_epochs=1, schedule=CosineDecay(final_lr_fraction=0))
    )
    found = [made.base_lr(step, val_losses=()) for step in range(made.total_steps)]
    assert found[:3] == pytest.approx([2 / 3, 4 / 3, 2])
    assert found[7] == pytest.approx(1.0), "half way between warm-up's end and the end"
    step = plan(strategy(lr=2.0, batch_size=25, schedule=StepDecay(every_epochs=3, gamma=0.1)))
    assert [step.base_lr(i, val_losses=()) for i in (0, 5, 6, 11)] == pytest.approx(
        [2, 2, 0.2, 0.2]
    )


def test_plateau_lowers_the_base_rate_after_losses_that_do_not_fall() -> None:
    made = plan(strategy(lr=1.0, schedule=PlateauDecay(factor=0.1, patience_epochs=1)))
    losses = [1.0, 1.0, 1.0, 1.0, 1.0]
    found = [made.base_lr(7 * n, val_losses=losses[:n]) for n in range(6)]
    assert found == pytest.approx([1, 1, 1, 0.1, 0.1, 0.01])


def test_batches_are_of_the_recorded_size_and_none_is_of_a_few() -> None:
    for num_images in range(1, 70):
        for batch_size in range(2, 40):
            bounds = batch_bounds(num_images, batch_size=batch_size)
            assert bounds[0][0] == 0
            assert bounds[-1][1] == num_images
            assert all(a[1] == b[0] for a, b in pairwise(bounds))
            *whole, last = [high - low for low, high in bounds]
            assert set(whole) <= {batch_size}
            assert last < max(1.25 * batch_size, batch_size + 2)
            assert last >= max(2, batch_size / 4) or num_images == last
    sizes = {
        (200, 64): [64, 64, 72],
        (200, 32): [32] * 6 + [8],
        (50, 16): [16, 16, 18],
        (5, 2): [2, 3],
        (9, 64): [9],
    }
    for (num_images, batch_size), expected in sizes.items():
        bounds = batch_bounds(num_images, batch_size=batch_size)
        assert [high - low for low, high in bounds] == expected


@pytest.mark.parametrize(
    ("changes", "images", "message"),
    [
        ({"freeze_depth": 4}, 50, r"space.freeze_depth = 4: .* between 0 and 3.*layer2"),
        ({"freeze_depth": -1}, 50, r"space.freeze_depth = -1"),
        ({"warmup_epochs": 6}, 50, r"space.warmup_epochs = 6: .* 6 epochs, 42 steps"),
        ({"warmup_steps": 42}, 50, r"space.warmup_steps = 42: .* 6 epochs, 42 steps"),
        ({"batch_size": 1}, 50, r"space.batch_size = 1 with 50 .* at least 2"),
        ({"batch_size": 8}, 1, r"space.batch_size = 8 with 1 .* at least 2"),
    ],
)
def test_what_cannot_be_carried_out_is_refused(
    changes: dict[str, int], images: int, message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        plan(strategy(**changes), num_train_images=images)
