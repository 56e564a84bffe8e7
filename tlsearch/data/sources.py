"""From what a study says of its data to images that may be used, and what was found among them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase

import numpy as np
from PIL import Image

from tlsearch.config.images import AuditConfig, DataConfig
from tlsearch.config.runtime import OnProgress, derive_seed
from tlsearch.config.schema import StudyConfig
from tlsearch.config.sources import DrawnSource, Glyphs, Letters, Textures, source_name
from tlsearch.data.audit import audited
from tlsearch.data.dataset import TEST, TRAIN, VALIDATION, ImageSet, image_set
from tlsearch.data.folder import read_folder
from tlsearch.data.glyph_recipe import CHARACTERS
from tlsearch.data.records import Audit
from tlsearch.data.splits import draw_parts
from tlsearch.data.table import read_manifest
from tlsearch.errors import RequestError, refused

Reader = Callable[[DataConfig, Path, OnProgress], ImageSet]

_GREY_LEVELS = 16  # of scikit-learn's digits


def load_digits_images(size: int) -> ImageSet:
    """scikit-learn's handwritten digits: 1,797 real scans of 8 × 8 pixels, part of the package; in
    the file's order, enlarged (bicubic) to `size` × `size`, one channel.
    """
    from sklearn.datasets import load_digits

    scans = load_digits()
    grey = np.rint(scans.images * (255 / _GREY_LEVELS)).astype(np.uint8)
    square, resample = (size, size), Image.Resampling.BICUBIC
    images = [np.asarray(Image.fromarray(scan).resize(square, resample)) for scan in grey]
    names = tuple(str(name) for name in scans.target_names)
    written = np.arange(len(scans.target), dtype=np.float64)  # the file keeps the writing's order
    return image_set(np.stack(images)[..., np.newaxis], scans.target, names, times=written)


def drawn_images(source: DrawnSource, *, size: int, on_progress: OnProgress) -> ImageSet:
    """The images of a source that is drawn."""
    from tlsearch.data.synthetic import Draw, draw_set, glyphs, letters, textures

    kinds: dict[type[DrawnSource], tuple[Draw, int, Sequence[str]]] = {
        Glyphs: (glyphs.draw, 1, CHARACTERS),
        Letters: (letters.draw, 3, ascii_uppercase),
        Textures: (textures.draw, 3, tuple(textures.FAMILIES)),
    }
    draw, channels, names = kinds[type(source)]
    return draw_set(
        source, draw, size=size, channels=channels, names=names, on_progress=on_progress
    )


def _drawn(data: DataConfig, _cache: Path, on_progress: OnProgress) -> ImageSet:
    assert isinstance(data.source, DrawnSource)
    return drawn_images(data.source, size=data.size, on_progress=on_progress)


def _torchvision(data: DataConfig, cache: Path, on_progress: OnProgress) -> ImageSet:
    from tlsearch.data.torchvision import read_torchvision

    return read_torchvision(data, cache, on_progress)


READERS: Mapping[str, Reader] = {
    "digits": lambda data, _cache, _progress: load_digits_images(data.size),
    "glyphs": _drawn,
    "letters": _drawn,
    "textures": _drawn,
    "folder": read_folder,
    "manifest": read_manifest,
    "torchvision": _torchvision,
}
"""What reads each source; imports of torch and torchvision wait until they are needed."""


def load_images(data: DataConfig, *, cache: Path, on_progress: OnProgress) -> ImageSet:
    """The images of a study, all of them, before audit and split; files are decoded once and kept
    below `cache`.

    Raises:
        RequestError: the source is not there, or has fewer than two classes of images.
        WorkError: it cannot be fetched, or the cache cannot be written.
    """
    return READERS[source_name(data.source)](data, cache, on_progress)


def read_images(
    config: DataConfig, *, cache: Path, on_progress: OnProgress
) -> tuple[ImageSet, Audit]:
    """The images of a study after its audit, before the split.

    Raises:
        RequestError: the source is not there.
        AuditError: a finding's policy is `error`, or fewer than two classes are left.
        WorkError: it cannot be fetched, or the cache cannot be written.
    """
    data = planted(load_images(config, cache=cache, on_progress=on_progress), config)
    return audited(data, config, on_progress=on_progress)


def planted(data: ImageSet, config: DataConfig) -> ImageSet:
    """The set with defects in its training part, to measure what cleaning is worth: copies of
    training images behind its own rows, wrong labels among both, and the parts that it was divided
    into before that; as it is where nothing is planted.

    The parts are drawn stratified, with the split's own seed and shares, and then stand as given:
    no copy, and no wrong label, gets into validation or test, not even in a redraw. Copies come
    first, so that some show one picture under two labels.

    Raises:
        RequestError: the set cannot be divided.
    """
    defects = config.planted
    if defects is None:
        return data
    split = config.split.model_copy(update={"strategy": "stratified"})
    (drawn,) = draw_parts(data, split=split, redraw=0)
    rng = np.random.default_rng(derive_seed(defects.seed, "planted"))
    copies = rng.choice(drawn.train, round(defects.duplicates * len(drawn.train)), replace=True)
    rows = np.concatenate([np.arange(len(data.labels)), np.sort(copies)])
    parts = np.full(len(rows), TRAIN, np.int8)
    parts[drawn.validation], parts[drawn.test] = VALIDATION, TEST
    labels, train = data.labels[rows].copy(), np.flatnonzero(parts == TRAIN)
    wrong = np.sort(rng.choice(train, round(defects.label_noise * len(train)), replace=False))
    # From 1 to the number of classes less 1: never back to the label that was there.
    shifts = rng.integers(1, data.num_classes, len(wrong))
    labels[wrong] = (labels[wrong] + shifts) % data.num_classes
    return image_set(data.images[rows], labels, data.class_names, parts=parts)


# Nobody trains for these labels, so what is doubtful is left out and does not end a study.
_SOURCE_AUDIT = AuditConfig(
    missing_labels="drop",
    conflicting_labels="drop",
    near_duplicates="off",
    small_classes="keep",
    label_errors="off",
)


def read_source(
    config: StudyConfig, *, cache: Path, on_progress: OnProgress
) -> tuple[ImageSet, Audit] | None:
    """The images of `backbone.source`, the task that weights were trained on, prepared as the
    study's own; None where none are named.

    Raises:
        RequestError: they are not there, or hold fewer than two classes of two images.
        WorkError: they cannot be fetched, or the cache cannot be written.
    """
    if config.backbone.source is None:
        return None
    wanted = DataConfig(
        source=config.backbone.source,
        size=config.data.size,
        fit=config.data.fit,
        audit=_SOURCE_AUDIT,
    )
    try:
        found = read_images(wanted, cache=cache, on_progress=on_progress)
    except RequestError as error:  # it speaks of the field that images come from otherwise
        raise RequestError(str(error).replace("data.source", "backbone.source")) from None
    labels = found[0].labels[found[0].usable]
    large = int((np.bincount(labels) > 1).sum())
    if large < 2:
        rule = f"{len(labels)} usable images, and {large} of the classes have two or more"
        remedy = "some are held out to measure by, so give two images or more of two classes"
        raise refused("backbone.source", "", rule, remedy)
    return found
