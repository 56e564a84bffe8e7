"""A portfolio is chosen greedily, and its units carry over to another network."""

import numpy as np
import pytest

from benchmarks.curves.portfolio import FROZEN, LOWEST_RATE, chosen, entry, placed
from benchmarks.curves.tasks import configurations, study


def test_each_lowers_the_mean_regret_the_most() -> None:
    regrets = np.array([[0.0, 0.4, 0.9, 0.1], [0.9, 0.4, 0.0, 0.8], [0.8, 0.4, 0.9, 0.0]])
    # Best alone is 3 (0.3), beside it 2 (0.03), beside both 0; then nothing is left to gain.
    assert chosen(regrets, 3) == [3, 2, 0]
    assert len(set(chosen(regrets, 4))) == 4


@pytest.mark.parametrize("task", ["letters-5-resnet10", "fashion-5-lite0"])
def test_an_entry_is_the_same_strategy_again(task: str) -> None:
    config = study(task)
    for params in configurations(config, 20):
        again = placed(config, entry(config, params))
        assert again["freeze_depth"] == params["freeze_depth"]
        assert again["lr_ratio"] == pytest.approx(params["lr_ratio"], rel=0.01)
        numbers = {"lr", "dropout", "warmup_fraction", "weight_decay", "optimizer.sgd.momentum"}
        for name in params.keys() - numbers - {"lr_ratio"}:
            assert again[name] == params[name]


def test_units_carry_over_to_a_deeper_network() -> None:
    shallow, deep = study("letters-5-resnet10"), study("fashion-5-lite0")
    params = {**configurations(shallow, 1)[0], "freeze_depth": 4, "lr_ratio": 0.5}
    found = entry(shallow, params)
    assert (found[FROZEN], found[LOWEST_RATE]) == (0.8, 0.0312)
    there = placed(deep, found)
    assert there["freeze_depth"] == 7  # of 9 groups before the head
    assert there["lr_ratio"] ** 9 == pytest.approx(0.5**5, rel=0.01)
    assert placed(deep, {**found, LOWEST_RATE: 1e-9})["lr_ratio"] == 0.3  # the space's least
