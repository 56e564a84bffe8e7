"""What every source promises, and planted defects."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tests.data.made import config, read, write_classes, write_table
from tlsearch.config.images import DataConfig
from tlsearch.config.runtime import no_progress
from tlsearch.config.schema import StudyConfig
from tlsearch.config.sources import known_facts
from tlsearch.data import dataset
from tlsearch.data.audit import audited
from tlsearch.data.dataset import TEST, TRAIN, VALIDATION, ImageSet, image_set, with_columns
from tlsearch.data.sources import (
    READERS,
    load_digits_images,
    load_images,
    planted,
    read_images,
    read_source,
)
from tlsearch.data.splits import draw_splits
from tlsearch.errors import RequestError


@pytest.fixture(scope="module")
def digits():
    return load_digits_images(32)


def test_digits_have_the_files_order_and_shape(digits):
    assert digits.images.shape == (1797, 32, 32, 1)
    assert digits.images.dtype == np.uint8
    assert digits.class_names == tuple("0123456789")
    np.testing.assert_array_equal(digits.labels, load_digits().target)
    assert digits.labels.dtype == np.int64


def test_digits_span_all_bytes_and_are_enlarged_by_pillows_bicubic(digits):
    scans = np.rint(load_digits().images * 255 / 16)
    np.testing.assert_array_equal(load_digits_images(8).images[..., 0], scans)
    assert (scans.min(), scans.max()) == (0, 255)
    seventh = Image.fromarray(scans[7].astype(np.uint8))
    expected = seventh.resize((32, 32), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(digits.images[7, ..., 0], np.asarray(expected))


def test_the_fingerprint_depends_on_content_alone(digits):
    images, labels, names = digits.images.copy(), digits.labels.copy(), digits.class_names
    own = image_set(images.copy(), labels, names)
    assert image_set(images, labels, names).fingerprint == own.fingerprint
    changed = images.copy()
    changed[5, 5, 5, 0] ^= 1
    others = [
        digits,  # has times
        load_digits_images(16),
        image_set(changed, labels, names),
        image_set(images, np.roll(labels, 1), names),
        image_set(images, labels, names[::-1]),
        image_set(images.reshape(1797, 16, 64, 1), labels, names),
    ]
    assert len({data.fingerprint for data in (own, *others)}) == 7
    assert len(own.fingerprint) == 16
    assert load_digits_images(32).fingerprint == digits.fingerprint
    assert with_columns(own, times=digits.times).fingerprint == digits.fingerprint


FROM_FILES = ("folder", "manifest", "torchvision")
EMBEDDED = [name for name in READERS if name not in FROM_FILES]
ALL = [*EMBEDDED, *FROM_FILES]


@pytest.fixture
def sources(tmp_path):
    """A small source of every kind, by name."""
    counts = {"a": 4, "b": 3}
    folder = write_classes(tmp_path / "photos", counts)
    names = [f"{name}/{i}.png" for name, count in counts.items() for i in range(count)]
    write_table(folder / "table.csv", [("path", "label"), *[(name, name[0]) for name in names]])
    return {name: {name: {"images": 80}} for name in EMBEDDED} | {
        "digits": "digits",
        "letters": {"letters": {"images": 80, "classes": 5}},
        "textures": {"textures": {"images": 80, "classes": 5}},
        "folder": {"folder": str(folder)},
        "manifest": {"manifest": str(folder / "table.csv")},
        "torchvision": {"torchvision": {"name": "FakeData", "images": 40}},
    }


@pytest.mark.slow
@pytest.mark.parametrize("source", EMBEDDED)
def test_what_a_study_knows_of_a_source_is_what_it_holds(source, tmp_path):
    data = config(source)
    images = read(data, tmp_path)
    facts = known_facts(data.source)
    counts = np.bincount(images.labels)
    found = (len(images.images), len(images.class_names), counts.min())
    assert found == (facts.images, facts.classes, facts.smallest_class)


@pytest.mark.parametrize("source", ALL)
def test_every_source_gives_a_valid_set_again_and_from_disk(source, sources, tmp_path):
    first = read(config(sources[source]), tmp_path / "cache")
    assert first.images.dtype == np.uint8
    assert first.images.shape[1:3] == (16, 16)
    assert first.images.shape[3] in (1, 3)
    assert not first.images.flags.writeable
    assert not first.labels.flags.writeable
    assert set(np.unique(first.labels)) == set(range(len(first.class_names)))
    assert all(isinstance(name, str) for name in first.class_names)
    columns = (first.times, first.groups, first.parts, first.weights)
    assert {len(c) for c in (first.labels, *columns) if c is not None} == {len(first.images)}
    assert (first.clusters, first.rows, first.suspects) == (None, None, None)

    again = read(config(sources[source]), tmp_path / "cache")
    elsewhere = read(config(sources[source]), tmp_path / "other cache")
    assert first.fingerprint == again.fingerprint == elsewhere.fingerprint
    np.testing.assert_array_equal(first.images, elsewhere.images)
    assert read(config(sources[source], size=8), tmp_path / "c").fingerprint != first.fingerprint

    loaded = dataset.load(dataset.save(first, tmp_path / "store"))
    assert (loaded.fingerprint, loaded.failures) == (first.fingerprint, first.failures)
    np.testing.assert_array_equal(loaded.images, first.images)
    np.testing.assert_array_equal(loaded.labels, first.labels)

    if source in FROM_FILES:
        assert {len(column) for column in first.files} == {len(first.labels)}
        assert first.files.sizes.shape == (len(first.labels), 2)
        assert first.files.hashes.dtype == np.uint64
        assert len(set(first.files.digests)) == len(set(first.files.names)) == len(first.labels)
        assert np.load(first.pixel_file, mmap_mode="r").shape == first.images.shape


def test_a_folder_and_its_manifest_are_the_same_images(sources, tmp_path):
    folder, manifest = (
        read(config(sources[name]), tmp_path / "cache") for name in ("folder", "manifest")
    )
    assert folder.fingerprint == manifest.fingerprint
    assert folder.pixel_file == manifest.pixel_file  # decoded once


def planted_config(**changes: Any) -> DataConfig:
    wanted = {"label_noise": 0.2, "duplicates": 0.5, "seed": 0, **changes}
    return DataConfig.model_validate(
        {
            "source": {"letters": {"images": 200, "classes": 5}},
            "size": 16,
            "split": {"strategy": "given", "validation": 0.2, "test": 0.3},
            "planted": wanted,
        }
    )


def clean(of: DataConfig) -> ImageSet:
    return load_images(of, cache=None, on_progress=no_progress)  # type: ignore[arg-type]


def test_as_many_as_asked_for_and_in_the_training_part_alone() -> None:
    before = clean(planted_config())
    after = planted(before, planted_config())
    assert after.parts is not None
    assert len(after.labels) == 200 + 50  # a hundred train
    assert [int((after.parts == part).sum()) for part in (TRAIN, VALIDATION, TEST)] == [150, 40, 60]
    assert np.array_equal(after.images[:200], before.images)
    assert (after.parts[200:] == TRAIN).all()
    held = np.flatnonzero(after.parts[:200] != TRAIN)
    assert np.array_equal(after.labels[held], before.labels[held])
    known = {
        image.tobytes(): label for image, label in zip(before.images, before.labels, strict=True)
    }
    assert len(known) == 200
    train = {before.images[row].tobytes() for row in np.flatnonzero(after.parts[:200] == TRAIN)}
    assert all(image.tobytes() in train for image in after.images[200:])
    true = np.array([known[image.tobytes()] for image in after.images])
    assert (true != after.labels).sum() == 30  # a fifth of 150
    assert np.bincount(after.labels, minlength=5).min() > 0


def test_planted_defects_follow_their_seed_and_stay_in_training() -> None:
    wanted = planted_config()
    before = clean(wanted)
    one, two, other = (planted(before, planted_config(seed=seed)) for seed in (0, 0, 1))
    assert one.fingerprint == two.fingerprint != other.fingerprint
    assert one.parts is not None
    assert other.parts is not None
    assert np.array_equal(one.parts, other.parts[: len(one.parts)])
    without = wanted.model_copy(update={"planted": None})
    assert planted(before, without) is before
    for redraw in range(3):
        (parts,) = draw_splits(one, split=wanted.split, labels_per_class=8, redraw=redraw)
        for rows, part in zip(parts, (TRAIN, VALIDATION, TEST), strict=True):
            assert (one.parts[rows] == part).all()


def test_the_audit_finds_and_drops_what_was_planted() -> None:
    wanted = planted_config(label_noise=0.3)
    rules = {"conflicting_labels": "drop", "exact_duplicates": "drop", "near_duplicates": "off"}
    policy = wanted.audit.model_copy(update=rules)
    wanted = wanted.model_copy(update={"audit": policy})
    data, audit = read_images(wanted, cache=None, on_progress=no_progress)  # type: ignore[arg-type]
    found = {finding.kind: finding for finding in audit.findings}
    assert found["exact_duplicates"].dropped > 0
    assert found["conflicting_labels"].dropped > 0
    # Each picture that is left stands there once.
    left = [data.images[row].tobytes() for row in data.usable]
    assert len(left) == len(set(left))
    assert data.parts is not None
    assert {int((data.parts[data.usable] == part).sum()) for part in (VALIDATION, TEST)} == {40, 60}
    assert "unreadable" in audit.clean
    embedded = wanted.model_copy(update={"planted": None})
    assert not audited(clean(embedded), embedded, on_progress=no_progress)[1].findings


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ("absent", r"^backbone\.source\.folder\.path = .*: is not there"),
        ("same", r"backbone\.source: none of the 4 images is left"),
        ("few", r"^backbone\.source: 3 usable images, and 1 of the classes have two or more — "),
    ],
)
def test_errors_about_the_source_of_weights_name_its_field(
    made: str, message: str, tmp_path: Path
) -> None:
    root = tmp_path / "photos"
    if made == "same":  # each picture under both labels
        write_classes(root / "a", {"": 2})
        shutil.copytree(root / "a", root / "b")
    elif made == "few":
        write_classes(root, {"a": 2, "b": 1})
    weights = {"name": "resnet18", "weights": "own.safetensors", "source": {"folder": str(root)}}
    study = {"name": "x", "data": {"source": "digits"}, "backbone": weights}
    config = StudyConfig.model_validate(study)
    with pytest.raises(RequestError, match=message) as caught:
        read_source(config, cache=tmp_path / "cache", on_progress=no_progress)
    assert "data.source" not in str(caught.value)
