"""The options are those of the installed Optuna, with its defaults."""

import inspect
from typing import Any

import optuna
import pytest

from tests.config.conftest import Read, Refused
from tlsearch.config.search_options import PRUNERS, SAMPLERS, Hyperband, Pruner, Sampler, Stop, Tpe

# Where ours differ, and why is said beside them in search_options.py.
OURS: dict[tuple[str, str], Any] = {
    ("tpe", "multivariate"): True,
    ("tpe", "group"): None,
    ("percentile", "percentile"): 25.0,
    ("successive_halving", "min_resource"): 1,
}


@pytest.mark.parametrize("name", [*SAMPLERS, *(name for name in PRUNERS if name != "racing")])
def test_options_and_defaults_are_optunas(name: str) -> None:
    kind: type[Sampler | Pruner] = {**SAMPLERS, **PRUNERS}[name]
    module = optuna.samplers if name in SAMPLERS else optuna.pruners
    known = inspect.signature(getattr(module, kind.optuna_name).__init__).parameters
    for option, field in kind.model_fields.items():
        assert option in known
        assert field.default == OURS.get((name, option), known[option].default)


def test_hyperbands_brackets() -> None:
    """As Optuna documents them: floor(log(max_resource / min_resource, reduction_factor)) + 1."""
    for epochs, options, brackets in (
        (10, {}, 3),
        (3, {}, 2),
        (27, {}, 4),
        (50, {"min_resource": 2}, 3),
        (30, {"max_resource": 9}, 3),
    ):
        assert Hyperband.model_validate(options).brackets(epochs) == brackets


def test_tpe_models_conditional_spaces_in_groups(read: Read) -> None:
    flat = read("space: {l1: [0, 1]}")
    conditional = read("space: {optimizer: {adam: {}, sgd: {momentum: [0.8, 0.9]}}}")
    assert not Tpe().arguments(flat)["group"]
    assert Tpe().arguments(conditional)["group"]
    assert not Tpe(group=False).arguments(conditional)["group"]
    assert not Tpe(multivariate=False).arguments(conditional)["group"]
    assert Tpe(group=True).arguments(flat)["group"]


def test_when_to_stop(read: Read, refused: Refused) -> None:
    assert read("").search.stop is None
    assert read("search: {stop: {gain: 0.002}}").search.stop == Stop(gain=0.002)
    assert read("", "search.stop.gain=0.002").search.stop == Stop(gain=0.002)
    assert read("search: {stop: {gain: 1.5}, metric: val_loss}").search.stop == Stop(gain=1.5)
    (share,) = refused("search: {stop: {gain: 2}}")
    assert share.endswith(
        "search.stop.gain = 2.0: accuracy is a share, from 0 to 1, and can gain no more — write "
        "0.02 for 2 points"
    )
    (nothing,) = refused("search: {stop: {gain: 0}}")
    assert "search.stop.gain = 0" in nothing
    (missing,) = refused("search: {stop: {}}")
    assert "search.stop.gain" in missing
