"""Measured facts of a scenario: how much the data look like the source, how much a probe reads."""

import math

import numpy as np
import torch

from tlsearch.config.progress import no_progress
from tlsearch.config.seeds import derive_seed
from tlsearch.config.sources import Glyphs
from tlsearch.data import dataset as store
from tlsearch.data.dataset import ImageSet, image_set
from tlsearch.data.splits import Split
from tlsearch.data.synthetic.glyphs import draw_glyph_images
from tlsearch.execution.messages import Setting
from tlsearch.execution.source_data import own_source
from tlsearch.execution.source_distance import apart, evenly
from tlsearch.metrics.domain import similarity
from tlsearch.metrics.linear_probe import probe_accuracy
from tlsearch.models.backbones import Backbone, normalisation
from tlsearch.training.batches import Pixels, pixel_batch
from tlsearch.training.feature_cache import BATCH_SIZE, run_stages

SOURCE_IMAGES, TARGET_IMAGES = 1000, 2000
"""As many at most are looked at: on a CPU a large network does some ten a second."""
AS_TRAINED = 0.5
"""The difficulty at which glyphs are jittered as the source model saw them."""

Facts = dict[str, float | None]


def survey(
    data: ImageSet,
    *,
    parts: Split,
    looked_at: np.ndarray,
    backbone: Backbone,
    source: ImageSet | None,
    device: torch.device,
    seed: int,
) -> Facts:
    """What is known of a scenario before any strategy is tried; None is "not measured".

    `looked_at`: ascending rows that are neither tested nor of the future; at most `TARGET_IMAGES`
    of them, by lot, are seen through the backbone's frozen features, and judged by all their
    labels, even where training may use few. `source`: images of the task that the backbone was
    trained on, None where they are not at hand.

    `similarity`: 1 as the source, 0 as far as the source's pixels by lot (`evidence/measures`), and
    `source_distance`, the kernel distance behind it. By ResNet-18 at 32 px, trained on glyphs:
    glyphs 1.00, letters of similarity 1, 0.5 and 0 0.86, 0.79 and 0.69, digits 0.76, textures of
    similarity 1 and 0 0.53 and 0.31, ± 0.01 over splits; it is a network's view, and one that was
    trained on a twelfth of the images saw letters of similarity 0 farther off than textures.
    `frechet_distance` and `domain_error`: the two of `Apart`. `probe_accuracy`: cross-validated, of
    a linear probe; images are shuffled, so in data ordered in time it is no forecast. `classes`;
    `imbalance`: largest / smallest class of all images that may be used. `train_images`,
    `validation_images`, `test_images`: of `parts`.
    """
    counts = np.bincount(data.labels[data.usable], minlength=data.num_classes)
    counts = counts[counts > 0]
    features, probed = _probed(data, looked_at, backbone, device, seed)
    facts: Facts = {
        "similarity": None,
        "source_distance": None,
        "frechet_distance": None,
        "domain_error": None,
        "probe_accuracy": None if math.isnan(probed) else probed,
        "classes": float(len(counts)),
        "imbalance": float(counts.max() / counts.min()),
    }
    for name, rows in parts._asdict().items():
        facts[f"{name}_images"] = float(len(rows))
    if source is not None:
        near = frozen_features(source, np.arange(len(source.labels)), backbone, device)
        shuffled = shapeless(source, seed=seed)
        far = frozen_features(shuffled, np.arange(len(source.labels)), backbone, device)
        found = similarity(near, features, far=far)
        between = apart(evenly(near), evenly(features))
        measured = {
            "similarity": found.share,
            "source_distance": found.distance,
            "frechet_distance": between.distance,
            "domain_error": between.error,
        }
        facts |= {name: None if math.isnan(x) else x for name, x in measured.items()}
    return facts


def _probed(
    data: ImageSet, rows: np.ndarray, backbone: Backbone, device: torch.device, seed: int
) -> tuple[np.ndarray, float]:
    """Features (R, F) of some of these rows, and how well a probe reads them."""
    rng = np.random.default_rng(derive_seed(seed, "survey"))
    rows = np.sort(rng.permutation(rows)[:TARGET_IMAGES])
    features = frozen_features(data, rows, backbone, device)
    blocks = data.blocks(by_group=True)[rows]
    return features, probe_accuracy(features, data.labels[rows], blocks=blocks, seed=seed)


def source_images(setting: Setting) -> ImageSet | None:
    """Images of the task that the weights were trained on: those of `backbone.source` that no
    training sees; of "glyphs" its fonts, one channel, jittered as in training, from a seed that no
    study takes unasked; None where there are none.
    """
    config = setting.config
    if config.backbone.weights == "none":  # no network here has learnt to see
        return None
    if setting.source is not None:
        data = store.load(setting.source)
        rows = own_source(data, backbone=config.backbone.name).held_out.rows
        return image_set(data.images[rows], data.labels[rows], data.class_names)
    return glyph_images(size=config.data.size) if config.backbone.weights == "glyphs" else None


def glyph_images(*, size: int) -> ImageSet:
    """Images of the embedded source task."""
    asked = Glyphs(images=SOURCE_IMAGES, difficulty=AS_TRAINED, seed=2**32 - 1)
    return draw_glyph_images(asked, size=size, on_progress=no_progress)


def shapeless(images: ImageSet, *, seed: int) -> ImageSet:
    """The same images, the pixels of each in an order by lot: its greys or colours, no shapes."""
    rng = np.random.default_rng(derive_seed(seed, "shapeless"))
    num, height, width, channels = images.images.shape
    pixels = images.images.reshape(num, height * width, channels)
    mixed = np.stack([rng.permutation(image) for image in pixels])
    return image_set(mixed.reshape(images.images.shape), images.labels, images.class_names)


@torch.no_grad()
def frozen_features(
    data: ImageSet, rows: np.ndarray, backbone: Backbone, device: torch.device
) -> np.ndarray:
    """What the head would see of these rows, float32 (R, F); full precision, evaluation mode."""
    mean, std = normalisation(backbone.name)
    pixels = Pixels(images=data.images, labels=data.labels, mean=mean, std=std)
    backbone.model.to(device).to(memory_format=torch.channels_last).eval()
    parts = [
        run_stages(
            backbone.stages[:-1], pixel_batch(pixels, rows[i : i + BATCH_SIZE], device=device)
        )
        for i in range(0, len(rows), BATCH_SIZE)
    ]
    found: np.ndarray = torch.cat(parts).float().cpu().numpy()
    return found
