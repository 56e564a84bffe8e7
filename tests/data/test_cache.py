import multiprocessing
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.data.made import (
    config,
    picture,
    read,
    write_classes,
    write_deep,
    write_messy,
    write_picture,
)
from tlsearch.config.paths import draft_of
from tlsearch.config.runtime import no_progress
from tlsearch.data import cache as decoded
from tlsearch.data import dataset as store
from tlsearch.data.cache import Work, decode_once, entry_key
from tlsearch.data.dataset import ImageSet, image_set
from tlsearch.data.decode import Decoded, Decoding, UnreadableImage, decode_picture
from tlsearch.errors import WorkError

SIZE = 8


def step(i: int) -> Callable[[], Decoded]:
    def run() -> Decoded:
        if i % 5 == 3:
            raise UnreadableImage(f"no {i}")
        return decode_picture(picture(i), Decoding(SIZE, "crop"))

    return run


def work(count: int = 50) -> Work:
    return Work(count, map(step, range(count)), lambda: {"twice": 2 * np.arange(count)})


def forbidden() -> Work:
    raise AssertionError("decoded again")


def make(cache: Path, make_work: Callable[[], Work] = work) -> decoded.Entry:
    return decode_once("key", cache=cache, size=SIZE, work=make_work, on_progress=no_progress)


def test_an_entry_holds_what_could_be_decoded_in_order(tmp_path: Path) -> None:
    entry = make(tmp_path)
    rows = [i for i in range(50) if i % 5 != 3]
    assert entry.rows.tolist() == rows
    assert entry.failures == tuple((i, f"no {i}") for i in range(3, 50, 5))
    expected = [decode_picture(picture(i), Decoding(SIZE, "crop")) for i in rows]
    images = np.load(entry.pixel_file, mmap_mode="r")
    assert isinstance(images, np.memmap)
    np.testing.assert_array_equal(images, [d.pixels for d in expected])
    assert entry.digests.tolist() == [d.digest for d in expected]
    assert entry.hashes.tolist() == [d.hash for d in expected]
    assert entry.hashes.dtype == np.uint64
    assert entry.sizes.tolist() == [[48, 40]] * 40
    assert entry.columns["twice"].tolist() == list(range(0, 100, 2))


@pytest.mark.parametrize("name", ["images.npy", "known.npz", "entry.json"])
def test_an_entry_is_made_once_and_again_when_it_is_not_whole(name: str, tmp_path: Path) -> None:
    first = make(tmp_path)
    whole, path = np.load(first.pixel_file), tmp_path / "key" / name
    content = path.read_bytes()
    for harmed in (None, content[: len(content) // 2], b""):
        path.unlink()
        if harmed is not None:
            path.write_bytes(harmed)
        make(tmp_path)
        second = make(tmp_path, forbidden)
        assert (second.digest, second.failures) == (first.digest, first.failures)
        np.testing.assert_array_equal(second.rows, first.rows)
        np.testing.assert_array_equal(np.load(second.pixel_file), whole)


def die_halfway(cache: Path) -> None:
    def steps() -> Iterator[Callable[[], Decoded]]:
        yield from map(step, range(100))
        os._exit(9)

    make(cache, lambda: Work(200, steps(), dict))


@pytest.mark.slow
def test_a_kill_in_between_leaves_nothing_that_counts(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=die_halfway, args=(tmp_path,))
    process.start()
    process.join(60)
    assert process.exitcode == 9
    assert draft_of(tmp_path / "key" / "images.npy", process.pid or 0).exists()
    assert make(tmp_path).rows.tolist() == [i for i in range(50) if i % 5 != 3]
    assert {p.name for p in (tmp_path / "key").iterdir()} - {"lock"} == {
        "images.npy", "known.npz", "entry.json",
    }  # fmt: skip


def test_two_at_once_decode_once(tmp_path: Path) -> None:
    entered, leave = threading.Event(), threading.Event()
    reported: list[str] = []

    def slow() -> Work:
        entered.set()
        assert leave.wait(30)
        return work()

    first = threading.Thread(target=make, args=(tmp_path, slow))
    first.start()
    assert entered.wait(30)

    def tell(_share: float, text: str) -> None:
        reported.append(text)
        leave.set()

    decode_once("key", cache=tmp_path, size=SIZE, work=forbidden, on_progress=tell)
    first.join()
    assert reported == ["waiting for another process that decodes these images"]


def test_a_step_that_breaks_leaves_nothing(tmp_path: Path) -> None:
    def steps() -> Iterator[Callable[[], Decoded]]:
        yield from map(step, range(20))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, lambda: Work(50, steps(), dict))
    assert {p.name for p in (tmp_path / "key").iterdir()} <= {"lock"}
    make(tmp_path)


@pytest.mark.parametrize("broken", ["_decode", "_header"])
def test_a_full_disk_is_one_message(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(decoded, broken, full)
    with pytest.raises(WorkError, match=r"No space left on device.*free some disk space"):
        make(tmp_path)
    monkeypatch.undo()
    make(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(WorkError, match="TLSEARCH_CACHE"):
        make(tmp_path / "file")


def test_nothing_readable_is_an_entry_of_no_rows(tmp_path: Path) -> None:
    def steps() -> Iterator[Callable[[], Decoded]]:
        return (step(3) for _ in range(4))

    entry = make(tmp_path, lambda: Work(4, steps(), dict))
    assert len(entry.rows) == 0
    assert entry.sizes.shape == (0, 2)
    assert len(entry.failures) == 4
    assert len(make(tmp_path, forbidden).rows) == 0


def test_progress_is_reported_in_tenths_of_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(np.arange(10_000) * 0.03)
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    reported: list[tuple[float, str]] = []
    decode_once(
        "key", cache=tmp_path, size=SIZE, work=work, on_progress=lambda *t: reported.append(t)
    )
    shares = [share for share, _ in reported]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert 10 <= len(shares) <= 40
    assert {text for _, text in reported} == {"decoding 50 images"}


def test_the_key_follows_the_files(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    files = [str(path), str(tmp_path / "absent"), "nul\0"]
    first = entry_key("crop", 32, files=files)
    assert entry_key("crop", 32, files=files) == first
    keys = {first, entry_key("pad", 32, files=files), entry_key("crop", 32, files=files[::-1])}
    found = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))  # same size, same time of change
    keys.add(entry_key("crop", 32, files=files))
    (tmp_path / "absent").write_bytes(b"")
    keys.add(entry_key("crop", 32, files=files))
    assert len(keys) == 5


def test_a_folders_copy_has_the_same_fingerprint(tmp_path: Path) -> None:
    root = write_messy(tmp_path / "here")
    here = read(config({"folder": str(root)}), tmp_path / "cache")
    shutil.copytree(root, tmp_path / "there", symlinks=True)
    there = read(config({"folder": str(tmp_path / "there")}), tmp_path / "cache")
    assert there.fingerprint == here.fingerprint
    assert there.pixel_file != here.pixel_file
    again = image_set(np.array(here.images), here.labels.copy(), here.class_names)
    assert again.fingerprint == here.fingerprint
    others = [
        read(config({"folder": str(root)}, **changed), tmp_path / "cache").fingerprint
        for changed in ({"size": 8}, {"fit": "pad"}, {"fit": "stretch"})
    ]
    assert len({here.fingerprint, *others}) == 4


def test_any_change_of_the_folder_is_seen(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "p", {"a": 2, "b": 2})

    def now() -> ImageSet:
        return read(config({"folder": str(root)}), tmp_path / "cache")

    prints = [now().fingerprint]
    (root / "a" / "0.png").replace(root / "b" / "2.png")
    prints.append(now().fingerprint)
    picture(77).save(root / "a" / "1.png")
    prints.append(now().fingerprint)
    (root / "b").rename(root / "c")
    prints.append(now().fingerprint)
    assert len(set(prints)) == 4


def test_the_pixels_lie_on_disk_once(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "p", {"a": 2, "b": 2})
    found = read(config({"folder": str(root)}), tmp_path / "cache")
    place = store.save(found, tmp_path / "store")
    loaded = store.load(place)
    assert loaded.pixel_file == found.pixel_file
    assert not list(place.glob("images*"))
    np.testing.assert_array_equal(loaded.images, found.images)
    assert loaded.fingerprint == found.fingerprint


def test_white_is_that_of_the_whole_set_and_said(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for name, top in (("deep", 4095), ("dim", 300)):
        for i in range(3):
            values = draw.integers(0, top + 1, (16, 16, 3), dtype=np.uint16)
            values[0, 0] = top
            write_deep(tmp_path / "p" / name / f"{i}.png", values)
    write_picture(tmp_path / "p" / "plain" / "0.jpg", 0)
    source = {"folder": str(tmp_path / "p")}
    found = read(config(source), tmp_path / "cache")
    assert found.white == 4095
    assert "white is 4,095" in found.notes[0]
    assert [int(found.images[found.labels == label].max()) for label in (0, 1)] == [255, 19]
    again = store.load(store.save(found, tmp_path / "kept"))
    assert (again.white, again.fingerprint) == (4095, found.fingerprint)
    given = read(config(source, white=300), tmp_path / "cache")
    assert (given.white, given.notes) == (300, ())
    assert given.images[given.labels == 1].max() == 255
