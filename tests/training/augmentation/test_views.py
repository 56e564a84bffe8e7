"""Augmentation within a training: which images it sees, and which it does not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.models.strategies import strategy
from tests.training.augmentation.policies import STAGES, STILL, STRONG
from tests.training.small import CPU, data, figures, pixels, same, store, trainer, weights
from tlsearch.config.augmentation import FgsmAttack, Mixup
from tlsearch.training.augmentation import make_stages, through
from tlsearch.training.batches import TrainingData, draw_keys, epoch_order, normalised, unit_batch
from tlsearch.training.cross_validation import CrossValidation
from tlsearch.training.plan import batch_bounds


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


@pytest.mark.parametrize("depth", [1, 3, 5])
def test_frozen_groups_see_every_view_though_plain_activations_are_kept(
    depth: int, tmp_path: Path
) -> None:
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


@pytest.mark.parametrize("name", STAGES)
def test_stored_pixels_stay_as_they_are(name: str) -> None:
    on = data()
    before = on.pixels.images.copy()
    on.pixels.images.flags.writeable = False  # as a mapped file is
    list(trainer(strategy(**STAGES[name]), num_epochs=1, on=on).epochs())
    np.testing.assert_array_equal(on.pixels.images, before)


def test_augmentation_of_no_strength_trains_as_none_does() -> None:
    plain = trainer(strategy(dropout=0.3))
    still = trainer(strategy(dropout=0.3, augmentation=STILL))
    assert not still.views.is_plain
    assert figures(plain.epochs()) == figures(still.epochs())
    assert same(weights(plain), weights(still))


def test_grey_images_stay_grey() -> None:
    on = data(pixels(channels=1))
    training = trainer(strategy(augmentation=STRONG), on=on)
    found, _, _ = training.views.images(on.train[:8], on.train[:8], epoch=1)
    torch.testing.assert_close(found[:, 0], found[:, 1])
    torch.testing.assert_close(found[:, 0], found[:, 2])


def test_each_fold_is_augmented() -> None:
    on, chosen = data(), strategy(augmentation=STRONG, adversarial=FgsmAttack(epsilon=0.1, share=1))
    rows = np.arange(len(on.pixels.labels))
    folds = [on._replace(train=rows[rows % 2 == i], validation=rows[rows % 2 != i]) for i in (0, 1)]

    def make(of: TrainingData) -> CrossValidation:
        return trainer(chosen, num_epochs=2, on=of)  # type: ignore[return-value]

    both = CrossValidation(make, folds=folds)  # type: ignore[arg-type]
    together = [r.train_loss for r in both.epochs()]
    apart = [
        r.train_loss for fold in folds for r in trainer(chosen, num_epochs=2, on=fold).epochs()
    ]
    assert together == apart


def test_a_checkpoint_goes_with_its_augmentation() -> None:
    chosen = strategy(augmentation=STRONG)
    prints = {
        trainer(of).fingerprint
        for of in (
            strategy(),
            chosen,
            replace(chosen, augmentation=replace(STRONG, rotation=29.0)),
            replace(chosen, erasing=0.1),
            replace(chosen, mixing=Mixup(alpha=0.2)),
            replace(chosen, mixing=Mixup(alpha=0.3)),
            replace(chosen, adversarial=FgsmAttack(epsilon=0.1, share=1.0)),
        )
    }
    assert len(prints) == 7
