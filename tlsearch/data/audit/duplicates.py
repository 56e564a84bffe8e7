"""Which images show the same picture, to the byte or nearly."""

import hashlib
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tlsearch.data.audit.hashes import close_pairs
from tlsearch.data.images import ImageSet
from tlsearch.data.perceptual import perceptual_hash

MIN_LIKENESS, MIN_EDGE_LIKENESS, MIN_EDGES = 0.98, 0.9, 2.0
"""Correlation of two pictures of 16 × 16, the same of their edges, and how strong (grey levels)
edges must be to be compared. Of 300 crops of real photos (sklearn's two), these find more than nine
in ten that are saved again at quality 50, halved or a tenth brighter, and no pair of different
ones; of the 1.6 million pairs of the 1,797 digits, 17, all of one class. Clear skies have no edges
and are left alone.
"""
MAX_PAIRS = 2_000_000
"""Pairs with close hashes whose pixels are compared; in a set of plain pictures there may be
more, and the rest is left alone."""

_SIDE = 16
_CHUNK = 4096  # pairs, or images, at once: 50 MB or less


class Duplicates(NamedTuple):
    """`exact` int64 (N,): the lowest row that shows the same picture. `near` int64 (P, 2): pairs of
    such rows, ascending, that show nearly the same. `complete`: all close pairs were compared.
    """

    exact: np.ndarray
    near: np.ndarray
    complete: bool


def find_duplicates(data: ImageSet, rows: np.ndarray, *, near: bool) -> Duplicates:
    """Duplicates among `rows` (all others stand alone)."""
    exact = exact_groups(data, rows)
    if not near:
        return Duplicates(exact, np.empty((0, 2), np.int64), True)
    pairs, complete = near_pairs(data, rows[exact[rows] == rows])
    return Duplicates(exact, pairs, complete)


def exact_groups(data: ImageSet, rows: np.ndarray) -> np.ndarray:
    """Lowest row (N,) with the same file, byte by byte, or the same stored pixels."""
    edges = [_same(np.array([_digest(data.images[row]) for row in rows]), rows)]
    if data.files is not None:
        edges.append(_same(data.files.digests[rows], rows))
    return joined(np.concatenate(edges), len(data.labels))


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
    pairs = np.concatenate(found) if found else np.empty((0, 2), np.int64)
    return pairs[_alike(data.images, pairs)], left > 0


def joined(pairs: np.ndarray, num: int) -> np.ndarray:
    """Lowest row int64 (num,) of everything that `pairs` (P, 2) join directly or in a chain."""
    ones = np.ones(len(pairs), np.int8)
    graph = coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(num, num))
    _, parts = connected_components(graph, directed=False)
    _, first, members = np.unique(parts, return_index=True, return_inverse=True)
    lowest: np.ndarray = first[members].astype(np.int64)
    return lowest


def _same(keys: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Pairs of each row with the first of `rows` that has the same key."""
    _, first, members = np.unique(keys, return_index=True, return_inverse=True)
    return np.stack([rows[first[members]], rows], axis=1)


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


def _alike(images: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Whether the stored pictures of each pair (P,) are nearly the same, whatever their brightness
    and contrast, but not their colours.
    """
    like = np.zeros(len(pairs), bool)
    if not len(pairs) or images.shape[1] < 4:
        return like
    rows, places = np.unique(pairs, return_inverse=True)
    small, contrast = _centred(images, rows)
    places = places.reshape(pairs.shape)
    for start in range(0, len(pairs), _CHUNK):
        part = places[start : start + _CHUNK]
        a, b = small[part[:, 0]].astype(np.float32), small[part[:, 1]].astype(np.float32)
        near = np.flatnonzero(_products(a, b) > MIN_LIKENESS)
        if len(near):
            least = contrast[part[near]].min(axis=1)
            like[start + near] = _same_edges(a[near], b[near], least)
    return like


def _centred(images: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Small pictures (R, about 16, about 16, C) of mean 0 and norm 1, and the norms (R,) that they
    had. In half precision, 0.3 GB if all of 200,000 images are in some pair.
    """
    parts, norms = [], []
    for start in range(0, len(rows), _CHUNK):
        small = _small(images[rows[start : start + _CHUNK]])
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
    likeness = _products(*edges) / np.maximum(norms[0] * norms[1], 1e-9)
    same: np.ndarray = (strength > MIN_EDGES) & (likeness > MIN_EDGE_LIKENESS)
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
