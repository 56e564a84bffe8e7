"""Style transfer by Gram matrices: an image that keeps its content and takes another's texture."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tlsearch.training.batches import Pixels, normalised
from tlsearch.transfer.backbones import Backbone

NUM_STEPS = 60
STEP_SIZE = 0.03
"""Of Adam's first step on pixels in 0 … 1; steps shrink to nothing, and all together could nearly
cross the range."""
CONTENT_WEIGHT = 0.5
ROUGHNESS_WEIGHT = 0.15
"""Beside a style loss of weight 1, all of them relative. Guesses from looking at letters of 32 px
under ResNet-10: with a content of 0.1 strokes dissolve, with no roughness a grating appears that
the strided first convolution does not see (docs/adaptation.png)."""


@dataclass(frozen=True, eq=False)
class StyleNetwork:
    """The pixels and the first `layers` groups of a pretrained network, whose Gram matrices are the
    style; the deepest of them also tells the content. `pixels` says how the network takes images.
    """

    backbone: Backbone
    layers: int
    pixels: Pixels

    def features(self, images: Tensor) -> list[Tensor]:
        """Features (B, C, P) of images (B, 3, H, W) in 0 … 1, P places each, of each group; before
        them the pixels, and a channel of ones: a network that learnt on grey sees no colour.
        """
        colours = images.flatten(2)
        batch = normalised(images, self.pixels)
        found = [torch.cat([colours, torch.ones_like(colours[:, :1])], dim=1)]
        for stage in self.backbone.stages[: self.layers]:
            batch = stage(batch)
            found.append(_by_channel(batch, self.backbone.facts.family))
        return found


def gram(features: Tensor) -> Tensor:
    """Mean products of channels over places: features (B, C, P) to (B, C, C)."""
    return features @ features.mT / features.shape[2]


def style_distance(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """Squared distance of the Gram matrices over the squared size of `right`'s, mean of the groups:
    (B,). Both: features (B, C, P) of each group.
    """
    rows = [_relative(gram(a), gram(b)) for a, b in zip(left, right, strict=True)]
    return torch.stack(rows).mean(0)


def content_distance(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """Squared distance of the deepest features over the squared size of `right`'s: (B,)."""
    return _relative(left[-1], right[-1])


def transfer_style(network: StyleNetwork, images: Tensor, sources: Tensor) -> Tensor:
    """`images` with the style of `sources`; both float (B, 3, H, W) in 0 … 1, paired.

    Every image is optimised by itself, from its own pixels, so a batch only saves time. Leaves the
    network in evaluation mode, and its gradients as they were.

    Source: Gatys et al., arXiv:1508.06576; Adam on pixels in place of L-BFGS, which would couple
    the images of a batch, and total variation against gratings (arXiv:1412.0035).
    """
    network.backbone.model.eval()
    with torch.no_grad():
        style, content = network.features(sources), network.features(images)
        roughness = _roughness(images).clamp_min(1e-6)
    made = images.clone().requires_grad_()
    optimizer = torch.optim.Adam([made], lr=STEP_SIZE)
    with _closed(network.backbone.model), torch.enable_grad():
        for step in range(NUM_STEPS):
            optimizer.param_groups[0]["lr"] = STEP_SIZE * (1 - step / NUM_STEPS)
            found = network.features(made)
            loss = style_distance(found, style) + CONTENT_WEIGHT * content_distance(found, content)
            loss = loss + ROUGHNESS_WEIGHT * _roughness(made) / roughness
            (made.grad,) = torch.autograd.grad(loss.sum(), made)
            optimizer.step()
            with torch.no_grad():
                made.clamp_(0, 1)
    return made.detach()


class _closed:  # noqa: N801  - a context manager, read as a word
    """The weights of a model without gradients, for a while."""

    def __init__(self, model: nn.Module) -> None:
        self._open = [p for p in model.parameters() if p.requires_grad]

    def __enter__(self) -> None:
        for parameter in self._open:
            parameter.requires_grad_(False)

    def __exit__(self, *_: object) -> None:
        for parameter in self._open:
            parameter.requires_grad_(True)


def _by_channel(batch: Tensor, family: str) -> Tensor:
    if batch.ndim == 4:
        return batch.flatten(1, 2).mT if family == "swin" else batch.flatten(2)
    return batch[:, :, None] if batch.ndim == 2 else batch.mT  # pooled (B, C), tokens (B, T, C)


def _roughness(images: Tensor) -> Tensor:
    """Squared differences of neighbouring pixels, added up: (B,)."""
    down, right = images.diff(dim=2), images.diff(dim=3)
    return down.square().sum((1, 2, 3)) + right.square().sum((1, 2, 3))


def _relative(left: Tensor, right: Tensor) -> Tensor:
    size = right.square().flatten(1).sum(1).clamp_min(1e-12)
    return (left - right).square().flatten(1).sum(1) / size
