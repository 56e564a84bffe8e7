"""Planted defects: as many as asked for, in the training part alone, and found by the audit."""

from typing import Any

import numpy as np

from tlsearch.config.schema import DataConfig
from tlsearch.data.audit import audited
from tlsearch.data.dataset import TEST, TRAIN, VALIDATION, ImageSet
from tlsearch.data.sources import load_images, planted, read_images
from tlsearch.data.splits import draw_splits


def silent(_share: float, _text: str) -> None:
    pass


def config(**changes: Any) -> DataConfig:
    asked = {"label_noise": 0.2, "duplicates": 0.5, "seed": 0, **changes}
    return DataConfig.model_validate(
        {
            "source": {"letters": {"images": 200, "classes": 5}},
            "size": 16,
            "split": {"strategy": "given", "validation": 0.2, "test": 0.3},
            "planted": asked,
        }
    )


def clean(of: DataConfig) -> ImageSet:
    return load_images(of, cache=None, on_progress=silent)  # type: ignore[arg-type]


def test_as_many_as_asked_for_and_in_the_training_part_alone() -> None:
    before = clean(config())
    after = planted(before, config())
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


def test_the_same_defects_every_time_and_others_from_another_seed() -> None:
    before = clean(config())
    one, two, other = (planted(before, config(seed=seed)) for seed in (0, 0, 1))
    assert one.fingerprint == two.fingerprint != other.fingerprint
    assert np.array_equal(one.parts, other.parts[: len(one.parts)])  # type: ignore[arg-type, index]
    without = config().model_copy(update={"planted": None})
    assert planted(before, without) is before


def test_no_redraw_moves_a_planted_image_out_of_training() -> None:
    asked = config()
    data = planted(clean(asked), asked)
    assert data.parts is not None
    for redraw in range(3):
        (parts,) = draw_splits(data, split=asked.split, labels_per_class=8, redraw=redraw)
        assert (data.parts[parts.train] == TRAIN).all()
        assert (data.parts[parts.validation] == VALIDATION).all()
        assert (data.parts[parts.test] == TEST).all()


def test_the_audit_finds_and_drops_what_was_planted() -> None:
    asked = config(label_noise=0.3)
    rules = {"conflicting_labels": "drop", "exact_duplicates": "drop", "near_duplicates": "off"}
    policy = asked.audit.model_copy(update=rules)
    asked = asked.model_copy(update={"audit": policy})
    data, audit = read_images(asked, cache=None, on_progress=silent)  # type: ignore[arg-type]
    found = {finding.kind: finding for finding in audit.findings}
    assert found["exact_duplicates"].dropped > 0
    assert found["conflicting_labels"].dropped > 0
    # Each picture that is left stands there once.
    left = [data.images[row].tobytes() for row in data.usable]
    assert len(left) == len(set(left))
    assert data.parts is not None
    assert {int((data.parts[data.usable] == part).sum()) for part in (VALIDATION, TEST)} == {40, 60}
    assert "unreadable" in audit.clean
    embedded = asked.model_copy(update={"planted": None})
    assert not audited(clean(embedded), embedded, on_progress=silent)[1].findings
