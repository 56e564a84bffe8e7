"""One image file, whatever it holds, as a small square of three colours."""

import errno
import hashlib
import io
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from tlsearch.config.schema import Fit
from tlsearch.data.duplicates import perceptual_hash
from tlsearch.errors import WorkError

DECODER_VERSION = 1
"""Raised whenever the same file would give other pixels: kept stores are then made again."""

# Named, because Pillow's others include one that starts a program (EPS) and some that take any
# bytes for an image.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM", "MPO")
# Troubles of the machine, not of the file: an image must not be left out for them.
_PASSING = (errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_LARGEST_FILE = 2**31  # bytes; more is no picture, and would be read into memory
_RESAMPLE = Image.Resampling.BICUBIC  # antialiased when it reduces


class UnreadableImage(ValueError):  # noqa: N818 — it says what the file is
    """A file that gives no image; the message is the reason, short and without the file's name."""


class Decoded(NamedTuple):
    """Pixels uint8 (size, size, 3); width and height of the picture as seen; `digest` is the
    sha256 of the file's bytes, its first 32 hex digits; `hash` 64 bits, a perceptual hash.
    """

    pixels: np.ndarray
    width: int
    height: int
    digest: str
    hash: int


def decode_image(path: Path, *, size: int, fit: Fit) -> Decoded:
    """The first picture of the file, turned as its EXIF says, over white where transparent.

    Sixteen-bit pictures are scaled by their full range, integers beyond it and floats outside
    0 … 1 and 0 … 255 by their own. Colour profiles are not applied.

    Raises:
        UnreadableImage: there is no such file, or it is empty, cut short, no image, or so large
            that Pillow takes it for a decompression bomb.
        WorkError: the disk or the system fails, which says nothing of the file.
    """
    data = _read(path)
    digest = hashlib.sha256(data).hexdigest()[:32]
    with quiet_pillow(), _reasons():
        picture, (width, height) = _open(data, size)
        square = fit_square(picture, size=size, fit=fit)
        return Decoded(square, width, height, digest, perceptual_hash(picture))


def decode_picture(picture: Image.Image, *, size: int, fit: Fit) -> Decoded:
    """A picture in memory as `decode_image` gives one from a file; `digest` is of its pixels.

    Raises:
        UnreadableImage: its mode is not known here.
    """
    width, height = picture.size
    with quiet_pillow(), _reasons():
        content = repr((picture.mode, picture.size)).encode() + picture.tobytes()
        coloured = to_colours(picture)
        square = fit_square(coloured, size=size, fit=fit)
        digest = hashlib.sha256(content).hexdigest()[:32]
        return Decoded(square, width, height, digest, perceptual_hash(coloured))


def fit_square(picture: Image.Image, *, size: int, fit: Fit) -> np.ndarray:
    """Pixels uint8 (size, size, 3) of a picture in mode L or RGB.

    `crop` takes the largest square in the middle; `pad` fills what is missing with the mean colour
    of the edges beside it, so that no frame appears that the picture lacks; `stretch` distorts.
    """
    width, height = picture.size
    if fit == "pad" and width != height:
        return _pad(picture, size)
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side) if fit == "crop" else (0, 0, width, height)
    return np.asarray(picture.resize((size, size), _RESAMPLE, box=box).convert("RGB"))


def _pad(picture: Image.Image, size: int) -> np.ndarray:
    scale = size / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    inner = np.asarray(picture.resize((width, height), _RESAMPLE).convert("RGB"))
    edges = inner[:, [0, -1]] if width < height else inner[[0, -1]]
    colour = np.rint(edges.reshape(-1, 3).mean(0)).astype(np.uint8)
    square = np.empty((size, size, 3), np.uint8)
    square[:] = colour
    left, top = (size - width) // 2, (size - height) // 2
    square[top : top + height, left : left + width] = inner
    return square


def to_colours(picture: Image.Image) -> Image.Image:
    """The picture in mode L or RGB, whatever its mode."""
    if picture.has_transparency_data and not picture.mode.startswith("I"):
        clear = picture.convert("RGBA")
        canvas = Image.new("RGB", clear.size, "white")
        canvas.paste(clear, mask=clear.getchannel("A"))
        return canvas
    if picture.mode in ("L", "RGB"):
        return picture
    if picture.mode.startswith("I") or picture.mode == "F":
        return Image.fromarray(_to_bytes(np.asarray(picture)))
    return picture.convert("L" if picture.mode == "1" else "RGB")


def _to_bytes(values: np.ndarray) -> np.ndarray:
    """Grey values of any range as uint8; not-a-number becomes the lowest."""
    known = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    usual = (1.0, 255.0) if values.dtype.kind == "f" else (65535.0,)
    full = next((top for top in usual if low >= 0 and high <= top), None)
    bottom, span = (0.0, full) if full else (low, (high - low) or 1.0)
    with np.errstate(invalid="ignore"):
        scaled = (values.astype(np.float64) - bottom) * (255 / span)
    return np.rint(np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0)).astype(np.uint8)


def _read(path: Path) -> bytes:
    try:
        # Opened so that a pipe is not waited for; `open` itself would lose a folder's descriptor.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                is_folder = stat.S_ISDIR(found.st_mode)
                raise UnreadableImage("a directory" if is_folder else "no file")
            if found.st_size > _LARGEST_FILE:
                raise UnreadableImage(f"{found.st_size} bytes: too large for an image")
            with open(descriptor, "rb", closefd=False) as file:
                data = file.read()
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in _PASSING:
            raise WorkError(
                f"{path}: cannot be read now ({error.strerror}) — see to the disk, then run again"
            ) from error
        reason = error.strerror or str(error)
        if error.errno == errno.ENOENT:
            reason = "a link that leads nowhere" if path.is_symlink() else "no such file"
        raise UnreadableImage(reason) from error
    except ValueError as error:
        if isinstance(error, UnreadableImage):
            raise
        raise UnreadableImage("no file has such a name") from error
    if not data:
        raise UnreadableImage("the file is empty")
    return data


def _open(data: bytes, size: int) -> tuple[Image.Image, tuple[int, int]]:
    """The picture in mode L or RGB, upright, perhaps reduced to no less than twice `size`, and
    its whole width and height.
    """
    picture: Image.Image = Image.open(io.BytesIO(data), formats=_formats())
    width, height = picture.size
    if Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS:
        raise Image.DecompressionBombError
    # JPEGs are reduced by 2, 4 or 8 while they are decoded; the resize halves at least once more.
    picture.draft(None, (2 * size, 2 * size))
    lying = picture.size
    picture.load()  # a TIFF is turned here already
    with suppress(Exception):  # damaged notes do not make the picture unreadable
        ImageOps.exif_transpose(picture, in_place=True)
    seen = (width, height) if picture.size == lying else (height, width)
    return to_colours(picture), seen


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


@contextmanager
def _reasons() -> Iterator[None]:
    """Pillow's errors as one plain reason each."""
    try:
        yield
    except UnreadableImage:
        raise
    except UnidentifiedImageError as error:
        raise UnreadableImage("no image in a format that is known here") from error
    except Image.DecompressionBombError as error:
        limit = Image.MAX_IMAGE_PIXELS
        raise UnreadableImage(f"more than {limit} pixels: refused as a bomb") from error
    except MemoryError as error:
        raise UnreadableImage("too large for this machine's memory") from error
    except Exception as error:  # decoders of damaged files raise nearly every kind there is
        text = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UnreadableImage(f"damaged: {text}") from error


_quiet_lock = threading.Lock()
_quiet: list[Any] = [0, None]


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """No warning of Pillow's is shown or raised within; threads may hold this side by side.

    Python's own scope restores what it found, so that of two that overlap the later one would
    leave the filter behind: here the first one opens it, and the last one closes it.
    """
    with _quiet_lock:
        if not _quiet[0]:
            _quiet[1] = warnings.catch_warnings()
            _quiet[1].__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.")
        _quiet[0] += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet[0] -= 1
            if not _quiet[0]:
                _quiet[1].__exit__(None, None, None)
