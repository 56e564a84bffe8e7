"""What every source of images gives: pixels as bytes, class indices, names, a fingerprint."""

import hashlib
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ImageSet:
    """Images uint8 (N, H, W, C) with C 1 or 3, labels int64 (N,) that index `class_names`.

    `fingerprint` tells whether two sets hold the same pixels, labels and names in the same order.
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    fingerprint: str


def image_set(images: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...]) -> ImageSet:
    """An ImageSet with its fingerprint; its arrays are contiguous and read-only."""
    pixels = np.ascontiguousarray(images).view()
    indices = np.ascontiguousarray(labels, dtype=np.int64).view()
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 4
    assert len(pixels) == len(indices)
    digest = hashlib.sha256(repr((pixels.shape, class_names)).encode())
    digest.update(pixels.data)
    digest.update(indices.data)
    pixels.flags.writeable = indices.flags.writeable = False
    return ImageSet(pixels, indices, class_names, digest.hexdigest()[:16])
