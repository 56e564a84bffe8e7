"""Which numbers to compute with: bf16 where it measures faster for this network, else fp32."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

BF16_GAIN = 1.1
"""bf16 must be this much faster: below it noise would decide, and with it the last bits."""

_PROBE_STEPS = 4


@dataclass(frozen=True)
class Numerics:
    """Number format of the forward pass; weights, gradients and optimizer stay in fp32."""

    precision: Literal["fp32", "bf16"]

    def autocast(self, device: torch.device) -> torch.autocast:
        """The context for a forward pass on `device`."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16")


def probe_precision(
    model: nn.Module, *, image_size: int, batch_size: int, device: torch.device
) -> Numerics:
    """Time a few training steps with each format, interleaved, and compare the fastest of each."""
    candidates = [Numerics("fp32"), Numerics("bf16")]
    model = model.to(device).to(memory_format=torch.channels_last).train()
    images = torch.zeros(batch_size, 3, image_size, image_size, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    best = dict.fromkeys(candidates, float("inf"))
    for _ in range(_PROBE_STEPS):
        for numerics in candidates:
            seconds = _timed(lambda n=numerics: _step(model, images, n), device)  # type: ignore[misc]
            best[numerics] = min(best[numerics], seconds)
    return (
        candidates[1] if best[candidates[0]] >= BF16_GAIN * best[candidates[1]] else candidates[0]
    )


def _step(model: nn.Module, images: torch.Tensor, numerics: Numerics) -> None:
    with numerics.autocast(images.device):
        loss = model(images).float().square().mean()
    loss.backward()
    model.zero_grad()


def _timed(work: Callable[[], None], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
