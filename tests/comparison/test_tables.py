import csv
import io
import json
import math
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from scipy import stats

from tests.comparison.compared import KINDS, RATES, arm_of, comparison, sweep_of, table_a
from tests.comparison.simulated import World, answers
from tlsearch.comparison.answers import (
    ClaimAnswer,
    Forecast,
    Tables,
    tables_csv,
    tables_json,
    tables_schema_text,
)
from tlsearch.comparison.claims import CLAIMS, Traits
from tlsearch.comparison.design import ArmResults, ComparisonResults
from tlsearch.comparison.tables import ALL, estimate, make_tables, sweep_overview
from tlsearch.comparison.variance import paired_effect

SCHEMA = Path(__file__).parents[2] / "studies" / "results" / "tables.schema.json"
PLANTED = {"A2": 0.04, "A5": -0.04, "A4 warmup_epochs 3": -0.08}


def tables(results: ComparisonResults, resamples: int = 0) -> Tables:
    return make_tables(
        results,
        resamples=resamples, seed=0, provenance=None,
    )  # fmt: skip


def right(*gains: float, seeds: int = 8) -> list[np.ndarray]:
    drawn = answers(np.random.default_rng(0), World(), repeats=1, seeds=seeds, gains=gains)
    return list(drawn[0])


def own(*gains: float) -> ComparisonResults:
    rng = np.random.default_rng(0)
    names = ["usual", *(f"arm {i}" for i in range(1, len(gains)))]
    arms = {n: arm_of(rng, r) for n, r in zip(names, right(*gains), strict=True)}
    return comparison("own", arms, traits=Traits(), reference="usual")


@pytest.fixture(scope="module")
def planted() -> Tables:
    return tables(table_a(0, gains=PLANTED), resamples=199)


def test_the_rows_and_cells_of_the_documents_in_their_order(planted: Tables) -> None:
    pooled = planted.tables[0]
    assert (pooled.table, pooled.scenario) == ("A", ALL)
    assert [row.id for row in pooled.rows] == ["A1", "A2", "A3", "A4", "A5"]
    assert [row.strategy for row in pooled.rows][:2] == ["fixed rate", "decay"]
    sides = ["for", "against", "fits"]
    assert [[cell.side for cell in row.cells] for row in pooled.rows] == [sides] * 5
    keys = [key for row in pooled.rows for cell in row.cells for key in cell.claims]
    assert keys == [claim.key for claim in CLAIMS if claim.table == "A"]


def test_planted_effects_are_found_with_their_sign(planted: Tables) -> None:
    better = planted.answer("A2-for-accuracy-A2", ALL)
    assert better.verdict == "supported"
    assert better.effect == pytest.approx(0.04, abs=0.01)
    assert better.arm_mean is not None
    assert better.reference_mean is not None
    assert better.arm_mean - better.reference_mean == pytest.approx(better.effect)
    assert (better.n, better.n_of, better.seeds) == (4000, "test images", 8)
    assert len(better.scenarios) == 8
    ratio = planted.answer("A2-for-oscillation-A2", ALL)  # of geometric means
    assert ratio.arm_mean is not None
    assert ratio.reference_mean is not None
    assert math.log(ratio.arm_mean / ratio.reference_mean) == pytest.approx(ratio.effect)
    fits = planted.answer("A1-fits-accuracy-A1-similar-easy", ALL)
    assert fits.scenarios == ("similar easy few", "similar easy many")
    length = planted.answer("A4-against-sensitivity-A4-warmup_epochs", ALL)
    assert length.verdict == "supported"
    assert length.effect == pytest.approx(0.08, abs=0.02)
    rank = planted.answer("A5-fits-mean_rank-A5", ALL)
    assert rank.verdict == "contradicted"
    assert (rank.arm_mean, rank.n, rank.n_of) == (pytest.approx(5, abs=0.3), 4000, "test images")


def test_the_verdict_is_read_off_the_wider_interval(planted: Tables) -> None:
    for found in planted.claims:
        if found.effect is None:
            continue
        assert found.low is not None
        assert found.guarded_low is not None
        assert found.guarded_high is not None
        assert found.guarded_low <= found.low <= found.effect
        beyond = found.guarded_low > 0 or found.guarded_high < 0
        if found.verdict in ("supported", "contradicted"):
            assert beyond
            assert (found.direction * found.effect > 0) == (found.verdict == "supported")
        elif found.verdict == "no material effect":
            assert found.guarded_high < found.smallest
        else:
            assert found.verdict == "inconclusive"
            assert found.needed or found.needs_images or found.needed_of


def test_each_scenario_has_a_table_of_what_makes_sense_there(planted: Tables) -> None:
    assert [t.scenario for t in planted.tables] == [ALL, *(name for name, *_ in KINDS)]
    here = {c.key: c for c in planted.claims if c.scenario == "similar hard few"}
    assert here["A2-for-accuracy-A2"].verdict == "supported"
    assert here["A2-for-accuracy-A2"].n == 1000
    assert "A2-fits-accuracy-A2-similar-hard" in here
    assert "A1-fits-accuracy-A1-similar-easy" not in here  # of another kind
    assert "A5-fits-mean_rank-A5" not in here  # takes several scenarios
    assert "A3-against-knowledge-A3" not in here  # the same everywhere
    shown = next(t for t in planted.tables if t.scenario == "similar hard few")
    keys = [key for row in shown.rows for cell in row.cells for key in cell.claims]
    assert sorted(keys) == sorted(here)


def test_each_table_is_a_family_of_its_own() -> None:
    whole = table_a(1, gains={}, kinds=KINDS[::2])
    one = whole._replace(scenarios=whole.scenarios[:1])
    (alone,) = tables(one).tables
    assert alone.scenario == ALL  # one scenario needs no second table
    of_many = tables(whole).answer("A2-for-accuracy-A2", whole.scenarios[0].name)
    of_one = tables(one).answer("A2-for-accuracy-A2", ALL)
    assert of_many.p == of_one.p
    family = [c for c in tables(one).claims if c.p is not None]
    smallest = min(family, key=lambda c: c.p or 0)
    assert smallest.p is not None
    assert smallest.adjusted_p == pytest.approx(min(1, smallest.p * len(family)))


def test_identical_arms_say_nothing() -> None:
    whole = table_a(2, gains={})
    found = []
    for place in whole.scenarios:
        same = place.arms["A1"]
        sweeps = tuple(
            sweep._replace(
                answers=np.broadcast_to(same.answers, sweep.answers.shape),
                diverged=np.zeros_like(sweep.diverged),
            )
            for sweep in place.sweeps
        )
        found.append(place._replace(arms=dict.fromkeys(place.arms, same), sweeps=sweeps))
    said = {c.verdict for c in tables(whole._replace(scenarios=tuple(found))).claims}
    assert said == {"no material effect", "described", "inconclusive"}


def test_missing_arms_leave_a_reason_in_their_cells() -> None:
    whole = table_a(3, gains={}, kinds=KINDS[::2])
    without = [
        place._replace(arms={n: a for n, a in place.arms.items() if n != "A3"})
        for place in whole.scenarios
    ]
    found = tables(whole._replace(scenarios=tuple(without)))
    assert [row.id for row in found.tables[0].rows] == ["A1", "A2", "A3", "A4", "A5"]
    row = [c for c in found.claims if c.id == "A3" and c.scenario == ALL]
    assert {c.verdict for c in row} == {"not measured"}
    assert {c.reason for c in row} == {"A3 is no arm of the comparison"}
    assert {c.effect for c in row} == {None}
    # What was not measured costs the others nothing.
    family = [c for c in found.claims if c.scenario == ALL and c.p is not None]
    smallest = min(family, key=lambda c: c.p or 0)
    assert smallest.guarded_level == pytest.approx(1 - 0.05 / len(family))


def test_an_unfinished_comparison_is_answered_as_far_as_it_went() -> None:
    """Half of all runs are missing: failed, not run yet, or a cell not begun."""
    rng = np.random.default_rng(0)
    for seed in range(3):
        whole = table_a(seed, gains=PLANTED, kinds=KINDS[:4], images=100)
        places = []
        for place in whole.scenarios:
            arms = {}
            for name, arm in place.arms.items():
                answers = np.where(rng.random((8, 1)) < 0.5, arm.answers, np.nan)
                empty = np.zeros((8, 0))
                if rng.random() < 0.8:
                    arms[name] = arm._replace(answers=empty if rng.random() < 0.1 else answers)
            sweeps = []
            for sweep in place.sweeps:
                run = rng.random(sweep.validation.shape) < 0.9
                validation = np.where(run, sweep.validation, np.nan)
                answers = np.where(run[..., None], sweep.answers, np.nan)
                sweeps.append(sweep._replace(validation=validation, answers=answers))
            places.append(place._replace(arms=arms, sweeps=tuple(sweeps)))
        found = tables(whole._replace(scenarios=tuple(places)), resamples=99)
        assert any(c.effect is not None for c in found.claims)
        assert any(c.verdict == "not measured" for c in found.claims)
        json.dumps(tables_json(found), allow_nan=False)
    assert tables(whole._replace(scenarios=())).tables


def test_gains_are_taken_over_the_reference_and_pooled(planted: Tables) -> None:
    claimed = planted.answer("A2-for-accuracy-A2", ALL)
    assert [gain.arm for gain in planted.gains] == ["A2", "A3", "A4", "A5"]
    gain = planted.gains[0]
    assert (gain.mean, gain.low, gain.high) == (claimed.effect, claimed.low, claimed.high)
    assert gain.scenarios == 8
    here = planted.scenarios[0]
    assert here.arms[0].gain is None
    of_a2 = here.arms[1]
    assert of_a2.gain is not None
    assert of_a2.accuracy is not None
    assert here.arms[0].accuracy is not None
    assert of_a2.gain.mean == pytest.approx(of_a2.accuracy - here.arms[0].accuracy)


def test_an_own_table_holds_every_arm_against_the_reference() -> None:
    found = tables(own(0.0, 0.04, -0.04, 0.0))
    (table,) = found.tables
    assert table.title == "Arms against usual"
    assert [row.id for row in table.rows] == ["arm 1", "arm 2", "arm 3"]
    verdicts = {c.id: c.verdict for c in found.claims}
    assert verdicts["arm 1"] == "supported"
    assert verdicts["arm 2"] == "contradicted"
    assert verdicts["arm 3"] in ("inconclusive", "no material effect")
    assert {c.says for c in found.claims} == {"beats usual"}


def test_advice_is_answered_as_far_as_its_arms_are_there() -> None:
    rng = np.random.default_rng(0)
    small, large = right(0.04, 0.0)
    arms = {
        "small batch": arm_of(rng, small, values=("images_per_second", "noise_scale")),
        "large batch": arm_of(rng, large, values=("images_per_second",)),
    }
    found = tables(comparison("C", arms, traits=Traits()))
    assert [row.id for row in found.tables[0].rows] == ["C1"]
    verdicts = [c.verdict for c in found.claims]
    assert (verdicts[0], verdicts[2]) == ("supported", "described")
    depths = {f"freeze {i}": arm_of(rng, r) for i, r in enumerate(right(0.0, 0.0))}
    depth = tables(comparison("C", depths, traits=Traits(similarity="similar")))
    assert [c.reason for c in depth.claims] == ["no scenario is dissimilar"]


def test_a_table_of_splits() -> None:
    def split(error: float, seed: int) -> ArmResults:
        rng = np.random.default_rng(seed)
        values = {
            "future_error": error + rng.normal(0, 0.01, 8),
            "estimate": 0.9 + rng.normal(0, 0.01, 8),
            "class_share_distance": error + rng.normal(0, 0.01, 100),
        }
        empty = np.zeros((8, 0), dtype=bool)
        return ArmResults(np.array([]), {}, 1, empty, values, tuple(range(8)))

    arms = {"B1": split(0.2, 1), "B2": split(0.1, 2), "B3": split(0.02, 3)}
    arms["B3 with gap"] = split(0.02, 4)
    found = tables(comparison("B", arms, traits=Traits(order="time")))
    verdicts = {c.key: c.verdict for c in found.claims}
    assert verdicts["B3-for-future_error-B3-time"] == "supported"
    assert verdicts["B1-against-class_share_distance-B1"] == "supported"
    assert verdicts["B2-fits-estimate_spread-B2-few-imbalanced"] == "not measured"
    fits = found.answer("B3-fits-future_error-B3-time", ALL)
    assert fits.reference_mean == pytest.approx(0.15, abs=0.01)  # the gap is no other way to split
    assert found.answer("B1-against-class_share_distance-B1", ALL).seeds == 100
    assert found.scenarios[0].arms[0].accuracy is None


def test_how_far_an_estimate_lies_from_what_came_true() -> None:
    def split(*estimates: float, images: float = 1e9, later: float = 0.9) -> ArmResults:
        values = {
            "estimate": np.array(estimates),
            "later_accuracy": np.full(len(estimates), later),
            "estimate_images": np.full(len(estimates), images),
        }
        empty = np.zeros((len(estimates), 0), dtype=bool)
        return ArmResults(np.array([]), {}, 0, empty, values, tuple(range(len(estimates))))

    def told(later_images: float, **arms: ArmResults) -> dict[str, Forecast | None]:
        results = comparison("B", arms, traits=Traits(order="time"))._replace(future=0.25)
        facts = {"later_images": later_images}
        (place,) = results.scenarios
        found = tables(results._replace(scenarios=(place._replace(facts=facts),)))
        assert (found.protocol.seeds, found.protocol.future) == (4, 0.25)
        assert [arm.settings for arm in found.scenarios[0].arms] == [0] * len(arms)
        return {arm.arm: arm.foretelling for arm in found.scenarios[0].arms}

    wide, close = split(0.90, 0.94, 0.98, np.nan), split(0.93, 0.94, 0.95, np.nan)
    worse, alone = split(0.7, 0.7, 0.7, 0.7), split(0.9, np.nan, np.nan, np.nan)
    found = told(1e9, B1=wide, B2=close, B3=worse, C=alone)
    assert found["C"] is None
    wide_one, close_one, worse_one = found["B1"], found["B2"], found["B3"]
    assert wide_one is not None
    assert close_one is not None
    assert worse_one is not None
    assert (wide_one.estimate, wide_one.later_accuracy) == pytest.approx((0.94, 0.9))
    # Of so many images the luck is nothing: Student's t of 2 degrees of freedom, three redraws.
    half = 4.3027 * 0.04 / 3**0.5
    assert (wide_one.low, wide_one.high) == pytest.approx((0.04 - half, 0.04 + half), abs=1e-4)
    assert (wide_one.bias, wide_one.redraws) == ("none shown", 3)
    assert (close_one.optimism, close_one.bias) == (pytest.approx(0.04), "too optimistic")
    assert (worse_one.optimism, worse_one.bias) == (pytest.approx(-0.2), "too pessimistic")
    # Equal redraws leave the luck of images: 0.7 * 0.3 / 84 + 0.9 * 0.1 / 36 = 0.005.
    few = told(36, B3=split(0.7, 0.7, 0.7, 0.7, images=84))["B3"]
    assert few is not None
    assert few.high - few.optimism == pytest.approx(1.98 * 0.005**0.5, rel=0.01)
    assert told(0, B3=worse) == {"B3": None}


def test_json_is_as_its_schema_says_and_has_no_nan(planted: Tables) -> None:
    text = json.dumps(tables_json(planted), allow_nan=False)
    jsonschema.validate(json.loads(text), json.loads(tables_schema_text()))
    data = json.loads(text)
    assert data["claims"][0].keys() >= {
        "id", "scenario", "verdict", "effect", "low", "high", "n", "seeds"
    }  # fmt: skip
    assert data["tables"][0]["rows"][0]["id"] == "A1"
    assert data["protocol"]["trials"] == 20
    assert data["scenarios"][0]["arms"][0]["params"] == {
        "lr": 0.01, "optimizer": "sgd", "freeze_depth": 0
    }  # fmt: skip


def test_the_published_schema_is_up_to_date() -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(tables_schema_text()))
    command = "from tlsearch.comparison.answers import tables_schema_text as s; "
    stale = f"refresh it: python -c \"{command}print(s(), end='')\" > {SCHEMA}"
    assert SCHEMA.read_text() == tables_schema_text(), stale


def test_csv_has_a_line_for_each_claim_and_scenario(planted: Tables) -> None:
    lines = list(csv.DictReader(io.StringIO(tables_csv(planted))))
    assert [(x["key"], x["scenario"]) for x in lines] == [
        (c.key, c.scenario) for c in planted.claims
    ]
    assert lines[0].keys() == ClaimAnswer.__dataclass_fields__.keys()
    line = next(x for x in lines if x["key"] == "A2-for-accuracy-A2")
    assert float(line["effect"]) == planted.answer("A2-for-accuracy-A2", ALL).effect
    assert line["reason"] == ""


def test_the_same_results_give_the_same_text() -> None:
    results = table_a(4, gains=PLANTED, kinds=KINDS[:3])
    first, again = (json.dumps(tables_json(tables(results, resamples=99))) for _ in range(2))
    assert first == again


def test_names_that_measurements_contradict() -> None:
    results = table_a(5, gains={}, kinds=KINDS, seeds=2, images=20)
    facts = {
        "similar easy few": {"similarity": 0.3, "difficulty": 0.4},
        "similar hard few": {"similarity": 0.8, "difficulty": 0.2},
        "dissimilar easy few": {"similarity": 0.4},
        "dissimilar easy many": {"similarity": 0.5, "difficulty": 0.01},
        "dissimilar hard many": {"similarity": float("nan"), "difficulty": 0.02},
    }
    places = [p._replace(facts=facts.get(p.name, {})) for p in results.scenarios]
    found = {s.scenario: s for s in tables(results._replace(scenarios=tuple(places))).scenarios}
    alike, hard = found["similar easy few"].remarks
    assert alike == (
        "It is called similar, but its measured similarity of 0.30 is below the 0.50 of "
        "dissimilar easy many, called dissimilar."
    )
    # The hard one of many labels leaves less, but like is compared with like.
    assert hard == (
        "It is called easy, but its measured difficulty of 0.40 is above the 0.20 of "
        "similar hard few, called hard."
    )
    assert len(found["dissimilar easy many"].remarks) == 1
    assert found["dissimilar hard many"].remarks == ()
    assert found["dissimilar hard many"].facts == {"difficulty": 0.02}


def test_negative_transfer_is_being_worse_than_from_scratch() -> None:
    rng = np.random.default_rng(0)
    scratch, worse, close = (arm_of(rng, r) for r in right(0.05, 0.0, 0.06))
    arms = {"from scratch": scratch, "head": worse}
    (flagged,) = tables(comparison("own", arms, traits=Traits(), reference="head")).scenarios
    assert flagged.negative_transfer
    assert flagged.arms[0].accuracy == pytest.approx(0.95, abs=0.02)
    arms["all"] = close
    (one,) = tables(comparison("own", arms, traits=Traits(), reference="head")).scenarios
    assert not one.negative_transfer
    named = {"scratch": scratch, "head": worse}
    (other,) = tables(comparison("own", named, traits=Traits(), reference="head")).scenarios
    assert not other.negative_transfer


def test_a_mean_has_students_interval() -> None:
    found = estimate("cka_drift.layer1", np.array([0.1, 0.2, 0.6]))
    assert found is not None
    low, high = stats.t.interval(0.95, 2, loc=0.3, scale=stats.sem([0.1, 0.2, 0.6]))
    assert (found.mean, found.low, found.high) == pytest.approx((0.3, low, high))
    assert (found.repeats, found.is_geometric) == (3, False)


def test_what_is_judged_by_ratios_has_a_geometric_mean() -> None:
    found = estimate("early_gradient_norm", np.array([1.0, 10.0, np.nan, 100.0]))
    assert found is not None
    half = stats.t.ppf(0.975, 2) * math.log(10) / math.sqrt(3)
    assert found.mean == pytest.approx(10)
    assert found.high == pytest.approx(10 * math.exp(half))
    assert (found.repeats, found.is_geometric) == (3, True)
    frozen = estimate("weight_drift.stem", np.array([0.0, 0.5]))
    assert frozen is not None
    assert (frozen.mean, frozen.is_geometric) == (0.25, False)


def test_one_repeat_has_no_spread_and_none_no_estimate() -> None:
    found = estimate("oscillation", np.array([0.5, np.nan]))
    assert found is not None
    assert (found.mean, found.low, found.high) == (pytest.approx(0.5), None, None)
    assert estimate("oscillation", np.array([np.nan])) is None
    rng = np.random.default_rng(0)
    arm = arm_of(rng, np.ones((2, 5)), values=("cka_drift.stem", "cka_drift.layer1"))
    arm = arm._replace(values={**arm.values, "later_accuracy": np.full(2, np.nan)})
    (place,) = tables(comparison("A", {"A1": arm}, traits=Traits())).scenarios
    assert list(place.arms[0].measures) == ["cka_drift.stem", "cka_drift.layer1"]


def test_a_sweep_ascends_and_counts_what_broke_down() -> None:
    rng = np.random.default_rng(0)
    right = (rng.random((3, 4, 300)) < 0.8).astype(float)
    sweep = sweep_of(rng, "A1", "lr", RATES[:3], right)
    diverged = np.array([[False] * 4, [False, True, True, False], [False] * 4])
    shuffled = sweep._replace(
        settings=(0.01, 0.001, 0.003),
        diverged=diverged,
        validation=np.vstack([sweep.validation[:2], np.full(4, np.nan)]),
        answers=np.concatenate([sweep.answers[:2], np.full((1, 4, 100), np.nan)]),
    )
    found = sweep_overview(shuffled)
    assert [point.setting for point in found.points] == [0.001, 0.003, 0.01]
    first, unknown, last = found.points
    expected = paired_effect(sweep.answers[0], None)
    assert (last.accuracy, last.low, last.high) == expected[:3]
    assert (first.seeds, first.diverged) == (4, 2)
    assert (unknown.accuracy, unknown.seeds, unknown.diverged) == (None, 0, 0)
    words = sweep_overview(sweep._replace(settings=("sgd", "adam", "adamw")))
    assert [point.setting for point in words.points] == ["sgd", "adam", "adamw"]
