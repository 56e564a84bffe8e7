"""scikit-learn's handwritten digits: 1,797 real scans of 8 × 8 pixels, part of the package."""

import numpy as np
from PIL import Image

from tlsearch.data.images import ImageSet, image_set

_GREY_LEVELS = 16  # the file holds 0..16


def load_digits_images(size: int) -> ImageSet:
    """All digits in the file's order, enlarged (bicubic) to `size` × `size`, one channel."""
    from sklearn.datasets import load_digits

    scans = load_digits()
    grey = np.rint(scans.images * (255 / _GREY_LEVELS)).astype(np.uint8)
    enlarged = np.stack([_resize(scan, size) for scan in grey])
    names = tuple(str(name) for name in scans.target_names)
    written = np.arange(len(scans.target), dtype=np.float64)  # the file keeps the writing's order
    return image_set(enlarged[..., np.newaxis], scans.target, names, times=written)


def _resize(grey: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(grey).resize((size, size), Image.Resampling.BICUBIC))
