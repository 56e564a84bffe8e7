"""From a source that a study names to its images."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from tlsearch.config.paths import expanded
from tlsearch.config.progress import OnProgress
from tlsearch.config.schema import AuditConfig, DataConfig, PlantedConfig, StudyConfig
from tlsearch.config.seeds import derive_seed
from tlsearch.config.sources import (
    SOURCES,
    Folder,
    Glyphs,
    Letters,
    Textures,
    source_name,
    source_text,
)
from tlsearch.data.audit import audited
from tlsearch.data.audit_findings import Audit
from tlsearch.data.dataset import TEST, TRAIN, VALIDATION, Failure, Files, ImageSet, image_set
from tlsearch.data.decode import DECODER_VERSION, Decoded, decode_image
from tlsearch.data.decoded_cache import Entry, Work, decode_once, entry_key
from tlsearch.data.folder import Listing, refused
from tlsearch.data.splits import draw_parts
from tlsearch.data.synthetic.drawn import load_digits_images
from tlsearch.errors import RequestError

"""Gets the share done, 0 … 1, and what is being done."""

Reader = Callable[[DataConfig, Path, OnProgress], ImageSet]


def _glyphs(data: DataConfig, _cache: Path, on_progress: OnProgress) -> ImageSet:
    from tlsearch.data.synthetic.glyphs import draw_glyph_images

    assert isinstance(data.source, Glyphs)
    return draw_glyph_images(data.source, size=data.size, on_progress=on_progress)


def _letters(data: DataConfig, _cache: Path, on_progress: OnProgress) -> ImageSet:
    from tlsearch.data.synthetic.letters import draw_letters

    assert isinstance(data.source, Letters)
    return draw_letters(data.source, size=data.size, on_progress=on_progress)


def _textures(data: DataConfig, _cache: Path, on_progress: OnProgress) -> ImageSet:
    from tlsearch.data.synthetic.textures import draw_textures

    assert isinstance(data.source, Textures)
    return draw_textures(data.source, size=data.size, on_progress=on_progress)


def _folder(data: DataConfig, cache: Path, on_progress: OnProgress) -> ImageSet:
    from tlsearch.data.folder import FIELD, list_folder

    assert isinstance(data.source, Folder)
    on_progress(0.0, f"listing {source_text(data.source)}")
    listing = list_folder(expanded(data.source.path))
    return read_files(listing, data, cache, on_progress, field=FIELD)


def _manifest(data: DataConfig, cache: Path, on_progress: OnProgress) -> ImageSet:
    from tlsearch.data.table import FIELD, list_manifest

    on_progress(0.0, f"reading {source_text(data.source)}")
    return read_files(list_manifest(data), data, cache, on_progress, field=f"{FIELD}.path")


def _torchvision(data: DataConfig, cache: Path, on_progress: OnProgress) -> ImageSet:
    from tlsearch.data.torchvision_sets import read_torchvision

    return read_torchvision(data, cache, on_progress)


READERS: Mapping[str, Reader] = {
    "digits": lambda data, _cache, _progress: load_digits_images(data.size),
    "glyphs": _glyphs,
    "letters": _letters,
    "textures": _textures,
    "folder": _folder,
    "manifest": _manifest,
    "torchvision": _torchvision,
}


def load_images(data: DataConfig, *, cache: Path, on_progress: OnProgress) -> ImageSet:
    """The images of a study, all of them, before audit and split; files are decoded once and kept
    below `cache`.

    Raises:
        RequestError: the source is not there, or holds nothing to learn from.
        WorkError: it cannot be fetched, or the cache cannot be written.
    """
    assert set(READERS) <= set(SOURCES)
    return READERS[source_name(data.source)](data, cache, on_progress)


# Defects planted into the training part of a source, to see what cleaning is worth.


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


# From what a study says of its data to images that may be used, and what was found among them.


def read_images(
    config: DataConfig, *, cache: Path, on_progress: OnProgress
) -> tuple[ImageSet, Audit]:
    """The images of a study after its audit, before the split.

    Raises:
        RequestError: the source is not there.
        AuditError: what was found must not be, or leaves nothing to learn from.
        WorkError: it cannot be fetched, or the cache cannot be written.
    """
    data = planted(load_images(config, cache=cache, on_progress=on_progress), config)
    return audited(data, config, on_progress=on_progress)


# Images of the task that weights were trained on, as a study names them.


# Nobody trains for these labels, so what is doubtful is left out and does not end a study.
_AUDIT = AuditConfig(
    missing_labels="drop",
    conflicting_labels="drop",
    near_duplicates="off",
    small_classes="keep",
    label_errors="off",
)


def read_source(
    config: StudyConfig, *, cache: Path, on_progress: OnProgress
) -> tuple[ImageSet, Audit] | None:
    """The images of `backbone.source`, prepared as the study's own; None where none are named.

    Raises:
        RequestError: they are not there, or hold nothing to learn from.
        WorkError: they cannot be fetched, or the cache cannot be written.
    """
    if config.backbone.source is None:
        return None
    asked = DataConfig(
        source=config.backbone.source,
        size=config.data.size,
        fit=config.data.fit,
        audit=_AUDIT,
    )
    try:
        found = read_images(asked, cache=cache, on_progress=on_progress)
    except RequestError as error:  # it speaks of the field that images come from otherwise
        raise type(error)(str(error).replace("data.source", "backbone.source")) from None
    labels = found[0].labels[found[0].usable]
    large = int((np.bincount(labels) > 1).sum())
    if large < 2:
        raise RequestError(
            f"backbone.source: {len(labels)} usable images, and {large} of the classes have two or "
            "more — some are held out to measure by, so give two images or more of two classes"
        )
    return found


# From a listing of files to a set of images.


def read_files(
    listing: Listing,
    data: DataConfig,
    cache: Path,
    on_progress: OnProgress,
    *,
    field: str,
) -> ImageSet:
    """The listed images, decoded once and kept below `cache`; `field` names the source in errors.

    Raises:
        RequestError: fewer than two classes have an image that can be read.
        WorkError: the cache cannot be written.
    """
    facts = (DECODER_VERSION, data.size, data.fit)
    key = entry_key(*facts, files=map(os.path.abspath, listing.paths))
    entry = decode_once(
        key,
        cache=cache,
        size=data.size,
        work=lambda: Work(len(listing.paths), (file_step(p, data) for p in listing.paths), dict),
        on_progress=on_progress,
    )
    return assemble(entry, listing, field=field)


def file_step(path: str, data: DataConfig) -> Callable[[], Decoded]:
    """What decodes one file as the study asks."""
    return partial(decode_image, Path(path), size=data.size, fit=data.fit)


def assemble(entry: Entry, listing: Listing, *, field: str) -> ImageSet:
    """The images of `entry` with what `listing` says of them. A class whose files all failed keeps
    its name, so that the audit sees it empty.

    Raises:
        RequestError: fewer than two classes have an image that can be read.
    """
    unreadable = tuple(Failure("unreadable", listing.names[i], why) for i, why in entry.failures)
    labels = listing.labels[entry.rows]
    if len(np.unique(labels)) < 2:
        rule = f"{len(labels)} of {len(listing.labels)} images can be read"
        if len(labels):
            rule += f", all of class {listing.class_names[labels[0]]!r}"
        remedy = "add images of another class"
        if unreadable:
            remedy = f"the first that cannot: {unreadable[0].name}: {unreadable[0].reason}"
        raise refused(field, "", rule, remedy)
    return image_set(
        entry.images(),
        labels,
        listing.class_names,
        pixel_digest=entry.digest,
        pixel_file=entry.pixel_file,
        files=Files(
            names=np.asarray(listing.names)[entry.rows],
            sizes=entry.sizes,
            digests=entry.digests,
            hashes=entry.hashes,
        ),
        failures=(*listing.failures, *unreadable),
        **{name: column[entry.rows] for name, column in listing.columns.items()},
    )
