"""Small pictures, and image sets of them as a folder would give."""

import hashlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from tlsearch.config.schema import DataConfig
from tlsearch.data.dataset import Files, ImageSet, image_set, with_columns
from tlsearch.data.duplicates import perceptual_hash

SIZE = 32


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
    size: int = SIZE,
    num_classes: int = 2,
    **known: Any,
) -> ImageSet:
    """What a folder with these pictures gives; the file is told apart by pixels and size."""
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


def config(*, split: str = "stratified", size: int = SIZE, **audit: Any) -> DataConfig:
    """A study's data, of a folder; classes may be small unless said otherwise."""
    rules = {"min_class_images": 1, **audit}
    return DataConfig.model_validate(
        {"source": {"folder": "x"}, "size": size, "split": {"strategy": split}, "audit": rules}
    )


def quiet(_share: float, _text: str) -> None:
    """Nobody watches."""
