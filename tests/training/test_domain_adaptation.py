"""Stages that take images towards the source's: what every stage keeps to, and what each does."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.models.strategies import strategy
from tests.training.small import CPU, pixels, trainer, weights
from tlsearch.config.augmentation import Adaptation, Fourier, Moments, NoAdaptation, Style
from tlsearch.training.augmentation import Stage
from tlsearch.training.batches import unit_batch
from tlsearch.training.domain_adaptation import (
    drawn_for,
    exchange_amplitudes,
    match_moments,
    stage_of,
)

TARGET, SOURCE = pixels(), pixels(seed=1, noise=200)
AMONG = np.arange(0, 60, 2)
KINDS: dict[str, Adaptation] = {
    "fourier": Fourier(band=0.3, strength=1.0),
    "fourier, half": Fourier(band=0.3, strength=0.5),
    "moments": Moments(strength=1.0),
    "moments, half": Moments(strength=0.5),
}


def stage(of: Adaptation, *, seed: int = 0) -> Stage:
    found = stage_of(of, source=SOURCE, among=AMONG, seed=seed)
    assert found is not None
    return found


def batch(rows: np.ndarray) -> Tensor:
    return unit_batch(TARGET, rows, device=CPU)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", KINDS)
def test_a_sample_sees_the_same_source_in_every_batch_of_an_epoch(name: str) -> None:
    rows = np.array([3, 1, 44, 20, 7])
    make = stage(KINDS[name])
    images, state = batch(rows), torch.get_rng_state()
    whole = make(images, rows, epoch=4)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(images, batch(rows)), "what comes in stays as it is"
    assert whole.dtype == torch.float32
    assert 0 <= whole.min() <= whole.max() <= 1
    assert (whole - images).abs().amax((1, 2, 3)).min() > 0.01
    for part in ([3], [44, 7], [7, 20, 44, 1, 3]):
        alone = make(batch(np.array(part)), np.array(part), epoch=4)
        wanted = torch.stack([whole[rows.tolist().index(row)] for row in part])
        assert torch.equal(alone, wanted)
    assert torch.equal(stage(KINDS[name])(batch(rows), rows, epoch=4), whole)
    assert not torch.equal(make(batch(rows), rows, epoch=5), whole)
    assert not torch.equal(stage(KINDS[name], seed=1)(batch(rows), rows, epoch=4), whole)


def test_sources_are_drawn_evenly_from_those_that_may_be() -> None:
    found = drawn_for(np.arange(3000), among=AMONG, seed=0, epoch=1)
    counts = np.bincount(found, minlength=60)
    assert set(np.flatnonzero(counts)) == set(AMONG)
    assert 60 < counts[AMONG].min() <= counts[AMONG].max() < 140  # 100 each, 4 deviations of 10


@pytest.mark.parametrize(
    "of",
    [
        NoAdaptation(),
        Fourier(band=0.0, strength=1.0),
        Fourier(band=0.5, strength=0.0),
        Moments(strength=0.0),
        Style(strength=1.0, layers=2),
    ],
)
def test_what_changes_nothing_is_no_stage(of: Adaptation) -> None:
    assert stage_of(of, source=SOURCE, among=AMONG, seed=0) is None


@pytest.mark.parametrize("size", [(12, 12), (13, 13), (12, 15)])
def test_low_amplitudes_are_the_sources_and_phases_stay(size: tuple[int, int]) -> None:
    images = drawn(2, 3, *size).double()
    sources = drawn(2, 3, *size, seed=1).double()
    found = torch.fft.fft2(exchange_amplitudes(images, sources, band=0.4, strength=0.75))
    own, theirs = torch.fft.fft2(images), torch.fft.fft2(sources)
    turned = (found / own).angle()  # the angle between them: 0 also where an angle is pi or -pi
    torch.testing.assert_close(turned, torch.zeros_like(turned), atol=1e-9, rtol=0)
    rows, columns = (np.abs(np.fft.fftfreq(side)) for side in size)
    low = torch.from_numpy(np.maximum(rows[:, None], columns[None, :]) < 0.2)
    assert 1 < int(low.sum()) < low.numel() / 2
    mixed = 0.25 * own.abs() + 0.75 * theirs.abs()
    torch.testing.assert_close(found.abs()[..., low], mixed[..., low])
    torch.testing.assert_close(found.abs()[..., ~low], own.abs()[..., ~low])


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_moments_go_their_part_of_the_way_to_the_sources(strength: float) -> None:
    images, sources = drawn(4, 3, 12, 12).double(), drawn(4, 3, 9, 9, seed=1).double() / 3
    found = match_moments(images, sources, strength=strength)
    for moment in (Tensor.mean, lambda x, dims: x.std(dims, correction=0)):
        wanted = torch.lerp(moment(images, (2, 3)), moment(sources, (2, 3)), strength)
        torch.testing.assert_close(moment(found, (2, 3)), wanted)
    # One affine map a channel, so the picture itself stays.
    a, b = (x.flatten(2) - x.flatten(2).mean(2, keepdim=True) for x in (images, found))
    alike = torch.nn.functional.cosine_similarity(a, b, dim=2)
    torch.testing.assert_close(alike, torch.ones_like(alike))


def test_an_image_of_one_colour_takes_the_mean_and_stays_finite() -> None:
    images, sources = torch.full((1, 3, 8, 8), 0.5), drawn(1, 3, 8, 8)
    found = match_moments(images, sources, strength=1.0)
    torch.testing.assert_close(found, sources.mean((2, 3), keepdim=True).expand_as(found))


class Seen:
    """A stage that keeps what it was given and changes nothing."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, ...]] = []

    def __call__(self, images: Tensor, rows: np.ndarray, *, epoch: int) -> Tensor:
        self.rows.append((epoch, *map(int, rows)))
        return images


@pytest.mark.parametrize("depth", [0, 2, 5])
def test_a_stage_sees_training_batches_alone(depth: int) -> None:
    seen = Seen()
    of = trainer(strategy(freeze_depth=depth), num_epochs=2, adaptation=seen)
    plain = trainer(strategy(freeze_depth=depth), num_epochs=2)
    for training in (of, plain):
        list(training.epochs())
    train = sorted(map(int, of.data.train))
    for epoch in (1, 2):
        assert sorted(r for e, *rows in seen.rows if e == epoch for r in rows) == train
    # The identity, through the pixels: to the last bit where both go the same way.
    assert all(torch.equal(v, weights(plain)[k]) for k, v in weights(of).items())
