"""Gradients of depthwise convolutions are torch's own, however they are computed."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import Tensor, nn

from tlsearch.models.backbones import build_backbone
from tlsearch.models.depthwise import DepthwiseConv2d, speed_up_depthwise

CPU = torch.device("cpu")
# Kernel, stride, height and width of the images: maps on both sides of every limit.
CASES = [
    (3, 1, (2, 2)),
    (3, 2, (4, 4)),
    (3, 2, (13, 8)),
    (5, 1, (2, 3)),
    (5, 1, (14, 14)),
    (5, 1, (16, 15)),
    (5, 2, (12, 11)),
    (5, 2, (15, 16)),
    (7, 1, (3, 3)),
    (7, 2, (9, 20)),
    (9, 1, (5, 5)),
]


def layer(kernel: int, stride: int, padding: int, kind: type[nn.Conv2d] = nn.Conv2d) -> nn.Conv2d:
    torch.manual_seed(0)
    return kind(6, 6, kernel, stride, padding, groups=6)


def gradients(conv: nn.Conv2d, images: Tensor, *, bf16: bool = False) -> list[Tensor]:
    """Output and gradients, of the images, too."""
    conv.zero_grad()
    images = images.detach().clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        found = conv(images)
    torch.manual_seed(1)
    torch.autograd.backward((found.float() * torch.randn(found.shape)).sum())
    grads = [conv.weight.grad, None if conv.bias is None else conv.bias.grad, images.grad]
    return [found.detach().float(), *(g.clone() for g in grads if g is not None)]


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("kind", [nn.Conv2d, Conv2dSame])
@pytest.mark.parametrize(("kernel", "stride", "size"), CASES)
def test_gradients_are_those_of_torch(
    kernel: int,
    stride: int,
    size: tuple[int, int],
    kind: type[nn.Conv2d],
    layout: torch.memory_format,
) -> None:
    plain = layer(kernel, stride, kernel // 2, kind)
    fast = deepcopy(plain)
    speed_up_depthwise(fast)
    assert isinstance(fast, DepthwiseConv2d)
    images = torch.randn(3, 6, *size).contiguous(memory_format=layout)
    for ours, theirs in zip(gradients(fast, images), gradients(plain, images), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    # In bf16 as near to those in fp32 as torch's own are.
    exact = gradients(plain, images)
    both = gradients(fast, images, bf16=True), gradients(plain, images, bf16=True)
    for ours, theirs, true in zip(*both, exact, strict=True):
        error, its = (float((g - true).norm() / true.norm()) for g in (ours, theirs))
        assert error < 1.5 * its + 2e-3


@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_agree_with_differences(stride: int, padding: int) -> None:
    conv = layer(5, stride, padding).double()
    speed_up_depthwise(conv)
    images = torch.randn(1, 6, 7, 6, dtype=torch.float64, requires_grad=True)
    weights = conv.weight, conv.bias
    assert torch.autograd.gradcheck(lambda x, *_: conv(x), (images, *weights))


def test_without_bias_and_where_something_is_frozen() -> None:
    conv = nn.Conv2d(4, 4, 5, padding=2, groups=4, bias=False)
    speed_up_depthwise(conv)
    images = torch.randn(2, 4, 6, 6)
    torch.autograd.backward(conv(images).sum())  # images want no gradient
    assert conv.weight.grad is not None
    conv.weight.grad = None
    conv.weight.requires_grad_(False)
    torch.autograd.backward(conv(images.requires_grad_()).sum())
    assert conv.weight.grad is None
    assert images.grad is not None
    with torch.no_grad():
        assert torch.equal(conv(images), F.conv2d(images, conv.weight, None, 1, 2, 1, 4))


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 8, 5, padding=2, groups=4),
        nn.Conv2d(4, 4, 5, padding=2),
        nn.Conv2d(4, 4, 5, padding=4, groups=4, dilation=2),
        nn.Conv2d(4, 4, (3, 5), padding=(1, 2), groups=4),
        nn.Conv2d(4, 4, 4, groups=4),
        nn.Conv2d(4, 4, 5, stride=3, groups=4),
        nn.Conv2d(4, 4, 5, padding="same", groups=4),
        nn.Conv2d(4, 4, 5, padding=2, groups=4, padding_mode="reflect"),
        type("Own", (nn.Conv2d,), {})(4, 4, 5, padding=2, groups=4),
    ],
)
def test_all_else_stays_as_it_is(conv: nn.Conv2d) -> None:
    kind = type(conv)
    speed_up_depthwise(conv)
    assert type(conv) is kind


@pytest.mark.parametrize("name", ["timm/tf_efficientnet_lite0", "mobilenet_v3_small"])
def test_a_network_trains_alike(name: str) -> None:
    def steps(*, fast: bool) -> dict[str, Tensor]:
        backbone = build_backbone(name=name, num_classes=3, image_size=64, dropout=0.0, seed=0)
        names = list(backbone.model.state_dict())
        if fast:
            backbone.to(CPU)
            assert any(isinstance(m, DepthwiseConv2d) for m in backbone.model.modules())
        assert list(backbone.model.state_dict()) == names
        model = backbone.model.double().train()
        images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)).double()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for _ in range(2):
            optimizer.zero_grad()
            torch.autograd.backward(F.cross_entropy(model(images), torch.tensor([0, 1, 2, 0])))
            optimizer.step()
        return model.state_dict()

    plain, ours = steps(fast=False), steps(fast=True)
    for key, value in plain.items():
        torch.testing.assert_close(ours[key], value, rtol=1e-6, atol=1e-8, msg=key)
