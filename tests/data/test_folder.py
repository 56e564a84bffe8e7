"""Folders of classes as users have them, and images found by name."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from tests.data.made import UNREADABLE, config, read, write_classes, write_messy, write_picture
from tlsearch.config.sources import NamePattern
from tlsearch.data.folder import copies_by_name, find_files, list_folder, natural_key
from tlsearch.errors import RequestError


def names_by_class(root: Path) -> dict[str, list[str]]:
    listing = list_folder(root, level=None)
    return {
        name: [listing.names[i] for i in np.flatnonzero(listing.labels == k)]
        for k, name in enumerate(listing.class_names)
    }


def test_a_messy_folder_loses_nothing(tmp_path: Path) -> None:
    root = write_messy(tmp_path / "my photos")
    found = read(config({"folder": str(root)}), tmp_path / "cache")
    assert found.class_names == ("Cats", "d ogs")
    assert found.files is not None
    assert found.files.names.tolist() == [
        "Cats/0.png",
        "Cats/1.png",
        "Cats/2.png",
        "Cats/deep er/Ünïcode 10.JPEG",
        "d ogs/0.png",
        "d ogs/1.png",
        "d ogs/2.png",
        "d ogs/UPPER.PNG",
    ]
    assert found.labels.tolist() == [0] * 4 + [1] * 4
    assert {f.name for f in found.failures if f.kind == "unreadable"} == UNREADABLE
    others = {f.name: f.reason for f in found.failures if f.kind == "not_an_image"}
    assert others == {
        "Cats/notes.txt": "its suffix .txt names no image",
        "README": "its name has no suffix",
        "Cats/itself": "leads to a folder that is read already",
        "loop": "a link that leads nowhere",
    }
    assert not [f for f in found.failures if f.kind == "missing_labels"]


def test_natural_order() -> None:
    expected = [
        "9", "10", "a", "b", "img1", "IMG2", "img10", "x01", "x1", "Ä2",
    ]  # fmt: skip
    names = ["img10", "IMG2", "img1", "b", "Ä2", "a", "10", "9", "x01", "x1"]
    assert sorted(names, key=natural_key) == expected
    names.reverse()
    assert sorted(names, key=natural_key) == expected


def test_the_two_ways_to_write_an_accent_are_one_class(tmp_path: Path) -> None:
    forms = [unicodedata.normalize(form, "été") for form in ("NFC", "NFD")]
    write_picture(tmp_path / forms[0] / "a.png", 0)
    write_picture(tmp_path / forms[1] / "b.png", 1)
    write_picture(tmp_path / "hiver" / "c.png", 2)
    assert names_by_class(tmp_path) == {
        "hiver": ["hiver/c.png"],
        forms[0]: [f"{forms[0]}/a.png", f"{forms[0]}/b.png"],
    }


def test_names_that_are_no_utf8_are_spelled_out_and_opened(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "p", {"a": 1, "b": 1})
    os.rename(root / "a" / "0.png", os.fsencode(root / "a") + b"/\xff.png")
    found = read(config({"folder": str(root)}), tmp_path / "cache")
    assert found.files is not None
    assert found.files.names.tolist() == ["a/\\xff.png", "b/0.png"]


@pytest.mark.parametrize(
    ("folders", "parts"),
    [
        (("train", "val", "test"), [0, 1, 2]),
        (("Training", "VALID", "Testing"), [0, 1, 2]),
        (("training", "validation"), [0, 1]),
        (("train", "test"), [0, 2]),
        (("train",), [0]),
        (("training_set", "test_set"), [0, 2]),
        (("seg_train/seg_train", "seg_test/seg_test"), [0, 2]),
        (("train_images", "TestImages"), [0, 2]),
        (("train_set", "valid_set", "test_set"), [0, 1, 2]),
        (("trainset", "val2017"), [0, 1]),
        (("train", "evaluation"), [0, 2]),
        (("train", "evaluation", "test"), [0, 1, 2]),
        (("DATA/photos/train", "DATA/photos/test"), [0, 2]),
        (("train/images", "test/images"), [0, 2]),
    ],
)
def test_ready_made_parts(folders: tuple[str, ...], parts: list[int], tmp_path: Path) -> None:
    for folder in folders:
        write_classes(tmp_path / folder, {"a": 2, "b": 1})
    listing = list_folder(tmp_path, level=None)
    assert listing.class_names == ("a", "b")
    expected = dict(zip(folders, parts, strict=True))
    for name, label, part in zip(
        listing.names, listing.labels, listing.columns["parts"], strict=True
    ):
        above, label_name, _ = name.rsplit("/", 2)
        assert part == expected[above]
        assert ("a", "b")[label] == label_name
    assert len(listing.names) == 3 * len(folders)


def test_parts_beside_a_folder_without_images(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", {"a": 1, "b": 1})
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "all.csv").write_text("x")
    listing = list_folder(tmp_path, level=None)
    assert listing.columns["parts"].tolist() == [0, 0]
    assert [f.name for f in listing.failures] == ["annotations/all.csv"]
    write_classes(tmp_path / "test", {"a": 1, "b": 1})
    write_classes(tmp_path / "extra", {"": 1})
    with pytest.raises(RequestError, match="parts test, train, and beside them extra"):
        list_folder(tmp_path, level=None)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    for i, classes in enumerate((("car", "train"), ("bullet train", "steam train"), ("dev", "x"))):
        listing = list_folder(
            write_classes(tmp_path / str(i), dict.fromkeys(classes, 1)), level=None
        )
        assert listing.class_names == classes
        assert listing.columns == {}


@pytest.mark.parametrize("tables", [(), ("train",), ("test", "train")])
def test_parts_without_classes_are_refused_and_tables_named(
    tables: tuple[str, ...], tmp_path: Path
) -> None:
    write_classes(tmp_path, {"test": 2, "train": 2})
    for part in tables:
        (tmp_path / part / "_classes.csv").write_text("filename, cat")
    with pytest.raises(RequestError, match=r"parts of a split \(test, train\)") as caught:
        list_folder(tmp_path, level=None)
    assert str(caught.value).count("_classes.csv") == len(tables) * (1 + (len(tables) == 1))
    assert "source: {manifest: " in str(caught.value)


def test_top_folders_that_hold_the_same_folders(tmp_path: Path) -> None:
    for site in ("north", "south"):
        write_classes(tmp_path / site, {"cat": 2, "dog": 1})
    listing = list_folder(tmp_path, level=None)
    assert listing.class_names == ("cat", "dog")
    (note,) = listing.notes
    assert "north, south" in note
    assert "classes_level: 1" in note
    assert list_folder(tmp_path, level=1).class_names == ("north", "south")
    assert list_folder(tmp_path, level=2).class_names == ("cat", "dog")
    with pytest.raises(RequestError, match="no image lies 3 folders deep"):
        list_folder(tmp_path, level=3)
    write_classes(tmp_path / "south", {"cow": 1})
    assert list_folder(tmp_path, level=None).class_names == ("north", "south")


def test_parts_within_each_class(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        write_classes(tmp_path / name, {"train": 2, "test": 1})
    listing = list_folder(tmp_path, level=None)
    assert listing.class_names == ("cat", "dog")
    assert listing.columns["parts"].tolist() == [2, 0, 0] * 2
    assert list_folder(tmp_path, level=1).columns == {}


def test_what_is_guessed_of_folders_is_noted(tmp_path: Path) -> None:
    for part in ("seg_train", "seg_test"):
        write_classes(tmp_path / "DATA" / part, {"a": 1, "b": 1})
    found = read(config({"folder": str(tmp_path)}), tmp_path / "cache")
    assert found.notes == (
        "Classes are those in DATA.",
        "Parts: seg_test is test, seg_train is train.",
    )


@pytest.mark.parametrize("place", ["test/unknown", "test/images", "test", "predict", "test/test"])
def test_a_held_out_folder_that_is_no_class_has_no_label(place: str, tmp_path: Path) -> None:
    write_classes(tmp_path / "train", {"a": 2, "b": 1})
    write_classes(tmp_path / "val", {"a": 1, "b": 1})
    write_classes(tmp_path, {place: 2})
    listing = list_folder(tmp_path, level=None)
    assert listing.class_names == ("a", "b")
    assert listing.columns["parts"].tolist() == [0, 0, 0, 1, 1]
    assert [(f.kind, f.name) for f in listing.failures] == [
        ("missing_labels", f"{place}/{i}.png") for i in range(2)
    ]
    assert all("tlsearch predict" in f.reason for f in listing.failures)


def test_images_in_no_class_folder_have_no_label(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", {"a": 1, "b": 1})
    write_picture(tmp_path / "test" / "7.png", 3)
    write_picture(tmp_path / "8.png", 4)
    listing = list_folder(tmp_path, level=None)
    assert listing.names == ("train/a/0.png", "train/b/0.png")
    assert [(f.kind, f.name) for f in listing.failures] == [
        ("missing_labels", "8.png"),
        ("missing_labels", "test/7.png"),
    ]


def test_links_are_followed_once(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "p", {"b": 2, "c": 1})
    outside = write_classes(tmp_path / "outside", {"x": 2})
    os.symlink(root / "b", root / "a")  # sorts first, and yet the folder itself is read
    os.symlink(outside, root / "d")
    os.symlink(outside / "x", root / "e")
    os.symlink(outside / "x" / "0.png", root / "c" / "linked.png")
    os.symlink(tmp_path / "nothing.png", root / "c" / "broken.png")
    os.symlink(tmp_path, root / "c" / "up")
    assert names_by_class(root) == {
        "b": ["b/0.png", "b/1.png"],
        "c": ["c/0.png", "c/broken.png", "c/linked.png"],  # the audit says which leads nowhere
        "d": ["d/x/0.png", "d/x/1.png"],
    }
    os.mkfifo(root / "b" / "pipe.jpg")  # is not waited for
    assert [(f.kind, f.name, f.reason) for f in list_folder(root, level=None).failures] == [
        ("not_an_image", "a", "leads to a folder that is read already"),
        ("not_an_image", "b/pipe.jpg", "no file"),
        ("not_an_image", "c/up", "leads to a folder around this one"),
        ("not_an_image", "e", "leads to a folder that is read already"),
    ]


@pytest.mark.parametrize(
    ("made", "rule"),
    [
        ("absent", "is not there"),
        ("a file", "is no folder"),
        ("empty", "holds no images"),
        ("texts", "holds no images, but 1 other file"),
        ("flat", "no folders that name their classes"),
        ("one", "all images are of one class, 'a'"),
    ],
)
def test_a_folder_that_teaches_nothing(made: str, rule: str, tmp_path: Path) -> None:
    root = tmp_path / made
    if made == "a file":
        root.write_text("x")
    elif made != "absent":
        root.mkdir()
    if made == "texts":
        (root / "a").mkdir()
        (root / "a" / "a.txt").write_text("x")
    elif made == "flat":
        write_picture(root / "0.png", 0)
    elif made == "one":
        write_classes(root, {"a": 2})
    with pytest.raises(RequestError) as caught:
        list_folder(root, level=None)
    message = str(caught.value)
    assert message.startswith(f"data.source.folder.path = {root}: ")
    assert rule in message
    assert " — " in message
    assert "\n" not in message


def test_nothing_that_can_be_read(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "p" / name).mkdir(parents=True)
        (tmp_path / "p" / name / "0.png").write_bytes(b"")
    with pytest.raises(RequestError, match=r"0 of 2 images can be read.*a/0\.png: the file is emp"):
        read(config({"folder": str(tmp_path / "p")}), tmp_path / "cache")
    write_picture(tmp_path / "p" / "a" / "1.png", 0)
    with pytest.raises(RequestError, match="1 of 3 images can be read, all of class 'a'"):
        read(config({"folder": str(tmp_path / "p")}), tmp_path / "cache")
    write_classes(tmp_path / "p", {"b": 0, "c": 2})
    found = read(config({"folder": str(tmp_path / "p")}), tmp_path / "cache")
    assert found.class_names == ("a", "b", "c")  # one of unreadable files keeps its name
    assert np.bincount(found.labels).tolist() == [1, 0, 2]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("b/2.JPG", "b/é, x.png", "b/.hidden.png", "b/notes.txt", "b/.git/a.png", "a.webp",
                 "b/c/deep/3.tiff", "odd[1].png"):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def images_of(*named: str) -> list[str]:
    return [str(path) for path in find_files(named)]


def test_names_patterns_and_folders_by_suffix_in_order(here: Path) -> None:
    assert images_of("b") == ["b/2.JPG", "b/c/deep/3.tiff", "b/notes.txt", "b/é, x.png"]
    assert images_of("b/c", "a.webp") == ["b/c/deep/3.tiff", "a.webp"]
    assert images_of("b/notes.txt", "b/.hidden.png") == ["b/notes.txt", "b/.hidden.png"]
    assert images_of("*.webp", "b/*.JPG") == ["a.webp", "b/2.JPG"]
    assert images_of("**/*.tiff") == ["b/c/deep/3.tiff"]
    assert images_of("odd[1].png") == ["odd[1].png"], "a file of that very name goes first"
    (here / "empty").mkdir()
    assert images_of("empty") == []
    no_text = os.fsdecode(b"b/\xff.png")
    (here / no_text).touch()
    assert no_text in images_of("b")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("*.gif", "no file matches this pattern"),
        ("none.png", "no such file or folder"),
        ("x" * 5000, "no such file or folder"),
    ],
)
def test_what_is_not_there_is_refused_at_once(here: Path, name: str, message: str) -> None:
    assert here
    with pytest.raises(RequestError, match=message):
        find_files(["b", name])


def test_links(here: Path) -> None:
    (here / "b" / "c" / "up").symlink_to(here / "b", target_is_directory=True)
    (here / "out").mkdir()
    (here / "out" / "1.png").touch()
    (here / "b" / "linked").symlink_to(here / "out", target_is_directory=True)
    (here / "b" / "gone.png").symlink_to(here / "nowhere.png")
    assert sorted(images_of("b")) == [
        *("b/2.JPG", "b/c/deep/3.tiff", "b/gone.png", "b/linked/1.png", "b/notes.txt"),
        "b/é, x.png",
    ]


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (["a/12_jpg.rf.0a1b.jpg", "a/12_jpg.rf.ff.jpg", "a/13_jpg.rf.0a.jpg"], [0, 0, 2]),
        (["train/a/x_png.rf.0a.jpg", "test/a/x_png.rf.0b.jpg", "b/x_png.rf.0c.jpg"], [0, 0, 2]),
        (["a/3.jpg", "a/3_flipLR.JPG", "a/3_new30degFlipLR.JPG", "a/3-Rot_90.jpg"], [0] * 4),
        (["a/3_aug_1.png", "a/3_aug_2.png", "a/31_aug_1.png", "a/3.jpg"], [0, 0, 2, 0]),
        (
            [f"a/a_original_5.jpg_0123456{i}-89ab-cdef-0123-456789abcdef.jpg" for i in range(2)],
            [0, 0],
        ),
        # what numbers them, or the original beside them, must stand before the word
        (["a/tissue_crop_1.png", "a/tissue_crop_2.png"], [0, 1]),
        (["a/tissue_crop_1.png", "a/tissue.png"], [0, 0]),
        (
            ["a/IMG_1.jpg", "a/IMG_2.jpg", "a/dark_3.jpg", "a/1 (2).jpg", "b/1_flip.jpg"],
            [*range(5)],
        ),
    ],
)
def test_augmented_copies_are_known_by_their_names(names: list[str], groups: list[int]) -> None:
    found = copies_by_name(names)
    assert found.first.tolist() == groups
    assert bool(found.pattern) == (len(set(groups)) < len(groups))


def test_a_pattern_of_names_makes_groups(tmp_path: Path) -> None:
    for part, name in enumerate(("train/a/p1_0", "train/b/p1_1", "test/a/p2_0", "test/b/x")):
        write_picture(tmp_path / f"{name}.png", part)

    def groups(pattern: str) -> tuple[list[int], tuple[str, ...]]:
        group = NamePattern(pattern=pattern)
        listing = list_folder(tmp_path, level=None, group=group)
        found = dict(zip(listing.names, listing.columns["groups"].tolist(), strict=True))
        return [found[name] for name in sorted(found)], listing.notes

    two = (
        "the pattern of names makes 2 groups; it finds nothing in 1 paths, each a group of its own"
    )
    assert groups(r"(p\d)_") == ([1, 2, 0, 0], (two,))
    assert groups("^./")[0] == [0, 1, 0, 1]
    with pytest.raises(RequestError, match=r"group.pattern = q: finds nothing in any of 4 paths"):
        groups("q")


def test_names_of_copies_give_the_pattern_that_groups_them(tmp_path: Path) -> None:
    for i, name in enumerate(("3", "3_flip", "3_rot90", "4", "4_rot15")):
        write_picture(tmp_path / "a" / f"{name}.png", i)
        write_picture(tmp_path / "b" / f"{i}_jpg.rf.{name}.png", 10 + i)
    plain = list_folder(tmp_path, level=None)
    group = NamePattern(pattern=copies_by_name(plain.names).pattern)
    groups = list_folder(tmp_path, level=None, group=group).columns["groups"]
    assert len(np.unique(groups)) == 2 + 5
