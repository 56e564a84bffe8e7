import json

import pytest

from tests.config.conftest import Read
from tlsearch.config.resolved import changes, identity

BASE = "space: {lr: 0.1, optimizer: {sgd: {momentum: [0.8, 0.9]}, adam: {}}}\n"
LETTERS = [
    f"backbone.source.letters.{name}: absent → {value}"
    for name, value in {
        "images": 2000,
        "difficulty": 0.5,
        "imbalance": 1.0,
        "seed": 0,
        "classes": 26,
        "similarity": 0.8,
    }.items()
]


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("space.lr={low: 0.1, high: 1}", ["space.lr: 0.1 → {low: 0.1, high: 1.0}"]),
        (
            "space.optimizer={sgd: {momentum: [0.8, 0.9]}}",
            [
                'space.optimizer: [sgd, adam] → "sgd"',
                "space.optimizer.adam.beta1: 0.9 → absent",
                "space.optimizer.adam.beta2: 0.999 → absent",
            ],
        ),
        (
            "space.optimizer.sgd.momentum=0.8",
            ["space.optimizer.sgd.momentum: [0.8, 0.9] → 0.8"],
        ),
        ("data.split.seed=1", ["data.split.seed: 0 → 1"]),
        ("data.labels_per_class=5", ["data.labels_per_class: null → 5"]),
        ("backbone.name=resnet34", ['backbone.name: "resnet18" → "resnet34"']),
        ("backbone.source=letters", ["backbone.source: null → absent", *LETTERS]),
        ("budget.epochs=11", ["budget.epochs: 10 → 11"]),
        ("search.seed=1", ["search.seed: 0 → 1"]),
        ("search.metric=val_loss", ['search.metric: "val_accuracy" → "val_loss"']),
    ],
)
def test_what_may_not_change(read: Read, option: str, expected: list[str]) -> None:
    old = json.loads(json.dumps(identity(read(BASE))))  # as a store gives it back
    new = identity(read(BASE, option))
    found = changes(old, new)
    assert found == expected
    assert changes(new, new) == []


@pytest.mark.parametrize(
    "option",
    [
        "name=other",
        "budget.trials=99",
        "budget.timeout=1h",
        "workers=7",
        "device=cpu",
        "precision=bf16",
        "confirm=null",
        "baselines=false",
        "search.stop.gain=0.002",
        "storage=sqlite:///a.db",
        "tracking_uri=http://localhost:5000",
    ],
)
def test_what_may_change(read: Read, option: str) -> None:
    assert changes(identity(read(BASE)), identity(read(BASE, option))) == []


def test_another_sampler(read: Read) -> None:
    found = changes(identity(read(BASE)), identity(read(BASE, "search.sampler=random")))
    assert "search.sampler.tpe.n_startup_trials: 10 → absent" in found
    assert "search.sampler.random: absent → {}" in found


def test_a_study_from_before_a_field_existed_is_the_same_study(read: Read) -> None:
    now = identity(read(BASE))
    later = (
        "space.adaptation",
        "space.source_task_weight",
        "data.white",
        "data.audit.augmented_copies",
        "search.sampler.tpe.group",
        "backbone.source",
    )
    before = {name: value for name, value in now.items() if not name.startswith(later)}
    assert len(before) < len(now)
    assert changes(before, now) == []
    other = changes(
        before,
        identity(
            read(BASE, "space.adaptation=moments", "data.white=4095", "backbone.weights=glyphs")
        ),
    )
    assert 'space.adaptation: "none" → "moments"' in other
    assert "data.white: null → 4095" in other
