"""From what a study says of its data to images that may be used, and what was found among them."""

from pathlib import Path

from tlsearch.data.audit.findings import Audit
from tlsearch.data.audit.policy import audited
from tlsearch.data.images import ImageSet
from tlsearch.data.planting import planted
from tlsearch.data.sources import OnProgress, load_images
from tlsearch.study.data import DataConfig


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
