"""What a network promises and costs before any strategy is tried: scores of its frozen features."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tlsearch.config.catalog import group_of
from tlsearch.config.progress import OnProgress
from tlsearch.config.schema import StudyConfig
from tlsearch.config.seeds import derive_seed
from tlsearch.data.dataset import ImageSet
from tlsearch.data.sources import read_images
from tlsearch.data.splits import draw_splits
from tlsearch.execution.prepare import find_device, ready_network
from tlsearch.execution.source_data import glyph_source, source_classifier
from tlsearch.execution.survey import frozen_features
from tlsearch.metrics.transferability import leep, log_me, nce, shrunk_h_score
from tlsearch.models.backbones import Backbone, build_backbone, load_pretrained

MAX_IMAGES = 2000
"""As many of the training part at most are looked at, by lot: the scores hardly move beyond, and on
a CPU a large network does some ten a second."""
TRAIN_BATCH_SIZE = 32
_TIMED_STEPS = 3


@dataclass(frozen=True, kw_only=True)
class NetworkScores:
    """A network on the training part of a study.

    Of its frozen features: `log_me`, `h_score` (shrunk). Of its source's classifier: `leep`, `nce`;
    None where that classifier is not at hand. All rise with the accuracy that is expected; see
    `evidence.measures.transferability`. None of all where the part holds a single class.
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
    """Rows of the study's own training part, of the first fold, at most `MAX_IMAGES` by lot."""
    split, labels = config.data.split, config.data.labels_per_class
    train = draw_splits(data, split=split, labels_per_class=labels, redraw=0)[0].train
    lot = np.random.default_rng(derive_seed(split.seed, "scores")).permutation(train)
    rows: np.ndarray = np.sort(lot[:MAX_IMAGES])
    return rows


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
    backbone = _built(config, data.num_classes)
    if state is not None:
        load_pretrained(backbone, state)
    features = frozen_features(data, rows, backbone, device)
    labels = data.labels[rows]
    given = None
    told = len(np.unique(labels)) > 1 and bool(np.isfinite(features).all())
    if told and state is not None:
        given = _source_probabilities(config, backbone, features, weights=weights, state=state)
    inference, training = _speeds(backbone, config.data.size, device)
    return NetworkScores(
        backbone=backbone.name,
        weights=config.backbone.weights,
        log_me=log_me(features, labels) if told else None,
        h_score=shrunk_h_score(features, labels) if told else None,
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
    with torch.device("meta"):
        model = _built(config, num_classes).model.eval()
        image = torch.empty(1, 3, config.data.size, config.data.size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(image)
    return int(counter.get_total_flops()) // 2


def _built(config: StudyConfig, num_classes: int) -> Backbone:
    return build_backbone(
        name=config.backbone.name,
        num_classes=num_classes,
        image_size=config.data.size,
        dropout=0.0,
        seed=0,
    )


def _source_probabilities(
    config: StudyConfig,
    backbone: Backbone,
    features: np.ndarray,
    *,
    weights: str,
    state: Mapping[str, Tensor],
) -> np.ndarray | None:
    """What the source's classifier says of each image, (N, Z); None where there is no classifier.

    Published weights bring theirs along; that of the embedded source model is fitted anew.
    """
    if config.backbone.weights == "glyphs":
        data = glyph_source(backbone=backbone.name, image_size=config.data.size)
        probe = source_classifier(backbone, weights=Path(weights), data=data)
        logits = features @ probe.weight + probe.bias
    else:
        head = {
            name.rpartition(".")[2]: value.double().cpu().numpy()
            for name, value in state.items()
            if _is_head(backbone, name)
        }
        if set(head) != {"weight", "bias"} or head["weight"].shape[1:] != features.shape[1:]:
            return None
        logits = features @ head["weight"].T + head["bias"]
    probabilities: np.ndarray = F.softmax(torch.from_numpy(logits).double(), dim=1).numpy()
    return probabilities if probabilities.shape[1] > 1 else None


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
    """Seconds of the fastest run after one that warms up; others may use the machine too."""
    work()
    best = float("inf")
    for _ in range(_TIMED_STEPS):
        _wait(device)
        start = time.perf_counter()
        work()
        _wait(device)
        best = min(best, time.perf_counter() - start)
    return best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
