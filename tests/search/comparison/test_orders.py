from typing import Any

import pytest

from tlsearch.config.comparison import ComparisonConfig
from tlsearch.search.job_maker import MEASURES, measures_of


def asked_by(table: Any, *arms: str) -> set[str]:
    """What is measured beside what every model of the table is measured for."""
    comparison = ComparisonConfig(table=table, arms={arm: {} for arm in arms})
    return set(measures_of(comparison)) - set(MEASURES[table])


@pytest.mark.parametrize(
    ("arms", "measures"),
    [
        (("small batch", "large batch"), {"images_per_second", "noise_scale"}),
        (("no penalty", "l1"), {"sparsity"}),
        (("no penalty", "l2"), {"weight_norm"}),
        (("none", "dropout"), set()),  # the gap between training and validation is always taken
        (("freeze 0", "freeze 5"), set()),
        (("all at once", "gradual"), {"cka_drift", "source_accuracy"}),
        (("none", "clipped"), {"largest_step_norm"}),
        (("none", "adversarial"), {"robust_accuracy"}),
        (("none", "augmented", "trivial", "mixed"), set()),
    ],
)
def test_of_the_advice_what_its_arms_are_there_for(
    arms: tuple[str, ...], measures: set[str]
) -> None:
    assert asked_by("C", *arms) == measures


def test_other_tables_measure_the_same_whatever_their_arms() -> None:
    assert asked_by("A", "A1", "A2") == asked_by("own", "none", "clipped") == set()
    assert "cka_drift" in MEASURES["A"]
