"""From a source that a study names to its images."""

from collections.abc import Callable, Mapping
from pathlib import Path

from tlsearch.data.digits import load_digits_images
from tlsearch.data.images import ImageSet
from tlsearch.study.data import DataConfig
from tlsearch.study.layout import expanded
from tlsearch.study.sources import (
    SOURCES,
    Folder,
    Glyphs,
    Letters,
    Textures,
    source_name,
    source_text,
)

__all__ = ["READERS", "ImageSet", "load_images"]

OnProgress = Callable[[float, str], None]
"""Gets the share done, 0 … 1, and what is being done."""

Reader = Callable[[DataConfig, Path, OnProgress], ImageSet]


def _glyphs(data: DataConfig, _cache: Path, on_progress: OnProgress) -> ImageSet:
    from tlsearch.data.glyph_images import draw_glyph_images

    assert isinstance(data.source, Glyphs)
    return draw_glyph_images(data.source, size=data.size, on_progress=on_progress)


def _letters(data: DataConfig, _cache: Path, on_progress: OnProgress) -> ImageSet:
    from tlsearch.data.letters import draw_letters

    assert isinstance(data.source, Letters)
    return draw_letters(data.source, size=data.size, on_progress=on_progress)


def _textures(data: DataConfig, _cache: Path, on_progress: OnProgress) -> ImageSet:
    from tlsearch.data.textures import draw_textures

    assert isinstance(data.source, Textures)
    return draw_textures(data.source, size=data.size, on_progress=on_progress)


def _folder(data: DataConfig, cache: Path, on_progress: OnProgress) -> ImageSet:
    from tlsearch.data.folder import FIELD, list_folder
    from tlsearch.data.from_files import read_files

    assert isinstance(data.source, Folder)
    on_progress(0.0, f"listing {source_text(data.source)}")
    listing = list_folder(expanded(data.source.path))
    return read_files(listing, data, cache, on_progress, field=FIELD)


def _manifest(data: DataConfig, cache: Path, on_progress: OnProgress) -> ImageSet:
    from tlsearch.data.from_files import read_files
    from tlsearch.data.manifest import FIELD, list_manifest

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
