"""What a pretrained network sees in the data before any training: similarity to its source, a
probe's accuracy, transferability scores; and what the network costs.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tlsearch.config.catalog import group_of
from tlsearch.config.runtime import OnProgress, derive_seed, no_progress
from tlsearch.config.schema import StudyConfig
from tlsearch.config.sources import Glyphs
from tlsearch.data import dataset as store
from tlsearch.data.dataset import ImageSet, image_set
from tlsearch.data.sources import drawn_images, read_images
from tlsearch.data.splits import Split, draw_splits
from tlsearch.execution.measures import evenly
from tlsearch.execution.messages import Setting
from tlsearch.execution.prepare import find_device, ready_network
from tlsearch.execution.source import glyph_probe, glyph_source, own_source
from tlsearch.metrics.domain import domain_error, scaled_frechet_distance, similarity
from tlsearch.metrics.linear_probe import LinearProbe, probe_accuracy
from tlsearch.metrics.registry import DOMAIN_SEED
from tlsearch.metrics.transferability import h_score, leep, log_me, nce
from tlsearch.models.backbones import Backbone
from tlsearch.models.pretrained import study_backbone, unwrapped
from tlsearch.training.batches import Pixels
from tlsearch.training.feature_cache import features as features_of
from tlsearch.training.precision import timed

MAX_IMAGES, GLYPH_IMAGES = 2000, 1000
"""At most so many images of the data, and of the embedded source, are looked at: scores hardly move
beyond, and on a CPU a large network does some ten a second."""
AS_TRAINED = 0.5
"""The difficulty at which glyphs are jittered as the source model saw them."""
TRAIN_BATCH_SIZE = 32
_TIMED_RUNS = 4

Facts = dict[str, float | None]


def frozen_features(
    backbone: Backbone, data: ImageSet, rows: np.ndarray, device: torch.device
) -> np.ndarray:
    """What the head would see of these rows, float32 (R, F), on the device."""
    pixels = Pixels(data.images, data.labels, *backbone.normalisation)
    backbone.to(device)
    return features_of(backbone, pixels, rows)[-1]


def _some(rows: np.ndarray, purpose: str, seed: int) -> np.ndarray:
    """At most `MAX_IMAGES` of the rows, drawn at random, ascending."""
    draw = np.random.default_rng(derive_seed(seed, purpose))
    some: np.ndarray = np.sort(draw.permutation(rows)[:MAX_IMAGES])
    return some


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

    `looked_at`: ascending rows that are neither tested nor of the future; at most `MAX_IMAGES` of
    them, drawn at random, are seen through the backbone's frozen features, and judged by all their
    labels, even where training may use few. `source`: images of the task that the backbone was
    trained on, None where they are not at hand.

    `similarity`: 1 as the source, 0 as far as the source's shuffled pixels (`metrics.domain`), and
    `source_distance`, the kernel distance behind it. By ResNet-18 at 32 px, trained on glyphs:
    glyphs 1.00, letters of similarity 1, 0.5 and 0 0.86, 0.79 and 0.69, digits 0.76, textures of
    similarity 1 and 0 0.53 and 0.31, ± 0.01 over splits; it is a network's view, and one that was
    trained on a twelfth of the images saw letters of similarity 0 farther off than textures.
    `frechet_distance` and `domain_error`: those of the measure `domain_distance`. `probe_accuracy`:
    cross-validated, of a linear probe; images are shuffled, so in data ordered in time it is no
    forecast. `classes`; `imbalance`: largest / smallest class of all images that may be used;
    `largest_class`: the share of the largest among them.
    `train_images`, `validation_images`, `test_images`: of `parts`.
    """
    counts = np.bincount(data.labels[data.usable], minlength=data.num_classes)
    counts = counts[counts > 0]
    rows = _some(looked_at, "survey", seed)
    features = frozen_features(backbone, data, rows, device)
    blocks = data.blocks(by_group=True)[rows]
    probed = probe_accuracy(features, data.labels[rows], blocks=blocks, seed=seed)
    facts: Facts = {
        "similarity": None,
        "source_distance": None,
        "frechet_distance": None,
        "domain_error": None,
        "probe_accuracy": None if math.isnan(probed) else probed,
        "classes": float(len(counts)),
        "imbalance": float(counts.max() / counts.min()),
        "largest_class": float(counts.max() / counts.sum()),
    }
    for name, rows in parts._asdict().items():
        facts[f"{name}_images"] = float(len(rows))
    if source is not None:
        near, far = (
            frozen_features(backbone, images, np.arange(len(images.labels)), device)
            for images in (source, shapeless(source, seed=seed))
        )
        found = similarity(near, features, far=far)
        between = evenly(near), evenly(features)
        measured = {
            "similarity": found.share,
            "source_distance": found.distance,
            "frechet_distance": scaled_frechet_distance(*between),
            "domain_error": domain_error(*between, seed=DOMAIN_SEED),
        }
        facts |= {name: None if math.isnan(x) else x for name, x in measured.items()}
    return facts


def source_images(setting: Setting) -> ImageSet | None:
    """Images of the task that the weights were trained on: those of `backbone.source` that no
    training sees; of "glyphs" its fonts, one channel, jittered as in training, from a seed that no
    study takes by default; None where there are none.
    """
    config = setting.config
    if config.backbone.weights == "none":  # no network here has learnt to see
        return None
    if setting.source is not None:
        data = store.load(setting.source)
        rows = own_source(data, backbone=config.backbone).held_out.rows
        return image_set(data.images[rows], data.labels[rows], data.class_names)
    return glyph_images(size=config.data.size) if config.backbone.weights == "glyphs" else None


def glyph_images(*, size: int) -> ImageSet:
    """Images of the embedded source task."""
    wanted = Glyphs(images=GLYPH_IMAGES, difficulty=AS_TRAINED, seed=2**32 - 1)
    return drawn_images(wanted, size=size, on_progress=no_progress)


def shapeless(images: ImageSet, *, seed: int) -> ImageSet:
    """The same images, the pixels of each shuffled: its greys or colours, no shapes."""
    rng = np.random.default_rng(derive_seed(seed, "shapeless"))
    num, height, width, channels = images.images.shape
    pixels = images.images.reshape(num, height * width, channels)
    mixed = np.stack([rng.permutation(image) for image in pixels])
    return image_set(mixed.reshape(images.images.shape), images.labels, images.class_names)


@dataclass(frozen=True, kw_only=True)
class NetworkScores:
    """A network on the training part of a study.

    Of its frozen features: `log_me`, `h_score` (shrunk). Of its source's classifier: `leep`, `nce`;
    None where that classifier is not at hand. All rise with the accuracy that is expected; see
    `tlsearch.metrics.transferability`. None of all where the part holds a single class.
    `parameters` with the study's head; `multiply_adds` of one image forward at the study's size;
    images a second on one thread in fp32, the fastest of a few batches; `features` is what the head
    sees, `num_images` on how many images the scores rest.
    """

    backbone: str
    weights: str
    log_me: float | None
    h_score: float | None
    leep: float | None
    nce: float | None
    parameters: int
    multiply_adds: int
    inference_images_per_second: float
    training_images_per_second: float
    features: int
    num_images: int

    def as_json(self) -> dict[str, Any]:
        """Every figure by name."""
        return asdict(self)


def score_study(
    config: StudyConfig, *, user_cache: Path, on_progress: OnProgress
) -> list[NetworkScores]:
    """Score each network of a study on the images that its first fold trains on, and on no others.

    Source models that are not there yet are trained first. Writes into the user's cache alone.

    Raises:
        RequestError: data or weights do not fit the study.
        WorkError: something cannot be read, written or fetched.
    """
    torch.set_num_threads(1)
    device = find_device(config, None)
    data, _ = read_images(config.data, cache=user_cache / "images", on_progress=on_progress)
    rows = training_rows(data, config)
    found = []
    for i, name in enumerate(config.backbone.names):
        ours = config.with_backbone(name)
        network = ready_network(
            ours,
            num_classes=data.num_classes,
            device=device,
            user_cache=user_cache,
            threads=1,
            on_progress=on_progress,
        )
        on_progress(i / len(config.backbone.names), f"scoring {name}")
        scores = score_network(
            ours, data, rows, weights=network.weights, state=network.state, device=device
        )
        found.append(scores)
    return found


def training_rows(data: ImageSet, config: StudyConfig) -> np.ndarray:
    """Rows of the study's own training part, of the first fold; at most `MAX_IMAGES`, at random."""
    split, labels = config.data.split, config.data.labels_per_class
    train = draw_splits(data, split=split, labels_per_class=labels, redraw=0)[0].train
    return _some(train, "scores", split.seed)


def score_network(
    config: StudyConfig,
    data: ImageSet,
    rows: np.ndarray,
    *,
    weights: str,
    state: Mapping[str, Tensor] | None,
    device: torch.device,
) -> NetworkScores:
    """Score the only network of `config` on these rows; `state` is what `weights` holds."""
    classes = data.num_classes
    backbone = study_backbone(config, num_classes=classes, dropout=0.0, seed=0, state=state)
    features = frozen_features(backbone, data, rows, device)
    labels = data.labels[rows]
    given = None
    scored = len(np.unique(labels)) > 1 and bool(np.isfinite(features).all())
    if scored and state is not None:
        given = _source_probabilities(config, backbone, features, weights=weights, state=state)
    inference, training = _speeds(backbone, config.data.size, device)
    return NetworkScores(
        backbone=backbone.name,
        weights=config.backbone.weights,
        log_me=log_me(features, labels) if scored else None,
        h_score=h_score(features, labels) if scored else None,
        leep=None if given is None else leep(given, labels),
        nce=None if given is None else nce(given.argmax(axis=1), labels),
        parameters=sum(p.numel() for p in backbone.model.parameters()),
        multiply_adds=multiply_adds(config, data.num_classes),
        inference_images_per_second=inference,
        training_images_per_second=training,
        features=features.shape[1],
        num_images=len(rows),
    )


def multiply_adds(config: StudyConfig, num_classes: int) -> int:
    """Of one image forward through the study's only network, counted and not estimated."""
    from torch.utils.flop_counter import FlopCounterMode  # half a second

    with torch.device("meta"):
        of = study_backbone(config, num_classes=num_classes, dropout=0.0, seed=0, state=None)
        model = of.model.eval()
        image = torch.empty(1, 3, config.data.size, config.data.size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(image)
    return int(counter.get_total_flops()) // 2


def _source_probabilities(
    config: StudyConfig,
    backbone: Backbone,
    features: np.ndarray,
    *,
    weights: str,
    state: Mapping[str, Tensor],
) -> np.ndarray | None:
    """What the source's classifier says of each image, (N, Z); None where there is no classifier.

    Published weights bring theirs along; for the embedded source model a probe stands in.
    """
    if config.backbone.weights == "glyphs":
        data = glyph_source(backbone=backbone.name, image_size=config.data.size)
        return glyph_probe(backbone, weights=Path(weights), data=data).probabilities(features)
    head = {
        name.rpartition(".")[2]: value.double().cpu().numpy()
        for name, value in unwrapped(backbone, state).items()
        if _is_head(backbone, name)
    }
    if set(head) != {"weight", "bias"} or head["weight"].shape[1:] != features.shape[1:]:
        return None
    classifier = LinearProbe(np.arange(len(head["bias"])), head["weight"], head["bias"])
    return classifier.probabilities(features) if len(classifier.classes) > 1 else None


def _is_head(backbone: Backbone, name: str) -> bool:
    try:
        return group_of(backbone.facts, name) == "head"
    except KeyError:  # of names that an older torchvision gave
        return False


def _speeds(backbone: Backbone, size: int, device: torch.device) -> tuple[float, float]:
    """Images a second forward, and through forward and backward; the network is spent by it."""
    images = torch.zeros(TRAIN_BATCH_SIZE, 3, size, size, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(TRAIN_BATCH_SIZE, device=device) % backbone.head.out_features

    def infer() -> None:
        with torch.no_grad():
            backbone.model(images)

    def train() -> None:
        backbone.model.zero_grad()
        torch.autograd.backward(F.cross_entropy(backbone.model(images), labels))

    backbone.model.eval()
    forward = _fastest(infer, device)
    backbone.model.train()
    return TRAIN_BATCH_SIZE / forward, TRAIN_BATCH_SIZE / _fastest(train, device)


def _fastest(work: Callable[[], None], device: torch.device) -> float:
    """Seconds of the fastest run: the first warms up, and others may use the machine too."""
    return min(timed(work, device) for _ in range(_TIMED_RUNS))
