"""ROC curves against hand arithmetic and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tlsearch.report.context import Scores
from tlsearch.report.figures import roc
from tlsearch.report.wording import Absent


def scores(labels: list[int], probabilities: object, classes: tuple[str, ...]) -> Scores:
    return Scores("m", classes, np.array(labels), np.array(probabilities, dtype=np.float32))


def drawn(num: int, num_classes: int, *, seed: int = 0) -> Scores:
    """Probabilities that know something of the labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num) % num_classes
    logits = rng.normal(size=(num, num_classes)) + 1.5 * np.eye(num_classes)[labels]
    weights = np.exp(logits)
    names = tuple(f"c{i}" for i in range(num_classes))
    return Scores("m", names, labels, weights / weights.sum(axis=1, keepdims=True))


def found(given: Scores) -> roc.Roc:
    curves = roc.curves_of(given, seed=0)
    assert isinstance(curves, roc.Roc)
    return curves


def test_two_classes_have_one_curve_by_hand() -> None:
    # By falling probability of b: b, a, b, b, a, so 1/3 found with no false one, then 3/3 with 1/2.
    sure = [0.9, 0.8, 0.7, 0.6, 0.1]
    curves = found(scores([1, 0, 1, 1, 0], [[1 - p, p] for p in sure], ("a", "b")))
    (only,) = curves.worst
    assert (only.name, only.images, curves.num_classes) == ("b", 3, 1)
    corners = set(zip(only.fpr, only.tpr, strict=True))
    assert {(0.0, 0.3333), (0.5, 0.3333), (0.5, 1.0), (1.0, 1.0)} <= corners
    # Of the 3 × 2 pairs the right one is surer in 4: 2 of the first b, 1 each of the others.
    assert only.auc == pytest.approx(4 / 6)
    assert [trace.name for trace in roc.draw(curves).data] == ["by chance", "b (0.667)"]
    assert "Area under the curve of b: 0.6667" in roc.caption(curves)


def test_areas_are_those_of_scikit_learn_and_the_worst_come_first() -> None:
    given = drawn(600, 8)
    curves = found(given)
    expected = {
        name: roc_auc_score(given.labels == k, given.probabilities[:, k])
        for k, name in enumerate(given.classes)
    }
    worst = sorted(expected, key=expected.__getitem__)[: roc.WORST]
    assert [curve.name for curve in curves.worst] == worst
    assert [c.auc for c in curves.worst] == pytest.approx([expected[name] for name in worst])
    macro = roc_auc_score(given.labels, given.probabilities, multi_class="ovr", average="macro")
    assert curves.mean.auc == pytest.approx(macro)
    # The area under the drawn mean is that of the whole, but for its grid.
    assert np.trapezoid(curves.mean.tpr, curves.mean.fpr) == pytest.approx(macro, abs=2e-3)
    lines = [t for t in roc.draw(curves).data if t.name != "by chance"]
    assert len(lines) == 1 + roc.WORST
    assert len({t.line.dash for t in lines[1:]}) == roc.WORST


def test_a_class_without_images_is_left_out_and_said() -> None:
    given = drawn(90, 3)
    wider = np.hstack([given.probabilities, np.zeros((90, 1))])
    curves = found(given._replace(probabilities=wider, classes=(*given.classes, "nobody")))
    assert (curves.num_classes, curves.without) == (3, 1)
    assert "left out: 1" in roc.caption(curves)
    assert curves.mean.auc == pytest.approx(found(given).mean.auc)


def test_images_of_one_class_tell_nothing() -> None:
    one = scores([0, 0], [[0.9, 0.1], [0.4, 0.6]], ("a", "b"))
    absent = roc.curves_of(one, seed=0)
    assert isinstance(absent, Absent)
    assert "of one class" in absent.reason


def test_long_curves_are_thinned_and_large_tables_looked_at_by_lot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = drawn(4000, 3)
    curves = found(given)
    assert all(len(curve.fpr) <= roc.MAX_POINTS for curve in curves.worst)
    assert all((c.fpr[0], c.tpr[-1]) == (0.0, 1.0) for c in curves.worst)
    monkeypatch.setattr(roc, "MAX_SCORES", 3000)
    part = found(given)
    assert (part.num_images, part.num_all) == (1000, 4000)
    assert "Of 4,000 images 1,000 by lot." in roc.caption(part)
    assert part.mean.auc == pytest.approx(curves.mean.auc, abs=0.03)
    assert found(given) == part, "the same lot each time"


def test_the_axis_ends_where_nearly_all_is_found() -> None:
    labels = [0, 1] * 100
    # The least sure of the second class stands behind 3 of the 100 others.
    sure = [0.1 if label == 0 else 0.9 for label in labels]
    sure[0] = sure[2] = sure[4] = 0.5
    sure[1] = sure[3] = 0.4
    curves = found(scores(labels, [[1 - p, p] for p in sure], ("a", "b")))
    assert curves.end == 0.05
    assert "The axis ends at 5\u00a0%" in roc.caption(curves)
