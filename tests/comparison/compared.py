"""Whole comparisons with known truth, as the coordinator would hand them over."""

from collections.abc import Mapping, Sequence

import numpy as np

from tests.comparison.simulated import World, answers
from tlsearch.comparison.claims import CLAIMS
from tlsearch.comparison.design import ArmResults, ComparisonResults, ScenarioResults, SweepResults
from tlsearch.config.comparison import Traits

BY_KEY = {claim.key: claim for claim in CLAIMS}
A_VALUES = (
    "oscillation", "epochs_to_share", "cka_drift", "weight_drift", "source_accuracy",
    "early_gradient_norm",
)  # fmt: skip
# Two data sets of each kind, each with few and with many labels: a test set for two scenarios.
KINDS = tuple(
    (f"{similarity} {difficulty} {labels}", f"{similarity} {difficulty}", Traits(
        similarity=similarity, difficulty=difficulty, labels=labels  # type: ignore[arg-type]
    ))
    for similarity in ("similar", "dissimilar")
    for difficulty in ("easy", "hard")
    for labels in ("few", "many")
)  # fmt: skip
RATES = (0.001, 0.003, 0.01, 0.03, 0.1)


def arm_of(
    rng: np.random.Generator,
    right: np.ndarray,
    *,
    values: Sequence[str] = A_VALUES,
    settings: int = 1,
) -> ArmResults:
    """An arm with these answers (seeds, images); its measures are skewed noise around 1."""
    seeds = len(right)
    return ArmResults(
        tuning=rng.uniform(0.4, 0.9, size=20),
        params={"lr": np.float64(0.01), "optimizer": "sgd", "freeze_depth": 0},
        settings=settings,
        answers=right,
        values={name: rng.lognormal(sigma=0.3, size=seeds) for name in values},
        seeds=tuple(range(seeds)),
    )


def sweep_of(
    rng: np.random.Generator, arm: str, dimension: str, settings: Sequence[float], right: np.ndarray
) -> SweepResults:
    """A sweep with these answers (settings, seeds, images), the last 200 of validation images."""
    validation = right[:, :, -200:].mean(axis=2)
    return SweepResults(
        arm=arm,
        dimension=dimension,
        settings=tuple(settings),
        validation=validation,
        answers=right[:, :, :-200],
        diverged=rng.random(validation.shape) < 0.1,
    )


def table_a(
    seed: int,
    *,
    gains: Mapping[str, float],
    kinds: Sequence[tuple[str, str, Traits]] = KINDS,
    seeds: int = 8,
    images: int = 1000,
) -> ComparisonResults:
    """Table A with all its arms and sweeps; `gains` are those of all scenarios, on 0.85."""
    rng = np.random.default_rng(seed)
    arms = ("A1", "A2", "A3", "A4", "A5")
    swept = [
        ("A1", "lr", RATES), ("A4", "lr", RATES), ("A5", "lr", RATES),
        ("A3", "lr_ratio", (0.3, 0.6, 1.0)), ("A4", "warmup_epochs", (1, 2, 3)),
        ("A4", "warmup_start_fraction", (0.0, 0.1, 0.5)), ("A5", "optimizer.beta1", (0.8, 0.9)),
    ]  # fmt: skip
    world = World(images=images + 200, accuracy=0.85)
    runs = [gains.get(arm, 0.0) for arm in arms]
    runs += [gains.get(f"{arm} {dim} {s}", 0.0) for arm, dim, some in swept for s in some]
    places = []
    for name, block, traits in kinds:
        (right,) = answers(rng, world, repeats=1, seeds=seeds, gains=runs)
        found, rest = dict(zip(arms, right[:5], strict=True)), right[5:]
        sweeps = []
        for arm, dimension, some in swept:
            sweeps.append(sweep_of(rng, arm, dimension, some, rest[: len(some)]))
            rest = rest[len(some) :]
        places.append(
            ScenarioResults(
                name=name,
                traits=traits,
                facts={"test_images": images},
                block=block,
                arms={
                    n: arm_of(rng, r[:, :images], settings=1 + (n != "A1"))
                    for n, r in found.items()
                },
                sweeps=tuple(sweeps),
            )
        )
    return ComparisonResults("rates", "A", "A1", tuple(places), trials=20, epochs=12, future=None)


def comparison(
    table: str, arms: Mapping[str, ArmResults], *, traits: Traits, reference: str = ""
) -> ComparisonResults:
    """A single scenario."""
    place = ScenarioResults("here", traits, {}, "test", arms, ())
    return ComparisonResults("one", table, reference, (place,), 20, 12, None)  # type: ignore[arg-type]
