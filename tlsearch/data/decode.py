"""One image file, whatever it holds, as a small square of three colours."""

import errno
import hashlib
import io
import os
import stat
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from tlsearch.config.images import Background, Fit
from tlsearch.config.runtime import usable_cores
from tlsearch.data.duplicates import perceptual_hash
from tlsearch.errors import WorkError

DECODER_VERSION = 2
"""Raised whenever the same file would give other pixels: kept stores are then made again."""

# Named, because Pillow's others include one that starts a program (EPS) and some that take any
# bytes for an image.
_FORMATS = (
    *("JPEG", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM", "MPO"),
    "HEIF",
)
# Troubles of the machine, not of the file: an image must not be left out for them.
_PASSING = (errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
"""Of pictures that are read where pillow-heif is installed, the extra `heif`."""
_RAW_SUFFIXES = {".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raw"}
OTHER_SUFFIXES = HEIF_SUFFIXES | _RAW_SUFFIXES
"""Of pictures, as phones and cameras write them, that may not be read here and have to be
converted: they count as images that are unreadable, so that none vanishes.
"""

FULL_WHITE = 65535
_WHITES = (255, 1023, 4095, 16383, FULL_WHITE)
"""What cameras of 8 to 16 bits write for white in files of 16 bits."""
_MAX_MEGAPIXELS = 250
_BITS = 258  # the TIFF tag BitsPerSample
_LARGE = 50_000_000  # pixels; larger pictures are decoded one at a time, for the memory they take
_one_large = threading.Lock()
_BELOW = 32  # levels; a picture that spans fewer over white may be seen better over black

_LARGEST_FILE = 2**31  # bytes; more is no picture, and would be read into memory
_RESAMPLE = Image.Resampling.BICUBIC  # antialiased when it reduces


class UnreadableImage(ValueError):  # noqa: N818 — it says what the file is
    """A file that gives no image; the message is the reason, short and without the file's name."""


class Decoded(NamedTuple):
    """Pixels uint8 (size, size, 3); width and height of the picture as seen; `digest` is the
    sha256 of the file's bytes, its first 32 hex digits; `hash` 64 bits, a perceptual hash. `ground`
    is what a transparent picture was laid over, "nothing" where all of it is transparent, else "".
    """

    pixels: np.ndarray
    width: int
    height: int
    digest: str
    hash: int
    ground: str


class Decoding(NamedTuple):
    """How a file becomes a square, the same in training and in the finished model. `white` is what
    stands for white in files of 16 bits, `background` what lies under transparent pictures,
    `max_megapixels` the largest picture that is decoded, a JPEG as it is reduced.
    """

    size: int
    fit: Fit
    white: int = FULL_WHITE
    background: Background = "auto"
    max_megapixels: int = _MAX_MEGAPIXELS


def decode_image(path: Path, how: Decoding) -> Decoded:
    """The first picture of the file, turned as its EXIF says, over `background` where transparent.

    Integers beyond 16 bits and floats outside 0 … 1 and 0 … 255 are scaled by their own range.
    Colour profiles are not applied.

    Raises:
        UnreadableImage: there is no such file, or it is empty, cut short, no image, or too large.
        WorkError: the disk or the system fails, which says nothing of the file.
    """
    data, size, fit = _read(path), how.size, how.fit
    digest = hashlib.sha256(data).hexdigest()[:32]
    with quiet_pillow(), _reasons(path):
        picture, (width, height), ground = _open(data, how)
        square = fit_square(picture, size=size, fit=fit)
        return Decoded(square, width, height, digest, perceptual_hash(picture), ground)


def white_of(paths: Iterable[Path]) -> int:
    """What stands for white in the files of 16 bits among `paths`, by the highest value in all of
    them: 255, 1023, 4095, 16383 or 65535; 0 where there are none. Unreadable files are passed over.
    """
    with ThreadPoolExecutor(usable_cores(), thread_name_prefix="white") as pool, quiet_pillow():
        highest = max(pool.map(_highest, filter(_may_be_deep, paths)), default=0)
    return next((white for white in _WHITES if 0 < highest <= white), 0)


def _may_be_deep(path: Path) -> bool:
    suffix = path.suffix.lower()
    flat = (".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".bmp", ".webp")
    return suffix not in flat and suffix not in HEIF_SUFFIXES


def _highest(path: Path) -> int:
    """The highest value of a file of 16 bits, alpha left out; 0 for any other."""
    try:
        with _opened(path) as file:
            picture = Image.open(file, formats=formats())  # reads the header alone
            pixels = picture.width * picture.height
            if pixels > _MAX_MEGAPIXELS * 10**6 or not _is_deep(picture):
                return 0
            file.seek(0)
            data = file.read()
        with Image.open(io.BytesIO(data), formats=formats()) as picture:
            values = _deep_values(data, picture)
        highest = int(values[..., :3].max()) if values.ndim == 3 else int(values.max())
    except Exception:  # whatever Pillow raises: `decode_image` meets it again and names the file
        return 0
    return highest if highest <= FULL_WHITE else 0


def _is_deep(picture: Image.Image) -> bool:
    return picture.mode.startswith("I") or bool(_halves(picture))


def _raw(tile: Any) -> str:
    """What a part of a picture holds, as Pillow calls it."""
    return str(tile[3] if isinstance(tile[3], str) else (tile[3] or ("",))[0])


def _halves(picture: Image.Image) -> list[Any]:
    """The parts of a picture of 16 bits in colour, as Pillow reads the lower halves of its values:
    it has 8 bits for a colour, and takes the upper half.
    """
    other = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
    found = []
    for tile in getattr(picture, "tile", ()):
        raw = _raw(tile)
        if raw == "LA;16B":  # as four channels of 8 bits nothing of it is lost
            return [(*tile[:3], "RGBA")]
        if raw not in {f"{mode};16{end}" for mode in ("RGB", "RGBA") for end in other}:
            return []
        half = raw[:-1] + other[raw[-1]]
        args = half if isinstance(tile[3], str) else (half, *tile[3][1:])
        found.append((*tile[:3], args))
    return found


def _deep_values(data: bytes, picture: Image.Image) -> np.ndarray:
    """Values (H, W) or (H, W, C) of a picture of 16 bits, upright."""
    halves = _halves(picture)
    if not halves:
        return np.asarray(_upright(picture))
    again = Image.open(io.BytesIO(data), formats=formats())
    again.tile = [type(old)(*half) for old, half in zip(again.tile, halves, strict=True)]
    if halves[0][3] == "RGBA":
        four = np.asarray(_upright(again)).astype(np.uint16)
        grey, alpha = (four[..., i] * np.uint16(256) + four[..., i + 1] for i in (0, 2))
        return np.stack([grey, grey, grey, alpha], axis=-1)
    upper = np.asarray(_upright(picture))
    values: np.ndarray = upper.astype(np.uint16) * np.uint16(256) + np.asarray(_upright(again))
    return values


def _upright(picture: Image.Image) -> Image.Image:
    picture.load()  # a TIFF is turned here already
    with suppress(Exception):  # damaged notes do not make the picture unreadable
        ImageOps.exif_transpose(picture, in_place=True)
    return picture


def decode_upright(picture: Image.Image, how: Decoding) -> Decoded:
    """A picture in memory, which stays as it was, turned as its EXIF says.

    Raises:
        UnreadableImage: it has no pixels, is closed, or its file turns out to be damaged.
    """
    with quiet_pillow(), _reasons(None):
        copied = picture.copy()
    return decode_picture(_upright(copied), how)


def decode_picture(picture: Image.Image, how: Decoding) -> Decoded:
    """A picture in memory as `decode_image` gives one from a file; `digest` is of its pixels.

    Raises:
        UnreadableImage: it has no pixels, or its mode is not known here.
    """
    (width, height), size, fit = picture.size, how.size, how.fit
    with quiet_pillow(), _reasons(None):
        if 0 in picture.size:
            raise UnreadableImage("has no pixels")
        content = repr((picture.mode, picture.size)).encode() + picture.tobytes()
        coloured, ground = to_colours(picture, white=how.white, background=how.background)
        square = fit_square(coloured, size=size, fit=fit)
        digest = hashlib.sha256(content).hexdigest()[:32]
        return Decoded(square, width, height, digest, perceptual_hash(coloured), ground)


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


def to_colours(
    picture: Image.Image, *, white: int, background: Background
) -> tuple[Image.Image, str]:
    """The picture in mode L or RGB, whatever its mode, and over what it was laid. Of one that is
    transparent everywhere the colours are shown as they are; `auto` is white, or black where nearly
    nothing is seen over it.
    """
    if picture.has_transparency_data and not picture.mode.startswith("I"):
        clear = picture.convert("RGBA")
        lowest, highest = clear.getchannel("A").getextrema()
        if highest == 0 or lowest == 255:
            return clear.convert("RGB"), "" if lowest else "nothing"
        if background != "auto":
            return _over(clear, background), background
        over = _over(clear, "white")
        if _span(over) < _BELOW and _span(dark := _over(clear, "black")) > _span(over):
            return dark, "black"
        return over, "white"
    if picture.mode in ("L", "RGB"):
        return picture, ""
    if picture.mode.startswith("I") or picture.mode == "F":
        return Image.fromarray(_to_bytes(np.asarray(picture), white)), ""
    return picture.convert("L" if picture.mode == "1" else "RGB"), ""


def _over(clear: Image.Image, ground: str) -> Image.Image:
    canvas = Image.new("RGB", clear.size, ground)
    canvas.paste(clear, mask=clear.getchannel("A"))
    return canvas


def _span(picture: Image.Image) -> int:
    return max(high - low for low, high in picture.getextrema())  # type: ignore[misc]


def _scaled(values: np.ndarray, white: int) -> np.ndarray:
    """Values of 16 bits as uint8; an alpha channel may have a range of its own."""
    tops = np.full(values.shape[-1], white)
    if values.shape[-1] == 4 and values[..., 3].max() > white:
        tops[3] = FULL_WHITE
    found: np.ndarray = np.rint(np.minimum(values * (255 / tops), 255)).astype(np.uint8)
    return found


def _to_bytes(values: np.ndarray, white: int) -> np.ndarray:
    """Grey values of any range as uint8; not-a-number becomes the lowest."""
    known = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    usual = (1.0, 255.0) if values.dtype.kind == "f" else (float(FULL_WHITE),)
    full = next((top for top in usual if low >= 0 and high <= top), None)
    bottom, span = (0.0, full) if full else (low, (high - low) or 1.0)
    if full == FULL_WHITE:
        span = float(white)
    with np.errstate(invalid="ignore"):
        scaled = (values.astype(np.float64) - bottom) * (255 / span)
    known = np.minimum(np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0), 255)
    found: np.ndarray = np.rint(known).astype(np.uint8)
    return found


def _read(path: Path) -> bytes:
    with _opened(path) as file:
        data = file.read()
    if not data:
        raise UnreadableImage("the file is empty")
    return data


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
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
                yield file
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


def _open(data: bytes, how: Decoding) -> tuple[Image.Image, tuple[int, int], str]:
    """The picture in mode L or RGB, upright, perhaps reduced to no less than twice its size, and
    its whole width and height; and what it was laid over.
    """
    picture: Image.Image = Image.open(io.BytesIO(data), formats=formats())
    width, height = picture.size
    planes = {_raw(tile) for tile in getattr(picture, "tile", ())}
    if planes == {"R", "G", "B"} and max(picture.getexif().get(_BITS, (8,))) > 8:
        why = "colours of 16 bits in separate planes are not read right"  # by Pillow
        raise UnreadableImage(f"{why}; save it with all colours of a pixel side by side")
    # JPEGs are reduced by 2, 4 or 8 while they are decoded; the resize halves at least once more.
    picture.draft(None, (2 * how.size, 2 * how.size))
    lying = picture.size
    pixels = lying[0] * lying[1]
    if pixels > how.max_megapixels * 10**6:
        limit = f"above data.max_megapixels: {how.max_megapixels}"
        raise UnreadableImage(f"{pixels / 10**6:.0f} megapixels, {limit}")
    with _one_large if pixels > _LARGE else nullcontext():
        if _halves(picture):
            picture = Image.fromarray(_scaled(_deep_values(data, picture), how.white))
        else:
            _upright(picture)
        seen = (width, height) if picture.size == lying else (height, width)
        found, ground = to_colours(picture, white=how.white, background=how.background)
        return found, seen, ground


@cache
def formats() -> tuple[str, ...]:
    """The formats that are read here, by Pillow's names; HEIF where pillow-heif is installed."""
    Image.init()
    with suppress(ImportError, OSError):  # the latter where a library that it links is absent
        from pillow_heif import register_heif_opener

        register_heif_opener()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


@contextmanager
def _reasons(path: Path | None) -> Iterator[None]:
    """Pillow's errors as one plain reason each."""
    try:
        yield
    except UnreadableImage:
        raise
    except UnidentifiedImageError as error:
        suffix = path.suffix.lower() if path else ""
        if suffix in _RAW_SUFFIXES or (suffix in HEIF_SUFFIXES and "HEIF" not in formats()):
            extra = ": pip install 'tlsearch[heif]', or" if suffix in HEIF_SUFFIXES else ";"
            how = f"magick FILE{suffix} FILE.jpg"
            raise UnreadableImage(f"{suffix} is not read here{extra} convert it: {how}") from error
        raise UnreadableImage("no image in a format that is known here") from error
    except MemoryError as error:
        raise UnreadableImage("too large for this machine's memory") from error
    except Exception as error:  # decoders of damaged files raise nearly every kind there is
        text = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UnreadableImage(f"damaged: {text}") from error


_quiet_lock = threading.Lock()
_quiet: list[Any] = [0, None, None]


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """No warning of Pillow's is shown or raised within, and its limit on pixels is off, ours stands
    instead; threads may hold this side by side.

    Python's own scope restores what it found, so that of two that overlap the later one would
    leave the filter behind: here the first one opens it, and the last one closes it.
    """
    with _quiet_lock:
        if not _quiet[0]:
            _quiet[1] = warnings.catch_warnings()
            _quiet[1].__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.")
            _quiet[2], Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        _quiet[0] += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet[0] -= 1
            if not _quiet[0]:
                _quiet[1].__exit__(None, None, None)
                Image.MAX_IMAGE_PIXELS = _quiet[2]
