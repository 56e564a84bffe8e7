import errno
import os
import threading
import warnings
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from tests.data.made import cut_short, picture, write_bomb, write_deep, write_picture
from tlsearch.data import decode
from tlsearch.data.decode import (
    Decoding,
    UnreadableImage,
    decode_image,
    fit_square,
    quiet_pillow,
    white_of,
)
from tlsearch.errors import WorkError


def save(image: Image.Image, path: Path, **how: object) -> Path:
    image.save(path, **how)
    return path


def decoded(path: Path, *, size: int = 16, fit: str = "stretch") -> np.ndarray:
    return decode_image(path, Decoding(size, fit)).pixels


def grey_ramp() -> np.ndarray:
    """Levels 0 … 255, once each."""
    return np.arange(256, dtype=np.uint8).reshape(16, 16)


def test_a_picture_of_the_right_size_is_kept_as_it_is(tmp_path: Path) -> None:
    image = picture(0, width=16, height=16)
    found = decode_image(save(image, tmp_path / "a.png"), Decoding(16, "crop"))
    np.testing.assert_array_equal(found.pixels, np.asarray(image))
    assert found.pixels.dtype == np.uint8
    assert (found.width, found.height) == (16, 16)
    assert len(found.digest) == 32
    assert 0 <= found.hash < 2**64


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (grey_ramp(), grey_ramp()),
        (grey_ramp().astype(np.uint16) * 257, grey_ramp()),
        (grey_ramp().astype(np.int32) * 257, grey_ramp()),
        (grey_ramp().astype(np.int32) * 1000 - 70_000, grey_ramp()),  # beyond 16 bits: own range
        (grey_ramp().astype(np.float32) / 255, grey_ramp()),
        (grey_ramp().astype(np.float32), grey_ramp()),
        (grey_ramp().astype(np.float32) * 7 - 900, grey_ramp()),
        (np.full((16, 16), 500_000, np.int32), np.zeros((16, 16))),
    ],
    ids=["8", "16", "I", "I own range", "F to 1", "F to 255", "F own range", "I even"],
)
def test_grey_of_any_depth_is_scaled_and_not_clipped(
    values: np.ndarray, expected: np.ndarray, tmp_path: Path
) -> None:
    suffix = ".png" if values.dtype == np.uint16 else ".tif"
    found = decoded(save(Image.fromarray(values), tmp_path / f"a{suffix}"))
    for channel in range(3):
        np.testing.assert_array_equal(found[..., channel], expected)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "big.tif"])
@pytest.mark.parametrize("top", [255, 1023, 4095, 65535])
@pytest.mark.parametrize("channels", [1, 3])
def test_files_of_16_bits_are_scaled_by_the_white_of_their_set(
    name: str, top: int, channels: int, tmp_path: Path
) -> None:
    draw = np.random.default_rng(top)
    values = draw.integers(0, top + 1, (16, 16, channels), dtype=np.uint16)
    values[0, 0] = top
    path = write_deep(tmp_path / name, values if channels == 3 else values[..., 0])
    write_picture(tmp_path / "8.png", 0)
    assert white_of([tmp_path / "8.png", path, tmp_path / "absent.png"]) == top
    found = decode_image(path, Decoding(16, "stretch", white=top)).pixels
    expected = np.broadcast_to(np.rint(values * (255 / top)), (16, 16, 3))
    np.testing.assert_array_equal(found, expected)


def test_brighter_than_white_is_white_and_alpha_has_a_range_of_its_own(tmp_path: Path) -> None:
    values = np.full((16, 16, 4), (4095, 2048, 5000, 65535), np.uint16)
    path = write_deep(tmp_path / "a.png", values)
    found = decode_image(path, Decoding(16, "crop", white=4095)).pixels
    np.testing.assert_array_equal(found[0, 0], [255, 128, 255])
    assert white_of([path]) == 16383
    assert white_of([write_picture(tmp_path / "8.png", 0)]) == 0


def test_heic_is_read_upright_where_the_extra_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = Image.new("RGB", (64, 32), "red")
    photo.paste("blue", (32, 0, 64, 32))
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned clockwise: red comes to the top
    path = tmp_path / "a.HEIC"
    pillow_heif.from_pillow(photo).save(path, quality=90, exif=turned.tobytes())
    found = decode_image(path, Decoding(16, "stretch"))
    assert (found.width, found.height) == (32, 64)
    assert found.pixels[2, 8, 0] > 200 > 50 > found.pixels[2, 8, 2]
    assert found.pixels[13, 8, 2] > 200
    cut_short(path)
    with pytest.raises(UnreadableImage, match=r"damaged|no image"):
        decode_image(path, Decoding(16, "crop"))
    monkeypatch.setattr(decode, "formats", lambda: ("JPEG", "PNG"))
    with pytest.raises(UnreadableImage, match=r"^.heic is not read here: pip install 'tlsearch\[h"):
        decode_image(path, Decoding(16, "crop"))


def test_a_large_photograph_is_judged_by_what_is_decoded(tmp_path: Path) -> None:
    photo = Image.new("RGB", (4000, 3000), "red")
    jpeg = save(photo, tmp_path / "a.jpg")
    how = Decoding(16, "crop", max_megapixels=1)
    assert decode_image(jpeg, how).width == 4000
    with pytest.raises(UnreadableImage, match=r"12 megapixels, above data\.max_megapixels: 1"):
        decode_image(save(photo, tmp_path / "a.png"), how)
    assert decode_image(tmp_path / "a.png", Decoding(16, "crop")).height == 3000


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_drawing_on_transparent_ground_is_seen(mode: str, tmp_path: Path) -> None:
    for drawn, ground in ((255, 0), (0, 255), (10, 255)):
        image = Image.new("RGBA", (16, 16), (255, 255, 255, 0))
        image.paste((drawn, drawn, drawn, 255), (0, 0, 8, 16))
        path = save(image.convert(mode), tmp_path / "a.png")
        np.testing.assert_array_equal(decoded(path)[0, [0, 15], 0], [drawn, ground])
        fixed = decode_image(path, Decoding(16, "stretch", background="white")).pixels
        np.testing.assert_array_equal(fixed[0, [0, 15], 0], [drawn, 255])
    hidden = picture(0, width=16, height=16)
    everywhere = hidden.copy()
    everywhere.putalpha(0)
    np.testing.assert_array_equal(decoded(save(everywhere, tmp_path / "b.png")), np.asarray(hidden))


def test_not_a_number_is_black(tmp_path: Path) -> None:
    values = grey_ramp().astype(np.float32) / 255
    values[3, 4], values[5, 6] = np.nan, np.inf
    found = decoded(save(Image.fromarray(values), tmp_path / "a.tif"))[..., 0]
    assert (found[3, 4], found[5, 6]) == (0, 255)
    assert found[15, 15] == 255


def test_palette_and_one_bit(tmp_path: Path) -> None:
    stripes = Image.new("P", (16, 16))
    stripes.putpalette([255, 0, 0, 0, 0, 255])
    stripes.paste(1, (8, 0, 16, 16))
    found = decoded(save(stripes, tmp_path / "p.png"))
    np.testing.assert_array_equal(found[0, [0, 15]], [[255, 0, 0], [0, 0, 255]])
    bits = Image.fromarray((grey_ramp() >= 128) * np.uint8(255)).convert("1")
    expected = (grey_ramp() >= 128) * np.uint8(255)
    np.testing.assert_array_equal(decoded(save(bits, tmp_path / "1.png"))[..., 2], expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(mode: str, tmp_path: Path) -> None:
    image = Image.new("RGBA", (16, 16), (10, 10, 10, 255))
    image.paste((200, 0, 0, 0), (8, 0, 16, 16))
    if mode == "P":
        image = Image.new("P", (16, 16))
        image.putpalette([10, 10, 10, 200, 0, 0])
        image.paste(1, (8, 0, 16, 16))
        path = save(image, tmp_path / "a.png", transparency=1)
    else:
        path = save(image.convert(mode), tmp_path / "a.png")
    np.testing.assert_array_equal(decoded(path)[0, [0, 15]], [[10] * 3, [255] * 3])
    half = save(Image.new("RGBA", (16, 16), (0, 0, 0, 51)), tmp_path / "half.png")
    np.testing.assert_array_equal(decoded(half), np.full((16, 16, 3), 204))  # 255 × (1 − 0.2)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "RGB", "L"])
def test_jpegs_of_every_colour_model(mode: str, tmp_path: Path) -> None:
    red = Image.new("RGB", (40, 40), (220, 30, 40))
    found = decoded(save(red.convert(mode), tmp_path / "a.jpg", quality=95))
    expected = np.asarray(red.convert("L").convert("RGB") if mode == "L" else red)[:16, :16]
    np.testing.assert_allclose(found.astype(int), expected, atol=4)
    lab = save(Image.new("LAB", (16, 16), (255, 128, 128)), tmp_path / "a.tif")
    np.testing.assert_allclose(decoded(lab).astype(int), 255, atol=3)


def test_a_jpeg_turned_by_its_exif_stands_upright(tmp_path: Path) -> None:
    wide = Image.new("RGB", (96, 64), "black")
    wide.paste((255, 255, 255), (0, 0, 48, 64))  # left half white
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise: left becomes top
    found = decode_image(save(wide, tmp_path / "a.jpg", exif=exif), Decoding(16, "stretch"))
    assert (found.width, found.height) == (64, 96)
    assert found.pixels[1].min() > 240
    assert found.pixels[-2].max() < 15
    plain = save(wide.transpose(Image.Transpose.ROTATE_270), tmp_path / "b.png")
    upright = decode_image(plain, Decoding(16, "stretch"))
    assert bin(found.hash ^ upright.hash).count("1") <= 4


def test_damaged_exif_does_not_matter(tmp_path: Path) -> None:
    path = save(picture(0), tmp_path / "a.jpg", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff\x00")
    assert decoded(path).shape == (16, 16, 3)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".tif"])
def test_the_first_picture_of_many(suffix: str, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    path = save(frames[0], tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(decoded(path)[8, 8].astype(int), [255, 0, 0], atol=3)


def test_each_fit_by_hand() -> None:
    thirds = Image.new("RGB", (48, 16), "red")
    thirds.paste((0, 255, 0), (16, 0, 32, 16))
    cropped = fit_square(thirds, size=16, fit="crop")
    np.testing.assert_array_equal(cropped[:, 2:-2], np.full((16, 12, 3), (0, 255, 0)))

    halves = Image.new("RGB", (32, 16), (100, 100, 100))
    halves.paste((200, 0, 0), (0, 0, 32, 8))
    padded = fit_square(halves, size=32, fit="pad")
    np.testing.assert_array_equal(padded[8:24], np.asarray(halves))
    np.testing.assert_array_equal(padded[:8], np.full((8, 32, 3), (150, 50, 50)))  # edges' mean
    np.testing.assert_array_equal(padded[24:], padded[:8])
    tall = fit_square(halves.transpose(Image.Transpose.ROTATE_90), size=32, fit="pad")
    np.testing.assert_array_equal(tall[:, :8], np.full((32, 8, 3), (150, 50, 50)))

    halves = Image.new("L", (64, 16), 0)
    halves.paste(255, (32, 0, 64, 16))
    stretched = fit_square(halves, size=16, fit="stretch")
    assert stretched[:, :7].max() == 0
    assert stretched[:, 9:].min() == 255


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (3, 2)])
def test_any_shape_becomes_square(fit: str, shape: tuple[int, int]) -> None:
    assert fit_square(Image.new("L", shape, 7), size=16, fit=fit).tolist() == [[[7] * 3] * 16] * 16


def test_a_large_jpeg_is_reduced_while_it_is_decoded(tmp_path: Path) -> None:
    path = write_picture(tmp_path / "a.jpg", 5, width=512, height=256)
    found = decode_image(path, Decoding(16, "stretch"))
    assert (found.width, found.height) == (512, 256)
    whole = picture(5, width=512, height=256).resize((16, 16), Image.Resampling.BICUBIC)
    assert np.abs(found.pixels.astype(int) - np.asarray(whole)).mean() < 6


def test_the_hash_knows_a_picture_again(tmp_path: Path) -> None:
    image = picture(7, width=320, height=320)
    base = decode_image(save(image, tmp_path / "a.png"), Decoding(16, "crop")).hash
    smaller = image.resize((200, 200), Image.Resampling.LANCZOS)
    again = decode_image(save(smaller, tmp_path / "b.jpg", quality=60), Decoding(32, "pad")).hash
    other = decode_image(write_picture(tmp_path / "c.png", 8), Decoding(16, "crop")).hash
    assert bin(base ^ again).count("1") <= 6
    assert bin(base ^ other).count("1") >= 16
    even = save(Image.new("RGB", (50, 40), (90, 90, 90)), tmp_path / "d.png")
    assert decode_image(even, Decoding(16, "crop")).hash == 1 << 63  # that of its mean alone


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("short.jpg", "damaged: image file is truncated"),
        ("short.png", "damaged:"),
        ("text.jpg", "no image in a format that is known here"),
        ("program.jpg", "no image in a format that is known here"),
        ("empty.png", "the file is empty"),
        ("bomb.png", "400 megapixels, above data.max_megapixels: 250"),
        ("half bomb.png", "256 megapixels, above data.max_megapixels: 250"),
        ("raw.CR2", ".cr2 is not read here; convert it: magick FILE.cr2 FILE.jpg"),
        ("absent.png", "no such file"),
        ("link.png", "a link that leads nowhere"),
        ("folder.png", "directory"),
        ("nul\0.png", "no file has such a name"),
    ],
)
def test_what_gives_no_image_has_a_short_reason(name: str, reason: str, tmp_path: Path) -> None:
    before = Image.MAX_IMAGE_PIXELS
    cut_short(write_picture(tmp_path / "short.jpg", 0, width=400, height=400))
    cut_short(save(picture(1, width=400, height=400), tmp_path / "short.png"))
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "program.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (tmp_path / "empty.png").write_bytes(b"")
    write_bomb(tmp_path / "bomb.png")
    write_bomb(tmp_path / "half bomb.png", side=16_000)
    (tmp_path / "raw.CR2").write_bytes(b"II\x1a\0\0\0HEAPCCDR")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to(tmp_path / "absent.png")
    with pytest.raises(UnreadableImage) as caught:
        decode_image(tmp_path / name, Decoding(16, "crop"))
    assert reason in str(caught.value)
    assert before == Image.MAX_IMAGE_PIXELS
    assert len(str(caught.value)) < 100
    assert "\n" not in str(caught.value)


def test_pillows_warnings_are_hushed_within_alone() -> None:
    def warn() -> None:
        warnings.warn_explicit("x", UserWarning, "PIL/a.py", 1, module="PIL.a")

    before = list(warnings.filters)
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with quiet_pillow():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with quiet_pillow():
        thread.start()
        assert inside.wait(10)
        warn()
    warn()  # the other is still within
    leave.set()
    thread.join()
    assert list(warnings.filters) == before
    with pytest.raises(UserWarning, match="x"):
        warn()
    with pytest.raises(UserWarning, match="mine"), quiet_pillow():
        warnings.warn("mine", stacklevel=1)


def test_a_folder_loses_no_descriptor(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(UnreadableImage):
            decode_image(tmp_path, Decoding(8, "crop"))
    assert set(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ENOMEM])
def test_a_failing_disk_is_not_held_against_the_image(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_picture(tmp_path / "a.png", 0)

    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(WorkError, match=r"a\.png: cannot be read now"):
        decode_image(path, Decoding(8, "crop"))
