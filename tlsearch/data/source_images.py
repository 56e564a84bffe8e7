"""Images of the task that weights were trained on, as a study names them."""

from pathlib import Path

import numpy as np

from tlsearch.data.audit.findings import Audit
from tlsearch.data.images import ImageSet
from tlsearch.data.reading import read_images
from tlsearch.data.sources import OnProgress
from tlsearch.errors import RequestError
from tlsearch.study.config import StudyConfig
from tlsearch.study.data import AuditConfig, DataConfig

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
