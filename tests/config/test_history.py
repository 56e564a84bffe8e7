"""Records of earlier searches: what is refused of them, how near they are, and in whose units."""

import json
from typing import Any

import pytest

from tests.config.conftest import Read
from tlsearch.config.history import Record, Task, distance, entry_of, read_record, unusable
from tlsearch.config.portfolio import ORIGIN, starts

TASK: dict[str, Any] = {
    "network": "resnet18", "weights": "glyphs", "depth": 5, "classes": 10, "train_images": 200,
    "size": 32, "epochs": 10, "metric": "val_accuracy", "similarity": 0.7, "source": "digits",
    "data": "d1", "test": "t1",
}  # fmt: skip
PARAMS = {
    "lr": 0.02, "freeze_depth": 3, "lr_ratio": 0.5, "optimizer": "sgd",
    "optimizer.sgd.momentum": 0.9, "warmup_epochs": 2, "patience_epochs": 4, "layer_decay": 0.9,
    "batch_size": 16,
}  # fmt: skip
WON: dict[str, Any] = {
    "version": 1, "study": "digits", "won": "trial 7", "run": "confirm-0007-seed-1",
    "baseline": "", "init": "pretrained", "trained": 10, "params": PARAMS,
}  # fmt: skip
HERE = Task(**TASK)


def record(**changes: Any) -> Record:
    params = {**PARAMS, **changes.pop("params", {})}
    found = read_record(json.dumps({**TASK, **WON, "params": params, **changes}))
    assert isinstance(found, Record), found
    return found


def there(**changes: Any) -> Task:
    return Task(**{**TASK, **changes})


def test_a_record_is_read_and_completed() -> None:
    found = record()
    assert PARAMS.items() <= found.params.items()
    assert found.params["head_init"] == "random"  # of a version that did not know it
    assert read_record(json.dumps({**TASK, **WON, "of_a_later_version": 1})) == found


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "Invalid JSON"),
        ("null", "an object"),
        ("{", "Invalid JSON"),
        ("[" * 4000, "recursion"),
        ({"version": 2}, "version"),
        ({"depth": "5"}, "depth"),
        ({"train_images": 0}, "train_images"),
        ({"similarity": float("nan")}, "similarity"),
        ({"study": "\x1b[2Jdigits"}, "study"),
        ({"params": {}}, "params"),
        ({"params": {"lr": "fast"}}, "lr"),
        ({"params": {"lr": -1.0}}, "lr"),
        ({"params": {"lr": [0.1, 0.2]}}, "lr has several values"),
        ({"params": {"lr": {"low": 0.1, "high": 0.2}}}, "lr has several values"),
        ({"params": {"optimizer": ["sgd"]}}, "optimizer"),
        ({"params": {"optimizer": "lion"}}, "optimizer.lion"),
        ({"params": {"optimizer": "sgd", "optimizer.adam.beta1": 0.9}}, "optimizer.adam.beta1"),
        ({"params": {"lr.sgd": 0.1}}, "lr.sgd"),
        ({"params": {"freezing": 1}}, "freezing"),
        ({"params": {"freeze_depth": 6}}, "6 of 5 layer groups"),
    ],
)
def test_what_is_no_record_is_refused_in_words(text: Any, wrong: str) -> None:
    written = text if isinstance(text, str) else json.dumps({**TASK, **WON, **text})
    found = read_record(written)
    assert isinstance(found, str)
    assert wrong in found


def test_nearer_is_what_differs_in_less() -> None:
    assert distance(HERE, there()) == 0
    order = [
        there(train_images=220),
        there(classes=20),
        there(metric="val_loss", classes=20),
        there(train_images=800),
        there(train_images=800, similarity=0.1),
        there(train_images=800, similarity=0.1, network="resnet50"),
        there(train_images=800, similarity=0.1, network="vgg11"),
        there(train_images=800, similarity=0.1, network="vgg11", weights="IMAGENET1K_V1"),
    ]
    found = [distance(HERE, one) for one in order]
    assert found == sorted(found)
    assert len({*found}) == len(found)
    assert 0 < distance(HERE, there(similarity=None)) < distance(HERE, there(similarity=0.0))
    assert distance(HERE, there(network="mine.file:build")) == distance(
        HERE, there(network="vgg11")
    )


def test_what_cannot_be_used_says_why(read: Read) -> None:
    config = read("space: {head_init: [random, probe]}\n", "backbone.weights=glyphs")
    assert unusable(config, [HERE], record()) == ""
    assert unusable(config, [HERE], record(data="d2", test="t2")) == ""
    assert "tested here" in unusable(config, [HERE], record(test="t2"))
    assert "from scratch" in unusable(config, [HERE], record(init="random"))
    assert unusable(config, [there(weights="none")], record(init="random")) == ""
    assert "has none" in unusable(config, [there(weights="none")], record())
    probe = record(baseline="linear_probe", params={"head_init": "probe"})
    assert unusable(config, [HERE], probe) == ""
    assert "no probe" in unusable(read(""), [HERE], probe)


SPACE = """
budget: {trials: 10, epochs: 20}
search: {start: history}
space:
  freeze_depth: {low: 0, high: 5}
  lr: {low: 1.0e-3, high: 1.0e-2, log: true}
  lr_ratio: {low: 0.3, high: 1.0, log: true}
  warmup_epochs: {low: 0, high: 5}
  patience_epochs: [null, 4, 8]
  batch_size: [8, 32]
  trained: all
  optimizer: {sgd: {momentum: {low: 0.8, high: 0.99}}, adam: {}}
"""
OTHER = "backbone: {name: mobilenet_v3_small, weights: glyphs}\n"
HEAD = "name: s\ndata: {source: digits}\n"


def test_another_networks_units_are_shares_of_its_depth(read: Read) -> None:
    config = read(SPACE, head=HEAD + OTHER)
    here = [there(network="mobilenet_v3_small", depth=7, epochs=20)]
    entry = entry_of(record(), here)
    assert "layer_decay" not in entry  # a layer of one is no layer of the other
    assert "layer_decay" in entry_of(record(), [there(epochs=20)])
    (start,) = starts(config, [{**entry, ORIGIN: "there"}])
    assert dict(start.values) == {
        "freeze_depth": 4,  # of seven, as three of five
        "lr": 0.01,
        "lr_ratio": pytest.approx(0.5 ** (5 / 7)),
        "warmup_epochs": 4,  # a fifth of the training
        "patience_epochs": 8,
        "batch_size": 8,
        "optimizer": "sgd",
        "optimizer.sgd.momentum": 0.9,
    }
    assert (start.clipped, start.left, start.origin) == (("lr",), (), "there")


def test_groups_by_name_are_no_depth_and_null_is_a_value(read: Read) -> None:
    config = read(SPACE, "space.trained=[all, layer4]", "space.freeze_depth=0")
    by_depth = entry_of(record(params={"patience_epochs": None}), [HERE])
    by_name = entry_of(record(params={"freeze_depth": 0, "trained": "layer4"}), [HERE])
    first, second = starts(config, [{**by_depth, ORIGIN: "a"}, {**by_name, ORIGIN: "b"}])
    assert first.left == ("trained",)
    assert first.values["patience_epochs"] is None
    assert second.values["trained"] == "layer4"
    (third,) = starts(read(SPACE), [{**by_name, ORIGIN: "b"}])
    assert third.left == ("freeze_depth",)


def test_a_rate_goes_with_its_kind_of_optimizer(read: Read) -> None:
    entry = {**entry_of(record(params={"lr": 0.005}), [HERE]), ORIGIN: "a"}

    def values(optimizer: str) -> Any:
        (start,) = starts(read(SPACE, f"space.optimizer={optimizer}"), [entry])
        return start.values.get("lr"), start.values.get("optimizer"), start.left

    assert values("sgd") == (0.005, None, ())
    assert values("[adam, adamw]") == (None, None, ("lr", "optimizer"))
    adam = {**entry, "optimizer": "adam"}
    (start,) = starts(read(SPACE, "space.optimizer=[sgd, adamw]"), [adam])
    assert (start.values["lr"], start.values["optimizer"], start.left) == (0.005, "adamw", ())


def test_a_search_from_history_without_any_starts_with_nothing(read: Read) -> None:
    assert starts(read(SPACE)) == []
