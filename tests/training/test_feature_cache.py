"""Kept activations: the same bits whoever made them, made again when damaged, never wrong."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.models.strategies import strategy
from tests.training.small import (
    CLASSES,
    CPU,
    data,
    figures,
    pixels,
    same,
    store,
    tiny_backbone,
    trainer,
    weights,
)
from tlsearch.config.paths import draft_of
from tlsearch.errors import WorkError
from tlsearch.models.backbones import build_backbone
from tlsearch.models.freezing import set_train_mode
from tlsearch.training import feature_cache as activations
from tlsearch.training.batches import pixel_batch
from tlsearch.training.precision import Numerics, torch_threads

ALL = np.arange(60)


def stages(depth: int, *, seed: int = 0) -> tuple[nn.Module, ...]:
    return tiny_backbone(dropout=0.3, seed=seed).stages[:depth]


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def at(folder: Path, depth: int = 3, *, seed: int = 0, **changes: Any) -> Tensor:
    kept = store(folder, **changes).at_depth(stages(depth, seed=seed), ALL, device=CPU)
    assert kept is not None
    return kept


@pytest.mark.parametrize("depth", [1, 3, 5])
def test_they_are_what_the_frozen_part_gives_in_evaluation_mode(depth: int, tmp_path: Path) -> None:
    frozen = stages(depth)
    before = [v.clone() for s in frozen for v in s.state_dict().values()]
    kept = store(tmp_path).at_depth(frozen, ALL, device=CPU)  # the stages come in training mode
    assert kept is not None
    after = [v for s in frozen for v in s.state_dict().values()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    with torch.no_grad():
        expected = pixel_batch(pixels(), np.arange(60), device=CPU)
        for stage in frozen:
            expected = stage.eval()(expected)
    torch.testing.assert_close(kept, expected)
    if depth < 5:
        assert kept.is_contiguous(memory_format=torch.channels_last)
    assert not kept.requires_grad


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "swin_t", "vit_b_32"])
def test_shapes_and_memory_order_of_every_kind_of_network(name: str, tmp_path: Path) -> None:
    few = pixels(num_images=4, size=32)
    built = build_backbone(name=name, num_classes=CLASSES, image_size=32, dropout=0, seed=0)
    set_train_mode(built, built.groups[-1:])
    built.model.to(memory_format=torch.channels_last)
    for depth in (1, len(built.groups) - 1):
        kept = store(tmp_path, of=few).at_depth(built.stages[:depth], np.arange(4), device=CPU)
        assert kept is not None
        with torch.no_grad():
            batch = pixel_batch(few, np.arange(4), device=CPU)
            for stage in built.stages[:depth]:
                batch = stage(batch)
        torch.testing.assert_close(kept, batch)
        assert kept[torch.tensor([2, 0])].stride() == batch[torch.tensor([2, 0])].stride()


def test_in_several_batches_the_rows_keep_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = at(tmp_path / "whole")
    monkeypatch.setattr(activations, "BATCH_SIZE", 7)
    torch.testing.assert_close(at(tmp_path / "parts"), whole)


@pytest.mark.parametrize("numerics", [Numerics("fp32"), Numerics("bf16")])
def test_several_batches_at_a_time_change_no_bit(
    numerics: Numerics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activations, "BATCH_SIZE", 7)
    with torch_threads(1):
        one = at(tmp_path / "one", numerics=numerics)
        four = at(tmp_path / "four", numerics=numerics, threads=4)
    assert torch.equal(four, one)
    assert four.unique(dim=0).shape == four.shape  # no row twice, none in another's place


@pytest.mark.parametrize("damage", ["empty", "cut", "garbage", "header"])
def test_a_damaged_file_is_made_again(damage: str, tmp_path: Path) -> None:
    made = at(tmp_path).clone()
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    broken = {
        "empty": b"",
        "cut": whole[:-100],
        "garbage": np.random.default_rng(0).bytes(len(whole)),
        "header": whole[:8] + b"?" * 20 + whole[28:],
    }[damage]
    path.write_bytes(broken)
    assert torch.equal(at(tmp_path), made)
    assert path.read_bytes() == whole


def test_whatever_they_depend_on_is_in_their_key(tmp_path: Path) -> None:
    at(tmp_path)
    at(tmp_path, seed=1)
    at(tmp_path, depth=2)
    at(tmp_path, data_key="other")
    at(tmp_path, numerics=Numerics("bf16"))
    at(tmp_path, of=pixels()._replace(mean=(0.5, 0.5, 0.5)))
    assert len(files(tmp_path)) == 6
    strided = stages(3)
    conv = strided[1].get_submodule("0.0")
    assert isinstance(conv, nn.Conv2d)
    conv.stride = (2, 2)
    assert store(tmp_path).at_depth(strided, ALL, device=CPU) is not None
    statistics = stages(3)
    norm = statistics[0].get_submodule("1")
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    norm.running_mean += 1e-3
    assert store(tmp_path).at_depth(statistics, ALL, device=CPU) is not None
    assert len(files(tmp_path)) == 8
    at(tmp_path)
    assert len(files(tmp_path)) == 8


def test_bf16_is_kept_as_bf16(tmp_path: Path) -> None:
    kept = at(tmp_path, numerics=Numerics("bf16"))
    assert kept.dtype == torch.bfloat16
    torch.testing.assert_close(kept.float(), at(tmp_path), rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    "changes", [{"freeze_depth": 3}, {"freeze_depth": 4, "unfreeze_every_epochs": 1}]
)
def test_training_on_them(changes: dict[str, int], tmp_path: Path) -> None:
    chosen = strategy(dropout=0.2, **changes)
    made = trainer(chosen, activations=store(tmp_path / "a"))
    results = figures(made.epochs())
    for path in files(tmp_path / "a")[:1]:
        path.unlink()  # deletable at any time
    found = trainer(chosen, activations=store(tmp_path / "a"))
    assert figures(found.epochs()) == results
    assert same(weights(found), weights(made))
    elsewhere = trainer(chosen, activations=store(tmp_path / "b"))
    assert figures(elsewhere.epochs()) == results
    assert same(weights(elsewhere), weights(made))
    # Without them the frozen part runs in the batches of training: the same but for rounding.
    without = trainer(chosen)
    for a, b in zip(without.epochs(), results, strict=True):
        assert a[1:7] == pytest.approx(b[1:7], rel=1e-3)


def test_too_large_ones_are_not_kept_and_training_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = at(tmp_path / "sized").nbytes
    monkeypatch.setattr(activations, "MAX_BYTES", size)
    assert store(tmp_path / "fits").at_depth(stages(3), ALL, device=CPU) is not None
    monkeypatch.setattr(activations, "MAX_BYTES", size - 1)
    assert store(tmp_path / "none").at_depth(stages(3), ALL, device=CPU) is None
    assert not (tmp_path / "none").exists()
    training = trainer(strategy(freeze_depth=3), activations=store(tmp_path / "none"))
    assert figures(training.epochs()) == figures(trainer(strategy(freeze_depth=3)).epochs())


def test_a_full_disk_is_one_clear_message_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(tmp_path)
    (path,) = files(tmp_path)
    path.unlink()
    monkeypatch.setattr("tlsearch.training.feature_cache.remove_drafts", lambda _: None)
    draft_of(path, os.getpid()).symlink_to("/dev/full")
    with pytest.raises(WorkError, match=r"cannot be written .* disk"):
        at(tmp_path)
    assert files(tmp_path) == []
    assert not draft_of(path, os.getpid()).is_symlink()


def test_only_the_rows_that_a_training_needs_are_kept(tmp_path: Path) -> None:
    on = data()
    for name, chosen, kept in (
        ("plain", strategy(freeze_depth=3), len(on.train) + len(on.validation)),
        ("augmented", strategy(freeze_depth=3, erasing=0.5), len(on.validation)),
    ):
        training = trainer(chosen, activations=store(tmp_path / name), on=on, num_epochs=1)
        list(training.epochs())
        (path,) = files(tmp_path / name)
        assert load_file(path)["activations"].shape[0] == kept
        # Rows that are not kept come from their pixels.
        bare = trainer(chosen, on=on, num_epochs=1)
        list(bare.epochs())
        rest = np.setdiff1d(ALL, on.validation)
        torch.testing.assert_close(
            training.forward.evaluate(rest)[0], bare.forward.evaluate(rest)[0], rtol=1e-3, atol=1e-3
        )


def test_the_least_recently_used_go_where_the_budget_is_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = at(tmp_path).clone()
    (oldest,) = files(tmp_path)
    size = oldest.stat().st_size
    at(tmp_path, seed=1)
    (unused,) = set(files(tmp_path)) - {oldest}
    os.utime(unused, (1, 1))
    monkeypatch.setattr(activations, "BUDGET_BYTES", int(2.5 * size))
    in_use = at(tmp_path)  # used again
    at(tmp_path, seed=2)
    assert oldest in files(tmp_path)
    assert unused not in files(tmp_path)
    monkeypatch.setattr(activations, "BUDGET_BYTES", size // 2)
    at(tmp_path, seed=3)
    assert len(files(tmp_path)) == 1
    assert torch.equal(in_use, first), "who has a file open goes on reading it"
