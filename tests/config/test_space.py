from dataclasses import fields
from typing import Annotated, Any

import pytest
from pydantic import Field, ValidationError, create_model

from tlsearch.config.optimization import Adam, CosineDecay, Sgd
from tlsearch.config.space import (
    Choice,
    Dimension,
    Fixed,
    Range,
    Space,
    count,
    dimension_type,
    highest,
    lowest,
    raw,
    values,
)
from tlsearch.config.strategy import CHOICES, Strategy
from tlsearch.config.validation import Fault, Section, faults

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


# One dimension.


def field(hint: Any) -> type[Section]:
    return create_model("Field", __base__=Section, x=(dimension_type(hint)[0], ...))


RATE = field(Annotated[float, Field(gt=0)])
SHARE = field(Annotated[float, Field(ge=0, lt=1)])
COUNT = field(Annotated[int, Field(ge=0)])
LIMIT = field(Annotated[float | None, Field(gt=0)])
FLAG = field(bool)


def read(dim: Any, written: Any) -> Any:
    return dim.model_validate({"x": written}).x


def refused_by(dim: Any, written: Any) -> list[Fault]:
    with pytest.raises(ValidationError) as caught:
        read(dim, written)
    return faults(caught.value, dim, {"x": written})


@pytest.mark.parametrize(
    ("dim", "written", "parsed"),
    [
        (RATE, 1, Fixed(1.0)),
        (RATE, [0.1, 1], Choice((0.1, 1.0))),
        (RATE, [0.1], Fixed(0.1)),
        (RATE, {"low": 1e-4, "high": 1, "log": True}, Range(1e-4, 1.0, True, None)),
        (SHARE, {"low": 0, "high": 0.3, "step": 0.1}, Range(0.0, 0.3, False, 0.1)),
        (COUNT, {"low": 0, "high": 4, "step": 2}, Range(0, 4, False, 2)),
        (COUNT, {"low": 0, "high": 4, "step": 1}, Range(0, 4, False, None)),
        (COUNT, {"low": 1, "high": 64, "log": True}, Range(1, 64, True, None)),
        (LIMIT, None, Fixed(None)),
        (LIMIT, [None, 2], Choice((None, 2.0))),
        (FLAG, True, Fixed(True)),
        (FLAG, [True, False], Choice((True, False))),
    ],
)
def test_read_and_written_back(dim: Any, written: Any, parsed: Any) -> None:
    found = read(dim, written)
    assert found == parsed
    assert [type(v) for v in raw_values(found)] == [type(v) for v in raw_values(parsed)]
    assert read(dim, raw(found)) == parsed
    assert read(dim, parsed) == parsed


def raw_values(dimension: Any) -> list[Any]:
    match dimension:
        case Fixed(value):
            return [value]
        case Choice(found):
            return list(found)
    return [dimension.low, dimension.high, dimension.log, dimension.step]


@pytest.mark.parametrize(
    ("dim", "written", "message"),
    [
        (RATE, 0, "x: must be above 0"),
        (RATE, True, "x: must be a number"),
        (RATE, None, "x: must be a number"),
        (RATE, "0.1", "x: must be a number — this is text: write 0.1"),
        (RATE, "fast", "x: must be a number"),
        (RATE, float("inf"), "x: must be a finite number"),
        (RATE, 10**400, "x: must be a"),
        (SHARE, 1, "x: must be below 1"),
        (LIMIT, -1, "x: must be above 0"),
        (COUNT, 3.0, "x: must be a whole number — write 3"),
        (COUNT, -1, "x: must be at least 0"),
        (COUNT, 10**10, "x: must be at most 1000000000"),
        (COUNT, False, "x: must be a whole number"),
        (RATE, [], "x: must have at least 1"),
        (RATE, [1, 1.0], "x: 1.0 is listed twice — drop one of them"),
        (RATE, [[1]], "x[0]: must be a number"),
        (FLAG, 1, "x: must be true or false"),
        (FLAG, "no", "x: must be true or false — 'no' is text in YAML 1.2: write false"),
        (FLAG, {"low": 0, "high": 1}, "x: must be true or false"),
        (RATE, {"low": 1, "high": 1}, "x: low equals high: nothing to search"),
        (RATE, {"low": 2, "high": 1}, "x: an empty range: low is above high — swap them"),
        (RATE, {"low": 1}, "x.high: is missing — add it, such as `high: …`"),
        (RATE, {"low": 1, "high": 2, "lag": 1}, "x.lag: unknown field — did you mean 'log'?"),
        (RATE, {"low": 1, "high": 2, "log": "yes"}, "x.log: must be true or false"),
        (RATE, {"low": 1, "high": 2, "log": True, "step": 1}, "x: log and step exclude one"),
        (RATE, {"low": 1, "high": 2, "step": 0}, "x.step: must be above 0"),
        (COUNT, {"low": 1, "high": 2, "step": 0.5}, "x.step: must be a whole number"),
        (COUNT, {"low": 0, "high": 5, "step": 2}, "— write high: 4"),
        (SHARE, {"low": 0, "high": 0.35, "step": 0.1}, "— write high: 0.3"),
        (SHARE, {"low": 0, "high": 0.3, "step": 0.4}, "— take a smaller step"),
        (SHARE, {"low": 0, "high": 0.3, "step": 1e-300}, "— take a smaller step"),
        (SHARE, {"low": 0, "high": 0.3, "log": True}, "x: a logarithmic range must start above"),
        (LIMIT, {"low": None, "high": 1}, "x.low: must be a number"),
    ],
)
def test_refused(dim: Any, written: Any, message: str) -> None:
    (fault,) = refused_by(dim, written)
    remedy = f" — {fault.remedy}" if fault.remedy else ""
    assert message in f"{fault.field}: {fault.rule}{remedy}"


def test_all_that_is_wrong_with_a_range_comes_at_once() -> None:
    found = refused_by(RATE, {"low": -1, "high": "x", "log": 1, "stop": 2})
    assert {fault.field for fault in found} == {"x.low", "x.high", "x.log", "x.stop"}


@pytest.mark.parametrize(
    ("dimension", "listed"),
    [
        (Fixed(None), [None]),
        (Choice((3, 1)), [3, 1]),
        (Range(0, 3, False, None), [0, 1, 2, 3]),
        (Range(0, 4, False, 2), [0, 2, 4]),
        (Range(0.1, 0.4, False, 0.1), [0.1, 0.2, 0.3, 0.4]),
    ],
)
def test_listed_values(dimension: Any, listed: list[Any]) -> None:
    assert count(dimension) == len(listed)
    assert values(dimension) == listed


@pytest.mark.parametrize("endless", [Range(0.0, 1.0, False, None), Range(1, 9, True, None)])
def test_no_grid_of_a_continuum_or_a_logarithm(endless: Range) -> None:
    assert count(endless) is None


def test_ends() -> None:
    assert (lowest(Range(1, 3, False, None)), highest(Range(1, 3, False, None))) == (1, 3)
    assert (lowest(Choice((None, 2, 5))), highest(Choice((None, 2, 5)))) == (2, 5)
    assert lowest(Fixed(None)) > highest(Fixed(None))
