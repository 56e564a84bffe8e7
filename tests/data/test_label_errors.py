"""Wrong labels that were planted are found, and the test part decides nothing."""

import numpy as np
import pytest
from sklearn.datasets import load_digits, make_blobs

from tests.data.made import audit_config
from tlsearch.config.runtime import no_progress
from tlsearch.data.dataset import ImageSet, image_set, with_columns
from tlsearch.data.label_errors import Suspects, find_suspects, finding_of
from tlsearch.metrics.linear_probe import FOLDS


def set_of(labels: np.ndarray, num_classes: int) -> ImageSet:
    images = np.zeros((len(labels), 1, 1, 1), np.uint8)
    return image_set(images, labels, tuple(f"class {i}" for i in range(num_classes)))


def flipped(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The labels with a share of them exchanged for another, and which."""
    draw = np.random.default_rng(seed)
    rows = draw.permutation(len(labels))[: int(share * len(labels))]
    wrong = labels.copy()
    classes = labels.max() + 1
    wrong[rows] = (wrong[rows] + draw.integers(1, classes, len(rows))) % classes
    return wrong, rows


def suspects(
    features: np.ndarray, data: ImageSet, *, held_out: np.ndarray | None = None, seed: int = 0
) -> Suspects | None:
    tested = np.empty(0, np.int64) if held_out is None else held_out
    return find_suspects(
        features,
        data,
        judged=np.setdiff1d(np.arange(len(data.labels)), tested),
        held_out=tested,
        seed=seed,
        on_progress=no_progress,
    )


def blobs() -> tuple[np.ndarray, np.ndarray]:
    features, labels = make_blobs(600, 32, centers=4, cluster_std=5.0, random_state=0)
    return features.astype(np.float32), labels.astype(np.int64)


@pytest.mark.parametrize(("source", "share"), [("blobs", 0.1), ("digits", 0.02)])
def test_most_planted_flips_are_found_and_few_others(source: str, share: float) -> None:
    features, labels = blobs() if source == "blobs" else load_digits(return_X_y=True)
    wrong, rows = flipped(labels, share, seed=1)
    found = suspects(features, set_of(wrong, int(labels.max()) + 1))
    assert found is not None
    hits = np.isin(found.rows, rows)
    assert hits.sum() >= 0.8 * len(rows)
    assert (~hits).sum() <= max(3, 0.02 * len(labels))
    right = labels[found.rows[hits]] == found.suggested[hits]
    assert right.mean() > 0.9
    margin = found.suggested_probability - found.given_probability
    assert (np.diff(margin) <= 0).all()


def test_clean_labels_are_not_suspected() -> None:
    features, labels = blobs()
    found = suspects(features, set_of(labels, 4))
    assert found is not None
    assert len(found.rows) <= 2
    digits, labels = load_digits(return_X_y=True)
    found = suspects(digits, set_of(labels, 10))
    assert found is not None
    assert len(found.rows) <= 0.01 * len(labels)
    assert found.agreement > 0.9


def test_the_test_parts_labels_have_no_say_in_what_is_dropped() -> None:
    features, labels = blobs()
    wrong, rows = flipped(labels, 0.1, seed=2)
    held_out = np.arange(0, 600, 4)
    found = suspects(features, set_of(wrong, 4), held_out=held_out)
    nonsense = wrong.copy()
    nonsense[held_out] = (nonsense[held_out] + 1) % 4
    other = suspects(features, set_of(nonsense, 4), held_out=held_out)
    assert found is not None
    assert other is not None
    own, others = (set(f.rows.tolist()) - set(held_out.tolist()) for f in (found, other))
    assert own == others
    assert len(own) > 30
    # They are judged all the same, for a person to look at.
    tested = np.intersect1d(found.rows, held_out)
    assert len(np.intersect1d(tested, rows)) >= 0.8 * len(np.intersect1d(held_out, rows))
    assert len(np.intersect1d(other.rows, held_out)) > 100


def test_a_copy_on_the_other_side_would_hide_a_wrong_label() -> None:
    features, labels = blobs()
    features, labels = np.repeat(features, 6, axis=0)[:600], np.repeat(labels, 6)[:600]
    wrong = labels.copy()
    wrong[:6] = (labels[0] + 1) % 4
    data = with_columns(set_of(wrong, 4), clusters=np.arange(600) // 6 * 6)
    found = suspects(features, data)
    assert found is not None
    assert set(range(6)) <= set(found.rows.tolist())


def test_small_classes_are_not_judged() -> None:
    features, labels = blobs()
    rows = np.concatenate([np.flatnonzero(labels != 1), np.flatnonzero(labels == 1)[: FOLDS - 1]])
    labels[np.flatnonzero(labels == 0)[:5]] = 2
    few = set_of(labels[rows], 4)
    found = suspects(features[rows], few, held_out=np.arange(0, len(rows), 5))
    assert found is not None
    assert 1 not in few.labels[found.rows]
    assert 1 not in found.suggested
    assert {0} == set(found.suggested[few.labels[found.rows] == 2].tolist())


def test_there_may_be_nothing_to_judge_or_to_judge_by() -> None:
    noise = np.random.default_rng(0).normal(size=(24, 3))
    for classes in (1, 2):  # one class, and one with four images
        labels = np.array([0] * 20 + [classes - 1] * 4)
        assert suspects(noise, set_of(labels, classes)) is None
    assert suspects(np.empty((0, 3)), set_of(np.empty(0, np.int64), 2)) is None
    labels = np.array([0] * 90 + [1] * 10)
    assert suspects(np.zeros((100, 3)), set_of(labels, 2)) is None


@pytest.mark.parametrize("policy", ["drop", "keep", "error"])
def test_what_is_reported_of_them(policy: str) -> None:
    data = set_of(np.array([0, 1, 0, 1]), 2)
    found = Suspects(
        rows=np.array([2, 1]),
        suggested=np.array([1, 0]),
        given_probability=np.array([0.125, 0.25]),
        suggested_probability=np.array([0.875, 0.75]),
        agreement=np.array(0.5),
    )
    rules = audit_config(label_errors=policy).audit
    finding = finding_of(found, data, config=rules, held_out=np.array([1]))
    assert finding is not None
    assert (finding.policy, finding.count) == (policy, 2)
    assert finding.dropped == (1 if policy == "drop" else 0)
    assert finding.files[0].names == ("image 2",)
    assert finding.files[0].detail == "class 0 (0.12), rather class 1 (0.88)"
    assert "1 of them in the test part" in finding.text
    nobody = found._replace(rows=np.empty(0, np.int64))
    assert finding_of(nobody, data, config=rules, held_out=np.array([1])) is None
