"""Every metric that a search may optimise, against scikit-learn; what its terms promise."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss, roc_auc_score

from tlsearch.config.schema import SearchConfig
from tlsearch.config.search_options import METRICS
from tlsearch.metrics.curves import class_balance
from tlsearch.metrics.objectives import (
    TERMS,
    Answers,
    balanced_accuracy,
    macro_auroc,
    macro_f1,
    of_largest,
    validation_noise,
)
from tlsearch.training.results import EpochResult


def drawn(seed: int, *, num_images: int = 120, num_classes: int = 4, skill: float = 1.5) -> Answers:
    """Answers to uneven classes, with many ties among coarse probabilities."""
    rng = np.random.default_rng(seed)
    shares = 0.5 ** np.arange(num_classes)
    labels = rng.choice(num_classes, num_images, p=shares / shares.sum())
    labels[:num_classes] = np.arange(num_classes)
    scores = rng.normal(size=(num_images, num_classes)) + skill * np.eye(num_classes)[labels]
    scores = np.round(scores, 1)
    odds = np.exp(scores)
    return Answers(labels, (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32))


def by_sklearn(answers: Answers) -> dict[str, float]:
    labels, probabilities = answers.labels, answers.probabilities
    predicted = probabilities.argmax(1)
    areas = roc_auc_score(np.eye(probabilities.shape[1])[labels], probabilities, average="macro")
    return {
        "val_accuracy": float((labels == predicted).mean()),
        "val_balanced_accuracy": balanced_accuracy_score(labels, predicted),
        "val_macro_f1": f1_score(labels, predicted, average="macro"),
        "val_macro_auroc": areas,
        "val_loss": log_loss(labels, probabilities),
    }


@pytest.mark.parametrize("num_classes", [2, 4])
@pytest.mark.parametrize("seed", range(3))
def test_every_metric_equals_scikit_learns(seed: int, num_classes: int) -> None:
    answers = drawn(seed, num_classes=num_classes)
    expected = by_sklearn(answers)
    for name, terms in TERMS.items():
        assert terms(answers).mean() == pytest.approx(expected[name], rel=1e-6), name
    confusion = answers.confusion
    assert balanced_accuracy(confusion) == pytest.approx(expected["val_balanced_accuracy"])
    assert macro_f1(confusion) == pytest.approx(expected["val_macro_f1"])
    assert macro_auroc(answers) == pytest.approx(expected["val_macro_auroc"], rel=1e-6)
    if num_classes > 2:
        probabilities = answers.probabilities.astype(float)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        ovr = roc_auc_score(answers.labels, probabilities, multi_class="ovr", average="macro")
        assert macro_auroc(answers) == pytest.approx(ovr, abs=1e-4)  # float32 has further ties


def test_a_class_without_images_is_left_out_as_scikit_learn_leaves_it() -> None:
    answers = drawn(0)
    kept = answers.labels != 3
    answers = Answers(answers.labels[kept], answers.probabilities[kept])
    predicted = answers.probabilities.argmax(1)
    assert 3 in predicted
    with pytest.warns(UserWarning, match="y_pred contains classes"):
        expected = balanced_accuracy_score(answers.labels, predicted)
    assert balanced_accuracy(answers.confusion) == pytest.approx(expected)
    assert macro_f1(answers.confusion) == pytest.approx(
        f1_score(answers.labels, predicted, average="macro")
    )
    areas = [roc_auc_score(answers.labels == c, answers.probabilities[:, c]) for c in range(3)]
    assert macro_auroc(answers) == pytest.approx(np.mean(areas))
    for terms in TERMS.values():
        assert np.isfinite(terms(answers)).all()
    assert macro_auroc(Answers(np.zeros(5, int), np.full((5, 2), 0.5))) is None


@pytest.mark.parametrize("name", TERMS)
def test_the_spread_of_the_terms_is_that_of_the_metric_over_other_images(name: str) -> None:
    answers, terms = drawn(1, num_images=400, num_classes=3), TERMS[name]
    error = terms(answers).std(ddof=1) / 20

    def metric(rows: np.ndarray) -> float:
        part = Answers(answers.labels[rows], answers.probabilities[rows])
        return float(terms(part).mean())

    rng = np.random.default_rng(0)
    again = stats.bootstrap(
        (np.arange(400),), metric, vectorized=False, n_resamples=500, method="basic", rng=rng
    )
    assert error == pytest.approx(again.standard_error, rel=0.12)


def test_always_answering_the_largest_class() -> None:
    labels = np.repeat([0, 1, 2], [70, 20, 10])
    answers = Answers(labels, np.tile([1.0, 0.0, 0.0], (100, 1)))
    found = of_largest(class_balance(answers.confusion, "abc"))
    expected = by_sklearn(answers)
    for key, metric in METRICS.items():
        if metric.is_share:
            assert found[metric.name] == pytest.approx(expected[key]), key
    assert "log_loss" not in found


def test_names_are_those_of_an_epochs_figures_with_or_without_their_prefix() -> None:
    assert list(METRICS) == list(TERMS)
    assert set(METRICS) <= set(EpochResult._fields)
    for key, metric in METRICS.items():
        for spelling in (key, metric.name, f"val_{metric.name}"):
            assert SearchConfig.model_validate({"metric": spelling}).metric == key


def test_validation_noise_is_the_spread_over_draws_of_images() -> None:
    rng = np.random.default_rng(0)
    draws = (rng.random((4000, 100)) < 0.8).mean(axis=1)
    noise = validation_noise("val_accuracy", 0.8, [60, 40])
    assert noise == pytest.approx(draws.std(), rel=0.05)
    # All right of 50 is no certainty: 52 of 54.
    assert validation_noise("val_accuracy", 1.0, [50]) == pytest.approx(0.0267, abs=1e-4)
    # Where classes count alike, a small one rules: variances p q / 90 and p q / 10, of each a
    # quarter, come to p q / 36.
    uneven = (rng.random((4000, 90)) < 0.8).mean(1) / 2 + (rng.random((4000, 10)) < 0.8).mean(1) / 2
    noise = validation_noise("val_balanced_accuracy", 0.8, [90, 10, 0])
    assert noise == pytest.approx(uneven.std(), rel=0.06)
    loss = validation_noise("val_loss", 0.5, [60, 40])
    assert loss == pytest.approx(0.1)
    assert validation_noise("val_loss", 0.5, [240, 160]) == pytest.approx(loss / 2)
