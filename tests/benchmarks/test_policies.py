"""What is made of replayed searches."""

import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks import policies
from benchmarks.policies import (
    INIT,
    PEER,
    POLICIES,
    Judged,
    accuracies,
    against_each,
    judged,
    reached,
)
from benchmarks.replay import Replay, Step

SEARCHES = [
    Replay((Step(1.0, 0.5), Step(4.0, 0.7)), 6.0, 12.0, 2),
    Replay((Step(2.0, 0.6), Step(3.0, 0.4)), 8.0, 16.0, 2),
]
MOMENTS = np.array([0.5, 1.0, 2.5, 3.5, 9.0])
MOMENTS_OF_ALL = 7.0 * policies.MOMENTS


def test_each_moment_has_what_was_chosen_last() -> None:
    assert accuracies(SEARCHES, MOMENTS, before=0.1).tolist() == [
        [0.1, 0.5, 0.5, 0.5, 0.7],
        [0.1, 0.1, 0.6, 0.4, 0.4],
    ]
    found = judged(SEARCHES, MOMENTS, before=0.1)
    assert found.mean.tolist() == pytest.approx([0.1, 0.3, 0.55, 0.45, 0.55])
    assert (found.seconds, found.final) == (7.0, pytest.approx(0.55))


def test_who_falls_back_has_not_arrived() -> None:
    shares = np.array([0.1, 0.2, 0.5, 1.0, 2.0])
    assert reached(shares, np.array([0.5, 0.7, 0.6, 0.7, 0.7]), 0.7) == 1.0
    assert reached(shares, np.array([0.5, 0.7, 0.698, 0.7, 0.7]), 0.7) == 0.2
    # After the peer's end all are free to do as they like.
    assert reached(shares, np.array([0.5, 0.7, 0.7, 0.7, 0.1]), 0.7) == 0.2
    assert reached(shares, np.array([0.5, 0.6, 0.6, 0.6, 0.7]), 0.7) == 2.0
    assert math.isinf(reached(shares, np.full(5, 0.6), 0.7))


def test_each_rival_is_met_at_its_own_end() -> None:
    shares = policies.MOMENTS
    ours = Judged(np.where(shares < 0.1, 0.1, 0.8), shares, shares, 2.0, 0.8)
    peer = Judged(shares, shares, shares, 10.0, 0.7)
    slow = Judged(shares, shares, shares, 20.0, 0.75)
    result = {(INIT, "t"): ours, (PEER, "t"): peer, ("random", "t"): slow}
    *_, first, second = against_each(result, ["t"])
    speeds = [float(row.split(" | ")[1].split()[0]) for row in (first, second)]
    assert speeds == pytest.approx([10, 20], rel=0.04)  # moments lie that far apart
    assert first.endswith("| 1 of 1 | +10.00 (+10.00 to +10.00) |")


def test_the_peer_is_optuna_at_its_defaults() -> None:
    import optuna

    from benchmarks.curves.tasks import study
    from tlsearch.search.samplers import make_pruner, make_sampler

    config = study("letters-5-resnet10", **POLICIES[PEER])
    assert config.searched().keys() > {"optimizer.sgd.momentum"}  # a conditional dimension
    theirs, ours = optuna.samplers.TPESampler(seed=1), make_sampler(config, seed=1)
    plain = {k: v for k, v in vars(theirs).items() if isinstance(v, bool | int | float)}
    assert plain == {name: vars(ours)[name] for name in plain}
    # Of one objective Optuna's None stands for True.
    assert (vars(theirs)["_multivariate"], vars(ours)["_multivariate"]) == (None, True)
    assert type(make_pruner(config)) is optuna.pruners.MedianPruner
    assert vars(make_pruner(config)) == vars(optuna.pruners.MedianPruner())


def test_results_are_kept_for_the_same_curves_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(policies, "FILE", tmp_path / "policies.parquet")
    found = judged(SEARCHES, MOMENTS_OF_ALL, before=0.1)
    about = {"curves": "a", "seeds": "2", "setup": "x"}
    assert policies.read(about) == {}
    policies.write({(PEER, "t"): found}, about)
    ((place, again),) = policies.read(about).items()
    assert place == (PEER, "t")
    assert again.mean.tolist() == found.mean.tolist()
    assert (again.seconds, again.final) == (found.seconds, found.final)
    assert policies.read({**about, "curves": "b"}) == {}
