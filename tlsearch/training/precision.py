"""Which numbers to compute with, and in which order they lie in memory: what measures faster."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tlsearch.config.runtime import Precision

LEAST_GAIN = 1.1
"""Another format must be this much faster: below it noise would decide, and with it the last bits.
"""
PROBE_ROUNDS = 9
"""How often the formats are timed in turn: their median ratios are not moved by a few that a busy
moment disturbed."""
_FEWEST_ROUNDS, _PROBE_SECONDS = 3, 10.0
"""After so many rounds a format is dropped that was faster in none; and once the probe has taken so
long, those are enough: a step of large images takes seconds."""
ROUNDINGS = 3.0
"""How many times as far from the gradient in fp32 that in bf16 may be as rounding images and
weights, once, moves it. What it is: benchmarks/number_formats.md."""
_NEAR, _UNRELATED = 0.1, 1.5
"""Distances, as shares of the gradient's norm: one that is never too far, and one that always is,
as that between gradients that have nothing in common is 1.4."""

_SOUND_BATCHES = (8, 32)


@dataclass(frozen=True)
class Numerics:
    """Number format of the forward pass; weights, gradients and optimizer stay in fp32. Images and
    weights lie in memory pixel by pixel (channels last), unless it says channel by channel (NCHW).
    """

    precision: Precision

    @property
    def memory_format(self) -> torch.memory_format:
        """The order of images and weights in memory."""
        is_nchw = self.precision == "fp32 NCHW"
        return torch.contiguous_format if is_nchw else torch.channels_last

    def autocast(self, device: torch.device) -> torch.autocast:
        """The context for a forward pass on `device`."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16")


FP32, BF16, NCHW = Numerics("fp32"), Numerics("bf16"), Numerics("fp32 NCHW")


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Compute with so many threads of torch's for a while, also in threads begun meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def compute_reproducibly(device: torch.device) -> None:
    """From now on this process computes on a GPU by algorithms that give the same bits each time,
    where torch has them (it warns where not: docs/strategies.md); on a CPU it does anyway.
    """
    if device.type != "cuda":
        return
    # Read when cuBLAS starts, so before the first product on the GPU.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Its backward pass adds up in any order; attention has two others.
    torch.backends.cuda.enable_mem_efficient_sdp(False)


def probe_precision(
    model: nn.Module, *, image_size: int, batch_size: int, device: torch.device
) -> Numerics:
    """The fastest of bf16, if its gradients are sound here, fp32 channel by channel, and fp32; one
    of the first two by `LEAST_GAIN`.
    """
    gains = _gains(model.to(device).train(), _images(batch_size, image_size, device))
    model.to(memory_format=FP32.memory_format)
    for numerics in sorted(gains, key=lambda one: -gains[one]):
        if gains[numerics] >= LEAST_GAIN and (
            numerics != BF16 or bf16_is_sound(model, image_size=image_size, device=device)
        ):
            return numerics
    return FP32


def _gains(model: nn.Module, images: Tensor) -> dict[Numerics, float]:
    """How many times as fast as in fp32 a training step is in each other format.

    The steps are timed in turn, after one that warms up, and the median of the ratios decides: on a
    processor of its own time, which other programs take nothing of.
    """
    ratios: dict[Numerics, list[float]] = {BF16: [], NCHW: []}
    spent = 0.0
    for round_ in range(1 + PROBE_ROUNDS):
        fp32 = step_seconds(model, images, FP32)
        spent += fp32
        for numerics, found in list(ratios.items()):
            found.append(fp32 / (other := step_seconds(model, images, numerics)))
            spent += other
            if round_ == _FEWEST_ROUNDS and max(found[1:]) < 1:
                del ratios[numerics]
        if round_ >= _FEWEST_ROUNDS and spent > _PROBE_SECONDS:
            break
    return {numerics: median(found[1:]) for numerics, found in ratios.items()}


def step_seconds(model: nn.Module, images: Tensor, numerics: Numerics) -> float:
    """What a training step takes: seconds on a GPU, on a processor those of its own time."""
    model = model.to(memory_format=numerics.memory_format)
    images = images.contiguous(memory_format=numerics.memory_format)
    step = partial(_gradient, model, images, numerics)
    if images.device.type == "cuda":
        return timed(step, images.device)
    start = time.process_time()
    step()
    return time.process_time() - start


def bf16_is_sound(model: nn.Module, *, image_size: int, device: torch.device) -> bool:
    """Whether gradients in bf16 are finite, the same every time, and no further from those in fp32
    than rounding explains: where a deep network turns any rounding into another gradient, fp32 has
    none that is more right.

    torch 2.15 on a CPU leaves parts of them uninitialised where a strided convolution meets a map
    of one pixel (ResNet-18 at 16 px), so this must be tried, not assumed.
    """
    for batch_size in _SOUND_BATCHES:
        images = _images(batch_size, image_size, device)
        far, rounding = gradient_distances(model, images)
        # A comparison with NaN is false, and so is the answer.
        if not far <= min(max(_NEAR, ROUNDINGS * rounding), _UNRELATED):
            return False
        first = _gradient(model, images, BF16)
        if not all(torch.equal(_gradient(model, images, BF16), first) for _ in range(2)):
            return False
    return True


def gradient_distances(model: nn.Module, images: Tensor) -> tuple[float, float]:
    """How far from the gradient in fp32 that in bf16 is, and that in fp32 of images and weights
    rounded to bf16, as shares of its norm.
    """
    rounded = deepcopy(model)
    with torch.no_grad():
        for weight in rounded.parameters():
            weight.copy_(weight.bfloat16())
    exact, inexact = _gradient(model, images, FP32), _gradient(model, images, BF16)
    moved = _gradient(rounded, images.bfloat16().float(), FP32)
    found = [float((other - exact).norm() / exact.norm()) for other in (inexact, moved)]
    return found[0], found[1]


def _images(batch_size: int, image_size: int, device: torch.device) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch_size, 3, image_size, image_size, generator=generator)
    return images.to(device).contiguous(memory_format=torch.channels_last)


def _gradient(model: nn.Module, images: Tensor, numerics: Numerics) -> Tensor:
    """The gradient of a training step as one vector; the model keeps its weights."""
    torch.manual_seed(0)  # dropout and stochastic depth drop the same every time
    with numerics.autocast(images.device):
        logits = model(images).float()
    labels = torch.arange(len(images), device=images.device) % logits.shape[1]
    model.zero_grad()
    torch.autograd.backward(F.cross_entropy(logits, labels))
    found = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    return torch.cat(found)


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds that the work takes."""
    start = clock(device)
    work()
    return clock(device) - start


def clock(device: torch.device) -> float:
    """Seconds, once the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
