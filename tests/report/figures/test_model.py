"""Figures of the model and of the data, against hand arithmetic and scikit-learn."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_auc_score

from tests.report.fake import fake_study, know_data
from tlsearch.report.context import SearchReport, read_search
from tlsearch.report.evaluation import ClassRow, Evaluation, Scores
from tlsearch.report.figures import data as data_figures
from tlsearch.report.figures import model
from tlsearch.report.figures.data import ClassShares
from tlsearch.report.figures.model import Calibration, Confusion, Roc
from tlsearch.report.wording import Absent
from tlsearch.search.store import FACTS


def test_confusion_is_of_the_champion_on_the_test_part(data: SearchReport) -> None:
    found = Confusion.compute(data)
    assert isinstance(found, Confusion)
    assert found.part == "test"
    assert found.model == "the exported model (trial 5 again, seed 1)"
    assert found.num_images == 270
    wrong = [n for i, row in enumerate(found.counts) for j, n in enumerate(row) if i != j]
    assert found.num_right == 270 - sum(wrong)
    assert [n for *_, n in found.mistakes] == sorted(wrong, reverse=True)[:5]


def many(counts: tuple[tuple[int, ...], ...]) -> Evaluation:
    names = tuple(f"class {i}" for i in range(len(counts)))
    rows = tuple(ClassRow(name, 1.0, 1.0, 1.0, 1) for name in names)
    return Evaluation("test", "m", names, counts, rows)


def test_of_many_classes_those_with_most_mistakes_are_drawn(data: SearchReport) -> None:
    size = 30
    counts = [[5 if i == j else 0 for j in range(size)] for i in range(size)]
    counts[29][3] = 2
    evaluation = many(tuple(map(tuple, counts)))
    changed = replace(data, evaluation=evaluation)
    found = Confusion.compute(changed)
    assert isinstance(found, Confusion)
    assert len(found.shown) == model.MAX_CLASSES
    assert {3, 29} < set(found.shown)
    assert "Of 30 classes the 20 with most mistakes are drawn." in found.caption
    hits, wrong = found.draw().data
    place = found.shown.index(3)
    assert hits.text[place][place] == "5"
    assert wrong.text[-1][place] == "2"
    assert wrong.z[-1][place] == pytest.approx(2 / 7)
    assert hits.text[-1][place] == ""


def scored(labels: list[int], probabilities: object, classes: tuple[str, ...]) -> Scores:
    return Scores("m", classes, np.array(labels), np.array(probabilities, dtype=np.float32))


def drawn(num: int, num_classes: int, *, seed: int = 0) -> Scores:
    """Probabilities that know something of the labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num) % num_classes
    logits = rng.normal(size=(num, num_classes)) + 1.5 * np.eye(num_classes)[labels]
    weights = np.exp(logits)
    names = tuple(f"c{i}" for i in range(num_classes))
    return Scores("m", names, labels, weights / weights.sum(axis=1, keepdims=True))


def curves_of(given: Scores) -> Roc:
    found = Roc.of(given, seed=0)
    assert isinstance(found, Roc)
    return found


def test_two_classes_have_one_curve_by_hand() -> None:
    # By falling probability of b: b, a, b, b, a, so 1/3 found with no false one, then 3/3 with 1/2.
    sure = [0.9, 0.8, 0.7, 0.6, 0.1]
    curves = curves_of(scored([1, 0, 1, 1, 0], [[1 - p, p] for p in sure], ("a", "b")))
    (only,) = curves.worst
    assert (only.name, only.images, curves.num_classes) == ("b", 3, 1)
    corners = set(zip(only.fpr, only.tpr, strict=True))
    assert {(0.0, 0.3333), (0.5, 0.3333), (0.5, 1.0), (1.0, 1.0)} <= corners
    # Of the 3 × 2 pairs the right one is surer in 4: 2 of the first b, 1 each of the others.
    assert only.auc == pytest.approx(4 / 6)
    assert [trace.name for trace in curves.draw().data] == ["by chance", "b (0.667)"]
    assert "Area under the curve of b: 0.6667" in curves.caption


def test_areas_are_those_of_scikit_learn_and_the_worst_come_first() -> None:
    given = drawn(600, 8)
    curves = curves_of(given)
    expected = {
        name: roc_auc_score(given.labels == k, given.probabilities[:, k])
        for k, name in enumerate(given.classes)
    }
    worst = sorted(expected, key=expected.__getitem__)[: model.WORST_CLASSES]
    assert [curve.name for curve in curves.worst] == worst
    assert [c.auc for c in curves.worst] == pytest.approx([expected[name] for name in worst])
    macro = roc_auc_score(given.labels, given.probabilities, multi_class="ovr", average="macro")
    assert curves.mean.auc == pytest.approx(macro)
    # The area under the drawn mean is that of the whole, but for its grid.
    assert np.trapezoid(curves.mean.tpr, curves.mean.fpr) == pytest.approx(macro, abs=2e-3)
    lines = [t for t in curves.draw().data if t.name != "by chance"]
    assert len(lines) == 1 + model.WORST_CLASSES
    assert len({t.line.dash for t in lines[1:]}) == model.WORST_CLASSES


def test_a_class_without_images_is_left_out_and_said() -> None:
    given = drawn(90, 3)
    wider = np.hstack([given.probabilities, np.zeros((90, 1))])
    curves = curves_of(given._replace(probabilities=wider, classes=(*given.classes, "nobody")))
    assert (curves.num_classes, curves.without) == (3, 1)
    assert "left out: 1" in curves.caption
    assert curves.mean.auc == pytest.approx(curves_of(given).mean.auc)


def test_images_of_one_class_tell_nothing() -> None:
    one = scored([0, 0], [[0.9, 0.1], [0.4, 0.6]], ("a", "b"))
    absent = Roc.of(one, seed=0)
    assert isinstance(absent, Absent)
    assert "of one class" in absent.reason


def test_long_curves_are_thinned_and_large_tables_sampled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = drawn(4000, 3)
    curves = curves_of(given)
    assert all(len(curve.fpr) <= model.MAX_POINTS for curve in curves.worst)
    assert all((c.fpr[0], c.tpr[-1]) == (0.0, 1.0) for c in curves.worst)
    monkeypatch.setattr(model, "MAX_SCORES", 3000)
    part = curves_of(given)
    assert (part.num_images, part.num_all) == (1000, 4000)
    assert "Of 4,000 images 1,000 were drawn at random." in part.caption
    assert part.mean.auc == pytest.approx(curves.mean.auc, abs=0.03)
    assert curves_of(given) == part, "the same images each time"


def test_the_axis_ends_where_nearly_all_is_found() -> None:
    labels = [0, 1] * 100
    # The least sure of the second class stands behind 3 of the 100 others.
    sure = [0.1 if label == 0 else 0.9 for label in labels]
    sure[0] = sure[2] = sure[4] = 0.5
    sure[1] = sure[3] = 0.4
    curves = curves_of(scored(labels, [[1 - p, p] for p in sure], ("a", "b")))
    assert curves.end == 0.05
    assert "The axis ends at 5\u00a0%" in curves.caption


def answers(sure: np.ndarray, right: np.ndarray) -> Scores:
    """Answers of this probability, of three classes the first; labels by whether it is right."""
    rest = (1 - sure) / 2
    probabilities = np.stack([sure, rest, rest], axis=1)
    return Scores("m", ("a", "b", "c"), np.where(right, 0, 1), probabilities)


def test_bins_and_error_by_hand() -> None:
    sure = np.array([0.95, 0.95, 0.95, 0.95, 0.5, 0.5])
    right = np.array([True, True, True, False, True, False])
    found = Calibration.of(answers(sure, right), seed=0)
    low, high = found.bins
    assert (low.images, low.confidence, low.accuracy) == (2, 0.5, 0.5)
    assert (high.images, high.confidence, high.accuracy) == (4, pytest.approx(0.95), 0.75)
    assert low.low < 0.5 <= low.high
    assert found.ece == pytest.approx(4 / 6 * 0.2)
    assert (found.accuracy, found.confidence) == (pytest.approx(4 / 6), pytest.approx(0.8))
    # Two images that are right half the time: none, one or both are.
    assert (low.expected_low, low.expected_high) == (0.0, 1.0)


def test_bins_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    sure = np.concatenate([rng.uniform(0.34, 1, 3000), [1.0, 0.4, 0.6]])
    right = rng.random(len(sure)) < sure**2
    found = Calibration.of(answers(sure, right), seed=0)
    true, promised = calibration_curve(right, sure, n_bins=model.NUM_BINS)
    assert [b.accuracy for b in found.bins] == pytest.approx(true.tolist())
    assert [b.confidence for b in found.bins] == pytest.approx(promised.tolist())
    assert sum(b.images for b in found.bins) == found.images == 3003
    assert found.is_off
    assert "is overconfident" in found.caption


def test_true_probabilities_are_off_by_no_more_than_chance() -> None:
    rng = np.random.default_rng(2)
    flagged = 0
    for seed in range(40):
        sure = rng.uniform(0.34, 1, 400)
        found = Calibration.of(answers(sure, rng.random(400) < sure), seed=seed)
        assert found.true_mean > 0.01, "a binned error is never 0"
        flagged += found.is_off
    assert flagged <= 6  # one in twenty is expected; seven or more come once in 300


def test_the_mean_of_true_probabilities_is_known_for_one_bin() -> None:
    # 100 images at 0.5: the share right is off by E|B - 50| / 100 with B binomial, 0.0398.
    found = Calibration.of(answers(np.full(100, 0.5), np.arange(100) < 50), seed=0)
    assert found.true_mean == pytest.approx(0.0398, abs=0.005)
    assert found.ece == pytest.approx(0.0)
    assert not found.is_off
    (only,) = found.bins
    assert only.expected_low == pytest.approx(0.40, abs=0.02)
    assert only.expected_high == pytest.approx(0.60, abs=0.02)


def test_the_drawing_holds_each_bin_once_above_its_count() -> None:
    sure = np.array([0.95, 0.95, 0.5, 0.5, 0.5])
    found = Calibration.of(answers(sure, sure > 0.9), seed=0)
    promised, _, winner, images = found.draw().data
    assert promised.name == "perfectly calibrated"
    assert list(winner.x) == pytest.approx([50, 95])
    assert list(winner.y) == pytest.approx([0, 100])
    assert list(images.y) == [3, 2]
    assert "right 0.0\u00a0%, 3 images" in found.alt


def shares_of(folder: Path, train: list[int], test: list[int]) -> ClassShares:
    fake = fake_study(folder)
    know_data(fake, [f"c{i}" for i in range(len(train))])
    told = fake.store.noted(FACTS)
    told["facts"] |= {"train_counts": train, "validation_counts": train, "test_counts": test}
    fake.store.note(FACTS, told)
    shares = ClassShares.compute(read_search(fake.store, fake.layout))
    assert isinstance(shares, ClassShares)
    return shares


def test_shares_are_of_each_part_and_uneven_ones_are_said(tmp_path: Path) -> None:
    shares = shares_of(tmp_path, [10, 30], [2, 2])
    assert shares.parts == ("training", "validation", "test")
    assert [(r.name, r.shares) for r in shares.rows] == [
        ("c1", (0.75, 0.75, 0.5)),
        ("c0", (0.25, 0.25, 0.5)),
    ]
    assert shares.imbalance == (3.0, 3.0, 1.0)
    assert "training 3, validation 3, test 1." in shares.caption
    assert "uneven" in shares.caption
    figure = shares.draw()
    assert len({trace.marker.symbol for trace in figure.data}) == 3
    assert list(figure.data[0].x) == [75, 25]


def test_a_part_without_images_is_not_drawn_and_an_empty_class_is_said(tmp_path: Path) -> None:
    shares = shares_of(tmp_path, [5, 5, 0], [0, 0, 0])
    assert shares.parts == ("training", "validation")
    assert shares.imbalance == (None, None)
    assert "training a class without images" in shares.caption


def test_of_many_classes_both_ends_are_drawn(tmp_path: Path) -> None:
    shares = shares_of(tmp_path, [100 + i for i in range(200)], [1] * 200)
    names = [row.name for row in shares.rows]
    assert len(names) == data_figures.MAX_CLASSES
    assert (names[0], names[-1]) == ("c199", "c0")
    assert "Of 200 classes the 15 largest and the 15 smallest" in shares.caption
    assert shares.imbalance[0] == pytest.approx(299 / 100)


def test_before_the_data_are_read_it_says_so(tmp_path: Path) -> None:
    fake = fake_study(tmp_path)
    absent = ClassShares.compute(read_search(fake.store, fake.layout))
    assert isinstance(absent, Absent)
