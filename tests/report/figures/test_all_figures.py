"""Every figure of every kind of study: it is drawn, or says why not."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.report.fake import Fake, baselines, fake_study, know_data, search, train
from tlsearch.report.context import SearchReport, read_search
from tlsearch.report.figures.search import History
from tlsearch.report.figures.style import Window, evenly, rounded
from tlsearch.report.html import SEARCH, pictures, render_html


def all_fail(fake: Fake) -> None:
    for _ in range(4):
        train(fake, fake.store.ask(), 0.1, ending="failed", reason="no memory")


def all_pruned(fake: Fake) -> None:
    for _ in range(4):
        train(fake, fake.store.ask(), 0.5, ending="pruned")


def all_alike(fake: Fake) -> None:
    for _ in range(12):
        train(fake, fake.store.ask(), 0.9)


def under_way(fake: Fake) -> None:
    search(fake, 3)
    fake.store.ask()


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


OFTEN = ("all failed", "under way", "a loss", "folds", "several networks", "one dimension")
"""The kinds of studies of the default run."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in OFTEN else pytest.mark.slow) for name in STUDIES],
)
def test_it_is_drawn_or_says_why_not(name: str, tmp_path: Path) -> None:
    overrides, happens = STUDIES[name]
    fake = fake_study(tmp_path, *overrides)
    know_data(fake)
    happens(fake)
    shown = pictures(read_search(fake.store, fake.layout))
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


def test_every_figure_has_words_beside_it(data: SearchReport) -> None:
    found = pictures(data)
    assert {section: list(there) for section, there in found.items()} == {
        section: list(entries) for section, entries in SEARCH.items()
    }
    shown = [picture for section in found.values() for picture in section.values()]
    assert len({picture.id for picture in shown}) == len(shown)
    for picture in shown:
        assert picture.plot
        assert len(picture.alt) > 40
        assert len(picture.caption) > 40


def test_without_trials_every_figure_says_why_it_is_absent(tmp_path: Path) -> None:
    fake = fake_study(tmp_path)
    found = pictures(read_search(fake.store, fake.layout))
    shown = [picture for section in found.values() for picture in section.values()]
    assert all(picture.plot is None and picture.caption for picture in shown)


def test_a_figure_that_fails_costs_nothing_but_itself(
    data: SearchReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_found: object) -> None:
        raise ValueError("no such <axis>\nand many more lines")

    monkeypatch.setattr(History, "draw", fails)
    page = render_html(data)
    assert "This figure could not be drawn (ValueError: no such &lt;axis&gt;)." in page
    assert page.count('<div class="plot"') == sum(map(len, SEARCH.values())) - 1


def test_a_window_spans_the_good_three_quarters_and_what_stands_beside() -> None:
    values = [0.1, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95]
    assert Window.of(values, maximise=True) == Window(0.6, 0.95, maximise=True)
    assert Window.of(values, maximise=False) == Window(0.1, 0.85, maximise=False)
    assert Window.of(values, beside=[0.4, float("nan")], maximise=True).low == 0.4
    assert Window.of([], maximise=True) == Window(0.0, 1.0, maximise=True)


def test_what_is_worse_or_nothing_stands_beyond_the_worse_end() -> None:
    accuracy, loss = Window(0.6, 0.9, maximise=True), Window(0.1, 0.4, maximise=False)
    assert (accuracy.place(0.7), accuracy.holds(0.7)) == (0.7, True)
    # The margin is 6 % of the span, and the edge six tenths into it.
    assert accuracy.place(0.2) == accuracy.place(None) == pytest.approx(0.6 - 0.6 * 0.018)
    assert loss.place(7.0) == pytest.approx(0.4 + 0.6 * 0.018)
    assert (accuracy.place(0.97), loss.place(0.01)) == (0.9, 0.1)
    assert not accuracy.holds(None)


def test_thinning_keeps_both_ends_at_even_distances() -> None:
    assert evenly(range(9), 5) == (0, 2, 4, 6, 8)
    assert evenly(range(4), 5) == (0, 1, 2, 3)
    assert len(evenly(range(1000), 60)) == len(set(evenly(range(1000), 60))) == 60
    assert rounded(0.123456789) == 0.12346
