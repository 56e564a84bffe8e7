"""Which files are meant by what a user names."""

import os
from pathlib import Path

import pytest

from tlsearch.data.folder import find_images
from tlsearch.errors import RequestError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("b/2.JPG", "b/é, x.png", "b/.hidden.png", "b/notes.txt", "b/.git/a.png", "a.webp",
                 "b/c/deep/3.tiff", "odd[1].png"):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def found(*named: str) -> list[str]:
    return [str(path) for path in find_images(named)]


def test_folders_hold_images_by_suffix_in_order(here: Path) -> None:
    assert here
    assert found("b") == ["b/2.JPG", "b/é, x.png", "b/c/deep/3.tiff"]
    assert found("b/c", "a.webp") == ["b/c/deep/3.tiff", "a.webp"]


def test_a_named_file_is_taken_whatever_its_suffix(here: Path) -> None:
    assert here
    assert found("b/notes.txt", "b/.hidden.png") == ["b/notes.txt", "b/.hidden.png"]


def test_patterns(here: Path) -> None:
    assert here
    assert found("*.webp", "b/*.JPG") == ["a.webp", "b/2.JPG"]
    assert found("**/*.tiff") == ["b/c/deep/3.tiff"]
    assert found("odd[1].png") == ["odd[1].png"], "a file of that very name goes first"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("*.gif", "no file matches this pattern"),
        ("none.png", "no such file or folder"),
        ("x" * 5000, "no such file or folder"),
    ],
)
def test_what_is_not_there_is_told_at_once(here: Path, name: str, message: str) -> None:
    assert here
    with pytest.raises(RequestError, match=message):
        find_images(["b", name])


def test_links(here: Path) -> None:
    (here / "b" / "c" / "up").symlink_to(here / "b", target_is_directory=True)
    (here / "out").mkdir()
    (here / "out" / "1.png").touch()
    (here / "b" / "linked").symlink_to(here / "out", target_is_directory=True)
    (here / "b" / "gone.png").symlink_to(here / "nowhere.png")
    assert sorted(found("b")) == [
        *("b/2.JPG", "b/c/deep/3.tiff", "b/gone.png", "b/linked/1.png", "b/é, x.png")
    ]


def test_an_empty_folder(here: Path) -> None:
    (here / "empty").mkdir()
    assert found("empty") == []


def test_names_that_are_no_text(here: Path) -> None:
    name = os.fsdecode(b"b/\xff.png")
    (here / name).touch()
    assert name in found("b")
