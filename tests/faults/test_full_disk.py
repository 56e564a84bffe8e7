"""A disk that is full at different moments: one message, nothing half-written, then on it goes."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import CONFIRMED
from tests.faults.running import STUDY, Place
from tests.faults.stores import check_same

pytestmark = pytest.mark.slow

ROOMY = "400m"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A memory disk in the place of the state folder."""
    disk = tmp_path / "mlruns"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={ROOMY}", "tmpfs", str(disk)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"mounting is not permitted: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def resize(disk: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)


def check_refusal(place: Place, size: str, **env: str) -> str:
    """The run ends by itself with one message, and leaves nothing half-written."""
    resize(place.state, size)
    run = place.run(env=env)
    assert run.code == 1, run.said
    message = run.message
    assert len(message.splitlines()) == 1
    assert "space" in message or "full" in message, message
    left = [p for p in place.state.rglob("*") if ".part" in p.name]
    assert left == []
    return message


# In the order of their writing: journal and settings (a few kB), images (1.8 MB), MLflow's tables
# (1 MB), a checkpoint after each epoch but the last (90 MB), weights and a model (45 MB each).
def test_in_preparation_and_checkpoint(small_disk: Path, cache: Path, searched: Any) -> None:
    place = Place(small_disk.parent, cache=cache, study=STUDY)
    found = [check_refusal(place, size) for size in ("4k", "64k", "2400k", "20m")]
    for message, place_of_fault in zip(
        found, ("mlruns", "images", "mlflow.db", "checkpoint"), strict=True
    ):
        assert place_of_fault in message
    resize(small_disk, ROOMY)
    place.finish()
    check_same(place, searched)


def test_in_weights_and_model(small_disk: Path, cache: Path, whole: Any) -> None:
    place = Place(small_disk.parent, cache=cache, study=CONFIRMED)
    found = [
        check_refusal(place, size, TLSEARCH_CHECKPOINT_SHARE="0")
        for size in ("30m", "110m", "150m")
    ]
    assert all(".safetensors" in refusal for refusal in found[:2])
    assert "the model could not be logged" in found[2]
    resize(small_disk, ROOMY)
    place.finish()
    check_same(place, whole)
