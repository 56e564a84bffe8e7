from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from scipy.stats import rankdata

from tests.comparison.compared import BY_KEY, comparison
from tlsearch.comparison.answers import ClaimAnswer
from tlsearch.comparison.claims import CLAIMS, Claim, claims_for
from tlsearch.comparison.design import ArmResults, ComparisonResults, ScenarioResults, SweepResults
from tlsearch.comparison.statistics import NotMeasured
from tlsearch.comparison.tables import best_depth
from tlsearch.comparison.verdicts import Evidence, answer, gather
from tlsearch.config.comparison import Traits

EASY = Traits(similarity="similar", difficulty="easy", labels="few")
HARD = Traits(similarity="dissimilar", difficulty="hard", labels="many")


def arm(
    *rows: list[int],
    tuning: tuple[float, ...] = (),
    settings: int = 1,
    **values: list[float],
) -> ArmResults:
    """An arm that answers so, a row a seed."""
    return ArmResults(
        tuning=np.array(tuning),
        params={},
        settings=settings,
        answers=np.array(rows, dtype=bool) if rows else np.zeros((2, 0), dtype=bool),
        values={name: np.array(numbers) for name, numbers in values.items()},
        seeds=tuple(range(len(rows))) or (0, 1),
    )


def frozen(depth: int, *rows: list[int]) -> ArmResults:
    """An arm of this freeze depth."""
    return arm(*rows)._replace(params={"freeze_depth": depth})


def place(
    name: str,
    arms: Mapping[str, ArmResults],
    *sweeps: SweepResults,
    traits: Traits = EASY,
    block: str = "",
) -> ScenarioResults:
    return ScenarioResults(name, traits, {}, block or name, arms, sweeps)


def among(*places: ScenarioResults) -> ComparisonResults:
    return ComparisonResults("c", "A", "A1", places, 20, 12, None)


def found(key: str, *places: ScenarioResults) -> Evidence:
    return gather(BY_KEY[key], among(*places))


def sides(evidence: Evidence, name: str = "s") -> tuple[Any, Any]:
    """The values of the arm and of its reference in a scenario."""
    pair = evidence.pairs[name]
    assert pair.reference is not None
    return pair.arm.tolist(), pair.reference.tolist()


def reason(claim: Claim, *places: ScenarioResults) -> str:
    with pytest.raises(NotMeasured) as why:
        gather(claim, among(*places))
    return str(why.value)


def answered(claim: Claim, results: ComparisonResults) -> ClaimAnswer:
    (one,) = answer([claim], results, scenario="all", resamples=0, seed=0)
    return one


def sweep(dimension: str, settings: tuple[float, ...], **arrays: list[list[float]]) -> SweepResults:
    answers = np.array(arrays["answers"], dtype=bool)
    shape = answers.shape[:2]
    return SweepResults(
        arm=str(arrays.get("arm", "A4")),
        dimension=dimension,
        settings=settings,
        validation=np.array(arrays.get("validation", np.zeros(shape))),
        answers=answers,
        diverged=np.array(arrays.get("diverged", np.zeros(shape)), dtype=bool),
    )


def test_accuracy_is_paired_by_seed_and_image() -> None:
    one = place("s", {"A1": arm([1, 0], [0, 0]), "A2": arm([1, 1], [0, 1])}, block="b")
    gathered = found("A2-for-accuracy-A2", one)
    pair = gathered.pairs["s"]
    assert pair.arm.tolist() == [[1, 1], [0, 1]]
    assert pair.reference is not None
    assert pair.reference.tolist() == [[1, 0], [0, 0]]
    assert (pair.block, gathered.scenarios, gathered.repeats) == ("b", ("s",), 2)


def test_the_others_are_the_other_rows_of_the_table() -> None:
    arms = {
        "A1": arm([1, 1], [1, 1]),
        "A2": arm([0, 0], [0, 1]),
        "A5": arm([0, 1], [0, 1]),
        "from scratch": arm([1, 1], [1, 1]),
    }
    gathered = found("A1-fits-accuracy-A1-similar-easy", place("s", arms))
    reference = gathered.pairs["s"].reference
    assert reference is not None
    assert reference.tolist() == [[0, 0.5], [0, 1]]
    alone = {name: arms[name] for name in ("A1", "from scratch")}
    claim = BY_KEY["A1-fits-accuracy-A1-similar-easy"]
    assert reason(claim, place("s", alone)) == "A1 has no other arm beside it"


def test_numbers_a_seed() -> None:
    one = place("s", {"A1": arm(oscillation=[1.0, 2.0]), "A2": arm(oscillation=[0.5, 3.0])})
    gathered = found("A2-for-oscillation-A2", one, one._replace(name="t"))
    pair = gathered.pairs["t"]
    assert pair.reference is not None
    assert (pair.arm.tolist(), pair.reference.tolist()) == ([0.5, 3.0], [1.0, 2.0])
    assert gathered.num_images == 0


def test_a_claim_is_about_scenarios_of_its_kind() -> None:
    arms = {"A1": arm([1, 1], [1, 0]), "A3": arm([0, 1], [1, 0])}
    places = [
        place("near", arms),
        place("far", arms, traits=HARD),
        place("far and few", arms, traits=Traits(similarity="dissimilar", labels="few")),
        place("unknown", arms, traits=Traits()),
    ]
    assert found("A3-fits-accuracy-A3-dissimilar", *places).scenarios == ("far", "far and few")
    assert found("A3-for-accuracy-A3", *places).scenarios == tuple(p.name for p in places)
    claim = BY_KEY["A4-fits-accuracy-A4-dissimilar-many"]
    assert reason(claim, places[0]) == "no scenario is dissimilar, with many labels"


def test_what_is_missing_is_named() -> None:
    arms = {"A1": arm([1, 1], [1, 0]), "A3": arm([0, 1], [1, 0], cka_drift=[np.nan, np.nan])}
    one = place("s", arms)
    assert reason(BY_KEY["A2-for-accuracy-A2"], one) == "A2 is no arm of the comparison"
    drift = BY_KEY["A3-for-cka_drift-A3"]
    assert reason(drift, one) == "A3 has no 1 − linear CKA with the pretrained features"
    swept = BY_KEY["A3-against-sensitivity-A3-lr_ratio"]
    assert reason(swept, one) == "A3 was not swept over lr_ratio"
    tuned = BY_KEY["A1-for-trials_to_come_within-A1"]
    assert reason(tuned, one) == "A1 has no tuning trial"


def test_a_scenario_without_the_arm_is_left_out_and_named() -> None:
    whole = place("s", {"A1": arm([1, 0], [1, 0]), "A2": arm([1, 1], [1, 0])})
    gathered = found("A2-for-accuracy-A2", whole, place("t", {"A1": arm([1, 0], [1, 0])}))
    assert gathered.scenarios == ("s",)
    assert gathered.notes == ("t: left out, A2 is no arm of the comparison",)


def test_one_seed_is_no_evidence() -> None:
    one = place("s", {"A1": arm([1, 0]), "A2": arm([1, 1])})
    assert "fewer than two pairs" in reason(BY_KEY["A2-for-accuracy-A2"], one)


def test_tuning_gives_a_number_a_scenario() -> None:
    # Expected best of 0, 0, 0.9: 0.3, 0.6, 0.9. Of three equal trials the first will do.
    slow, fast = arm(tuning=(0.0, 0.9, 0.0)), arm(tuning=(0.5, 0.5, 0.5))
    places = [place(n, {"A1": fast, "A2": slow}, block="same") for n in "st"]
    gathered = found("A2-against-trials_to_come_within-A2", *places)
    (pair,) = gathered.pairs.values()
    assert pair.reference is not None
    assert (pair.arm.tolist(), pair.reference.tolist()) == ([3, 3], [1, 1])
    assert (gathered.scenarios, gathered.repeats) == (("s", "t"), 1)
    claim = BY_KEY["A2-against-trials_to_come_within-A2"]
    assert "two scenarios" in reason(claim, places[0])


def test_ranks_of_each_seed_in_each_scenario() -> None:
    best, middle, worst = arm([1, 1], [1, 0]), arm([1, 0], [1, 0]), arm([0, 0], [0, 0])
    first = {"A1": middle, "A2": worst, "A5": best, "from scratch": best}
    second = {"A1": best, "A2": worst, "A5": middle}
    gathered = found("A5-fits-mean_rank-A5", place("s", first), place("t", second, block="s"))
    pairs = gathered.pairs
    # First alone, then sharing ranks 1 and 2; second, then sharing again.
    assert pairs["s"].arm.tolist() == [1, 1.5]
    assert pairs["t"].arm.tolist() == [2, 1.5]
    assert pairs["s"].reference is not None
    assert pairs["s"].reference.tolist() == [2.5, 2.25]
    assert (gathered.repeats, gathered.num_images) == (2, 2)


def test_ranks_vary_with_test_images_too() -> None:
    rng = np.random.default_rng(0)
    rows = rng.random((3, 4, 200)) < 0.8
    arms = {name: arm(*row.tolist()) for name, row in zip(("A1", "A2", "A5"), rows, strict=True)}
    pair = found("A5-fits-mean_rank-A5", place("s", arms)).pairs["s"]
    ranks = rankdata(-rows.mean(axis=2), axis=0)
    assert pair.arm.shape == (4, 10)
    assert pair.arm.mean(axis=1) == pytest.approx(ranks[2])
    # Without every tenth image, as the jackknife says.
    left = rankdata(-np.delete(rows, np.arange(0, 200, 10), axis=2).mean(axis=2), axis=0)[2]
    others = [np.delete(rows, np.arange(g, 200, 10), axis=2).mean(axis=2) for g in range(10)]
    mean = np.mean([rankdata(-o, axis=0)[2] for o in others], axis=0)
    assert pair.arm[:, 0] == pytest.approx(ranks[2] + 9 * (mean - left))


def test_who_is_always_first_shows_no_noise_of_images() -> None:
    first, last = np.ones((6, 40), int).tolist(), np.zeros((6, 40), int).tolist()
    arms = {"A1": arm(*last), "A5": arm(*first)}
    gathered = found("A5-fits-mean_rank-A5", place("s", arms))
    assert gathered.pairs["s"].arm.tolist() == [1] * 6
    assert gathered.num_images == 40


def test_settings_of_a_sweep_are_named_by_the_other_seeds() -> None:
    # Setting 0 answers all, setting 1 none, setting 2 half; seed 0's own validation differs.
    answers = [[[1, 1]] * 3, [[0, 0]] * 3, [[0, 1]] * 3]
    validation = [[0.0, 0.9, 0.9], [1.0, 0.2, 0.2], [0.5, 0.5, 0.5]]
    one = sweep("warmup_steps", (1, 2, 3), answers=answers, validation=validation)
    claim = "A4-against-sensitivity-A4-warmup_epochs"
    mine, theirs = sides(found(claim, place("s", {"A4": arm()}, one)), "s")
    # Sums of the others: seed 0 sees 1.8, 0.4, 1.0; seeds 1 and 2 see 0.9, 1.2, 1.0.
    assert mine == [[1, 1], [0, 0], [0, 0]]
    assert theirs == [[0, 0], [1, 1], [1, 1]]


def test_sweeps_are_distinguished_by_their_dimension() -> None:
    start = sweep("warmup_start_fraction", (0.0, 0.5), answers=[[[1, 0], [1, 1]], [[0, 0], [0, 1]]])
    where = place("s", {"A4": arm()}, start)
    length = BY_KEY["A4-against-sensitivity-A4-warmup_epochs"]
    told = "A4 was not swept over warmup_epochs or warmup_steps or warmup_fraction"
    assert reason(length, where) == told
    assert found("A4-against-sensitivity-A4-warmup_start_fraction", where)
    rate = start._replace(arm="A5", dimension="lr")
    betas = start._replace(arm="A5", dimension="optimizer.beta1")
    adaptive = "A5-against-sensitivity-A5"
    arms = {"A5": arm()}
    text = "A5 was not swept over its own settings"
    assert reason(BY_KEY[adaptive], place("s", arms, rate)) == text
    assert found(adaptive, place("s", arms, rate, betas))


def test_usable_rates_and_divergence_of_each_seed() -> None:
    ten = [[1] * 10] * 2
    half = [[1] * 5 + [0] * 5, [1] * 10]
    rates = (0.1, 0.001, 0.01)  # in any order
    answers = [half, half, ten]
    lost = [[0, 1], [0, 0], [1, 1]]
    wide = sweep("lr", rates, answers=[ten, ten, ten])._replace(arm="A5")
    narrow = sweep("lr", rates, answers=answers, diverged=lost)._replace(arm="A1")
    where = place("s", {"A1": arm(), "A4": arm(), "A5": arm()}, wide, narrow)
    mine, theirs = sides(found("A5-for-usable_decades-A5", where), "s")
    # Seed 0 falls from 1 to 0.5 over a decade on each side, and may fall by 0.02.
    assert mine == pytest.approx([2, 2])
    assert theirs == pytest.approx([0.08, 2])
    diverged = where._replace(sweeps=(narrow, wide._replace(arm="A4")))
    mine, theirs = sides(found("A4-for-divergence_share-A4", diverged), "s")
    assert mine == [0, 0]
    assert theirs == pytest.approx([1 / 3, 2 / 3])


def test_one_kind_of_scenario_against_another() -> None:
    small = Traits(labels="few", balance="imbalanced")
    large = Traits(labels="many", balance="balanced")
    places = [
        place("large", {"B1": arm(class_share_distance=[0.1, 0.2])}, traits=large),
        place("small", {"B1": arm(class_share_distance=[0.3, 0.5])}, traits=small),
        place("tiny", {"B1": arm(class_share_distance=[0.5, 0.7])}, traits=small),
    ]
    key = "B1-fits-class_share_distance-B1-many-balanced"
    gathered = found(key, *places)
    mine, theirs = sides(gathered, "all")
    assert mine == [0.1, 0.2]
    assert theirs == pytest.approx([0.4, 0.6])
    assert gathered.scenarios == ("large", "small", "tiny")
    assert reason(BY_KEY[key], places[0]) == "no scenario is with few labels, imbalanced"


def test_the_best_depth_is_a_mean_of_those_that_tie() -> None:
    arms = {
        "freeze 0": frozen(0, [1, 0], [1, 1]),
        "freeze 2": frozen(2, [1, 1], [0, 1]),
        "freeze 5": frozen(5, [1, 1], [0, 0]),
        "freeze": arm([1, 1], [1, 1]),
    }
    far = place("far", {**arms, "freeze 5": frozen(5, [0, 0], [1, 1])}, traits=HARD)
    gathered = found("C5-for-best_freeze_depth-freeze-similar", place("near", arms), far)
    mine, theirs = sides(gathered, "all")
    assert mine == [3.5, 0]
    assert theirs == [2, 2.5]


def test_the_depth_is_the_configurations_and_not_the_names() -> None:
    arms = {"freeze 0": frozen(0, [1, 0], [1, 1]), "freeze 2": frozen(3, [1, 1], [0, 1])}
    key = "C5-for-best_freeze_depth-freeze-similar"
    places = place("near", arms), place("far", arms, traits=HARD)
    (pair,) = found(key, *places).pairs.values()
    assert pair.arm.tolist() == [3, 0]
    alike = {name: frozen(2, [1, 0], [1, 1]) for name in arms}
    places = place("near", alike), place("far", alike, traits=HARD)
    assert reason(BY_KEY[key], *places) == 'all arms "freeze N" freeze to the same depth'


def test_the_best_depth_of_a_scenario_has_an_interval() -> None:
    draw = np.random.default_rng(0)

    def freezing(right: dict[int, float]) -> dict[str, ArmResults]:
        """Six seeds that answer 200 images, so often rightly at each depth."""
        return {
            f"freeze {depth}": frozen(depth, *(draw.random((6, 200)) < share).tolist())
            for depth, share in right.items()
        }

    clear = freezing({0: 0.6, 2: 0.9, 5: 0.5})
    told = best_depth(place("near", clear))
    assert told["best_freeze_depth"] == 2
    assert told["best_freeze_depth_low"] <= 2 <= told["best_freeze_depth_high"]
    assert told["best_freeze_depth_high"] - told["best_freeze_depth_low"] < 0.5
    told = best_depth(place("near", freezing({0: 0.7, 2: 0.7, 5: 0.7})))
    assert told["best_freeze_depth_high"] - told["best_freeze_depth_low"] > 1
    # A seed that lacks a run is left out; without two depths there is nothing to say.
    answers = clear["freeze 2"].answers.astype(float)
    answers[3] = np.nan
    lacking = {**clear, "freeze 2": clear["freeze 2"]._replace(answers=answers)}
    assert best_depth(place("near", lacking))["best_freeze_depth"] == 2
    assert best_depth(place("near", {"freeze 0": clear["freeze 0"], "other": arm([1, 0])})) == {}
    # Of few images the values are one a seed.
    few = {name: one._replace(answers=one.answers[:, :12]) for name, one in clear.items()}
    assert best_depth(place("near", few))["best_freeze_depth"] >= 0


def test_the_spread_comes_from_the_estimates() -> None:
    traits = Traits(labels="few", balance="imbalanced")
    arms = {"B1": arm(estimate=[0.5, 0.7, 0.6]), "B2": arm(estimate=[0.6, 0.6, 0.9])}
    key = "B2-fits-estimate_spread-B2-few-imbalanced"
    mine, theirs = sides(found(key, place("s", arms, traits=traits)), "s")
    assert mine == pytest.approx([0, 0, 0.3])
    assert theirs == pytest.approx([0.1, 0.1, 0])


def test_scores_of_networks_are_ranked_against_the_accuracy_reached() -> None:
    def networks(*scores: float) -> dict[str, ArmResults]:
        # Accuracies 1/4, 1/2, 3/4, and one that was not scored.
        rows = [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]]
        found = {
            f"network {i}": arm(rows[i], rows[i], log_me=[score] * 2)
            for i, score in enumerate(scores)
        }
        return {**found, "network none": arm(log_me=[9.0, 9.0])}

    key = "C13-for-score_correlation-network-log_me"
    gathered = found(key, place("s", networks(1, 2, 3)), place("t", networks(3, 1, 2)))
    # All pairs agree; of three pairs one agrees.
    assert gathered.pairs["all"].arm.tolist() == pytest.approx([1, -1 / 3])
    assert "read alike" in reason(BY_KEY[key], place("s", networks(1, 1, 1)))
    alike = [place(name, networks(1, 2, 3)) for name in "stu"]
    judged = answered(BY_KEY[key], among(*alike, place("v", networks(1, 3, 2))))
    assert judged.effect == pytest.approx((3 + 1 / 3) / 4)
    assert judged.high == 1  # no correlation is above it
    few = {name: one for name, one in networks(1, 2, 3).items() if name != "network 1"}
    assert "fewer than three networks" in reason(BY_KEY[key], place("s", few))


def test_facts_are_described() -> None:
    one = place("s", {"A1": arm(settings=1), "A3": arm(settings=2)})
    settings = answered(BY_KEY["A1-for-settings-A1"], among(one))
    assert (settings.verdict, settings.figure, settings.text) == ("described", 1.0, None)
    knowledge = answered(BY_KEY["A3-against-knowledge-A3"], among(one))
    assert knowledge.text is not None
    assert "layer groups" in knowledge.text
    noise = {"small batch": arm(noise_scale=[10.0, np.inf, 30.0])}
    claim = BY_KEY["C1-for-noise_scale-small_batch"]
    assert answered(claim, comparison("C", noise, traits=EASY)).figure == 20


def test_every_claim_has_an_answer_or_a_reason() -> None:
    empty = among(place("s", {}))
    for claim in (*CLAIMS, *claims_for("own", arms=["mine"], reference="theirs")):
        missing = answered(claim, empty)
        assert missing.verdict == "not measured", claim.key
        assert missing.reason
