import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tests.data.made import config, read, write_classes, write_table
from tlsearch.config.sources import SOURCES, known_facts
from tlsearch.data import dataset as store
from tlsearch.data.dataset import image_set, with_columns
from tlsearch.data.sources import READERS, load_digits_images


@pytest.fixture(scope="module")
def digits():
    return load_digits_images(32)


def test_digits_have_the_files_order_and_shape(digits):
    assert digits.images.shape == (1797, 32, 32, 1)
    assert digits.images.dtype == np.uint8
    assert digits.class_names == tuple("0123456789")
    np.testing.assert_array_equal(digits.labels, load_digits().target)
    assert digits.labels.dtype == np.int64


def test_grey_levels_0_to_16_span_all_bytes():
    images = load_digits_images(8).images[..., 0]
    np.testing.assert_array_equal(images, np.rint(load_digits().images * 255 / 16))
    assert images.min() == 0
    assert images.max() == 255


def test_enlarging_is_pillows_bicubic(digits):
    scan = np.rint(load_digits().images[7] * 255 / 16).astype(np.uint8)
    expected = Image.fromarray(scan).resize((32, 32), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(digits.images[7, ..., 0], np.asarray(expected))


def test_the_fingerprint_depends_on_content_alone(digits):
    assert load_digits_images(32).fingerprint == digits.fingerprint
    assert load_digits_images(16).fingerprint != digits.fingerprint
    images, labels, names = digits.images.copy(), digits.labels.copy(), digits.class_names
    digits = image_set(images.copy(), labels, names)
    assert with_columns(digits, times=labels * 1.0).fingerprint != digits.fingerprint
    assert image_set(images, labels, names).fingerprint == digits.fingerprint
    images[5, 5, 5, 0] ^= 1
    other_labels = np.roll(labels, 1)
    assert (
        len(
            {
                digits.fingerprint,
                image_set(images, labels, names).fingerprint,
                image_set(digits.images, other_labels, names).fingerprint,
                image_set(digits.images, labels, names[::-1]).fingerprint,
                image_set(digits.images.reshape(1797, 16, 64, 1), labels, names).fingerprint,
            }
        )
        == 5
    )
    assert len(digits.fingerprint) == 16


def test_images_cannot_be_changed_by_accident(digits):
    with pytest.raises(ValueError, match="read-only"):
        digits.images[0] = 0


FROM_FILES = ("folder", "manifest", "torchvision")
EMBEDDED = [name for name in READERS if name not in FROM_FILES]
ALL = [*EMBEDDED, *FROM_FILES]


@pytest.fixture
def sources(tmp_path):
    """A small source of every kind, by name; what is embedded takes its defaults."""
    counts = {"a": 4, "b": 3}
    folder = write_classes(tmp_path / "photos", counts)
    names = [f"{name}/{i}.png" for name, count in counts.items() for i in range(count)]
    write_table(folder / "table.csv", [("path", "label"), *[(name, name[0]) for name in names]])
    return {name: {name: {}} for name in EMBEDDED} | {
        "folder": {"folder": str(folder)},
        "manifest": {"manifest": str(folder / "table.csv")},
        "torchvision": {"torchvision": {"name": "FakeData", "images": 40}},
    }


@pytest.mark.parametrize("source", EMBEDDED)
def test_what_a_study_knows_of_a_source_is_what_it_holds(source, tmp_path):
    data = config(source)
    images = read(data, tmp_path)
    facts = known_facts(data.source)
    counts = np.bincount(images.labels)
    found = (len(images.images), len(images.class_names), counts.min())
    assert found == (facts.images, facts.classes, facts.smallest_class)


@pytest.mark.parametrize("source", ALL)
def test_every_source_gives_a_valid_set(source, sources, tmp_path):
    images = read(config(sources[source]), tmp_path / "cache")
    assert images.images.dtype == np.uint8
    assert images.images.shape[1:3] == (16, 16)
    assert images.images.shape[3] in (1, 3)
    assert not images.images.flags.writeable
    assert not images.labels.flags.writeable
    assert set(np.unique(images.labels)) == set(range(len(images.class_names)))
    assert all(isinstance(name, str) for name in images.class_names)
    columns = (images.times, images.groups, images.parts, images.weights)
    assert {len(c) for c in (images.labels, *columns) if c is not None} == {len(images.images)}
    assert (images.clusters, images.rows, images.suspects) == (None, None, None)


@pytest.mark.parametrize("source", ALL)
def test_every_source_gives_the_same_again(source, sources, tmp_path):
    first = read(config(sources[source]), tmp_path / "cache")
    again = read(config(sources[source]), tmp_path / "cache")
    elsewhere = read(config(sources[source]), tmp_path / "other cache")
    assert first.fingerprint == again.fingerprint == elsewhere.fingerprint
    np.testing.assert_array_equal(first.images, elsewhere.images)
    assert read(config(sources[source], size=8), tmp_path / "c").fingerprint != first.fingerprint


@pytest.mark.parametrize("source", FROM_FILES)
def test_sources_of_files_know_each_file(source, sources, tmp_path):
    images = read(config(sources[source]), tmp_path / "cache")
    assert {len(column) for column in images.files} == {len(images.labels)}
    assert images.files.sizes.shape == (len(images.labels), 2)
    assert images.files.hashes.dtype == np.uint64
    assert len(set(images.files.digests)) == len(set(images.files.names)) == len(images.labels)
    assert isinstance(images.images, np.ndarray)
    assert np.load(images.pixel_file, mmap_mode="r").shape == images.images.shape


@pytest.mark.parametrize("source", ALL)
def test_every_set_comes_back_from_disk(source, sources, tmp_path):
    images = read(config(sources[source]), tmp_path / "cache")
    loaded = store.load(store.save(images, tmp_path / "store"))
    assert loaded.fingerprint == images.fingerprint
    assert loaded.failures == images.failures
    np.testing.assert_array_equal(loaded.images, images.images)
    np.testing.assert_array_equal(loaded.labels, images.labels)


def test_a_folder_and_its_manifest_are_the_same_images(sources, tmp_path):
    folder, manifest = (
        read(config(sources[name]), tmp_path / "cache") for name in ("folder", "manifest")
    )
    assert folder.fingerprint == manifest.fingerprint
    assert folder.pixel_file == manifest.pixel_file  # decoded once


def test_every_reader_reads_a_source_that_a_study_can_name():
    assert set(READERS) <= set(SOURCES)
    assert set(FROM_FILES) <= set(READERS)
