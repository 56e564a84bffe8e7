"""Image files are decoded once: their pixels lie in one .npy below the cache folder, ready to map.

An entry is a folder named by what went into it (files, their times, size and fit); it is written
whole or not at all, and may be deleted at any time. None is ever deleted by tlsearch.
"""

import hashlib
import json
import math
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from tlsearch.config.images import DataConfig
from tlsearch.config.paths import atomic_write, made_once, remove_drafts, write_text
from tlsearch.config.runtime import OnProgress, usable_cores
from tlsearch.data.dataset import DAMAGE, Failure, Files, ImageSet, image_set, read_arrays
from tlsearch.data.decode import (
    DECODER_VERSION,
    FULL_WHITE,
    HEIF_SUFFIXES,
    Decoded,
    Decoding,
    UnreadableImage,
    decode_image,
    formats,
    quiet_pillow,
    white_of,
)
from tlsearch.errors import refused

_WHITE, _GROUNDS = "white", "grounds"
_PIXELS, _KNOWN, _FACTS = "images.npy", "known.npz", "entry.json"
_REMEDY = "free some disk space, or set TLSEARCH_CACHE to another folder, then run again"
_PROGRESS_SECONDS = 0.1
_CHUNK_BYTES = 2**20  # of pixels that one thread decodes at a time, so that memory stays flat
_CHUNK_IMAGES = 16
_WRITTEN = np.empty(0, np.uint8)


class Listing(NamedTuple):
    """Image files with their labels, in the order that the set will have.

    `paths` opens them, `names` is for people; `labels` int64 index `class_names`; `columns` are
    further fields of an ImageSet, each of the same length; `failures` gave no image; `notes` are
    sentences on how the source was read.
    """

    paths: tuple[str, ...]
    names: tuple[str, ...]
    labels: np.ndarray
    class_names: tuple[str, ...]
    columns: dict[str, np.ndarray]
    failures: tuple[Failure, ...]
    notes: tuple[str, ...] = ()

    def class_of(self, row: int) -> str:
        """The class of a row, "" where its label is negative."""
        label = self.labels[row]
        return self.class_names[label] if label >= 0 else ""


class Work(NamedTuple):
    """`total` images to make, in order, each by a call that may raise UnreadableImage; `columns`
    gives, after the last of them, arrays to keep beside them.
    """

    total: int
    steps: Iterable[Callable[[], Decoded]]
    columns: Callable[[], Mapping[str, np.ndarray]]


class Entry(NamedTuple):
    """What was decoded: `rows` int64 (M,) are the places in the work of the M images that there
    are, `failures` the others with the reason; `digest` is the sha256 of all pixels.
    """

    pixel_file: Path
    digest: bytes
    rows: np.ndarray
    sizes: np.ndarray
    digests: np.ndarray
    hashes: np.ndarray
    failures: tuple[tuple[int, str], ...]
    columns: dict[str, np.ndarray]


def read_files(
    listing: Listing, data: DataConfig, cache: Path, on_progress: OnProgress, *, field: str
) -> ImageSet:
    """The listed images, decoded once and kept below `cache`; `field` names the source in errors.

    Raises:
        RequestError: fewer than two classes have an image that can be read.
        WorkError: the cache cannot be written.
    """

    paths = [Path(path) for path in listing.paths]

    def work() -> Work:
        on_progress(0.0, "looking for files of 16 bits")
        found = white_of(paths) if data.white is None else data.white
        how = decoding(data, white=found or FULL_WHITE)
        steps = (partial(decode_image, path, how) for path in paths)
        return Work(len(paths), steps, lambda: {_WHITE: np.asarray(found)})

    files = map(os.path.abspath, listing.paths)
    how = decoding(data, white=data.white or 0)
    # What could not be read is read once pillow-heif is installed.
    is_heif = "HEIF" in formats() and any(p.suffix.lower() in HEIF_SUFFIXES for p in paths)
    key = entry_key(DECODER_VERSION, how, *(["HEIF"] if is_heif else []), files=files)
    entry = decode_once(key, cache=cache, size=data.size, work=work, on_progress=on_progress)
    white = int(entry.columns[_WHITE])
    if data.white is None and 0 < white < FULL_WHITE:
        text = f"In files of 16 bits white is {white:,}, by their highest value (data.white)."
        listing = listing._replace(notes=(*listing.notes, text))
    return replace(assemble(entry, listing, field=field), white=white or FULL_WHITE)


def decoding(data: DataConfig, *, white: int) -> Decoding:
    """How a study's files are decoded."""
    return Decoding(data.size, data.fit, white, data.background, data.max_megapixels)


def assemble(entry: Entry, listing: Listing, *, field: str) -> ImageSet:
    """The images of `entry` with what `listing` says of them. A class whose files all failed keeps
    its name, so that the audit sees it empty.

    Raises:
        RequestError: fewer than two classes have an image that can be read.
    """
    unreadable = tuple(
        Failure("unreadable", listing.names[i], why, listing.class_of(i))
        for i, why in entry.failures
    )
    labels = listing.labels[entry.rows]
    if len(np.unique(labels)) < 2:
        rule = f"{len(labels)} of {len(listing.labels)} images can be read"
        if len(labels):
            rule += f", all of class {listing.class_names[labels[0]]!r}"
        remedy = "add images of another class"
        if unreadable:
            remedy = f"the first that cannot: {unreadable[0].name}: {unreadable[0].reason}"
        raise refused(field, "", rule, remedy)
    return image_set(
        np.load(entry.pixel_file, mmap_mode="r"),
        labels,
        listing.class_names,
        pixel_digest=entry.digest,
        pixel_file=entry.pixel_file,
        files=Files(
            names=np.asarray(listing.names)[entry.rows],
            sizes=entry.sizes,
            digests=entry.digests,
            hashes=entry.hashes,
            grounds=entry.columns[_GROUNDS],
        ),
        failures=(*listing.failures, *unreadable),
        notes=listing.notes,
        **{name: column[entry.rows] for name, column in listing.columns.items()},
    )


def entry_key(*facts: object, files: Iterable[str]) -> str:
    """Name of the entry for `files` as they are now: another time or size, and it is another."""
    digest = hashlib.sha256(repr(facts).encode())
    for path in files:
        try:
            found = os.stat(path)
            known = f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"
        except (OSError, ValueError):
            known = "absent"
        digest.update(os.fsencode(path) + f"\0{known}\n".encode())
    return digest.hexdigest()[:32]


def decode_once(
    key: str, *, cache: Path, size: int, work: Callable[[], Work], on_progress: OnProgress
) -> Entry:
    """The entry `key` below `cache`; `work` is called where it is not there whole.

    Raises:
        WorkError: the disk is full or the cache may not be written.
    """
    place = cache / key
    found = find_entry(place)
    if found is not None:
        return found

    def wait() -> None:
        on_progress(0.0, "waiting for another process that decodes these images")

    with made_once(place / "lock", remedy=_REMEDY, on_wait=wait):
        found = find_entry(place)  # another process may have made it
        if found is None:
            _write(place, work(), size, on_progress)
            found = find_entry(place)
    assert found is not None
    return found


def find_entry(place: Path) -> Entry | None:
    """The entry in `place`, or None where a part of it is absent, cut short or damaged."""
    try:
        facts = json.loads((place / _FACTS).read_text())
        if (place / _PIXELS).stat().st_size != facts["bytes"]:
            return None
        known = read_arrays(place / _KNOWN)
        return Entry(
            pixel_file=place / _PIXELS,
            digest=bytes.fromhex(facts["digest"]),
            **{name: known.pop(name) for name in ("rows", "sizes", "digests", "hashes")},
            failures=tuple((int(i), str(reason)) for i, reason in facts["failures"]),
            columns={name.removeprefix("column_"): column for name, column in known.items()},
        )
    except DAMAGE:
        return None


def _write(place: Path, work: Work, size: int, on_progress: OnProgress) -> None:
    for name in (_PIXELS, _KNOWN, _FACTS):
        remove_drafts(place / name)  # the lock is held
    # Written, not mapped: a full disk is an error there and a crash here, and the pages of a map
    # would count as this process's memory.
    with atomic_write(place / _PIXELS) as draft, draft.open("wb") as file:
        facts, known = _decode(file, work, size, on_progress)
    with atomic_write(place / _KNOWN) as draft:
        np.savez(draft, allow_pickle=False, **known)
    write_text(place / _FACTS, json.dumps(facts))  # last: whoever finds it finds all


def _decode(
    file: BinaryIO, work: Work, size: int, on_progress: OnProgress
) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    digest = hashlib.sha256()
    kept: list[tuple[int, Decoded]] = []
    failures: list[tuple[int, str]] = []
    reported = -math.inf
    start = _header(file, (work.total, size, size, 3))
    with closing(_in_order(work.steps, size)) as results:
        for i, result in enumerate(results):
            if isinstance(result, str):
                failures.append((i, result))
            else:
                pixels = np.ascontiguousarray(result.pixels)
                assert pixels.shape == (size, size, 3)
                digest.update(pixels.data)
                file.write(pixels.data)
                kept.append((i, result._replace(pixels=_WRITTEN)))
            if time.monotonic() - reported >= _PROGRESS_SECONDS:
                reported = time.monotonic()
                on_progress((i + 1) / work.total, f"decoding {work.total} images")
    on_progress(1.0, f"decoding {work.total} images")
    length = file.tell()
    file.seek(0)
    assert _header(file, (len(kept), size, size, 3)) == start  # numpy leaves room for the digits
    facts = {"digest": digest.hexdigest(), "bytes": length, "failures": failures}
    known: dict[str, np.ndarray] = {
        "rows": np.asarray([i for i, _ in kept], np.int64),
        "sizes": np.asarray([(d.width, d.height) for _, d in kept], np.int32).reshape(-1, 2),
        "digests": np.asarray([d.digest for _, d in kept], "U32"),
        "hashes": np.asarray([d.hash for _, d in kept], np.uint64),
    }
    columns = {_GROUNDS: np.asarray([d.ground for _, d in kept], "U8"), **work.columns()}
    return facts, known | {f"column_{name}": column for name, column in columns.items()}


def _header(file: BinaryIO, shape: tuple[int, ...]) -> int:
    """Write the opening of an .npy; gives the position behind it."""
    np.lib.format.write_array_header_1_0(
        file, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    return file.tell()


def _in_order(
    steps: Iterable[Callable[[], Decoded]], size: int
) -> Generator[Decoded | str, None, None]:
    """What each step gives, or why it gave nothing, decoded by as many threads as cores.

    Threads are enough: Pillow decodes and resizes without Python's lock.
    """
    chunk = max(1, min(_CHUNK_IMAGES, _CHUNK_BYTES // (size * size * 3)))
    workers, waiting = usable_cores(), iter(steps)
    pending: deque[Future[list[Decoded | str]]] = deque()
    with quiet_pillow(), ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        try:
            while some := list(islice(waiting, chunk)):
                pending.append(pool.submit(_run, some))
                if len(pending) > 2 * workers:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _run(steps: list[Callable[[], Decoded]]) -> list[Decoded | str]:
    found: list[Decoded | str] = []
    for step in steps:
        try:
            found.append(step())
        except UnreadableImage as error:
            found.append(str(error))
    return found
