from dataclasses import fields
from typing import Any

import pytest

from tlsearch.config.optimization import Adam, CosineDecay, Sgd, StepDecay
from tlsearch.config.space import Choice, Dimension, Fixed, Range, Space
from tlsearch.config.strategy import CHOICES, Strategy

CONDITIONAL = {
    "lr": {"low": 1e-4, "high": 0.1, "log": True},
    "batch_size": [16, 32],
    "optimizer": {
        "sgd": {"momentum": {"low": 0.8, "high": 0.99}, "nesterov": [True, False]},
        "adam": None,
    },
}


class Asked:
    """Answers like a sampler and remembers what it was asked."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.names: list[str] = []

    def __call__(self, name: str, dimension: Dimension) -> Any:
        assert not isinstance(dimension, Fixed)
        self.names.append(name)
        return self.answers[name]


def test_the_defaults_are_one_strategy_that_nobody_is_asked_about() -> None:
    asked = Asked({})
    params = Space().assign(asked)
    assert asked.names == []
    strategy = Strategy.from_params(params, init="pretrained")
    assert strategy.optimizer == Sgd(momentum=0.9, nesterov=False)
    assert strategy.schedule == CosineDecay(final_lr_fraction=0.0)
    assert (strategy.lr, strategy.batch_size, strategy.clip_norm) == (0.01, 32, None)
    assert Space().searched() == {}
    assert Space().grid_size() == 1


def test_only_the_chosen_branch_is_asked_in_declared_order() -> None:
    space = Space.model_validate(CONDITIONAL)
    sgd = Asked(
        {
            "lr": 0.1,
            "batch_size": 16,
            "optimizer": "sgd",
            "optimizer.sgd.momentum": 0.85,
            "optimizer.sgd.nesterov": True,
        }
    )
    strategy = Strategy.from_params(space.assign(sgd), init="pretrained")
    assert sgd.names == [
        "lr",
        "optimizer",
        "optimizer.sgd.momentum",
        "optimizer.sgd.nesterov",
        "batch_size",
    ]
    assert strategy.optimizer == Sgd(momentum=0.85, nesterov=True)
    adam = Asked({"lr": 0.1, "batch_size": 16, "optimizer": "adam"})
    strategy = Strategy.from_params(space.assign(adam), init="random")
    assert adam.names == ["lr", "optimizer", "batch_size"]
    assert strategy.optimizer == Adam(beta1=0.9, beta2=0.999)


def test_searched_and_conditional() -> None:
    space = Space.model_validate(CONDITIONAL)
    assert space.searched() == {
        "lr": Range(1e-4, 0.1, True, None),
        "optimizer": Choice(("sgd", "adam")),
        "optimizer.sgd.momentum": Range(0.8, 0.99, False, None),
        "optimizer.sgd.nesterov": Choice((True, False)),
        "batch_size": Choice((16, 32)),
    }
    assert space.conditional() == ("optimizer.sgd.momentum", "optimizer.sgd.nesterov")


def test_dimensions_of_the_only_option_are_not_conditional() -> None:
    space = Space.model_validate({"optimizer": {"sgd": {"momentum": [0.8, 0.9]}}})
    assert list(space.searched()) == ["optimizer.sgd.momentum"]
    assert space.conditional() == ()
    assert space.assign(Asked({"optimizer.sgd.momentum": 0.8}))["optimizer"] == "sgd"


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ("sgd", ("sgd",)),
        (["adam", "sgd"], ("adam", "sgd")),
        ({"rmsprop": {}, "adamw": {"beta1": 0.8}}, ("rmsprop", "adamw")),
    ],
)
def test_ways_to_write_a_choice(written: Any, names: tuple[str, ...]) -> None:
    space = Space.model_validate({"optimizer": written})
    assert space.optimizer.names == names
    assert Space.model_validate(space.model_dump(mode="json")) == space


REQUIRED = {("feature_selection", "chi2"): {"k": 8}, ("feature_selection", "anova"): {"k": 8}}


@pytest.mark.parametrize(
    ("field", "name"), [(field, name) for field, kinds in CHOICES.items() for name in kinds]
)
def test_every_option_is_written_by_its_name_and_gives_its_class(field: str, name: str) -> None:
    kind, given = CHOICES[field][name], REQUIRED.get((field, name), {})
    params = Space.model_validate({field: {name: given}}).assign(Asked({}))
    assert getattr(Strategy.from_params(params, init="random"), field) == kind(**given)
    for option in fields(kind):  # each can be searched
        values = {**given, option.name: [getattr(kind(**given), option.name)]}
        assert Space.model_validate({field: {name: values}}).searched() == {}


def test_a_strategy_has_the_defaults_of_the_space() -> None:
    params = Space().assign(Asked({}))
    assert Strategy.from_params(params, init="random") == Strategy(init="random")


def test_grid() -> None:
    written = {"lr": {"low": 0.1, "high": 0.3, "step": 0.1}, "schedule": ["step", "cosine"]}
    space = Space.model_validate(written)
    assert space.grid_size() == 6
    assert space.grid() == {"lr": [0.1, 0.2, 0.3], "schedule": ["step", "cosine"]}
    params = space.assign(Asked({"lr": 0.1, "schedule": "step"}))
    strategy = Strategy.from_params(params, init="random")
    assert strategy.schedule == StepDecay(every_epochs=3, gamma=0.1)
    assert Space.model_validate(CONDITIONAL).grid_size() is None
