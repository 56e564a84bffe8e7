import numpy as np
import pytest

from tlsearch.data import duplicates as hashes
from tlsearch.data.duplicates import MAX_DISTANCE, close_pairs


def brute(found: np.ndarray) -> set[tuple[int, int]]:
    apart = np.bitwise_count(found[:, None] ^ found[None, :])
    return {(int(a), int(b)) for a, b in np.argwhere(apart <= MAX_DISTANCE) if a < b}


def pairs_of(found: np.ndarray) -> list[tuple[int, int]]:
    return [(min(a, b), max(a, b)) for piece in close_pairs(found) for a, b in piece.tolist()]


def with_near_ones(seed: int, *, bits: int) -> np.ndarray:
    """Sixty random hashes, and each again with so many bits turned over."""
    draw = np.random.default_rng(seed)
    made = draw.integers(0, 2**64, 60, dtype=np.uint64)
    turned = made.copy()
    for i in range(len(made)):
        for bit in draw.permutation(64)[:bits]:
            turned[i] ^= np.uint64(1) << np.uint64(bit)
    return np.concatenate([made, turned])


@pytest.mark.parametrize("bits", [0, 1, 4, MAX_DISTANCE, MAX_DISTANCE + 1])
def test_every_close_pair_is_found_once_and_no_other(bits: int) -> None:
    made = with_near_ones(bits, bits=bits)
    found = pairs_of(made)
    assert len(set(found)) == len(found)
    assert set(found) == brute(made)
    assert len(found) == (60 if bits <= MAX_DISTANCE else 0)


def test_blocks_and_one_crowded_byte_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made = np.random.default_rng(0).integers(0, 2**12, 300, dtype=np.uint64)
    expected = brute(made)
    assert len(expected) > 10_000
    monkeypatch.setattr(hashes, "_BLOCK", 32)
    found = pairs_of(made)
    assert len(set(found)) == len(found)
    assert set(found) == expected


def test_no_hash_has_no_pair() -> None:
    assert pairs_of(np.empty(0, np.uint64)) == []
