"""Sets on disk."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from tlsearch.data import dataset as store
from tlsearch.data.dataset import Failure, Files, ImageSet, image_set


def made(*names: str, **known: object) -> ImageSet:
    files = Files(
        np.array(names),
        np.full((len(names), 2), 8, np.int32),
        np.array([f"{i:032}" for i in range(len(names))]),
        np.arange(len(names), dtype=np.uint64),
    )
    pixels = np.arange(len(names) * 16, dtype=np.uint8).reshape(-1, 4, 4, 1)
    labels = np.arange(len(names)) % 2
    return replace(image_set(pixels, labels, ("a", "b")), files=files, **known)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    failure = Failure("unreadable", "x.png", "cut short")
    data = made("0.png", "1.png", failures=(failure,))
    found = store.load(store.save(data, tmp_path))
    assert found.fingerprint == data.fingerprint
    assert found.failures == (failure,)
    assert found.files is not None
    assert found.files.names.tolist() == ["0.png", "1.png"]
    np.testing.assert_array_equal(found.images, data.images)


def test_new_names_of_the_same_pictures_are_kept(tmp_path: Path) -> None:
    store.save(made("0.png", "1.png"), tmp_path)
    found = store.load(store.save(made("00.png", "01.png"), tmp_path))
    assert found.files is not None
    assert found.files.names.tolist() == ["00.png", "01.png"]
