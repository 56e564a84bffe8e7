"""Number formats: what autocast does, and how the probe chooses."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from tests.training.small import CPU, tiny_backbone
from tlsearch.models.backbones import build_backbone
from tlsearch.training import precision
from tlsearch.training.precision import (
    BF16,
    FP32,
    LEAST_GAIN,
    NCHW,
    bf16_is_sound,
    probe_precision,
    step_seconds,
)


def probe(model: nn.Module) -> precision.Numerics:
    return probe_precision(model, image_size=16, batch_size=4, device=CPU)


def test_the_probe_returns_one_of_the_formats_and_leaves_the_model_as_it_was() -> None:
    model = tiny_backbone(dropout=0.0, seed=0).model
    before = [p.detach().clone() for p in model.parameters()]
    assert probe(model) in (FP32, BF16, NCHW)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert all(p.grad is None for p in model.parameters())


class Clock:
    """Stands in for the timer: a step takes what `seconds` has of its format, in fp32 one, all by
    `unit`. The first step of each warms up, and four others are disturbed against fp32.
    """

    def __init__(self, seconds: dict[precision.Numerics, float], *, unit: float = 0.01) -> None:
        self.unit = unit
        self.seconds, self.calls = {FP32: 1.0, NCHW: 1.5, **seconds}, Counter[object]()

    def __call__(self, _model: nn.Module, _images: Tensor, numerics: precision.Numerics) -> float:
        self.calls[numerics] += 1
        disturbed = numerics == FP32 and self.calls[FP32] <= 5
        return self.unit * (self.seconds[numerics] + 10.0 * disturbed)


@pytest.mark.parametrize(
    ("bf16", "nchw", "expected"),
    [
        (0.5, 2, BF16),
        (1 / LEAST_GAIN - 0.01, 2, BF16),
        (1 / LEAST_GAIN + 0.01, 2, FP32),
        (2, 2, FP32),
        (2, 1 / LEAST_GAIN - 0.01, NCHW),
        (2, 1 / LEAST_GAIN + 0.01, FP32),
        (0.8, 0.7, NCHW),
        (0.7, 0.8, BF16),
    ],
)
def test_another_format_must_be_clearly_faster(
    bf16: float, nchw: float, expected: precision.Numerics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "step_seconds", Clock({BF16: bf16, NCHW: nchw}))
    monkeypatch.setattr(precision, "bf16_is_sound", lambda *_, **__: True)
    assert probe(tiny_backbone(dropout=0.0, seed=0).model) == expected


def test_a_format_that_was_faster_in_no_round_is_timed_no_further(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock({BF16: 30, NCHW: 0.8})
    monkeypatch.setattr(precision, "step_seconds", clock)
    assert probe(tiny_backbone(dropout=0.0, seed=0).model) == NCHW
    assert clock.calls == {FP32: 10, NCHW: 10, BF16: 4}


def test_slow_steps_are_timed_in_few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock({FP32: 1.0, BF16: 0.8, NCHW: 0.9}, unit=1.0)
    monkeypatch.setattr(precision, "step_seconds", clock)
    monkeypatch.setattr(precision, "bf16_is_sound", lambda *_, **__: True)
    assert probe(tiny_backbone(dropout=0.0, seed=0).model) == BF16
    assert clock.calls == {FP32: 4, BF16: 4, NCHW: 4}


def test_rounding_that_the_network_itself_amplifies_is_no_fault() -> None:
    backbone = build_backbone(
        name="timm/tf_efficientnet_lite0", num_classes=4, image_size=32, dropout=0.0, seed=0
    )
    backbone.to(CPU)
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    far, rounding = precision.gradient_distances(backbone.model.train(), images)
    assert far > 0.7
    assert rounding > 0.5 * far
    assert bf16_is_sound(backbone.model, image_size=32, device=CPU)


def test_other_programs_take_nothing_of_the_time_that_a_step_is_given() -> None:
    model, images = Sleeper(), torch.zeros(2, 3, 4, 4)
    assert step_seconds(model, images, FP32) < 0.05


class Sleeper(nn.Module):
    """A layer that the system lets wait."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, images: Tensor) -> Tensor:
        time.sleep(0.1)
        logits = self.fc(images.mean((2, 3)))
        assert isinstance(logits, Tensor)
        return logits


DRAWS: Iterator[int] = iter(range(1000))


class Unsound(nn.Module):
    """A layer whose gradient in bf16 is what `fault` makes of it."""

    def __init__(self, fault: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.fc, self.fault = nn.Linear(3, 2), fault

    def forward(self, images: Tensor) -> Tensor:
        logits = self.fc(images.mean((2, 3)))
        if logits.dtype == torch.bfloat16:
            logits.register_hook(self.fault)
        assert isinstance(logits, Tensor)
        return logits


@pytest.mark.parametrize(
    ("fault", "sound"),
    [
        (lambda g: g, True),
        (lambda g: g * 1.01, True),
        (lambda g: g * 1.2, False),  # of a layer that rounding hardly moves
        (lambda g: g * float("nan"), False),
        (lambda g: -g, False),
        (lambda g: g * (1 + 1e-2 * next(DRAWS)), False),
    ],
)
def test_gradients_must_be_finite_near_and_the_same_every_time(
    fault: Callable[[Tensor], Tensor], sound: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Unsound(fault)
    assert bf16_is_sound(model, image_size=16, device=CPU) == sound
    monkeypatch.setattr(precision, "step_seconds", Clock({BF16: 0.1}))
    assert probe(model) == (BF16 if sound else FP32)


def test_a_gpu_computes_reproducibly_and_a_cpu_does_anyway(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = torch.backends.cuda.mem_efficient_sdp_enabled()
    precision.compute_reproducibly(CPU)
    assert not torch.are_deterministic_algorithms_enabled()
    try:
        precision.compute_reproducibly(torch.device("cuda:0"))
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        assert not torch.backends.cuda.mem_efficient_sdp_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cuda.enable_mem_efficient_sdp(before)
