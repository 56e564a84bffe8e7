"""Where images come from, by the name that a study gives."""

from collections.abc import Callable, Mapping

from tlsearch.data.digits import load_digits_images
from tlsearch.data.images import ImageSet
from tlsearch.errors import Problem, RequestError, nearest
from tlsearch.study.config import DataConfig

__all__ = ["SOURCES", "ImageSet", "load_images"]

SOURCES: Mapping[str, Callable[[DataConfig], ImageSet]] = {
    "digits": lambda data: load_digits_images(data.size),
}


def load_images(data: DataConfig) -> ImageSet:
    """The images of a study, all of them, before any split.

    Raises:
        RequestError: no source has this name.
    """
    if data.source not in SOURCES:
        known = tuple(SOURCES)
        remedy = nearest(data.source, known) or f"one of: {', '.join(known)}"
        problem = Problem("data.source", data.source, "no source has this name", remedy)
        raise RequestError(str(problem))
    return SOURCES[data.source](data)
