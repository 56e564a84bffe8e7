from typing import Any

import pytest

from tlsearch.config.space import Space
from tlsearch.config.strategy import Strategy
from tlsearch.execution.examples import policies


def told(**fields: Any) -> list[tuple[str, str]]:
    return [policy[:2] for policy in policies(Space.model_validate(fields))]


def test_nothing_is_told_of_what_is_off() -> None:
    assert told() == told(augmentation="none", mixing=["none"], erasing=0) == []


def test_every_option_in_the_order_of_application() -> None:
    found = told(
        adversarial=["none", "pgd"],
        mixing=["cutmix", "mixup"],
        erasing=0.25,
        augmentation=["none", "trivial", {"x": 1}][:2],
        adaptation=["none", "fourier"],
    )
    assert [title for title, _ in found] == [
        "fourier",
        "trivial",
        "erasing",
        "cutmix",
        "mixup",
        "pgd",
    ]
    assert found[0][1] == "band 0.1, strength 1"
    assert found[1][1] == ""
    assert found[2][1] == "erasing 0.25"
    assert found[5][1] == "epsilon 0.031, num steps 7, share 0.5"


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({}, "flip 0.5, rotation 15°, shift 0.1, zoom 0.1, colour 0.2"),
        (
            {"flip": 0, "shift": 0, "zoom": 0, "colour": 0, "rotation": {"low": 0, "high": 40}},
            "rotation 40° (the strongest of the search)",
        ),
        (
            {"flip": 0, "shift": 0, "zoom": 0, "colour": [0, 0.3], "rotation": 0,
             "crop": {"low": 0.4, "high": 1}},
            "crop at least 0.4, colour 0.3 (the strongest of the search)",
        ),
    ],
)  # fmt: skip
def test_the_strongest_is_shown(fields: dict[str, Any], detail: str) -> None:
    assert told(augmentation={"basic": fields}) == [("basic", detail)]


def test_each_is_a_strategy_with_the_others_off() -> None:
    space = Space.model_validate(
        {
            "augmentation": {
                "randaugment": {"num_ops": {"low": 1, "high": 3}, "magnitude": [5, 9]}
            },
            "erasing": {"low": 0, "high": 0.5},
            "mixing": "mixup",
        }
    )
    first, second, third = (Strategy.from_params(p.params, init="random") for p in policies(space))
    off = Strategy.from_params(Space().assign(lambda _n, _d: None), init="random")
    assert repr(first.augmentation) == "RandAugment(num_ops=3, magnitude=9)"
    assert (first.erasing, first.mixing) == (0.0, off.mixing)
    assert (second.augmentation, second.erasing) == (off.augmentation, 0.5)
    assert (third.augmentation, third.erasing) == (off.augmentation, 0.0)
    assert third.mixing != off.mixing
