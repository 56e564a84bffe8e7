"""Style transfer by Gram matrices: an image that keeps its content and takes another's texture."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from tlsearch.config.paths import atomic_write, made_once
from tlsearch.config.runtime import OnProgress, derive_seed
from tlsearch.models.backbones import Backbone
from tlsearch.training.batches import Pixels, normalised, unit_batch
from tlsearch.training.feature_cache import by_channel

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
        for stage in self.backbone.stages[: self.backbone.num_stages(self.layers)]:
            batch = stage(batch)
            found.append(by_channel(batch))
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
    with torch.enable_grad():
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


def _roughness(images: Tensor) -> Tensor:
    """Squared differences of neighbouring pixels, added up: (B,)."""
    down, right = images.diff(dim=2), images.diff(dim=3)
    return down.square().sum((1, 2, 3)) + right.square().sum((1, 2, 3))


def _relative(left: Tensor, right: Tensor) -> Tensor:
    size = right.square().flatten(1).sum(1).clamp_min(1e-12)
    return (left - right).square().flatten(1).sum(1) / size


BLOCK = 64
"""Images that are made, and saved, at a time: what a kill costs at the most."""

_LAYOUT = 1
"""Goes up whenever the same request would give other images."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StyledImages:
    """Makes images in the style of the source's, or finds them in `folder`, which may be deleted.

    Which of the source's images, `among` those of `source`, lends its style is drawn from (seed,
    row). `network` is called where something has to be made; `keys` tell data, source and
    network apart.
    """

    folder: Path
    pixels: Pixels
    source: Pixels
    among: np.ndarray
    network: Callable[[], StyleNetwork]
    keys: tuple[str, ...]
    seed: int
    device: torch.device
    on_progress: OnProgress

    def styled(self, rows: np.ndarray) -> np.ndarray:
        """uint8 (R, H, W, 3), mapped, of these rows. Made whole or not at all; whoever comes after
        a kill goes on behind the last whole block.

        Raises:
            WorkError: the folder cannot be written.
        """
        lenders = self._lenders(rows)
        path = self.folder / f"{self._key(rows, lenders)}.npy"
        with made_once(path.with_suffix(".lock")):
            found = _read(path, rows=len(rows))
            if found is None:
                self._make(path, rows, lenders)
                found = _read(path, rows=len(rows))
        assert found is not None, f"{path} was written a moment ago"
        return found

    def _lenders(self, rows: np.ndarray) -> np.ndarray:
        drawn = [derive_seed(self.seed, "style", int(row)) % len(self.among) for row in rows]
        return self.among[np.array(drawn, dtype=np.int64)]

    def _key(self, rows: np.ndarray, lenders: np.ndarray) -> str:
        recipe = (NUM_STEPS, STEP_SIZE, CONTENT_WEIGHT, ROUGHNESS_WEIGHT, BLOCK, _LAYOUT)
        digest = sha256(f"{self.keys} {recipe}".encode())
        digest.update(rows.astype(np.int64).tobytes() + lenders.tobytes())
        return digest.hexdigest()[:32]

    def _make(self, path: Path, rows: np.ndarray, lenders: np.ndarray) -> None:
        parts, network = path.with_suffix(".parts"), None
        parts.mkdir(exist_ok=True)
        starts = range(0, len(rows), BLOCK)
        blocks = []
        for i in starts:
            self.on_progress(i / len(rows), f"style: {i} of {len(rows)} images")
            place, wanted = parts / f"{i:08d}.npy", rows[i : i + BLOCK]
            block = _read(place, rows=len(wanted))
            if block is None:
                network = network or self.network()
                block = self._block(network, wanted, lenders[i : i + BLOCK])
                _write(place, block)
            blocks.append(block)
        _write(path, np.concatenate(blocks))
        shutil.rmtree(parts, ignore_errors=True)
        self.on_progress(1.0, f"style: {len(rows)} images")

    def _block(self, network: StyleNetwork, rows: np.ndarray, lenders: np.ndarray) -> np.ndarray:
        images = unit_batch(self.pixels, rows, device=self.device)
        sources = unit_batch(self.source, lenders, device=self.device)
        made = transfer_style(network, images.contiguous(), sources.contiguous())
        stored: np.ndarray = (255 * made).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        return stored


class StyleStage:
    """A stage that mixes images with those that were made of them, `strength` 0 … 1 of the
    latter. Rows beyond `rows` are made when a batch has them.
    """

    def __init__(self, made: StyledImages, *, rows: np.ndarray, strength: float) -> None:
        self._made, self._strength = made, strength
        self._styled: dict[int, np.ndarray] = {}
        self._add(rows)

    def __call__(self, images: Tensor, rows: np.ndarray, *, epoch: int) -> Tensor:
        """The contract of `Stage`; the same in every epoch."""
        del epoch
        if not self._styled.keys() >= set(rows.tolist()):
            self._add(rows)
        picked = torch.from_numpy(np.stack([self._styled[int(row)] for row in rows]))
        styled = picked.to(images.device).permute(0, 3, 1, 2).to(images.dtype).div_(255)
        return torch.lerp(images, styled, self._strength).clamp(0, 1)

    def _add(self, rows: np.ndarray) -> None:
        self._styled |= zip(rows.tolist(), self._made.styled(rows), strict=True)


def _read(path: Path, *, rows: int) -> np.ndarray | None:
    """The kept array; None if there is none, or it is cut short: it is then made again."""
    try:
        found: np.ndarray = np.load(path, mmap_mode="r")
    except (FileNotFoundError, ValueError, EOFError, BadZipFile):
        return None
    return found if found.ndim == 4 and len(found) == rows else None


def _write(path: Path, images: np.ndarray) -> None:
    with atomic_write(path) as draft, draft.open("wb") as file:  # np.save names no file in errors
        np.save(file, images)
