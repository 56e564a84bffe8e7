"""The picture of augmented images, pixel by pixel."""

import base64
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlsearch.errors import RequestError
from tlsearch.report.views import Block, check_ending, draw_blocks, write_views


def block(title: str = "basic", *, size: int = 24, epochs: int = 3) -> Block:
    """Each tile in a colour of its own."""
    images = np.zeros((2, 1 + epochs, size, size, 3), np.uint8)
    for row in range(2):
        for column in range(1 + epochs):
            images[row, column] = (10 + 100 * row, 40 * column, 77)
    return Block(title, "flip 0.5", images)


def colours(picture: Image.Image) -> list[tuple[int, ...]]:
    """Those of tiles; text is in greys."""
    pixels = np.asarray(picture).reshape(-1, 3)
    found = map(tuple, np.unique(pixels, axis=0).tolist())
    return sorted(colour for colour in found if colour[2] == 77 and len(set(colour)) > 1)


@pytest.mark.parametrize(("size", "side"), [(24, 72), (32, 64), (72, 72), (128, 128), (224, 144)])
def test_every_image_is_there_once_and_of_one_size(size: int, side: int) -> None:
    picture = draw_blocks([block(size=size)])
    assert colours(picture) == sorted((10 + 100 * r, 40 * c, 77) for r in (0, 1) for c in range(4))
    pixels = np.asarray(picture)
    for row in (0, 1):
        for column in range(4):
            where = (pixels == (10 + 100 * row, 40 * column, 77)).all(axis=-1)
            assert where.sum() == side**2
            assert where.any(axis=0).sum() == where.any(axis=1).sum() == side


def test_rows_are_images_and_columns_epochs() -> None:
    pixels = np.asarray(draw_blocks([block()]))

    def place(row: int, column: int) -> tuple[int, int]:
        found = (pixels == (10 + 100 * row, 40 * column, 77)).all(axis=-1)
        return int(found.any(axis=1).argmax()), int(found.any(axis=0).argmax())

    tops, lefts = zip(*(place(row, 0) for row in (0, 1)), strict=True)
    assert tops[0] < tops[1]
    assert lefts[0] == lefts[1]
    assert [place(0, c)[1] for c in range(4)] == sorted({place(0, c)[1] for c in range(4)})


def test_blocks_stand_below_one_another_and_long_titles_are_broken() -> None:
    one, two = draw_blocks([block()]), draw_blocks([block(), block("trivial")])
    assert two.size == (one.width, 2 * one.height)
    long = block()._replace(detail="word " * 60)
    assert draw_blocks([long]).width == one.width
    assert draw_blocks([long]).height > one.height + 100


def test_a_picture_and_a_page_hold_the_same(tmp_path: Path) -> None:
    blocks = [block(), block("<b>trivial</b>")]
    write_views(tmp_path / "v.png", blocks, name="s")
    with Image.open(tmp_path / "v.png") as picture:
        assert picture.size == draw_blocks(blocks).size
    write_views(tmp_path / "v.HTML", blocks, name="a<b")
    page = (tmp_path / "v.HTML").read_text()
    assert "&lt;b&gt;trivial" in page
    assert "a&lt;b" in page
    assert "<b>trivial" not in page
    assert "http" not in page.replace("http-equiv", "")
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(pictures) == 2
    for text in pictures:
        with Image.open(BytesIO(base64.b64decode(text))) as drawn:
            assert len(colours(drawn.convert("RGB"))) == 8


def test_other_endings_are_refused() -> None:
    check_ending(Path("a.png"))
    check_ending(Path("a.HTML"))
    with pytest.raises(RequestError, match=r"--views = 'a.jpg': must end in .png or .html"):
        check_ending(Path("a.jpg"))
