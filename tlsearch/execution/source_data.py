"""Labelled images of the task that the weights were trained on: what trains, what is held out."""

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tlsearch.config.paths import atomic_write
from tlsearch.config.seeds import derive_seed
from tlsearch.data import dataset as store
from tlsearch.data.dataset import ImageSet
from tlsearch.data.glyph_recipe import CHARACTERS, RECIPE
from tlsearch.data.synthetic.glyphs import draw_batch, render_glyphs
from tlsearch.execution.messages import Setting
from tlsearch.metrics.linear_probe import LinearProbe, ridge_probe
from tlsearch.metrics.protocol import PROBE_IMAGES, PROBE_PENALTY, SOURCE_IMAGES
from tlsearch.models.backbones import Backbone, Head, normalisation
from tlsearch.training.batches import Pixels, pixel_batch
from tlsearch.training.feature_cache import EVAL_BATCH_SIZE, run_stages

HELD_OUT_SHARE = 0.2
"""Of a study's own source images, class by class, up to `SOURCE_IMAGES` in all."""


class SourcePart(NamedTuple):
    """Some `rows` of `pixels`."""

    pixels: Pixels
    rows: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceData:
    """The source's images: those that may be trained on and, never shown to a training, others.
    Either is drawn or opened when it is asked for.

    For "glyphs" they are jittered characters: `train` in the fonts that the source model learnt,
    `held_out` in others. `key` tells the content apart.
    """

    make_train: Callable[[], SourcePart]
    make_held_out: Callable[[], SourcePart]
    num_classes: int
    key: str

    @cached_property
    def train(self) -> SourcePart:
        """Images for a second head, a probe, or to take others towards."""
        return self.make_train()

    @cached_property
    def held_out(self) -> SourcePart:
        """Images for measures alone."""
        return self.make_held_out()


def source_data(setting: Setting) -> SourceData | None:
    """The source images of a study; None where none are at hand."""
    config = setting.config
    if setting.source is not None:
        return own_source(store.load(setting.source), backbone=config.backbone.name)
    if config.backbone.weights == "glyphs":
        return glyph_source(backbone=config.backbone.name, image_size=config.data.size)
    return None


def glyph_source(*, backbone: str, image_size: int) -> SourceData:
    """The embedded source task: printed characters."""

    def drawn(faces: tuple[str, ...], count: int, purpose: str) -> Callable[[], SourcePart]:
        return lambda: _whole(_characters(faces, backbone, count, image_size, purpose))

    return SourceData(
        make_train=drawn(RECIPE.faces, PROBE_IMAGES, "probe"),
        make_held_out=drawn(RECIPE.unseen_faces, SOURCE_IMAGES, "held out"),
        num_classes=len(CHARACTERS),
        key=f"glyphs {image_size} {RECIPE!r}",
    )


def own_source(data: ImageSet, *, backbone: str) -> SourceData:
    """A study's own source images, divided by lot, the same way every time."""
    mean, std = normalisation(backbone)
    pixels = Pixels(images=data.images, labels=data.labels, mean=mean, std=std)
    held_out = _held_out(data)
    train = np.setdiff1d(data.usable, held_out)
    return SourceData(
        make_train=lambda: SourcePart(pixels, train),
        make_held_out=lambda: SourcePart(pixels, held_out),
        num_classes=data.num_classes,
        key=data.fingerprint,
    )


def _held_out(data: ImageSet) -> np.ndarray:
    draw = np.random.default_rng(derive_seed(0, "source held out"))
    share = min(HELD_OUT_SHARE, SOURCE_IMAGES / len(data.usable))
    chosen = []
    for label in np.unique(data.labels[data.usable]):
        rows = data.usable[data.labels[data.usable] == label]
        # Of a single image nothing can be held out, of two one.
        count = min(len(rows) - 1, max(1, round(share * len(rows))))
        chosen.append(draw.permutation(rows)[:count])
    return np.sort(np.concatenate(chosen))


def _whole(pixels: Pixels) -> SourcePart:
    return SourcePart(pixels, np.arange(len(pixels.labels)))


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


# What a network still knows of the task that it was pretrained on.


CLASSIFIER_INVERSE_PENALTY = 0.1
"""As that of the probe which judges labels (`data.probing`)."""
_LAYOUT = 1
"""Raised whenever the same weights would give another probe."""


class SourceTask:
    """Source images that no training sees, what the pretrained network makes of them, and a linear
    probe of it.

    The pretrained network's own head was not kept, or belongs to other classes, so a probe of its
    features stands in for it; the probe is kept in the file `kept_as`.
    """

    def __init__(self, pretrained: Backbone, *, data: SourceData, kept_as: Path) -> None:
        self.held_out = data.held_out
        self.pretrained_features = self.features(pretrained)
        self._probe = _kept(kept_as, lambda: _fitted(pretrained, data))

    def features(self, backbone: Backbone) -> list[np.ndarray]:
        """Features (images, width) of the held-out images behind each layer group but the head,
        averaged over space.
        """
        return pooled_features(backbone, *self.held_out)

    def accuracy(self, features: list[np.ndarray]) -> float:
        """How many of the held-out images the pretrained network's probe reads rightly from the
        last of these features, as a share.
        """
        return self._probe.accuracy(features[-1], self._labels)

    @torch.no_grad()
    def head_accuracy(self, head: Head, features: list[np.ndarray]) -> float:
        """The same by a head that has learnt on beside the target's."""
        given = torch.from_numpy(features[-1]).to(head.weight.device)
        answers = head.eval()(given).argmax(1).cpu().numpy()
        return float((answers == self._labels).mean())

    def head(self) -> Head:
        """A head for the source's classes that starts as the probe, so that its first gradients do
        not tear at features that it has yet to learn to read (arXiv:2202.10054).
        """
        weight, bias = self._probe.weight, self._probe.bias
        head = Head(*weight.shape, dropout=0.0, device="cpu")
        with torch.no_grad():
            head.weight.copy_(torch.from_numpy(PROBE_SCALE * weight.T))
            head.bias.copy_(torch.from_numpy(PROBE_SCALE * bias))
        return head

    @property
    def _labels(self) -> np.ndarray:
        found: np.ndarray = self.held_out.pixels.labels[self.held_out.rows]
        return found


PROBE_SCALE = 10.0
"""The probe's scores are least squares of 0 and 1, too flat for a softmax. Ten times them is a
guess."""


def glyph_probe_file(weights: Path) -> Path:
    """Where the probe of the embedded source model's weights is kept, by the file's content."""
    with weights.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    key = hashlib.sha256(f"{content} {PROBE_IMAGES} {PROBE_PENALTY} {_LAYOUT}".encode())
    return weights.parent / f"source-probe-{key.hexdigest()[:16]}.npz"


def own_probe_file(folder: Path, *, weights_key: str, data: SourceData) -> Path:
    """Where the probe of other weights is kept, by their content and that of the images."""
    key = hashlib.sha256(f"{weights_key} {data.key} {PROBE_PENALTY} {_LAYOUT}".encode())
    return folder / f"source-probe-{key.hexdigest()[:16]}.npz"


def pooled_features(backbone: Backbone, pixels: Pixels, rows: np.ndarray) -> list[np.ndarray]:
    """Features (R, width) of these rows behind each layer group but the head, averaged over space,
    in fp32. Leaves the network in evaluation mode.
    """
    device = backbone.head.weight.device
    starts = range(0, len(rows), EVAL_BATCH_SIZE)
    return features_of(
        backbone,
        (pixel_batch(pixels, rows[i : i + EVAL_BATCH_SIZE], device=device) for i in starts),
    )


@torch.no_grad()
def features_of(backbone: Backbone, batches: Iterable[Tensor]) -> list[np.ndarray]:
    """`pooled_features` of images that are normalised already, batch by batch."""
    backbone.model.eval()
    parts: list[list[np.ndarray]] = [[] for _ in backbone.stages[:-1]]
    for batch in batches:
        for part, stage in zip(parts, backbone.stages[:-1], strict=True):
            batch = stage(batch)
            part.append(_pooled(batch, backbone.facts.family).cpu().numpy())
    return [np.concatenate(part) for part in parts]


def _pooled(batch: Tensor, family: str) -> Tensor:
    """Maps or tokens averaged over space: (B, width)."""
    if batch.ndim == 4:
        return batch.mean((1, 2) if family == "swin" else (2, 3))  # Swin's channels come last
    return batch.mean(1) if batch.ndim == 3 else batch


def source_classifier(pretrained: Backbone, *, weights: Path, data: SourceData) -> LinearProbe:
    """A softmax classifier of the source's classes on the last features of the pretrained network,
    in place of its own head, which was not kept; kept beside `weights` by their content.

    Multinomial logistic regression of the source's own training images: the head's own loss, with
    a penalty that is half the squared norm over `CLASSIFIER_INVERSE_PENALTY`, on features of
    variance 1.
    """
    with weights.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    context = f"{content} {PROBE_IMAGES} {CLASSIFIER_INVERSE_PENALTY} {_LAYOUT}"
    key = hashlib.sha256(context.encode()).hexdigest()[:16]

    def fit() -> LinearProbe:
        pixels, rows = data.train
        features = head_features(pretrained, pixels, rows)
        return _logistic(features, pixels.labels[rows], num_classes=data.num_classes)

    return _kept(weights.parent / f"source-classifier-{key}.npz", fit)


@torch.no_grad()
def head_features(backbone: Backbone, pixels: Pixels, rows: np.ndarray) -> np.ndarray:
    """What the head sees of these rows, (R, features), in fp32 and evaluation mode."""
    backbone.model.eval()
    device = backbone.head.weight.device
    parts = []
    for i in range(0, len(rows), EVAL_BATCH_SIZE):
        images = pixel_batch(pixels, rows[i : i + EVAL_BATCH_SIZE], device=device)
        batch = run_stages(backbone.stages[:-1], images)
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


def _fitted(pretrained: Backbone, data: SourceData) -> LinearProbe:
    pixels, rows = data.train
    features = pooled_features(pretrained, pixels, rows)[-1]
    return ridge_probe(
        features, pixels.labels[rows], num_classes=data.num_classes, penalty=PROBE_PENALTY
    )


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
    with suppress(OSError), atomic_write(place) as draft:
        np.savez(draft, **probe._asdict())
    return probe
