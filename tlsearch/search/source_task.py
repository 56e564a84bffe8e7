"""What a network still knows of the task that it was pretrained on: reading printed characters."""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tlsearch.data.glyph_recipe import CHARACTERS, RECIPE
from tlsearch.data.glyphs import draw_batch, render_glyphs
from tlsearch.evidence.measures.probes import LinearProbe, ridge_probe
from tlsearch.evidence.measures.protocol import PROBE_IMAGES, PROBE_PENALTY, SOURCE_IMAGES
from tlsearch.study.seeds import derive_seed
from tlsearch.training.activations import run_stages
from tlsearch.training.batches import Pixels, pixel_batch
from tlsearch.training.forward import EVAL_BATCH_SIZE
from tlsearch.transfer.backbones import Backbone, normalisation

CLASSIFIER_INVERSE_PENALTY = 0.1
"""As that of the probe which judges labels (`data.probing`)."""
_LAYOUT = 1
"""Raised whenever the same weights would give another probe."""


class SourceTask:
    """Characters in fonts that no network was trained on, what the pretrained network makes of
    them, and a linear probe of it.

    The pretrained network's own head was not kept, so a probe of its features stands in for it; the
    probe is kept in `cache` by the content of the weights' file.
    """

    def __init__(self, pretrained: Backbone, *, weights: Path, image_size: int) -> None:
        self._held_out = _characters(
            RECIPE.unseen_faces, pretrained.name, SOURCE_IMAGES, image_size, "held out"
        )
        self.pretrained_features = self.features(pretrained)
        with weights.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        key = hashlib.sha256(f"{content} {PROBE_IMAGES} {PROBE_PENALTY} {_LAYOUT}".encode())
        place = weights.parent / f"source-probe-{key.hexdigest()[:16]}.npz"
        self._probe = _kept(place, lambda: _fitted(pretrained, image_size))

    def features(self, backbone: Backbone) -> list[np.ndarray]:
        """Features (images, width) of the held-out characters behind each layer group but the
        head, averaged over space.
        """
        return pooled_features(backbone, self._held_out)

    def accuracy(self, features: list[np.ndarray]) -> float:
        """How many of the held-out characters the pretrained network's probe reads rightly from
        the last of these features, as a share.
        """
        return self._probe.accuracy(features[-1], self._held_out.labels)


@torch.no_grad()
def pooled_features(backbone: Backbone, pixels: Pixels) -> list[np.ndarray]:
    """Features (N, width) of all images behind each layer group but the head, averaged over space,
    in fp32. Leaves the network in evaluation mode.
    """
    backbone.model.eval()
    device = backbone.head.weight.device
    rows = np.arange(len(pixels.labels))
    parts: list[list[np.ndarray]] = [[] for _ in backbone.stages[:-1]]
    for i in range(0, len(rows), EVAL_BATCH_SIZE):
        batch = pixel_batch(pixels, rows[i : i + EVAL_BATCH_SIZE], device=device)
        for part, stage in zip(parts, backbone.stages[:-1], strict=True):
            batch = stage(batch)
            part.append(_pooled(batch, backbone.facts.family).cpu().numpy())
    return [np.concatenate(part) for part in parts]


def _pooled(batch: Tensor, family: str) -> Tensor:
    """Maps or tokens averaged over space: (B, width)."""
    if batch.ndim == 4:
        return batch.mean((1, 2) if family == "swin" else (2, 3))  # Swin's channels come last
    return batch.mean(1) if batch.ndim == 3 else batch


def _characters(
    faces: tuple[str, ...], backbone: str, count: int, image_size: int, purpose: str
) -> Pixels:
    """Jittered characters as the pretrained network saw them, the same every time."""
    glyphs = render_glyphs(faces)
    generator = torch.Generator().manual_seed(derive_seed(RECIPE.seed, purpose))
    images, labels = [], []
    for _ in range(0, count, RECIPE.batch_size):
        drawn, classes = draw_batch(
            glyphs,
            count=RECIPE.batch_size,
            size=image_size,
            jitter=RECIPE.jitter,
            generator=generator,
        )
        images.append((255 * drawn).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())
        labels.append(classes.numpy())
    mean, std = normalisation(backbone)
    return Pixels(np.concatenate(images), np.concatenate(labels), mean, std)


def source_classifier(pretrained: Backbone, *, weights: Path, image_size: int) -> LinearProbe:
    """A softmax classifier of characters on the last features of the pretrained network, in place
    of its own head, which was not kept; kept beside `weights` by their content.

    Multinomial logistic regression of the source's own training images: the head's own loss, with
    a penalty that is half the squared norm over `CLASSIFIER_INVERSE_PENALTY`, on features of
    variance 1.
    """
    with weights.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    context = f"{content} {PROBE_IMAGES} {CLASSIFIER_INVERSE_PENALTY} {_LAYOUT}"
    key = hashlib.sha256(context.encode()).hexdigest()[:16]

    def fit() -> LinearProbe:
        drawn = _characters(RECIPE.faces, pretrained.name, PROBE_IMAGES, image_size, "probe")
        features = head_features(pretrained, drawn)
        return _logistic(features, drawn.labels, num_classes=len(CHARACTERS))

    return _kept(weights.parent / f"source-classifier-{key}.npz", fit)


@torch.no_grad()
def head_features(backbone: Backbone, pixels: Pixels) -> np.ndarray:
    """What the head sees of all images, (N, features), in fp32 and evaluation mode."""
    backbone.model.eval()
    device = backbone.head.weight.device
    parts = []
    for i in range(0, len(pixels.labels), EVAL_BATCH_SIZE):
        rows = np.arange(i, min(i + EVAL_BATCH_SIZE, len(pixels.labels)))
        batch = run_stages(backbone.stages[:-1], pixel_batch(pixels, rows, device=device))
        parts.append(batch.cpu().numpy())
    return np.concatenate(parts)


def _logistic(features: np.ndarray, labels: np.ndarray, *, num_classes: int) -> LinearProbe:
    mean, std = features.mean(axis=0, dtype=float), features.std(axis=0, dtype=float)
    scale = np.divide(1, std, out=np.zeros_like(std), where=std > 0)
    scaled = torch.from_numpy((features - mean) * scale)
    targets = torch.from_numpy(labels)
    weight = torch.zeros(features.shape[1], num_classes, dtype=torch.double, requires_grad=True)
    bias = torch.zeros(num_classes, dtype=torch.double, requires_grad=True)
    fitting = torch.optim.LBFGS(
        [weight, bias], max_iter=100, tolerance_grad=1e-4, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        fitting.zero_grad()
        penalty = (weight**2).sum() / (2 * CLASSIFIER_INVERSE_PENALTY)
        found = F.cross_entropy(scaled @ weight + bias, targets) + penalty / len(targets)
        torch.autograd.backward(found)
        return found

    fitting.step(loss)  # type: ignore[no-untyped-call]
    fitted = weight.detach().numpy() * scale[:, None]
    return LinearProbe(fitted, bias.detach().numpy() - mean @ fitted)


def _fitted(pretrained: Backbone, image_size: int) -> LinearProbe:
    drawn = _characters(RECIPE.faces, pretrained.name, PROBE_IMAGES, image_size, "probe")
    features = pooled_features(pretrained, drawn)[-1]
    return ridge_probe(features, drawn.labels, num_classes=len(CHARACTERS), penalty=PROBE_PENALTY)


def _kept(place: Path, fit: Callable[[], LinearProbe]) -> LinearProbe:
    """The probe that is kept there, or a new one; a folder that cannot be written costs no more
    than the time to fit it again.
    """
    try:
        # numpy leaves a damaged file open that it opened itself.
        with place.open("rb") as file, np.load(file) as found:
            return LinearProbe(*(found[name] for name in LinearProbe._fields))
    except (OSError, ValueError, EOFError, KeyError, BadZipFile):  # absent or damaged
        pass
    probe = fit()
    partial = place.with_suffix(f".{os.getpid()}.part")
    try:
        with partial.open("wb") as target:
            np.savez(target, **probe._asdict())
        partial.replace(place)
    except OSError:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return probe
