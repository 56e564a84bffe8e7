"""Which of many perceptual hashes lie within a few bits of each other."""

from collections.abc import Iterator

import numpy as np

MAX_DISTANCE = 7
"""Bits that the hashes of two near duplicates may differ in, of 64."""

_BANDS, _BAND_BITS = 8, 8
_BLOCK = 2048  # 2048 × 2048 hashes compared at once: 36 MB


def close_pairs(hashes: np.ndarray) -> Iterator[np.ndarray]:
    """Pairs int64 (P, 2), first below second, of `hashes` uint64 (N,), all different, within
    `MAX_DISTANCE`; each pair once, in pieces, memory flat in N.

    Two hashes that differ in at most 7 bits agree in one of their 8 bytes, so only those that share
    a byte are compared: 1/32 of all pairs where bytes are evenly spread.
    """
    assert MAX_DISTANCE < _BANDS
    bands = hashes.reshape(-1, 1) >> (np.arange(_BANDS, dtype=np.uint64) * np.uint64(_BAND_BITS))
    bands = bands.astype(np.uint8)
    for band in range(_BANDS):
        order = np.argsort(bands[:, band], kind="stable")
        ends = np.cumsum(np.bincount(bands[:, band], minlength=1 << _BAND_BITS))
        for start, end in zip(np.r_[0, ends[:-1]], ends, strict=True):
            for pairs in _close_within(hashes, order[start:end]):
                # What agrees in an earlier byte was met there.
                earlier = bands[pairs[:, 0], :band] == bands[pairs[:, 1], :band]
                new = pairs[~earlier.any(axis=1)]
                if len(new):
                    yield new


def _close_within(hashes: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Close pairs among `rows`, ascending, by blocks."""
    for i in range(0, len(rows), _BLOCK):
        first = rows[i : i + _BLOCK]
        for j in range(i, len(rows), _BLOCK):
            second = rows[j : j + _BLOCK]
            apart = np.bitwise_count(hashes[first, None] ^ hashes[None, second])
            a, b = np.nonzero(apart <= MAX_DISTANCE)
            if i == j:
                a, b = a[a < b], b[a < b]
            if len(a):
                yield np.stack([first[a], second[b]], axis=1)
