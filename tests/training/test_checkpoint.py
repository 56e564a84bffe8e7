"""Checkpoints are whole or absent: files cut short, disks full, folders that are none."""

import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.models.strategies import strategy
from tests.training.small import (
    data,
    figures,
    pixels,
    same,
    store,
    tiny_backbone,
    trainer,
    weights,
)
from tests.training.test_augmentation import STRONG
from tlsearch.config.augmentation import CutMix, PgdAttack, RandAugment, TrivialAugment
from tlsearch.config.optimization import Adam, AdamW, CosineDecay, PlateauDecay, RmsProp, Sgd
from tlsearch.config.paths import draft_of
from tlsearch.config.strategy import SamplingBalance
from tlsearch.errors import WorkError
from tlsearch.training.checkpoint import COST_SHARE, Checkpointer
from tlsearch.training.trainer import Trainer


@pytest.fixture
def started() -> Trainer:
    made = trainer()
    next(made.epochs())
    return made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints" / "trial-3.ckpt"


def keep(path: Path) -> Checkpointer:
    return Checkpointer(path, cost_share=COST_SHARE)


def assert_not_restored(path: Path) -> None:
    fresh = trainer()
    before = weights(fresh)
    assert not keep(path).restore(fresh)
    assert fresh.history == []
    assert fresh.optimizer.state_dict()["state"] == {}
    assert same(weights(fresh), before)


def test_a_file_cut_short_at_any_place_counts_as_absent(path: Path, started: Trainer) -> None:
    keep(path).save(started)
    whole = path.read_bytes()
    for share in (0, 0.001, 0.1, 0.5, 0.9, 0.999):
        path.write_bytes(whole[: int(share * len(whole))])
        assert_not_restored(path)
    path.write_bytes(whole[:-1])
    assert_not_restored(path)


def test_what_is_no_checkpoint_counts_as_absent(path: Path) -> None:
    assert_not_restored(path)
    assert not path.parent.exists(), "looking creates nothing"
    path.parent.mkdir()
    draw, zip_start = np.random.default_rng(0), b"PK\x03\x04"
    for garbage in (b"", draw.bytes(5000), zip_start + draw.bytes(500)):
        path.write_bytes(garbage)
        assert_not_restored(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.txt", "b")
    assert_not_restored(path)
    for other in ([1, 2], {"fingerprint": "another"}):
        torch.save(other, path)
        assert_not_restored(path)


def test_a_flipped_bit_counts_as_absent(path: Path, started: Trainer) -> None:
    keep(path).save(started)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as file:
        # Each content follows a header of 30 bytes, its name, and less than 64 bytes of padding.
        places = [i.header_offset + 200 for i in file.infolist() if i.file_size > 500]
    assert len(places) > 10
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert_not_restored(path)


def test_code_in_a_checkpoint_never_runs(path: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    path.parent.mkdir()
    torch.save({"fingerprint": Evil()}, path)
    assert_not_restored(path)
    path.write_bytes(pickle.dumps(Evil()))
    assert_not_restored(path)
    assert not (tmp_path / "ran").exists()


def test_a_full_disk_is_one_clear_message_and_keeps_the_last_checkpoint(
    path: Path, started: Trainer
) -> None:
    keep(path).save(started)
    old = path.read_bytes()
    draft_of(path, os.getpid()).symlink_to("/dev/full")
    with pytest.raises(WorkError, match=r"trial-3.ckpt: cannot be written .* disk space"):
        keep(path).save(started)
    assert [p.name for p in path.parent.iterdir()] == ["trial-3.ckpt"]
    assert path.read_bytes() == old


def test_removing_takes_what_an_interrupted_save_left(path: Path, started: Trainer) -> None:
    keeper = keep(path)
    keeper.save(started)
    draft_of(path, 4711).write_bytes(b"half")
    other = path.with_name("trial-30.ckpt")
    other.write_bytes(b"")
    keeper.remove()
    assert list(path.parent.iterdir()) == [other]
    keeper.remove()


def test_it_saves_when_it_can_afford_to(
    path: Path, started: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("tlsearch.training.checkpoint.time.perf_counter", lambda: now[0])
    slow_save = torch.save

    def save(state: object, target: Path) -> None:
        now[0] += 2.0  # a save takes two seconds
        slow_save(state, target)

    monkeypatch.setattr("tlsearch.training.checkpoint.torch.save", save)
    keeper = Checkpointer(path, cost_share=0.02)
    keeper.after_epoch(started)
    assert not path.exists(), "no time has passed"
    now[0] += 10.0
    keeper.after_epoch(started)
    assert path.exists(), "a small network's first save is guessed to be cheap"
    path.unlink()
    now[0] += 99.0
    keeper.after_epoch(started)
    assert not path.exists(), "two seconds are more than 2 % of 99"
    now[0] += 1.0
    keeper.after_epoch(started)
    assert path.exists()


# A training that was interrupted ends with the bits of one that was not.


EPOCHS = 6
CASES: Mapping[str, dict[str, Any]] = {
    "sgd, augmented": {
        "optimizer": Sgd(momentum=0.9, nesterov=True),
        "weight_decay": 0.01,
        "augmentation": STRONG,
        "erasing": 0.5,
        "freeze_depth": 2,
    },
    "adam, cosine, policies": {
        "optimizer": Adam(beta1=0.9, beta2=0.999),
        "lr": 0.01,
        "l1": 1e-3,
        "warmup_epochs": 3,
        "schedule": CosineDecay(final_lr_fraction=0.1),
        "augmentation": RandAugment(num_ops=2, magnitude=9),
        "label_smoothing": 0.1,
    },
    "rmsprop, norms, sampled": {
        "optimizer": RmsProp(alpha=0.9, momentum=0.5),
        "lr": 1e-3,
        "trained": "norms",
        "class_balance": SamplingBalance(),
    },
    # At this rate no epoch improves on the first, so the rate is cut every other epoch.
    "plateau": {"lr": 1e-9, "schedule": PlateauDecay(factor=0.5, patience_epochs=1)},
    "patience that ends it": {"lr": 1e-9, "patience_epochs": 3},
    "gradual unfreezing": {
        "freeze_depth": 4,
        "unfreeze_every_epochs": 1,
        "optimizer": AdamW(beta1=0.9, beta2=0.999),
        "lr": 0.01,
        "dropout": 0.2,
        "clip_norm": 0.5,
        "patience_epochs": 5,
    },
    "frozen": {"freeze_depth": 5},
    "mixed and attacked": {
        "augmentation": TrivialAugment(),
        "mixing": CutMix(alpha=1.0),
        "adversarial": PgdAttack(epsilon=0.05, num_steps=2, share=0.5),
        "dropout": 0.3,
        "freeze_depth": 3,
        "unfreeze_every_epochs": 2,
    },
    "l2_sp, surgical": {"l2_sp": 0.5, "trained": "layer1+layer3", "dropout": 0.2},
    "average, patience and unfreezing": {
        "ema_decay": 0.5,
        "patience_epochs": 2,
        "freeze_depth": 2,
        "unfreeze_every_epochs": 1,
        "lr": 0.3,
    },
}


def make(case: str, folder: Path) -> Trainer:
    """A training with a network of its own; frozen parts go through kept activations."""
    return trainer(
        strategy(**CASES[case]),
        num_epochs=EPOCHS,
        seed=3,
        activations=store(folder),
        measure_updates=True,
    )


@pytest.mark.parametrize("case", CASES)
def test_interrupted_after_an_epoch(case: str, tmp_path: Path) -> None:
    undisturbed = make(case, tmp_path)
    results = figures(undisturbed.epochs())
    whole = undisturbed.finish()
    if case == "plateau":
        assert len({r.lr for r in results}) == 3
    if case == "patience that ends it":
        assert len(results) == 4
    for epochs in (2, len(results)):
        keeper = Checkpointer(tmp_path / "trial.ckpt", cost_share=0.02)
        first = make(case, tmp_path)
        steps = first.epochs()
        for _ in range(epochs):
            next(steps)
        keeper.save(first)
        torch.rand(epochs)  # another process has other generators
        second = make(case, tmp_path)
        assert keeper.restore(second)
        assert second.step_seconds == first.step_seconds > 0
        assert figures(second.history) == results[:epochs]
        rest = figures(second.epochs())
        assert rest == results[epochs:]
        again = second.finish()
        assert same(weights(second), weights(undisturbed))
        assert (again.confusion, again.max_grad_norm) == (whole.confusion, whole.max_grad_norm)
        assert second.steps.state() == undisturbed.steps.state()
        assert again.chosen is not None
        assert whole.chosen is not None
        assert again.chosen._replace(seconds=0) == whole.chosen._replace(seconds=0)


def test_a_state_belongs_to_one_request(tmp_path: Path) -> None:
    keeper = Checkpointer(tmp_path / "trial.ckpt", cost_share=0.02)
    first = trainer()
    next(first.epochs())
    keeper.save(first)
    fresh = trainer(backbone=tiny_backbone(dropout=0.0, seed=99))
    assert keeper.restore(fresh)
    assert figures(fresh.history) == figures(first.history)
    assert same(weights(fresh), weights(first))
    others = [
        trainer(strategy(lr=0.051)),
        trainer(num_epochs=4),
        trainer(seed=1),
        trainer(metric="val_loss"),
        trainer(measure_updates=True),
        trainer(strategy(augmentation=STRONG)),
        trainer(strategy(erasing=0.1)),
        trainer(on=data()._replace(train=data().train[1:])),
        trainer(on=data(pixels()._replace(labels=pixels().labels[::-1].copy()))),
    ]
    for other in others:
        before = weights(other)
        assert not keeper.restore(other)
        assert other.history == []
        assert same(weights(other), before)
    with pytest.raises(AssertionError, match="another training"):
        others[0].load_state(first.state())
