"""What a search tries first: the portfolio, clipped into a study's space."""

from typing import Any

import pytest

from tests.config.conftest import Read
from tlsearch.config import portfolio as module
from tlsearch.config.portfolio import portfolio, start_note, starts
from tlsearch.errors import RequestError

ENTRIES = [
    {
        "lr": 0.5, "batch_size": 24, "optimizer": "sgd", "optimizer.sgd.momentum": 0.9,
        "frozen_share": 0.6, "input_lr_fraction": 0.03125, "warmup_fraction": 0.19,
        "head_init": "probe",
    },
    {
        "lr": 0.01, "batch_size": 16, "optimizer": "adam", "frozen_share": 1.0,
        "input_lr_fraction": 1.0, "warmup_fraction": 0.0, "head_init": "random",
    },
]  # fmt: skip


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> None:
    content = {"entries": ENTRIES, "tasks": ["a", "b", "c"]}
    monkeypatch.setattr(module, "portfolio", lambda: content)


SPACE = """
budget: {trials: 10, epochs: 10}
search: {start: portfolio}
space:
  freeze_depth: {low: 0, high: 5}
  lr: {low: 1.0e-3, high: 1.0e-1, log: true}
  lr_ratio: {low: 0.3, high: 1.0, log: true}
  warmup_epochs: {low: 0, high: 3}
  batch_size: [16, 32]
  dropout: {low: 0.0, high: 0.5}
  optimizer: {sgd: {momentum: {low: 0.8, high: 0.99}}, adam: {}}
"""


@pytest.mark.usefixtures("made")
def test_in_units_of_the_study_and_clipped_into_it(read: Read) -> None:
    config = read(SPACE)
    first, second = starts(config)
    assert dict(first.values) == {
        "freeze_depth": 3,  # of the five groups of ResNet-18 before its head
        "lr": 0.1,
        "lr_ratio": pytest.approx(0.5),  # five times from the head to the input
        "warmup_epochs": 2,
        "batch_size": 16,
        "optimizer": "sgd",
        "optimizer.sgd.momentum": 0.9,
    }  # dropout is not known, head_init is not searched
    assert first.clipped == ("lr",)
    assert (second.values["freeze_depth"], second.clipped) == (5, ())
    note = start_note(config)
    assert "the first 2 trials are strategies that did well on 3 other tasks" in note
    assert "; 1 of them clipped into this space (lr)" in note
    assert "the first 1 trials" in start_note(read(SPACE, "budget.trials=1"))


@pytest.mark.usefixtures("made")
def test_none_of_it_unless_asked_for_and_none_twice(read: Read) -> None:
    assert starts(read(SPACE, "search.start=none")) == []
    assert start_note(read(SPACE, "search.start=none")) == ""
    narrow = read("search: {start: portfolio}\nspace: {batch_size: [16, 64]}\n")
    assert [dict(start.values) for start in starts(narrow)] == [{"batch_size": 16}]
    with pytest.raises(RequestError, match=r'search\.start = "portfolio": a grid'):
        read("search: {start: portfolio, sampler: grid}\nspace: {batch_size: [16, 64]}\n")


@pytest.mark.usefixtures("made")
def test_first_come_those_of_the_kind_of_optimizer_that_is_searched(read: Read) -> None:
    first, second = starts(read(SPACE, "space.optimizer=adam"))
    assert (first.values["lr"], first.origin) == (0.01, "portfolio 2")
    assert "lr" in second.left  # SGD's rates mean nothing to Adam


def test_the_portfolio_is_whole() -> None:
    found: dict[str, Any] = portfolio()
    assert len(found["entries"]) >= 5
    for entry in found["entries"]:
        assert 0 <= entry["frozen_share"] <= 1
        assert 0 < entry["input_lr_fraction"] <= 1
    assert {"command", "tasks", "trained_with"} <= set(found)
