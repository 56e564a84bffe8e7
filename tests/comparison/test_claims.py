import re

import pytest

from tests.comparison.compared import BY_KEY
from tlsearch.comparison.claims import CLAIMS, advice_about, claims_of
from tlsearch.comparison.statistics import STATISTICS

ROWS = [*(f"A{i}" for i in range(1, 6)), *(f"B{i}" for i in range(1, 4))]
ADVICE = [f"C{i}" for i in range(1, 16)]


def test_every_row_in_the_documents_order() -> None:
    seen = list(dict.fromkeys(claim.id for claim in CLAIMS))
    assert seen == ROWS + ADVICE
    assert [c for t in "ABC" for c in claims_of(t)] == list(CLAIMS)


@pytest.mark.parametrize("row", ROWS)
def test_a_row_of_a_table_has_all_three_cells_in_order(row: str) -> None:
    sides = [claim.side for claim in CLAIMS if claim.id == row]
    assert list(dict.fromkeys(sides)) == ["for", "against", "fits"]


def test_keys_are_unique_and_plain() -> None:
    assert len(BY_KEY) == len(CLAIMS)
    assert all(re.fullmatch(r"[A-Za-z0-9_,-]+", key) for key in BY_KEY)
    assert BY_KEY["A2-for-accuracy-A2"].reference == "A1"


def test_what_is_tested_has_a_direction_and_a_delta() -> None:
    for claim in CLAIMS:
        assert (claim.direction == "none") == (claim.measure.repeat == "none"), claim.key
        assert claim.measure.smallest > 0
        assert claim.arm != claim.reference or claim.elsewhere is not None


def test_advice_belongs_to_both_its_arms() -> None:
    assert {claim.id for claim in advice_about(["l1", "no penalty"])} == {"C2"}
    assert {claim.id for claim in advice_about(["none", "clipped", "dropout"])} == {"C4", "C12"}
    assert {claim.id for claim in advice_about(["freeze 0", "freeze 5"])} == {"C5"}
    assert {claim.id for claim in advice_about(["none", "trivial", "mixed"])} == {"C8"}
    attacks = advice_about(["none", "adversarial", "one step"])
    assert {claim.id for claim in attacks} == {"C9"}
    assert [claim.statistic for claim in attacks] == 2 * [
        "robust_accuracy", "robust_accuracy.fgsm", "accuracy",
    ]  # fmt: skip
    assert advice_about(["l1", "none"]) == advice_about(["freeze all", "freeze none"]) == []


def test_no_statistic_is_idle() -> None:
    assert {claim.statistic for claim in CLAIMS} == set(STATISTICS)
