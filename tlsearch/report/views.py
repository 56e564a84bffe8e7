"""Augmented images as a picture, or as a page that opens offline."""

import base64
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from textwrap import wrap
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tlsearch.errors import RequestError
from tlsearch.report.html import render_page

ENDINGS = (".png", ".html")
TILE = 72
"""Side of an image in a picture, pixels: small ones are enlarged by whole factors."""
_LARGEST_TILE, _GAP, _HEAD, _LINE, _SIZE = 144, 4, 22, 20, 14
_TITLE = 320
"""Pixels that the words above a block have at the least."""
_INK, _PAPER = (30, 30, 30), (255, 255, 255)


class Block(NamedTuple):
    """One augmentation of several images, uint8 (N, 1 + epochs, H, W, 3), the first as it was."""

    title: str
    detail: str
    images: np.ndarray


def check_ending(path: Path) -> None:
    """Refuse a file that is neither picture nor page.

    Raises:
        RequestError: its name ends in something else.
    """
    if path.suffix.lower() not in ENDINGS:
        raise RequestError(f"--views = {str(path)!r}: must end in {' or '.join(ENDINGS)}")


def write_views(path: Path, blocks: Sequence[Block], *, name: str) -> None:
    """All blocks in one file, by its ending.

    Raises:
        OSError: the place is read-only or full.
    """
    if path.suffix.lower() == ".png":
        path.write_bytes(_png(draw_blocks(blocks)))
        return
    pictures = [
        {
            "title": block.title,
            "detail": block.detail,
            "width": (drawn := draw_blocks([block], titles=False)).width,
            "data": base64.b64encode(_png(drawn)).decode(),
            "alt": f"{len(block.images)} training images"
            + (f", and each in {epochs} epochs under {block.title}" if epochs else ""),
        }
        for block in blocks
        for epochs in (block.images.shape[1] - 1,)
    ]
    page = render_page("views.html.j2", drawn=(), name=name, blocks=pictures)
    path.write_text(page, encoding="utf-8")


def draw_blocks(blocks: Sequence[Block], *, titles: bool = True) -> Image.Image:
    """One picture: a block below the other, an image a row, an epoch a column."""
    tile = _tile(blocks[0].images.shape[2])
    columns = max(block.images.shape[1] for block in blocks)
    width = max(columns * (tile + _GAP) + 3 * _GAP, _TITLE if titles else 0)
    lines = [_lines(block, width) if titles else [] for block in blocks]
    heights = [
        len(words) * _LINE + _HEAD + len(block.images) * (tile + _GAP) + 2 * _GAP
        for block, words in zip(blocks, lines, strict=True)
    ]
    canvas = Image.new("RGB", (width, sum(heights)), _PAPER)
    top = 0
    for block, words, height in zip(blocks, lines, heights, strict=True):
        _draw_block(canvas, block, words, top, tile)
        top += height
    return canvas


def _lines(block: Block, width: int) -> list[str]:
    """What stands above a block, broken where the picture ends."""
    words = f"{block.title}: {block.detail}" if block.detail else block.title
    letter = ImageFont.load_default(_SIZE).getlength("n")
    return wrap(words, max(20, int((width - 2 * _GAP) / letter)))


def _draw_block(
    canvas: Image.Image, block: Block, words: Sequence[str], top: int, tile: int
) -> None:
    pen = ImageDraw.Draw(canvas)
    for line in words:
        pen.text((_GAP, top + 5), line, _INK, ImageFont.load_default(_SIZE))
        top += _LINE
    for column in range(block.images.shape[1]):
        # The original stands a little apart.
        left = _GAP + column * (tile + _GAP) + (_GAP if column else 0)
        pen.text(
            (left, top + 4),
            f"epoch {column}" if column else "as it is",
            _INK,
            ImageFont.load_default(11),
        )
        for row, image in enumerate(block.images[:, column]):
            resample = Image.Resampling.NEAREST if len(image) < tile else Image.Resampling.LANCZOS
            picture = Image.fromarray(image).resize((tile, tile), resample)
            canvas.paste(picture, (left, top + _HEAD + row * (tile + _GAP)))


def _tile(size: int) -> int:
    return min(size * max(1, round(TILE / size)), _LARGEST_TILE)


def _png(picture: Image.Image) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
