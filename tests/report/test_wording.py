"""Numbers and strategies in words."""

from typing import Any

import pytest

from tlsearch.config.space import with_defaults
from tlsearch.report.wording import joined, points, recipe_text, setting_text, value_text


def test_wording() -> None:
    # An interval that ends below 0 must not look as if it touched it.
    assert [points(x) for x in (-0.0001, -1e-15, 0.0, 0.0001)] == ["−0.0", "+0.0", "+0.0", "+0.0"]
    assert points(0.123) == "+12.3"
    assert value_text(None, "val_loss") == "–"
    assert value_text(0.12345, "val_loss") == "0.1235"
    assert joined(["a"]) == "a"
    assert joined(["a", "b", "c"]) == "a, b and c"
    assert setting_text(True) == "yes"


GROUPS = ("stem", "layer1", "layer2", "layer3", "layer4", "head")
BALANCED = {"class_balance": "loss", "class_balance.loss.beta": 1.0}


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({}, "Train all layers, with SGD at a rate of 0.01."),
        ({"freeze_depth": 2}, "Freeze stem and layer1, train the rest, with SGD at"),
        (
            {"freeze_depth": 5, "unfreeze_every_epochs": 2},
            "Freeze all but the head, opening one more group every 2 epochs, with SGD",
        ),
        ({"trained": "norms"}, "Train the normalisation layers and the head, with SGD at"),
        ({"trained": "layer2+stem"}, "Train stem, layer2 and the head, freeze the rest, with"),
        ({"trained": "head"}, "Train the head, freeze the rest, with SGD"),
        (
            {"layer_decay": 0.7},
            "Train all layers, with SGD at a rate of 0.01, times 0.7 per layer ",
        ),
        ({"lr_ratio": 0.5}, "Train all layers, with SGD at a rate of 0.01, times 0.5 per layer gr"),
        (
            {"head_init": "probe", "l2_sp": 0.1, "ema_decay": 0.9, **BALANCED},
            "Train all layers, with SGD at a rate of 0.01. The head starts as a linear probe of "
            "the frozen features. The body is pulled towards its pretrained weights by 0.1. "
            "Classes are balanced by weights in the loss. The model is the moving average of the "
            "weights, of decay 0.9.",
        ),
        (
            {"freeze_depth": 5, "feature_selection": "chi2", "feature_selection.chi2.k": 64},
            "Freeze all but the head, with SGD at a rate of 0.01. The head sees the 64 features "
            "that χ² ranks highest.",
        ),
        (
            {"augmentation": "trivial", "erasing": 0.2, "mixing": "cutmix", "adversarial": "pgd"},
            "Train all layers, with SGD at a rate of 0.01. Training images undergo TrivialAugment, "
            "random erasing, CutMix and attacks (PGD).",
        ),
        (
            {"augmentation": "basic"},
            "Train all layers, with SGD at a rate of 0.01. Training images undergo flips, moves "
            "and changes of colour.",
        ),
    ],
)
def test_recipes(params: dict[str, Any], told: str) -> None:
    found = recipe_text(with_defaults(params), GROUPS)
    assert found.startswith(told)
    assert not told.endswith(".") or found == told
