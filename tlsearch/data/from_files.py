"""From a listing of files to a set of images."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from tlsearch.data.decoded import Entry, OnProgress, Work, decode_once, entry_key
from tlsearch.data.decoding import DECODER_VERSION, Decoded, decode_image
from tlsearch.data.images import Failure, Files, ImageSet, image_set
from tlsearch.data.listing import Listing, refused
from tlsearch.study.data import DataConfig


def read_files(
    listing: Listing, data: DataConfig, cache: Path, on_progress: OnProgress, *, field: str
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
