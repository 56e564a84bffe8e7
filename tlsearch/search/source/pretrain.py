"""The embedded source model, made once and kept by content; see data/glyph_recipe.py.

Free of torch until training starts, so that whoever only asks where the file is pays nothing.
"""

import json
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from tlsearch.data.glyph_recipe import RECIPE, Recipe, recipe_key
from tlsearch.errors import WorkError

Progress = Callable[[float, str], None]

_LOCK_POLL_SECONDS = 0.5


def glyph_weights(
    *, backbone: str, image_size: int, cache: Path, threads: int, on_progress: Progress
) -> Path:
    """The .safetensors file with all of `backbone` but its head, trained on printed characters.

    Made if it is not in `cache` or is damaged there; a second process that wants the same file
    waits for the first. `on_progress` gets the part done, 0 … 1, and a line of text.

    Raises:
        WorkError: the folder cannot be written, the disk is full, or training left the finite
            numbers.
        RequestError: the backbone is unknown, or cannot take images of this size.
    """
    return weights_of(
        RECIPE,
        backbone=backbone,
        image_size=image_size,
        cache=cache,
        threads=threads,
        on_progress=on_progress,
    )


def cached_glyph_weights(*, backbone: str, image_size: int, cache: Path) -> Path | None:
    """The file if it is there and whole, else None; writes nothing and does not import torch."""
    file = _file(RECIPE, backbone=backbone, image_size=image_size, cache=cache)
    return file if damage(file) is None else None


def weights_of(
    recipe: Recipe,
    *,
    backbone: str,
    image_size: int,
    cache: Path,
    threads: int,
    on_progress: Progress,
) -> Path:
    """`glyph_weights` for any recipe."""
    file = _file(recipe, backbone=backbone, image_size=image_size, cache=cache)
    if damage(file) is None:
        return file
    with _locked(file, on_progress):
        problem = damage(file)  # again: whoever held the lock may have made it
        if problem is None:
            return file
        if file.exists():
            on_progress(0.0, f"source model: {file} is damaged ({problem}); making it again")
        _make(recipe, file, backbone, image_size, threads, on_progress)
    return file


def damage(file: Path) -> str | None:
    """What is wrong with a .safetensors file, judged by its header and length; None if nothing."""
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            prefix = stream.read(8)
            if len(prefix) < 8:
                return "no header"
            (length,) = struct.unpack("<Q", prefix)
            if length > size - 8:
                return "header cut short"
            header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    except (FileNotFoundError, NotADirectoryError):
        return "absent"
    except (ValueError, TypeError, KeyError, AttributeError):
        return "header unreadable"
    wanted = 8 + int(length) + int(end)
    return None if size == wanted and header else f"{size} bytes instead of {wanted}"


def _file(recipe: Recipe, *, backbone: str, image_size: int, cache: Path) -> Path:
    key = recipe_key(recipe, backbone=backbone, image_size=image_size)
    backbone = backbone.replace("/", "-")
    return cache / f"glyphs-{backbone}-{image_size}px-{key}.safetensors"


def _make(
    recipe: Recipe,
    file: Path,
    backbone: str,
    image_size: int,
    threads: int,
    on_progress: Progress,
) -> None:
    """Train, write beside `file`, move into place; nothing is left behind on any way out."""
    on_progress(0.0, "source model: starting")  # torch takes seconds to import
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    from tlsearch.search.source.training import train_source

    trained = train_source(
        recipe, backbone=backbone, image_size=image_size, threads=threads, on_progress=on_progress
    )
    metadata = {
        "source": "tlsearch glyphs",
        "backbone": backbone,
        "image_size": str(image_size),
        "unseen_font_accuracy": f"{trained.unseen_font_accuracy:.4f}",
        "precision": trained.precision,
        "recipe": repr(recipe),
    }
    # The lock is held, so these belong to processes that died.
    for leftover in file.parent.glob(f"{file.name}.*.part"):
        leftover.unlink(missing_ok=True)
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        save_file(trained.state, part, metadata=metadata)
        os.replace(part, file)
    except (OSError, SafetensorError) as error:  # the latter is how it reports a full disk
        raise _not_written(file.parent, str(error)) from None
    finally:
        part.unlink(missing_ok=True)
    on_progress(1.0, f"source model: {trained.unseen_font_accuracy:.1%} on unseen fonts")


@contextmanager
def _locked(file: Path, on_progress: Progress) -> Iterator[None]:
    """Hold the file's lock, which also proves that its folder, made if need be, is writable.

    The system releases the lock when a process dies, however it dies.
    """
    lock = FileLock(f"{file}.lock")
    try:
        _make_folder(file.parent)
        while not _acquired(lock):
            on_progress(0.0, "source model: another process is making it; waiting")
        yield
    finally:
        lock.release()


def _acquired(lock: FileLock) -> bool:
    try:
        lock.acquire(timeout=_LOCK_POLL_SECONDS)
    except Timeout:
        return False
    except OSError as error:
        raise _not_written(Path(lock.lock_file).parent, error.strerror or str(error)) from None
    return True


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_written(folder, error.strerror or str(error)) from None


def _not_written(folder: Path, reason: str) -> WorkError:
    return WorkError(
        f"cache folder {folder}: cannot be written ({reason}) — free space there, make it"
        " writable, or point XDG_CACHE_HOME at a folder that is"
    )
