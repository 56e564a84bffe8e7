"""A few pictures for the report: what the winner got wrong and right, and what it trained on.

They are kept as data URIs when the test part is scored. A report then needs neither the images,
which may have moved since, nor torch to draw their views, and decodes nothing.
"""

import base64
from collections.abc import Iterator, Mapping
from functools import cached_property
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tlsearch.config.cells import cell_config, cells, compared
from tlsearch.config.runtime import OnProgress, derive_seed
from tlsearch.config.schema import StudyConfig
from tlsearch.config.space import (
    Dimension,
    Fixed,
    Scalar,
    Space,
    highest,
    lowest,
    with_defaults,
)
from tlsearch.config.strategy import Strategy
from tlsearch.data.dataset import ImageSet
from tlsearch.data.sources import read_images, read_source
from tlsearch.data.splits import draw_splits
from tlsearch.execution.prepare import find_device, find_weights
from tlsearch.execution.source import SourceData, adaptation_stage, glyph_source, own_source
from tlsearch.models.pretrained import study_backbone
from tlsearch.models.weights import pretrained_state
from tlsearch.training.augmentation import Stage, Views
from tlsearch.training.batches import pixels_for
from tlsearch.training.feature_cache import Forward
from tlsearch.training.precision import FP32

NUM_WRONG, NUM_RIGHT = 18, 12
NUM_TRAINED, NUM_EPOCHS = 4, 6
SIDE = 96
"""Pixels of the longer side: larger pictures are shrunk, for some 60 of them share 300 kB."""
_LOSSLESS_BYTES = 2500
"""Drawings and small pictures are kept as they are; what takes more bytes goes as JPEG."""
_QUALITY = 80


class Chosen(NamedTuple):
    """Places in the test part: `wrong`, the surest first; `right`, at most one of each class."""

    wrong: np.ndarray
    right: np.ndarray
    num_wrong: int


def choose(labels: np.ndarray, probabilities: np.ndarray) -> Chosen:
    """Pick from labels (N,) and probabilities (N, K).

    Of the right answers of a class the one of median probability stands for it, so that it is no
    showpiece; of many classes, those with most mistakes come, in their order.
    """
    answers = probabilities.argmax(axis=1)
    sure = probabilities.max(axis=1)
    wrong = np.flatnonzero(answers != labels)
    surest = wrong[np.argsort(-sure[wrong], kind="stable")]
    mistakes = np.bincount(labels[wrong], minlength=probabilities.shape[1])
    found = np.intersect1d(labels[answers == labels], np.arange(probabilities.shape[1]))
    shown = np.sort(found[np.argsort(-mistakes[found], kind="stable")][:NUM_RIGHT])
    right = [_typical(np.flatnonzero((answers == labels) & (labels == k)), sure) for k in shown]
    return Chosen(surest[:NUM_WRONG], np.array(right, dtype=np.int64), len(wrong))


def first_of_classes(labels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """A few of the training rows, ascending: one of each of the first classes, or more of them
    where there are few classes.
    """
    _, first = np.unique(labels[rows], return_index=True)
    others = np.setdiff1d(np.arange(len(rows)), first)
    return np.sort(rows[np.concatenate([first, others])[:NUM_TRAINED]])


def as_json(
    data: ImageSet,
    *,
    rows: np.ndarray,
    probabilities: np.ndarray,
    trained: np.ndarray,
    views: np.ndarray,
) -> dict[str, Any]:
    """What is kept: answers on the test part, whose `probabilities` (N, K) are of `rows` (N,), and
    `views`, uint8 (M, 1 + epochs, H, W, 3), of the training rows `trained` (M,): each as it is,
    then as training has it in its first epochs.
    """
    chosen = choose(data.labels[rows], probabilities)

    def answer(place: int) -> dict[str, Any]:
        row = int(rows[place])
        return {
            **_known(data, row),
            "predicted": int(probabilities[place].argmax()),
            "probability": round(float(probabilities[place].max()), 4),
            "image": data_uri(data.images[row]),
        }

    return {
        "num_images": len(rows),
        "num_wrong": chosen.num_wrong,
        "num_classes": probabilities.shape[1],
        "wrong": [answer(place) for place in chosen.wrong],
        "right": [answer(place) for place in chosen.right],
        "training": [
            {**_known(data, int(row)), "images": [data_uri(image) for image in images]}
            for row, images in zip(trained, views, strict=True)
        ],
    }


def data_uri(image: np.ndarray) -> str:
    """A picture uint8 (H, W, 1 or 3) as text that a page holds."""
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    kind, content = "png", _written(picture, format="PNG", optimize=True)
    if len(content) > _LOSSLESS_BYTES:
        kind, content = "jpeg", _written(picture, format="JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _typical(places: np.ndarray, sure: np.ndarray) -> int:
    return int(places[np.argsort(sure[places], kind="stable")[(len(places) - 1) // 2]])


def _known(data: ImageSet, row: int) -> dict[str, Any]:
    name = None if data.files is None else str(data.files.names[row])
    return {"row": row, "name": name, "true": int(data.labels[row])}


def _written(picture: Image.Image, **how: Any) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, **how)
    return buffer.getvalue()


# Each change of training images that a space may choose, alone and as strong as it may get.


class Policy(NamedTuple):
    """`params` are those of a complete strategy that leaves images alone but for this. `detail`
    names the parameters that do something.
    """

    title: str
    detail: str
    params: Mapping[str, Any]


def policies(space: Space) -> Iterator[Policy]:
    """One for each option that changes images, in the order in which they are applied.

    Of a searched strength the end that changes images most; of a list the largest.
    """
    dimensions = space.dimensions()
    for field in ("adaptation", "augmentation", "erasing", "mixing", "adversarial"):
        for option in (None,) if field == "erasing" else getattr(space, field).names:
            prefix = f"{field}.{option}" if option else field
            found = {n: d for n, d in dimensions.items() if f"{n}.".startswith(f"{prefix}.")}
            chosen = {name: _strongest(name, d) for name, d in found.items()}
            if option == "none" or chosen.get("erasing") == 0:
                continue
            params = with_defaults({**({field: option} if option else {}), **chosen})
            yield Policy(option or field, _detail(chosen, found), params)


def _strongest(name: str, dimension: Dimension) -> Scalar:
    if isinstance(dimension, Fixed):
        return dimension.value
    # The less of an image a crop may leave, the more it changes.
    return lowest(dimension) if name.endswith(".crop") else highest(dimension)


def _detail(chosen: Mapping[str, Any], dimensions: Mapping[str, Dimension]) -> str:
    """Parameters that do something, in words."""
    plain = {name.rpartition(".")[2]: value for name, value in chosen.items()}
    named = [
        f"{name.replace('_', ' ')} {'at least ' if name == 'crop' else ''}{value:g}"
        f"{'°' if name in ('rotation', 'shear') else ''}"
        for name, value in plain.items()
        if value != (1 if name == "crop" else 0)
    ]
    is_searched = any(not isinstance(d, Fixed) for d in dimensions.values())
    return ", ".join(named) + (" (the strongest of the search)" if is_searched else "")


# What a study makes of its own training images, epoch by epoch: augmentation, adaptation.


NUM_VIEWED_EPOCHS = 7
_USE_WEIGHTS = ("fgsm", "pgd", "style")
"""They use the pretrained network; all others do without."""


class Shown(NamedTuple):
    """One augmentation; `images` uint8 (N, 1 + epochs, H, W, 3): each training image as it is, then
    its view in the first epochs.
    """

    title: str
    detail: str
    images: np.ndarray


def views_of(config: StudyConfig, *, cache: Path, on_progress: OnProgress) -> list[Shown]:
    """Every augmentation and adaptation of the space, or of the arms' in the first scenario; where
    there is none, the images as they are decoded, without a view.

    The views are those of the study's trials: they follow from its seed, the epoch and the image.
    Only partners in a mixture depend on the batch, here the images that are shown; and an attack is
    on the network before training, its head at random, and on every image.

    Raises:
        RequestError: images or weights do not fit the study.
        WorkError: something cannot be read, written or fetched.
    """
    wanted = list(_wanted(config))
    torch.set_num_threads(1)
    ours = wanted[0][0] if wanted else config
    if not wanted and config.comparison is not None:
        ours = cell_config(config, cells(config.comparison)[0])
    data, _ = read_images(ours.data, cache=cache / "images", on_progress=on_progress)
    split, labels = ours.data.split, ours.data.labels_per_class
    (parts, *_) = draw_splits(data, split=split, labels_per_class=labels, redraw=0)
    rows = first_of_classes(data.labels, parts.train)
    if not wanted:
        plain = np.broadcast_to(data.images[rows], (*data.images[rows].shape[:3], 3))
        detail = f"{ours.data.size} pixels, fit: {ours.data.fit}; training changes nothing in them"
        return [Shown("as decoded", detail, plain[:, None])]
    makers: dict[str, _Maker] = {}
    shown = []
    for i, (of, policy, arm) in enumerate(wanted):
        on_progress(i / len(wanted), f"drawing {policy.title}")
        needs_weights = policy.title in _USE_WEIGHTS
        key = of.backbone.model_dump_json() + str(needs_weights)
        if key not in makers:
            makers[key] = _Maker(of, data, needs_weights, cache, on_progress)
        detail = "; ".join(filter(None, (policy.detail, arm and f"arm {arm}")))
        shown.append(Shown(policy.title, detail, makers[key].images(policy, rows)))
    return shown


def _wanted(config: StudyConfig) -> Iterator[tuple[StudyConfig, Policy, str]]:
    """Studies, policies and arms that have them; what several arms share comes once."""
    if config.comparison is None:
        first_network = config.with_backbone(config.backbone.names[0])
        for policy in policies(config.space):
            yield first_network, policy, ""
        return
    first, known = compared(config).used[0], set()
    for cell in cells(compared(config)):
        ours = cell_config(config, cell)
        ours = ours.with_backbone(ours.backbone.names[0])
        for policy in policies(ours.space) if cell.scenario == first else ():
            if policy[:2] not in known:
                known.add(policy[:2])
                yield ours, policy, cell.arm


class _Maker:
    """Makes views for one backbone; its weights are looked for only where it `needs_weights`."""

    def __init__(
        self,
        config: StudyConfig,
        data: ImageSet,
        needs_weights: bool,
        cache: Path,
        on_progress: OnProgress,
    ) -> None:
        self._config, self._num_classes = config, data.num_classes
        self._cache, self._on_progress, self._device = cache, on_progress, find_device(config, None)
        name, state = config.backbone.name, None
        self._pixels = pixels_for(config.backbone, images=data.images, labels=data.labels)
        if needs_weights:
            weights, _ = find_weights(config, cache=cache, threads=1, on_progress=on_progress)
            state = pretrained_state(backbone=name, weights=weights)
        seed = derive_seed(config.search.seed, "init")
        self._forward = Forward(
            study_backbone(
                config, num_classes=data.num_classes, dropout=0.0, seed=seed, state=state
            ),
            pixels=self._pixels,
            activations=None,
            kept_rows=None,
            numerics=FP32,
            device=self._device,
        )

    def images(self, policy: Policy, rows: np.ndarray) -> np.ndarray:
        """Images and views (N, 1 + epochs, H, W, 3), bytes."""
        everywhere = {n: 1.0 for n in policy.params if n.endswith(f"{policy.title}.share")}
        strategy = Strategy.from_params({**policy.params, **everywhere}, init="pretrained")
        seed = self._config.search.seed
        with TemporaryDirectory() as folder:  # a few images, made in a moment: not worth keeping
            adaptation = adaptation_stage(
                strategy,
                pixels=self._pixels,
                rows=rows,
                source=lambda: self._source,
                seed=seed,
                pretrained=lambda: self._forward.backbone,
                folder=Path(folder),
                style_keys=(),
                style_seed=seed,
                device=self._device,
                on_progress=self._on_progress,
            )
        return training_views(
            self._forward,
            strategy,
            rows,
            adaptation=adaptation,
            num_classes=self._num_classes,
            seed=seed,
            num_epochs=NUM_VIEWED_EPOCHS,
        )

    @cached_property
    def _source(self) -> SourceData:
        config = self._config
        own = read_source(config, cache=self._cache / "images", on_progress=self._on_progress)
        if own is not None:
            return own_source(own[0], backbone=config.backbone)
        return glyph_source(backbone=config.backbone.name, image_size=config.data.size)


def training_views(
    forward: Forward,
    strategy: Strategy,
    rows: np.ndarray,
    *,
    adaptation: Stage | None,
    num_classes: int,
    seed: int,
    num_epochs: int,
) -> np.ndarray:
    """Images of these rows as they are, then what the strategy makes of them in its first epochs:
    bytes (N, 1 + epochs, H, W, 3), or (N, 1, H, W, 3) where it leaves them alone.
    """
    views = Views(
        forward, strategy=strategy, adaptation=adaptation, num_classes=num_classes, seed=seed
    )
    columns = [forward.unit_images(rows)]
    if not views.is_plain:
        columns += [views.images(rows, rows, epoch=e)[0] for e in range(1, num_epochs + 1)]
    return np.stack([_bytes(column) for column in columns], axis=1)


def _bytes(images: Tensor) -> np.ndarray:
    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    found: np.ndarray = pixels.cpu().numpy()
    return found
