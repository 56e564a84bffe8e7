"""What a picture looks like in 64 bits: near duplicates differ in few of them."""

import numpy as np
from PIL import Image

_SIDE, _KEPT = 32, 8
_MIDDLE = slice(_KEPT**2 // 2 - 1, _KEPT**2 // 2 + 1)  # their mean is the median, at a tenth
_WAVES = np.cos(np.pi / _SIDE * np.outer(np.arange(_KEPT), np.arange(_SIDE) + 0.5))


def perceptual_hash(picture: Image.Image) -> int:
    """The picture's low frequencies against their median, as the library imagehash's `phash` has
    it: cosine transform of 32 × 32 greys, the lowest 8 × 8, first bit the highest.

    Own lines, because that library brings PyWavelets and converts all of a picture to grey first.
    Source: Zauner, Implementation and benchmarking of perceptual image hash functions, 2010.
    """
    small = picture.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    grey = np.asarray(small.convert("L"), dtype=np.float64)
    # Rounded, so that an even picture has no bits of rounding noise.
    waves = np.round(_WAVES @ grey @ _WAVES.T, 3)
    low, high = np.sort(waves, axis=None)[_MIDDLE]
    return int.from_bytes(np.packbits(waves > (low + high) / 2).tobytes(), "big")
