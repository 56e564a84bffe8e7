"""Checkpoints are whole or absent: files cut short, disks full, folders that are none."""

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.small import figures, same, trainer, weights
from tlsearch.config.paths import draft_of
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


def test_none_is_no_error(path: Path) -> None:
    assert_not_restored(path)
    assert not path.parent.exists(), "looking creates nothing"


def test_saved_whole_and_loadable_without_pickles(path: Path, started: Trainer) -> None:
    keep(path).save(started)
    assert [p.name for p in path.parent.iterdir()] == ["trial-3.ckpt"]
    state = torch.load(path, weights_only=True)
    assert state["history"] == [list(started.history[0])]
    fresh = trainer()
    assert keep(path).restore(fresh)
    assert figures(fresh.history) == figures(started.history)
    assert same(weights(fresh), weights(started))


def test_a_file_cut_short_at_any_place_counts_as_absent(path: Path, started: Trainer) -> None:
    keep(path).save(started)
    whole = path.read_bytes()
    for share in (0, 0.001, 0.1, 0.5, 0.9, 0.999):
        path.write_bytes(whole[: int(share * len(whole))])
        assert_not_restored(path)
    path.write_bytes(whole[:-1])
    assert_not_restored(path)


def test_garbage_counts_as_absent(path: Path) -> None:
    path.parent.mkdir()
    draw, zip_start = np.random.default_rng(0), b"PK\x03\x04"
    for garbage in (b"", b"\0" * 999, draw.bytes(5000), zip_start + draw.bytes(500), b"GIF89a"):
        path.write_bytes(garbage)
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


def test_a_zip_file_of_something_else_counts_as_absent(path: Path) -> None:
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.txt", "b")
    assert_not_restored(path)
    for other in ([1, 2], {"fingerprint": "another"}, torch.zeros(3)):
        torch.save(other, path)
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


def test_a_file_in_place_of_the_folder(tmp_path: Path, started: Trainer) -> None:
    (tmp_path / "checkpoints").write_text("")
    with pytest.raises(WorkError, match="cannot be written"):
        keep(tmp_path / "checkpoints" / "trial.ckpt").save(started)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(path: Path, started: Trainer) -> None:
    path.parent.mkdir(mode=0o555)
    with pytest.raises(WorkError, match="cannot be written"):
        keep(path).save(started)


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
