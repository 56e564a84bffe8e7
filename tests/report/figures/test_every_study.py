"""Every figure of every kind of study: it is drawn, or says why not."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.report.fake import Fake, baselines, fake_study, know_data, search, train
from tlsearch.report.context import read_report
from tlsearch.report.figures.gallery import pictures


def all_fail(fake: Fake) -> None:
    for _ in range(4):
        train(fake, fake.ledger.ask(), 0.1, ending="failed", reason="no memory")


def all_pruned(fake: Fake) -> None:
    for _ in range(4):
        train(fake, fake.ledger.ask(), 0.5, ending="pruned")


def all_alike(fake: Fake) -> None:
    for _ in range(12):
        train(fake, fake.ledger.ask(), 0.9)


def under_way(fake: Fake) -> None:
    search(fake, 3)
    fake.ledger.ask()


def whole(fake: Fake) -> None:
    baselines(fake)
    search(fake, 30)


STUDIES: dict[str, tuple[Sequence[str], Callable[[Fake], None]]] = {
    "one trial": ((), lambda fake: search(fake, 1)),
    "all failed": ((), all_fail),
    "all pruned": ((), all_pruned),
    "all alike": ((), all_alike),
    "under way": ((), under_way),
    "baselines alone": ((), baselines),
    "a loss": (("search.metric=val_loss",), whole),
    "folds": (("data.split.folds=3",), whole),
    "several networks": (("backbone.name=[resnet18, mobilenet_v3_small]",), whole),
    "no choice": (("space.optimizer=sgd", "space.batch_size=16"), whole),
    "one dimension": (
        ("space.freeze_depth=1", "space.lr_ratio=1", "space.dropout=0", "space.batch_size=16",
         "space.optimizer=sgd"), whole,
    ),
    "many options": (("space.optimizer=sgd", f"space.batch_size={list(range(8, 22))}"), whole),
    "a list of depths": (("space.freeze_depth=[0, 2]", "space.lr_ratio=[0.1, 0.5]"), whole),
}  # fmt: skip


@pytest.mark.parametrize("name", STUDIES)
def test_it_is_drawn_or_says_why_not(name: str, tmp_path: Path) -> None:
    overrides, happens = STUDIES[name]
    fake = fake_study(tmp_path, *overrides)
    know_data(fake)
    happens(fake)
    shown = pictures(read_report(fake.ledger, fake.layout))
    drawn = [p for section in shown.values() for p in section.values() if p.plot]
    assert len(drawn) >= 2 or name == "all failed"
    for section in shown.values():
        for picture in section.values():
            assert picture.caption.endswith((".", "?", ")"))
            assert "could not be drawn" not in picture.caption
            if picture.plot:
                assert picture.height > 100
                assert len(picture.alt) > 20
                json.loads(picture.plot, parse_constant=refuse)


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")
