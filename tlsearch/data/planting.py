"""Defects planted into the training part of a source, to see what cleaning is worth."""

import numpy as np

from tlsearch.data.images import TEST, TRAIN, VALIDATION, ImageSet, image_set
from tlsearch.data.splits.draw import draw_parts
from tlsearch.study.data import DataConfig, PlantedConfig
from tlsearch.study.seeds import derive_seed


def planted(data: ImageSet, config: DataConfig) -> ImageSet:
    """The set with copies of training images behind its own rows, wrong labels among both, and the
    parts that it was divided into before that; as it is where nothing is planted.

    The parts are drawn stratified, with the split's own seed and shares, and then stand as given:
    no copy, and no wrong label, gets into validation or test, not even in a redraw. Copies come
    first, so that some show one picture under two labels.

    Raises:
        RequestError: the set cannot be divided.
    """
    asked = config.planted
    if asked is None:
        return data
    split = config.split.model_copy(update={"strategy": "stratified"})
    (drawn,) = draw_parts(data, split=split, redraw=0)
    draw = np.random.default_rng(derive_seed(asked.seed, "planted"))
    copies = draw.choice(drawn.train, round(asked.duplicates * len(drawn.train)), replace=True)
    rows = np.concatenate([np.arange(len(data.labels)), np.sort(copies)])
    parts = np.full(len(rows), TRAIN, np.int8)
    parts[drawn.validation], parts[drawn.test] = VALIDATION, TEST
    labels = data.labels[rows].copy()
    wrong = _mislabelled(np.flatnonzero(parts == TRAIN), asked, draw)
    # From 1 to the number of classes less 1: never back to the label that was there.
    shifts = draw.integers(1, data.num_classes, len(wrong))
    labels[wrong] = (labels[wrong] + shifts) % data.num_classes
    return image_set(data.images[rows], labels, data.class_names, parts=parts)


def _mislabelled(train: np.ndarray, asked: PlantedConfig, draw: np.random.Generator) -> np.ndarray:
    count = round(asked.label_noise * len(train))
    return np.sort(draw.choice(train, count, replace=False))
