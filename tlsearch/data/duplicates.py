"""Which images show the same picture, to the byte or nearly, perhaps flipped or turned."""

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from tlsearch.data.dataset import ImageSet, connected, pairs_with_first

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


_HASH_SIDE, _KEPT = 32, 8
_MIDDLE = slice(_KEPT**2 // 2 - 1, _KEPT**2 // 2 + 1)  # their mean is the median, at a tenth
_WAVES = np.cos(np.pi / _HASH_SIDE * np.outer(np.arange(_KEPT), np.arange(_HASH_SIDE) + 0.5))


def perceptual_hash(picture: Image.Image) -> int:
    """The picture's low frequencies against their median, as the library imagehash's `phash` has
    it: cosine transform of 32 × 32 greys, the lowest 8 × 8, first bit the highest.

    Own lines, because that library brings PyWavelets and converts all of a picture to grey first.
    Source: Zauner, Implementation and benchmarking of perceptual image hash functions, 2010.
    """
    small = picture.resize((_HASH_SIDE, _HASH_SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    grey = np.asarray(small.convert("L"), dtype=np.float64)
    # Rounded, so that an even picture has no bits of rounding noise.
    waves = np.round(_WAVES @ grey @ _WAVES.T, 3)
    low, high = np.sort(waves, axis=None)[_MIDDLE]
    return int.from_bytes(np.packbits(waves > (low + high) / 2).tobytes(), "big")


MIN_CORRELATION, MIN_EDGE_CORRELATION, MIN_EDGES = 0.98, 0.9, 2.0
"""Correlation of two pictures of 16 × 16, the same of their edges, and how strong (grey levels)
edges must be to be compared. Of 300 crops of real photos (sklearn's two), these find more than nine
in ten that are saved again at quality 50, halved or a tenth brighter, and no pair of different
ones; of the 1.6 million pairs of the 1,797 digits, 17, all of one class. Clear skies have no edges
and are left alone.
"""
MAX_PAIRS = 2_000_000
"""Pairs with close hashes whose pixels are compared; in a set of plain pictures there may be
more, and the rest is left alone."""

_NO_PAIRS = np.empty((0, 2), np.int64)
_SIDE = 16
_CHUNK = 4096  # pairs, or images, at once: 50 MB or less


class Duplicates(NamedTuple):
    """`exact` int64 (N,): the lowest row that shows the same picture. `near` int64 (P, 2): pairs of
    such rows, ascending, that show nearly the same; `turned` (P, 2) the same of one class, flipped
    or turned by quarters. `complete`: all close pairs were compared.
    """

    exact: np.ndarray
    near: np.ndarray
    turned: np.ndarray
    complete: bool


def find_duplicates(data: ImageSet, rows: np.ndarray, *, near: bool) -> Duplicates:
    """Duplicates among `rows` (all others stand alone)."""
    exact = exact_groups(data, rows)
    if not near:
        return Duplicates(exact, _NO_PAIRS, _NO_PAIRS, True)
    distinct = rows[exact[rows] == rows]
    pairs, complete = near_pairs(data, distinct)
    turned, all_turned = turned_pairs(data, distinct)
    return Duplicates(exact, pairs, turned, complete and all_turned)


def exact_groups(data: ImageSet, rows: np.ndarray) -> np.ndarray:
    """Lowest row (N,) with the same file, byte by byte, or the same stored pixels. Of files that
    are seen in one even colour the pixels tell nothing.
    """
    told = rows
    if data.files is not None:
        told = rows[[data.images[row].min() < data.images[row].max() for row in rows]]
    edges = [pairs_with_first(np.array([_digest(data.images[row]) for row in told]), told)]
    if data.files is not None:
        edges.append(pairs_with_first(data.files.digests[rows], rows))
    return connected(np.concatenate(edges), len(data.labels))


def near_pairs(data: ImageSet, rows: np.ndarray) -> tuple[np.ndarray, bool]:
    """Pairs int64 (P, 2) of `rows` that show nearly the same picture, and whether all were looked
    at: those with close hashes, confirmed on the stored pixels.
    """
    hashes = data.files.hashes[rows] if data.files is not None else _hashes(data.images, rows)
    found, left = [], MAX_PAIRS
    for pairs in close_pairs(hashes):
        found.append(rows[pairs[:left]])
        left -= len(found[-1])
        if left == 0:
            break
    pairs = np.concatenate(found) if found else _NO_PAIRS
    return pairs[_alike(data.images, pairs)], left > 0


_TURNS = range(1, 8)
"""Ways to lay a square on itself: mirrored where odd, then turned by half as many quarters."""


def turned_pairs(data: ImageSet, rows: np.ndarray) -> tuple[np.ndarray, bool]:
    """Pairs int64 (P, 2) of `rows` of one class that show nearly the same picture flipped or turned
    by quarters, and whether all were looked at; as `near_pairs`, all by the stored pixels.

    Of different classes a turn may be what sets them apart: 6 and 9, an arrow to the left.
    """
    if not len(rows) or data.images.shape[1] != data.images.shape[2]:
        return _NO_PAIRS, True
    waves = _low_waves(data.images, rows)
    upright, found, left = _hashes_of(waves), [_NO_PAIRS], MAX_PAIRS
    classes = [np.flatnonzero(data.labels[rows] == c) for c in np.unique(data.labels[rows])]
    for turn in _TURNS:
        turned, close = _hashes_of(_turned_waves(waves, turn)), [_NO_PAIRS]
        for members in classes:
            num = len(members)
            for pairs in close_pairs(np.concatenate([upright[members], turned[members]])):
                first, second = pairs[:, 0], pairs[:, 1] - num
                kept = np.flatnonzero((first < second) & (first < num))[:left]
                close.append(rows[members[np.stack([first[kept], second[kept]], axis=1)]])
                left -= len(kept)
                if left == 0:
                    break
        pairs = np.concatenate(close)
        found.append(pairs[_alike(data.images, pairs, turn=turn)])
    return np.unique(np.concatenate(found), axis=0), left > 0


def _low_waves(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The lowest 8 × 8 cosine waves float32 (R, 8, 8) of the stored pictures' greys."""
    side = images.shape[1]
    basis = np.cos(np.pi / side * np.outer(np.arange(_KEPT), np.arange(side) + 0.5)) / side
    weights = np.array([1.0] if images.shape[-1] == 1 else [0.299, 0.587, 0.114], np.float32)
    found, step = [], max(1, _CHUNK * _SIDE**2 // side**2)
    for start in range(0, len(rows), step):
        grey = images[rows[start : start + step]] @ weights
        found.append(np.round(basis @ grey @ basis.T, 3).astype(np.float32))
    return np.concatenate(found)


def _turned_waves(waves: np.ndarray, turn: int) -> np.ndarray:
    """What `_low_waves` would find in the pictures after this turn."""
    signs = (-1.0) ** np.arange(_KEPT)
    waves = waves * signs if turn % 2 else waves
    for _ in range(turn // 2):
        waves = waves.swapaxes(1, 2) * signs[:, None]
    return waves


def _hashes_of(waves: np.ndarray) -> np.ndarray:
    """Hashes uint64 (R,), as `perceptual_hash` makes them of waves."""
    flat = waves.reshape(len(waves), -1)
    middle = np.sort(flat, axis=1)[:, _MIDDLE].mean(axis=1, keepdims=True)
    hashes: np.ndarray = np.packbits(flat > middle, axis=1).view(">u8")[:, 0].astype(np.uint64)
    return hashes


def _turned(images: np.ndarray, turn: int) -> np.ndarray:
    """Pictures (N, H, W, C) after this turn."""
    mirrored = images[:, :, ::-1] if turn % 2 else images
    return np.rot90(mirrored, turn // 2, axes=(1, 2))


def _digest(image: np.ndarray) -> bytes:
    # Hexadecimal, because numpy cuts zeros off the end of byte strings.
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).hexdigest().encode()


def _hashes(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Perceptual hashes of stored pixels, for a source that is no files."""
    grey = images.shape[-1] == 1
    return np.array(
        [perceptual_hash(Image.fromarray(images[r, ..., 0] if grey else images[r])) for r in rows],
        dtype=np.uint64,
    )


def _alike(images: np.ndarray, pairs: np.ndarray, *, turn: int = 0) -> np.ndarray:
    """Whether the stored pictures of each pair (P,) are nearly the same, whatever their brightness
    and contrast, but not their colours; the second after this turn.
    """
    like = np.zeros(len(pairs), bool)
    if not len(pairs) or images.shape[1] < 4:
        return like
    rows, places = np.unique(pairs, return_inverse=True)
    places = places.reshape(pairs.shape)
    small, contrast = _centred(images, rows, turn=0)
    other = small if turn == 0 else _centred(images, rows, turn=turn)[0]
    for start in range(0, len(pairs), _CHUNK):
        part = places[start : start + _CHUNK]
        a, b = small[part[:, 0]].astype(np.float32), other[part[:, 1]].astype(np.float32)
        near = np.flatnonzero(_products(a, b) > MIN_CORRELATION)
        if len(near):
            least = contrast[part[near]].min(axis=1)
            like[start + near] = _same_edges(a[near], b[near], least)
    return like


def _centred(images: np.ndarray, rows: np.ndarray, *, turn: int) -> tuple[np.ndarray, np.ndarray]:
    """Small pictures (R, about 16, about 16, C) of mean 0 and norm 1 after this turn, and the norms
    (R,) that they had. In half precision, 0.3 GB if all of 200,000 images are in some pair.
    """
    parts, norms = [], []
    for start in range(0, len(rows), _CHUNK):
        small = _small(_turned(images[rows[start : start + _CHUNK]], turn))
        small -= small.mean(axis=(1, 2, 3), keepdims=True)
        norm = np.maximum(np.sqrt(_products(small, small)), 1e-9)
        parts.append((small / norm[:, None, None, None]).astype(np.float16))
        norms.append(norm)
    return np.concatenate(parts), np.concatenate(norms)


def _same_edges(a: np.ndarray, b: np.ndarray, contrast: np.ndarray) -> np.ndarray:
    """Whether edges are alike, and strong enough at this `contrast` (P,) to be compared."""
    edges = _edges(a), _edges(b)
    norms = [np.sqrt(_products(e, e)) for e in edges]
    strength = np.minimum(*norms) * contrast / np.sqrt(edges[0][0].size)
    correlation = _products(*edges) / np.maximum(norms[0] * norms[1], 1e-9)
    same: np.ndarray = (strength > MIN_EDGES) & (correlation > MIN_EDGE_CORRELATION)
    return same


def _small(images: np.ndarray) -> np.ndarray:
    """Means of blocks: float32 (N, about 16, about 16, C); a rest at the border is cut off."""
    num, height, width, channels = images.shape
    block = max(1, height // _SIDE)
    rows, columns = height // block, width // block
    cut = images[:, : rows * block, : columns * block]
    blocks = cut.reshape(num, rows, block, columns, block, channels)
    means: np.ndarray = blocks.mean(axis=(2, 4), dtype=np.float32)
    return means


def _edges(small: np.ndarray) -> np.ndarray:
    """Laplacian (N, …): what differs from its four neighbours."""
    middle = 4 * small[:, 1:-1, 1:-1]
    beside = small[:, :-2, 1:-1] + small[:, 2:, 1:-1] + small[:, 1:-1, :-2] + small[:, 1:-1, 2:]
    edges: np.ndarray = middle - beside
    return edges


def _products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Inner product (N,) of each picture of `a` with that of `b`."""
    found: np.ndarray = np.einsum("nhwc,nhwc->n", a, b)
    return found
