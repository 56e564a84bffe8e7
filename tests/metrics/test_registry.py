"""Every measure of the registry, of a training whose figures are made up."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tlsearch.comparison.statistics import STATISTICS
from tlsearch.metrics.registry import MEASURES, DomainFeatures, GradientNorms, take_measures

GROUPS = ("stem", "one", "two")


def observed(**changes: Any) -> Any:
    rng = np.random.default_rng(0)
    features = [rng.normal(size=(30, 4)) for _ in GROUPS]
    known: dict[str, Any] = {
        "groups": GROUPS,
        "val_losses": np.array([3.0, 2.0, 1.0, 1.0, 2.0, 3.0]),
        "val_accuracies": np.array([0.2, 0.9, 0.5, 0.9, 0.8, 0.9]),
        "val_accuracy": 0.9,
        "train_accuracy": 0.95,
        "gradient_norms": np.array([1.0, 5.0, 7.0] + [0.1] * 17),
        "planned_steps": 20,
        "largest_step_norm": 4.0,
        "seconds": 60.0,
        "images_per_second": 100.0,
        "weights": [[np.array([3.0, 4.0])], [np.array([1.0])], [np.array([2.0])]],
        "pretrained_weights": [[np.array([3.0, 4.0])], [np.array([2.0])], [np.array([1.0])]],
        "penalised_weights": [np.array([3.0, 0.0]), np.array([4.0])],
        "source_features": features,
        "pretrained_source_features": features,
        "source_accuracy": {"": 0.7, "head": 0.6},
        "domains": DomainFeatures(features[0], features[1] + 9, None),
        "pretrained_domains": DomainFeatures(features[0], features[1] + 2, features[1] + 1),
        "gradient_noise": GradientNorms(np.array([16.0]), np.array([7.0]), 2, 8),
        "attacked_accuracy": {"": 0.2, "fgsm": 0.3, "pgd": 0.2},
    }
    return SimpleNamespace(**known | changes)


def test_every_measure_by_hand() -> None:
    found = take_measures(tuple(MEASURES), observed())
    adapted = {name: found.pop(f"adapted_distance{name}") for name in ("", ".before", ".after")}
    assert 0 < adapted[""] == adapted[".after"] / adapted[".before"] < 1
    assert found.pop("domain_distance") > 1
    assert found == pytest.approx(
        {
            "cka_drift": 0, "cka_drift.stem": 0, "cka_drift.one": 0, "cka_drift.two": 0,
            # The early half of three groups, rounded up: 0 and 1/2.
            "weight_drift": 0.25, "weight_drift.stem": 0, "weight_drift.one": 0.5,
            "weight_drift.two": 1,
            "source_accuracy": 0.7, "source_accuracy.head": 0.6,
            "early_gradient_norm": 5,  # of 2 of 20 steps
            "largest_step_norm": 4, "oscillation": 0.5**0.5, "epochs_to_share": 2,
            "epochs_spent": 6, "generalisation_gap": 0.05,
            "sparsity": 1 / 3, "weight_norm": 5, "images_per_second": 100, "seconds": 60,
            "noise_scale": 6, "robust_accuracy": 0.2, "robust_accuracy.fgsm": 0.3,
            "robust_accuracy.pgd": 0.2, "domain_distance.error": 0, "domain_distance.proxy_a": 2,
        }
    )  # fmt: skip


def test_what_cannot_be_taken_is_not_a_number() -> None:
    missing = dict.fromkeys(
        ("pretrained_weights", "source_features", "pretrained_source_features", "domains",
         "pretrained_domains")
    )  # fmt: skip
    names = ("cka_drift", "weight_drift", "domain_distance", "adapted_distance", "oscillation")
    found = take_measures(names, observed(**missing, val_losses=np.array([1.0])))
    assert len(found) == 4 + 4 + 3 + 3 + 1
    assert all(math.isnan(value) for value in found.values())


def test_without_an_adaptation_its_ratio_is_1() -> None:
    domains = observed().pretrained_domains._replace(adapted=None)
    assert take_measures(("adapted_distance",), observed(pretrained_domains=domains))[
        "adapted_distance"
    ] == 1  # fmt: skip


def test_only_the_named_are_taken_and_every_one_is_a_statistic() -> None:
    assert take_measures((), SimpleNamespace()) == {}  # type: ignore[arg-type]
    assert set(MEASURES) <= STATISTICS.keys()
