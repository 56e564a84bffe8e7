"""Which pictures are the same, and which hashes are close."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from tests.data.made import folder_of, jpeg, photo
from tlsearch.data import duplicates
from tlsearch.data.dataset import ImageSet
from tlsearch.data.duplicates import (
    MAX_DISTANCE,
    close_pairs,
    exact_groups,
    find_duplicates,
    near_pairs,
    turned_pairs,
)
from tlsearch.data.sources import load_digits_images

NUM = 30
Change = Callable[[Image.Image], Image.Image]


def half(picture: Image.Image) -> Image.Image:
    return picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BICUBIC)


def brighter(picture: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(picture).enhance(1.1)


CHANGES: dict[str, tuple[Change, float]] = {
    "saved again at quality 90": (lambda p: jpeg(p, 90), 0.95),
    "saved again at quality 50": (lambda p: jpeg(p, 50), 0.9),
    "halved": (half, 0.9),
    "a tenth brighter": (brighter, 0.9),
    "all three": (lambda p: jpeg(brighter(half(p)), 80), 0.8),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copies_are_found_and_nothing_else(change: str) -> None:
    alter, recall = CHANGES[change]
    photos = [photo(i, side=128) for i in range(NUM)]
    data = folder_of([*photos, *map(alter, photos)], [0] * 2 * NUM, size=64)
    pairs, complete = near_pairs(data, np.arange(2 * NUM))
    assert complete
    right = [b - a == NUM for a, b in np.sort(pairs, axis=1)]
    # Two pieces of one photo may be nearly the same; those are no false alarms.
    assert sum(right) >= recall * NUM
    assert len(right) - sum(right) <= 2


def test_digits_give_hardly_any_and_never_under_two_labels() -> None:
    data = load_digits_images(32)
    pairs, _ = near_pairs(data, np.arange(len(data.labels)))
    assert len(pairs) < 20  # of 1,613,706
    assert (data.labels[pairs[:, 0]] == data.labels[pairs[:, 1]]).all()


def test_plain_pictures_are_left_alone_whatever_their_hashes() -> None:
    draw = np.random.default_rng(0)
    slope = np.linspace(100, 160, 64)[:, None]
    skies = [np.rint(slope + draw.normal(0, 1.5, (64, 64))).astype(np.uint8) for _ in range(30)]
    data = folder_of([Image.fromarray(sky) for sky in skies], [0] * 30, size=64)
    assert data.files is not None
    alike = replace(data, files=data.files._replace(hashes=np.zeros(30, np.uint64)))
    assert not len(near_pairs(alike, np.arange(30))[0])


TURNS: list[Change] = [
    *(lambda p, t=t: p.transpose(t) for t in Image.Transpose),
    lambda p: jpeg(brighter(p.transpose(Image.Transpose.TRANSPOSE)), 80),
]


@pytest.mark.parametrize("turn", TURNS)
def test_flips_and_quarter_turns_are_found_within_a_class(turn: Change) -> None:
    photos = [photo(i, side=128) for i in range(10)]
    data = folder_of([*photos, *map(turn, photos)], [0] * 20, size=50)
    pairs, complete = turned_pairs(data, np.arange(20))
    assert complete
    assert np.mean(pairs[:, 1] - pairs[:, 0] == 10) >= 0.8
    assert len(pairs) >= 9
    # Of two classes the direction may be what sets them apart.
    apart = folder_of([*photos, *map(turn, photos)], [0] * 10 + [1] * 10, size=50)
    assert not (np.diff(turned_pairs(apart, np.arange(20))[0]) == 10).any()


def test_digits_hardly_ever_look_like_another_that_is_turned() -> None:
    data = load_digits_images(32)
    assert len(turned_pairs(data, np.arange(len(data.labels)))[0]) < 60  # of 1.1 million


def test_other_colours_are_another_picture() -> None:
    picture = photo(0)
    red, green, blue = picture.split()
    data = folder_of([picture, Image.merge("RGB", (blue, red, green))], [0, 0])
    grey = folder_of([picture, brighter(picture)], [0, 0])
    assert len(near_pairs(grey, np.arange(2))[0]) == 1
    assert not len(near_pairs(data, np.arange(2))[0])


def test_the_same_file_and_the_same_pixels_are_one_picture() -> None:
    data = folder_of([photo(0), photo(1), photo(0), photo(2)], [0] * 4)
    assert data.files is not None

    def with_digests(*digests: str) -> ImageSet:
        assert data.files is not None
        return replace(data, files=data.files._replace(digests=np.array(digests)))

    every = np.arange(4)
    np.testing.assert_array_equal(exact_groups(with_digests(*"1234"), every), [0, 1, 0, 3])
    np.testing.assert_array_equal(exact_groups(with_digests(*"1232"), every), [0, 1, 0, 1])
    np.testing.assert_array_equal(exact_groups(with_digests(*"1212"), every), [0, 1, 0, 1])
    # The other rows stand alone.
    np.testing.assert_array_equal(exact_groups(with_digests(*"1232"), every[1:]), [0, 1, 2, 1])


def test_a_source_without_files_is_compared_by_its_pixels() -> None:
    pictures = [photo(0), jpeg(photo(0), 80), photo(1)]
    data = replace(folder_of(pictures, [0, 0, 0]), files=None)
    found = find_duplicates(data, np.arange(3), near=True)
    np.testing.assert_array_equal(found.near, [[0, 1]])
    assert not len(find_duplicates(data, np.arange(3), near=False).near)


def test_there_is_a_limit_to_what_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = [jpeg(photo(0), quality) for quality in (95, 85, 75, 65)]
    data = folder_of(pictures, [0] * 4)
    assert find_duplicates(data, np.arange(4), near=True).complete
    monkeypatch.setattr(duplicates, "MAX_PAIRS", 2)
    found = find_duplicates(data, np.arange(4), near=True)
    assert not found.complete
    assert len(found.near) == 2


def test_images_of_few_pixels_and_none_at_all() -> None:
    tiny = folder_of([photo(0), photo(1), photo(1)], [0] * 3, size=2)
    assert not len(find_duplicates(tiny, np.arange(3), near=True).near)
    nothing = np.empty(0, np.int64)
    found = find_duplicates(tiny, nothing, near=True)
    np.testing.assert_array_equal(found.exact, [0, 1, 2])


def brute(found: np.ndarray) -> set[tuple[int, int]]:
    apart = np.bitwise_count(found[:, None] ^ found[None, :])
    return {(int(a), int(b)) for a, b in np.argwhere(apart <= MAX_DISTANCE) if a < b}


def pairs_of(found: np.ndarray) -> list[tuple[int, int]]:
    return [(min(a, b), max(a, b)) for piece in close_pairs(found) for a, b in piece.tolist()]


def with_near_ones(seed: int, *, bits: int) -> np.ndarray:
    """Sixty random hashes, and each again with so many bits turned over."""
    draw = np.random.default_rng(seed)
    hashes_made = draw.integers(0, 2**64, 60, dtype=np.uint64)
    turned = hashes_made.copy()
    for i in range(len(hashes_made)):
        for bit in draw.permutation(64)[:bits]:
            turned[i] ^= np.uint64(1) << np.uint64(bit)
    return np.concatenate([hashes_made, turned])


@pytest.mark.parametrize("bits", [0, 1, 4, MAX_DISTANCE, MAX_DISTANCE + 1])
def test_every_close_pair_is_found_once_and_no_other(bits: int) -> None:
    hashes_made = with_near_ones(bits, bits=bits)
    found = pairs_of(hashes_made)
    assert len(set(found)) == len(found)
    assert set(found) == brute(hashes_made)
    assert len(found) == (60 if bits <= MAX_DISTANCE else 0)
    assert pairs_of(hashes_made[:0]) == []


def test_blocks_and_one_crowded_byte_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes_made = np.random.default_rng(0).integers(0, 2**12, 300, dtype=np.uint64)
    expected = brute(hashes_made)
    assert len(expected) > 10_000
    monkeypatch.setattr(duplicates, "_BLOCK", 32)
    found = pairs_of(hashes_made)
    assert len(set(found)) == len(found)
    assert set(found) == expected
