"""The options are those of the installed Optuna, with its defaults."""

import inspect
from typing import Any

import optuna
import pytest

from tests.config.conftest import Read
from tlsearch.config.search_options import PRUNERS, SAMPLERS, Hyperband, Tpe
from tlsearch.config.validation import Section

OPTUNA = {
    "tpe": optuna.samplers.TPESampler,
    "random": optuna.samplers.RandomSampler,
    "gp": optuna.samplers.GPSampler,
    "cmaes": optuna.samplers.CmaEsSampler,
    "qmc": optuna.samplers.QMCSampler,
    "grid": optuna.samplers.GridSampler,
    "none": optuna.pruners.NopPruner,
    "median": optuna.pruners.MedianPruner,
    "percentile": optuna.pruners.PercentilePruner,
    "successive_halving": optuna.pruners.SuccessiveHalvingPruner,
    "hyperband": optuna.pruners.HyperbandPruner,
    "wilcoxon": optuna.pruners.WilcoxonPruner,
}
# Where ours differ, and why is said beside them in search_options.py.
OURS: dict[tuple[str, str], Any] = {
    ("tpe", "multivariate"): True,
    ("tpe", "group"): None,
    ("percentile", "percentile"): 25.0,
    ("successive_halving", "min_resource"): 1,
}


@pytest.mark.parametrize("name", [*SAMPLERS, *PRUNERS])
def test_options_and_defaults_are_optunas(name: str) -> None:
    kind: type[Section] = {**SAMPLERS, **PRUNERS}[name]
    known = inspect.signature(OPTUNA[name].__init__).parameters
    for option, field in kind.model_fields.items():
        assert option in known
        assert field.default == OURS.get((name, option), known[option].default)


@pytest.mark.parametrize(
    ("epochs", "options"), [(10, {}), (3, {}), (50, {"min_resource": 2}), (30, {"max_resource": 9})]
)
def test_hyperbands_brackets(epochs: int, options: dict[str, int]) -> None:
    ours = Hyperband.model_validate(options)
    theirs = optuna.pruners.HyperbandPruner(
        ours.min_resource, ours.most_steps(epochs), ours.reduction_factor
    )
    study = optuna.create_study(pruner=theirs)
    theirs._try_initialization(study)
    assert ours.brackets(epochs) == theirs._n_brackets


def test_tpe_models_conditional_spaces_in_groups(read: Read) -> None:
    flat = read("space: {l1: [0, 1]}").space
    conditional = read("space: {optimizer: {adam: {}, sgd: {momentum: [0.8, 0.9]}}}").space
    assert not Tpe().grouped(flat)
    assert Tpe().grouped(conditional)
    assert not Tpe(group=False).grouped(conditional)
    assert not Tpe(multivariate=False).grouped(conditional)
    assert Tpe(group=True).grouped(flat)
