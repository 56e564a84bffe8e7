"""Batches from stored pixels: grey and colour, from memory or from a file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms.v2.functional import normalize

from tests.training.small import CPU, figures, pixels, trainer
from tests.training.small import data as training_data
from tlsearch.training.batches import epoch_order, label_batch, pixel_batch


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_scaled_and_normalised(channels: int) -> None:
    of = pixels(channels=channels)
    rows = np.array([5, 0, 5, 59])
    batch = pixel_batch(of, rows, device=CPU)
    plain = torch.from_numpy(of.images[rows]).permute(0, 3, 1, 2).expand(4, 3, -1, -1)
    expected = normalize(plain.float() / 255, list(of.mean), list(of.std))
    assert torch.equal(batch, expected)
    assert batch.shape == (4, 3, 12, 12)
    assert batch.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("channels", [1, 3])
def test_memory_mapped_images_give_the_same_training(channels: int, tmp_path: Path) -> None:
    of = pixels(channels=channels)
    np.save(tmp_path / "images.npy", of.images)
    mapped = of._replace(images=np.load(tmp_path / "images.npy", mmap_mode="r"))
    rows = np.array([3, 1])
    assert torch.equal(pixel_batch(mapped, rows, device=CPU), pixel_batch(of, rows, device=CPU))
    results = [figures(trainer(on=training_data(p), num_epochs=1).epochs()) for p in (of, mapped)]
    assert results[0] == results[1]


def test_reading_a_batch_leaves_the_images_as_they_are() -> None:
    of = pixels()
    before = of.images.copy()
    pixel_batch(of, np.arange(10), device=CPU)
    assert np.array_equal(of.images, before)


def test_labels_follow_their_rows() -> None:
    rows = np.array([4, 2, 0])
    found = label_batch(pixels(), rows, device=CPU)
    assert found.tolist() == [1, 2, 0]
    assert found.dtype == torch.int64


def test_order_depends_on_seed_and_epoch_alone() -> None:
    rows = np.arange(100, 150)
    first = epoch_order(rows, seed=1, epoch=1)
    assert np.array_equal(np.sort(first), rows)
    assert np.array_equal(first, epoch_order(rows, seed=1, epoch=1))
    assert not np.array_equal(first, epoch_order(rows, seed=1, epoch=2))
    assert not np.array_equal(first, epoch_order(rows, seed=2, epoch=1))
    assert not np.array_equal(first, rows)
