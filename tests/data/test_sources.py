import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tlsearch.data.digits import load_digits_images
from tlsearch.data.images import image_set, with_columns
from tlsearch.data.sources import READERS, load_images
from tlsearch.study.data import DataConfig
from tlsearch.study.sources import SOURCES, known_facts


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


EMBEDDED = [name for name in READERS if name not in ("folder", "manifest", "torchvision")]


def read(source, tmp_path, size=16):
    data = DataConfig.model_validate({"source": source, "size": size})
    return data, load_images(data, cache=tmp_path, on_progress=lambda _share, _text: None)


@pytest.mark.parametrize("source", EMBEDDED)
def test_what_a_study_knows_of_a_source_is_what_it_holds(source, tmp_path):
    data, images = read(source, tmp_path)
    facts = known_facts(data.source)
    counts = np.bincount(images.labels)
    found = (len(images.images), len(images.class_names), counts.min())
    assert found == (facts.images, facts.classes, facts.smallest_class)


@pytest.mark.parametrize("source", EMBEDDED)
def test_every_source_gives_a_valid_set(source, tmp_path):
    _, images = read(source, tmp_path)
    assert images.images.dtype == np.uint8
    assert images.images.shape[1:3] == (16, 16)
    assert images.images.shape[3] in (1, 3)
    assert set(np.unique(images.labels)) == set(range(len(images.class_names)))


def test_every_reader_reads_a_source_that_a_study_can_name():
    assert set(READERS) <= set(SOURCES)
