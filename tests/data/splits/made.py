"""Image sets of one pixel an image: a split looks at the columns alone."""

from typing import Any

import numpy as np

from tlsearch.config.schema import SplitConfig
from tlsearch.data.dataset import ImageSet, image_set
from tlsearch.data.splits import Split, draw_splits


def made(labels: Any, **columns: Any) -> ImageSet:
    labels = np.asarray(labels)
    pixels = (np.arange(len(labels)) % 251).astype(np.uint8)[:, None, None, None]
    names = tuple(f"class {chr(97 + i)}" for i in range(int(labels.max()) + 1))
    return image_set(pixels, labels, names, **{k: np.asarray(v) for k, v in columns.items()})


def config(strategy: Any, **fields: Any) -> SplitConfig:
    return SplitConfig(strategy=strategy, **fields)


def draw(
    data: ImageSet, split: SplitConfig, *, labels: int | None = None, redraw: int = 0
) -> tuple[Split, ...]:
    return draw_splits(data, split=split, labels_per_class=labels, redraw=redraw)


def listed(splits: tuple[Split, ...]) -> list[list[list[int]]]:
    return [[part.tolist() for part in parts] for parts in splits]
