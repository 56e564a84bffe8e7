"""Small messy folders, tables, pictures and sets of columns, made from a seed."""

import csv
import hashlib
import io
import os
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from tlsearch.config.images import DataConfig, SplitConfig
from tlsearch.config.runtime import no_progress
from tlsearch.data.dataset import Files, ImageSet, image_set, with_columns
from tlsearch.data.duplicates import perceptual_hash
from tlsearch.data.sources import load_images
from tlsearch.data.splits import Split, draw_splits


def picture(seed: int, *, width: int = 48, height: int = 40) -> Image.Image:
    """Coloured blocks of 8 pixels, another for every seed."""
    blocks = np.random.default_rng(seed).integers(
        0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8
    )
    return Image.fromarray(blocks.repeat(8, 0).repeat(8, 1)[:height, :width])


def write_picture(path: Path, seed: int, *, width: int = 48, height: int = 40) -> Path:
    """The picture as a file; the suffix says the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed, width=width, height=height).save(path)
    return path


def write_classes(root: Path, counts: Mapping[str, int], *, suffix: str = ".png") -> Path:
    """A folder with so many pictures for each class, no two alike."""
    seed = 1000 * (1 + len(counts))
    for name, count in counts.items():
        for i in range(count):
            write_picture(root / name / f"{i}{suffix}", seed)
            seed += 1
    return root


def _png(width: int, height: int, bits: int, colour: int, data: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(data))
    return b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b"")


def write_bomb(path: Path, *, side: int = 20_000) -> Path:
    """A PNG of a few bytes that says it has side × side pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_png(side, side, 8, 2, bytes(1000)))
    return path


def write_deep(path: Path, values: np.ndarray) -> Path:
    """A PNG or TIFF of uint16 (H, W) or (H, W, 3 or 4), which Pillow does not write in colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width, *rest = values.shape
    channels = rest[0] if rest else 1
    if path.suffix == ".png":
        lines = values.astype(">u2").reshape(height, -1).view(np.uint8)
        left = np.zeros_like(lines)
        left[:, 2 * channels :] = lines[:, : -2 * channels]
        filtered = np.insert(lines - left, 0, 1, axis=1)  # each less the one to its left
        colour = {1: 0, 3: 2, 4: 6}[channels]
        path.write_bytes(_png(width, height, 16, colour, filtered.tobytes()))
        return path
    order = ">" if path.stem.endswith("big") else "<"
    pixels = values.astype(f"{order}u2").tobytes()
    bits = 8 + len(pixels)
    fields = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, channels, bits), (259, 3, 1, 1)]
    fields += [(262, 3, 1, 2 if channels > 1 else 1), (273, 4, 1, 8), (277, 3, 1, channels)]
    fields += [(278, 3, 1, height), (279, 4, 1, len(pixels))]
    if channels == 1:
        fields[2] = (258, 3, 1, 16)
    head = (b"MM" if order == ">" else b"II") + struct.pack(f"{order}HI", 42, bits + 2 * channels)
    entries = b"".join(
        struct.pack(f"{order}HHI", tag, kind, count)
        + struct.pack(f"{order}{'HH' if kind == 3 and count == 1 else 'I'}",
                      *((value, 0) if kind == 3 and count == 1 else (value,)))
        for tag, kind, count, value in fields
    )  # fmt: skip
    depth = struct.pack(f"{order}{channels}H", *[16] * channels)
    table = struct.pack(f"{order}H", len(fields)) + entries + bytes(4)
    path.write_bytes(head + pixels + depth + table)
    return path


def cut_short(path: Path) -> Path:
    """The file's first half."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def write_messy(root: Path) -> Path:
    """Two classes of four readable images each among all that a user's folder may hold."""
    write_classes(root, {"Cats": 3, "d ogs": 3})
    write_picture(root / "Cats" / "deep er" / "Ünïcode 10.JPEG", 1)
    write_picture(root / "d ogs" / "UPPER.PNG", 2)
    (root / "Cats" / "text.jpg").write_text("no image at all\n" * 20)
    (root / "Cats" / "empty.png").write_bytes(b"")
    cut_short(write_picture(root / "d ogs" / "short.jpg", 3, width=400, height=400))
    write_bomb(root / "d ogs" / "bomb.png")
    (root / "Cats" / "notes.txt").write_text("not an image, and does not say so")
    (root / "README").write_text("read me")
    for hidden in (".DS_Store", "Thumbs.db", "._0.png"):
        (root / "Cats" / hidden).write_bytes(b"clutter")
    write_picture(root / "__MACOSX" / "Cats" / "0.png", 4)
    os.symlink(".", root / "Cats" / "itself")
    os.symlink("loop", root / "loop")
    return root


UNREADABLE = {"Cats/text.jpg", "Cats/empty.png", "d ogs/short.jpg", "d ogs/bomb.png"}
"""Names in the messy folder that look like images."""


def write_table(path: Path, rows: Iterable[Sequence[object]], *, separator: str = ",") -> Path:
    """A CSV file; the first row is the header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=separator).writerows(rows)
    return path


def config(source: object, *, size: int = 16, **fields: object) -> DataConfig:
    """The section `data` of a study."""
    return DataConfig.model_validate({"source": source, "size": size, **fields})


def read(data: DataConfig, cache: Path) -> ImageSet:
    """Its images."""
    return load_images(data, cache=cache, on_progress=no_progress)


def labelled(labels: Any, **columns: Any) -> ImageSet:
    """A set of one pixel an image: a split looks at the columns alone."""
    labels = np.asarray(labels)
    pixels = (np.arange(len(labels)) % 251).astype(np.uint8)[:, None, None, None]
    names = tuple(f"class {chr(97 + i)}" for i in range(int(labels.max()) + 1))
    return image_set(pixels, labels, names, **{k: np.asarray(v) for k, v in columns.items()})


def split_config(strategy: Any, **fields: Any) -> SplitConfig:
    return SplitConfig(strategy=strategy, **fields)


def draw(
    data: ImageSet, split: SplitConfig, *, labels: int | None = None, redraw: int = 0
) -> tuple[Split, ...]:
    return draw_splits(data, split=split, labels_per_class=labels, redraw=redraw)


def listed(splits: tuple[Split, ...]) -> list[list[list[int]]]:
    return [[part.tolist() for part in parts] for parts in splits]


SIDE = 32


def photo(seed: int, *, side: int = 96) -> Image.Image:
    """A piece of a real photo, with something to be seen in it; each seed another piece."""
    photos = load_sample_images().images
    draw = np.random.default_rng(seed)
    while True:
        whole = photos[seed % len(photos)]
        y, x = (int(draw.integers(0, whole.shape[i] - side)) for i in (0, 1))
        piece = whole[y : y + side, x : x + side]
        if piece.std() > 30:
            return Image.fromarray(piece)


def jpeg(picture: Image.Image, quality: int) -> Image.Image:
    """The picture after it was saved as JPEG."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def folder_of(
    pictures: Sequence[Image.Image],
    labels: Sequence[int],
    *,
    names: Sequence[str] | None = None,
    size: int = SIDE,
    num_classes: int = 2,
    **known: Any,
) -> ImageSet:
    """What a folder with these pictures gives; the file is known by pixels and size."""
    stored = [np.asarray(p.convert("RGB").resize((size, size), 3)) for p in pictures]
    digests = [
        hashlib.sha256(p.tobytes() + repr(p.size).encode()).hexdigest()[:32] for p in pictures
    ]
    files = Files(
        names=np.array(names or [f"{label}/{i}.png" for i, label in enumerate(labels)]),
        sizes=np.array([p.size for p in pictures], np.int32).reshape(-1, 2),
        digests=np.array(digests),
        hashes=np.array([perceptual_hash(p) for p in pictures], np.uint64),
    )
    images = np.array(stored, np.uint8).reshape(len(stored), size, size, 3)
    classes = tuple("abcdefgh"[:num_classes])
    return with_columns(image_set(images, np.array(labels), classes), files=files, **known)


def audit_config(*, split: str = "stratified", size: int = SIDE, **audit: Any) -> DataConfig:
    """A study's data, of a folder; classes may be small unless said otherwise."""
    rules = {"min_class_images": 1, **audit}
    return DataConfig.model_validate(
        {"source": {"folder": "x"}, "size": size, "split": {"strategy": split}, "audit": rules}
    )
