import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.report.fake import BASELINE_ACCURACIES, Fake, fake_study, finished, search, train
from tlsearch.report.context import ClassRow, Evaluation, ReportData, read_report
from tlsearch.report.figures import confusion, curves, depth, gains, history
from tlsearch.report.figures.gallery import GALLERY, pictures
from tlsearch.report.html import render_html
from tlsearch.report.wording import Absent
from tlsearch.training.results import FoldResult


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Fake:
    return finished(tmp_path_factory.mktemp("finished"))


@pytest.fixture(scope="module")
def data(fake: Fake) -> ReportData:
    return read_report(fake.ledger, fake.layout)


def plotted(figure: Any, name: str) -> Any:
    return next(trace for trace in figure.data if trace.name == name)


def test_history_holds_every_ended_trial_and_the_improvements(data: ReportData) -> None:
    found = history.compute(data)
    assert isinstance(found, history.History)
    states = [(p.number, p.state) for p in found.points]
    assert states == [(row.number, row.state) for row in data.trials]
    best = -math.inf
    improved = []
    for row in data.trials:
        if row.value is not None and row.value > best:
            best = row.value
            improved.append((row.number, best))
    assert found.best == tuple(improved)
    assert dict(found.baselines) == pytest.approx(BASELINE_ACCURACIES)
    pruned = next(p for p in found.points if p.state == "pruned")
    row = data.trials[pruned.number]
    assert pruned.value == row.epochs[-1].val_accuracy


def test_history_draws_each_state_in_its_own_shape_and_the_bad_at_the_edge(
    data: ReportData,
) -> None:
    found = history.compute(data)
    assert isinstance(found, history.History)
    figure = history.draw(found)
    marks = [t for t in figure.data if t.mode == "markers"]
    assert {t.name for t in marks} == {"complete", "pruned", "diverged", "failed"}
    assert len({t.marker.symbol for t in marks}) == 4
    low, high = figure.layout.yaxis.range
    assert all(low < y < high for t in marks for y in t.y)
    assert all(y < found.window.low for y in plotted(figure, "diverged").y)
    outside = sum(p.value is None or p.value < found.window.low for p in found.points)
    assert f"{outside} trials without a value or beyond the axis" in history.caption(found)


def test_history_of_a_loss_improves_downwards(tmp_path: Path) -> None:
    fake = fake_study(tmp_path, "search.metric=val_loss")
    for accuracy in (0.8, 0.7, 0.9):
        train(fake, fake.ledger.ask(), accuracy)
    train(fake, fake.ledger.ask(), 0.5, ending="diverged")
    found = history.compute(read_report(fake.ledger, fake.layout))
    assert isinstance(found, history.History)
    assert [number for number, _ in found.best] == [0, 2]
    assert plotted(history.draw(found), "diverged").y[0] > found.window.high


def test_curves_are_those_of_the_winner_the_next_best_and_the_baselines(data: ReportData) -> None:
    found = curves.compute(data)
    assert isinstance(found, curves.Curves)
    assert data.summary.best is not None
    assert found.curves[0].name == f"trial {data.summary.best.number}"
    assert [c.is_baseline for c in found.curves] == [False] * 5 + [True] * 3
    probe = found.curves[5]
    assert (probe.name, probe.num_epochs, len(probe.epochs)) == ("linear probe", 100, 100)
    assert probe.accuracies[-1] == pytest.approx(0.885)
    drawn = plotted(curves.draw(found), "linear probe")
    assert drawn.x[49] == 0.5
    assert "the linear probe has 100" in curves.caption(found)


def test_depths_hold_complete_trials_alone(data: ReportData) -> None:
    found = depth.compute(data)
    assert isinstance(found, depth.Depths)
    seen = {number: (d.depth, value) for d in found.depths for number, value in d.trials}
    expected = {r.number: (r.run.params["freeze_depth"], r.value) for r in data.ranked}
    assert seen == expected
    assert depth.Depth(0, ((0, 0.1), (1, 0.5), (2, 0.6))).median == 0.5


def test_depths_need_a_searched_depth(tmp_path: Path) -> None:
    fake = fake_study(tmp_path, "space.freeze_depth=2")
    search(fake, 2)
    found = depth.compute(read_report(fake.ledger, fake.layout))
    assert found == Absent("The study fixes the freeze depth: there is nothing to compare.")


def test_gains_are_drawn_in_points_with_their_intervals(data: ReportData) -> None:
    found = gains.compute(data)
    assert isinstance(found, gains.Gains)
    trace = gains.draw(found).data[0]
    for i, gain in enumerate(reversed(found.gains)):
        assert trace.x[i] == pytest.approx(100 * gain.gain.mean)
        assert trace.x[i] + trace.error_x.array[i] == pytest.approx(100 * gain.gain.high)
        assert trace.x[i] - trace.error_x.arrayminus[i] == pytest.approx(100 * gain.gain.low)


def test_confusion_is_of_the_champion_on_the_test_part(data: ReportData) -> None:
    found = confusion.compute(data)
    assert isinstance(found, confusion.Confusion)
    assert (found.part, found.model) == ("test", data.summary.test["champion"])
    assert found.num_images == 270
    wrong = [n for i, row in enumerate(found.counts) for j, n in enumerate(row) if i != j]
    assert found.num_right == 270 - sum(wrong)
    assert [n for *_, n in found.mistakes] == sorted(wrong, reverse=True)[:5]


def many(counts: tuple[tuple[int, ...], ...]) -> Evaluation:
    names = tuple(f"class {i}" for i in range(len(counts)))
    rows = tuple(ClassRow(name, 1.0, 1.0, 1.0, 1) for name in names)
    return Evaluation("test", "m", names, counts, rows)


def test_of_many_classes_those_with_most_mistakes_are_drawn(data: ReportData) -> None:
    size = 30
    counts = [[5 if i == j else 0 for j in range(size)] for i in range(size)]
    counts[29][3] = 2
    evaluation = many(tuple(map(tuple, counts)))
    changed = type(data)(**{**vars(data), "evaluation": evaluation})
    found = confusion.compute(changed)
    assert isinstance(found, confusion.Confusion)
    assert len(found.shown) == confusion.MAX_CLASSES
    assert {3, 29} < set(found.shown)
    assert "Of 30 classes the 20 with most mistakes are drawn." in confusion.caption(found)
    hits, wrong = confusion.draw(found).data
    place = found.shown.index(3)
    assert hits.text[place][place] == "5"
    assert wrong.text[-1][place] == "2"
    assert wrong.z[-1][place] == pytest.approx(2 / 7)
    assert hits.text[-1][place] == ""


def test_every_figure_has_words_beside_it(data: ReportData) -> None:
    found = pictures(data)
    assert {section: list(there) for section, there in found.items()} == {
        section: list(entries) for section, entries in GALLERY.items()
    }
    shown = [picture for section in found.values() for picture in section.values()]
    assert len({picture.id for picture in shown}) == len(shown)
    for picture in shown:
        assert picture.plot
        assert len(picture.alt) > 40
        assert len(picture.caption) > 40


def test_without_trials_every_figure_says_why_it_is_absent(tmp_path: Path) -> None:
    fake = fake_study(tmp_path)
    found = pictures(read_report(fake.ledger, fake.layout))
    shown = [picture for section in found.values() for picture in section.values()]
    assert all(picture.plot is None and picture.caption for picture in shown)


def test_a_figure_that_fails_costs_nothing_but_itself(
    data: ReportData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_found: object) -> None:
        raise ValueError("no such <axis>\nand many more lines")

    monkeypatch.setattr(history, "draw", fails)
    shown = pictures(data)["search"]
    told = "This figure could not be drawn (ValueError: no such <axis>)."
    assert (shown["history"].plot, shown["history"].caption) == (None, told)
    assert all(picture.plot for name, picture in shown.items() if name != "history")
    assert "no such &lt;axis&gt;" in render_html(data)


def test_the_curve_of_a_cross_validation_is_the_mean_over_folds(data: ReportData) -> None:
    row = data.trials[0]
    first = row.epochs[0]
    accuracies = (0.2, 0.4, 0.6, 0.4, 0.8)  # three epochs, then two: the second stopped early
    crossed = replace(
        row,
        run=replace(row.run, folds=(0, 1), num_epochs=4),
        epochs=tuple(
            first._replace(epoch=i, val_accuracy=a) for i, a in enumerate(accuracies, start=1)
        ),
        folds=(FoldResult(1, 3, 0.4, 0.6, 0.4, 0.6), FoldResult(2, 5, 0.2, 0.8, 0.3, 0.7)),
    )
    found = curves._curve(crossed, "trial 0", is_baseline=False)
    assert (found.num_epochs, found.epochs) == (4, (1, 2, 3))
    assert found.accuracies == pytest.approx((0.3, 0.6, 0.6))
    assert history._value(replace(crossed, state="pruned", value=None), "val_accuracy") == 0.7
