"""Gradients of depthwise convolutions on a CPU, where oneDNN's own are slow.

That of torch 2.15 has fast kernels for the weights' gradient of 3 × 3 alone, and in bf16 none for
the images' gradient of a stride: others take up to a hundred times as long. So a larger kernel's
gradient is made of 3 × 3 blocks of it, and that of a stride by an ordinary convolution. What that
brings: benchmarks/depthwise.py. Sums differ in the last bits alone.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_BLOCK = 3
"""The kernel that oneDNN has fast kernels for."""
_LARGEST_MAP = {1: 14, 2: 6}
"""In fp32, by stride: on larger maps copying the images for each block takes what it gains."""
_TINY_MAP = 2  # up to here its own is slow for a block, too


def speed_up_depthwise(model: nn.Module) -> None:
    """Have a network's depthwise convolutions take these gradients; weights and names stay."""
    for module in model.modules():
        if not isinstance(module, nn.Conv2d) or not _is_meant(module):
            continue
        kind = _KINDS.get((type(module).__module__, type(module).__name__))
        if kind is not None:
            module.__class__ = kind


def _is_meant(conv: nn.Conv2d) -> bool:
    """Whether it is depthwise, of a square, odd kernel, with zeros around the images."""
    (height, width), (down, across) = conv.kernel_size, conv.stride
    return (
        1 < conv.groups == conv.in_channels == conv.out_channels
        and height == width >= _BLOCK
        and height % 2 == 1
        and down == across in _LARGEST_MAP
        and conv.dilation == (1, 1)
        and conv.padding_mode == "zeros"
        and conv.padding in ((0, 0), (height // 2, height // 2))
    )


class DepthwiseConv2d(nn.Conv2d):
    """`nn.Conv2d` of one channel a group: images (N, C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (the name that nn.Conv2d has)
        """What `nn.Conv2d` gives."""
        return self._convolved(input, padding=cast(int, self.padding[0]))

    def _convolved(self, images: Tensor, *, padding: int) -> Tensor:
        weight, bias = self.weight, self.bias
        if images.device.type != "cpu" or not (torch.is_grad_enabled() and weight.requires_grad):
            return F.conv2d(images, weight, bias, self.stride, padding, 1, self.groups)
        if torch.is_autocast_enabled("cpu"):
            number = torch.get_autocast_dtype("cpu")
            images, weight = images.to(number), weight.to(number)
            bias = None if bias is None else bias.to(number)
        found: Tensor = _Depthwise.apply(images, weight, bias, self.stride[0], padding)
        return found


class _DepthwiseSame(DepthwiseConv2d):
    """timm's convolution with TensorFlow's padding, which depends on the images' size."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        from timm.layers.padding import pad_same

        padded = pad_same(input, list(self.kernel_size), list(self.stride))
        return self._convolved(padded, padding=0)


_KINDS = {
    ("torch.nn.modules.conv", "Conv2d"): DepthwiseConv2d,
    ("timm.layers.conv2d_same", "Conv2dSame"): _DepthwiseSame,
}
"""By module and name, so that timm need not be imported for a network that is not its own."""


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int
    ) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(images, weight, bias, stride, padding, 1, len(weight))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), (images, weight) = grads, ctx.saved_tensors
        of_images, of_weight, of_bias = ctx.needs_input_grad[:3]
        how = ctx.stride, ctx.padding
        return (
            _gradient_of_images(grad, images, weight, *how) if of_images else None,
            _gradient_of_weight(grad, images, weight, *how) if of_weight else None,
            grad.sum((0, 2, 3)) if of_bias else None,
            None,
            None,
        )


def _gradient_of_images(
    grad: Tensor, images: Tensor, weight: Tensor, stride: int, padding: int
) -> Tensor:
    if stride == 1 or grad.dtype == torch.float32:
        return _own(grad, images, weight, stride, padding, of_images=True)
    # What the stride left out is zeros; then it is a convolution with the kernel turned round.
    (height, width), (rows, columns) = images.shape[2:], grad.shape[2:]
    size = weight.shape[-1]
    around = size - 1 - padding
    spread = grad.new_zeros(
        len(grad), len(weight), height + 2 * padding - size + 1, width + 2 * padding - size + 1
    ).contiguous(memory_format=torch.channels_last)
    spread[:, :, : rows * stride : stride, : columns * stride : stride] = grad
    return F.conv2d(spread, weight.flip(2, 3), None, 1, around, 1, len(weight))


def _gradient_of_weight(
    grad: Tensor, images: Tensor, weight: Tensor, stride: int, padding: int
) -> Tensor:
    size, side = weight.shape[-1], max(grad.shape[2:])
    is_small = side <= (_LARGEST_MAP[stride] if size > _BLOCK else _TINY_MAP)
    if not is_small and (size == _BLOCK or grad.dtype == torch.float32):
        return _own(grad, images, weight, stride, padding, of_images=False)
    padded = F.pad(images, [padding] * 4)
    rows, columns = (stride * (side - 1) + _BLOCK for side in grad.shape[2:])
    of_block = weight[:, :, :_BLOCK, :_BLOCK]
    found = torch.empty_like(weight)
    # Those at the end overlap others; they bring the same.
    starts = [*range(0, size - _BLOCK, _BLOCK), size - _BLOCK]
    for top in starts:
        for left in starts:
            part = padded[:, :, top : top + rows, left : left + columns]
            part = part.contiguous(memory_format=torch.channels_last)
            block = _own(grad, part, of_block, stride, 0, of_images=False)
            found[:, :, top : top + _BLOCK, left : left + _BLOCK] = block
    return found


def _own(
    grad: Tensor, images: Tensor, weight: Tensor, stride: int, padding: int, *, of_images: bool
) -> Tensor:
    """Gradient of the images or of the weight as torch computes it."""
    wanted = [of_images, not of_images, False]
    both, none = [stride, stride], [0, 0]
    found = torch.ops.aten.convolution_backward(
        grad,
        images,
        weight,
        None,
        both,
        [padding, padding],
        [1, 1],
        False,
        none,
        len(weight),
        wanted,
    )
    return cast(Tensor, found[0 if of_images else 1])
