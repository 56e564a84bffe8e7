"""What a run tells while it goes on."""

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from tests.cli.made import epoch, spec
from tlsearch.cli import watching as board_module
from tlsearch.cli import watching as watching_module
from tlsearch.cli.watching import Board, LiveView, PlainView, line_of, recipe, time_left
from tlsearch.execution.events import (
    EpochSeen,
    Preparing,
    Remark,
    RunEnded,
    RunStarted,
    StageStarted,
    Tick,
)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Time that passes when a test says so."""

    class Clock:
        now = 100.0

        def monotonic(self) -> float:
            return self.now

    it = Clock()
    monkeypatch.setattr(board_module, "time", it)
    monkeypatch.setattr(watching_module, "time", it)
    return it


def carry_out(board: Board, clock: Any, run: Any, *, seconds: float, value: float | None) -> None:
    board.note(RunStarted(run))
    clock.now += seconds
    board.note(RunEnded(run, "complete" if value is not None else "pruned", value, ""))


def test_time_left(clock: Any) -> None:
    board = Board(metric="val_accuracy")
    assert board.seconds_left() is None
    board.note(StageStarted("search", 2, 10, 2))
    assert (board.done, board.seconds_left(), time_left(board)) == (2, None, "time left unknown")
    carry_out(board, clock, spec(2), seconds=30, value=0.5)
    assert board.seconds_left() == 7 * 30 / 2
    assert time_left(board) == "about 2 min left"
    carry_out(board, clock, spec(3), seconds=10, value=None)
    assert board.seconds_left() == 6 * 20 / 2
    assert time_left(board) == "about 60 s left"
    for number in range(4, 10):
        carry_out(board, clock, spec(number), seconds=10, value=0.1)
    assert (board.done, board.seconds_left()) == (10, 0)
    board.note(StageStarted("confirmation", 0, 4, 2))
    assert board.seconds_left() is None  # other runs, other times


def test_baselines_are_not_part_of_the_search(clock: Any) -> None:
    board = Board(metric="val_accuracy")
    board.note(StageStarted("search", 0, 4, 1))
    probe = spec(0, baseline="linear_probe")
    carry_out(board, clock, probe, seconds=99, value=0.9)
    assert (board.done, board.seconds_left(), board.best) == (0, None, None)
    assert board.baselines == {"linear_probe": 0.9}
    board.note(StageStarted("confirmation", 0, 4, 1))
    again = spec(1, baseline="linear_probe")
    carry_out(board, clock, again, seconds=5, value=0.8)
    assert (board.done, board.seconds_left()) == (1, 15)
    assert board.baselines == {"linear_probe": 0.9}


def test_a_run_that_is_saved_is_not_done() -> None:
    board = Board(metric="val_accuracy")
    board.note(StageStarted("search", 0, 4, 1))
    board.note(RunStarted(spec()))
    board.note(RunEnded(spec(), None, None, ""))
    assert (board.done, board.running, board.seconds_left()) == (0, {}, None)
    assert not board.endings


@pytest.mark.parametrize(("metric", "best"), [("val_accuracy", 1), ("val_loss", 0)])
def test_best_so_far(clock: Any, metric: str, best: int) -> None:
    board = Board(metric=metric)
    board.note(StageStarted("search", 0, 4, 1))
    for number, value in enumerate([0.2, 0.7, 0.7]):
        carry_out(board, clock, spec(number), seconds=1, value=value)
    assert board.best is not None
    assert board.best[1].key == spec(best).key
    assert board.endings == {"complete": 3}


def test_after_a_resume_the_best_of_before_stands(clock: Any) -> None:
    board = Board(metric="val_accuracy")
    board.note(StageStarted("search", 2, 4, 1, (0.8, spec(1))))
    carry_out(board, clock, spec(2), seconds=1, value=0.7)
    assert board.best == (0.8, spec(1))
    assert "best so far: val_accuracy 0.8000 · trial 1" in drawn(LiveView("quick", board))
    carry_out(board, clock, spec(3), seconds=1, value=0.9)
    assert board.best == (0.9, spec(3))
    board.note(StageStarted("confirmation", 0, 4, 1, board.best))
    assert board.best == (0.9, spec(3))


def test_a_comparison_has_no_best(clock: Any) -> None:
    board = Board(metric="val_accuracy")
    board.note(StageStarted("comparison", 0, 4, 1))
    carry_out(board, clock, spec(0), seconds=20, value=0.8)
    text = drawn(LiveView("table", board))
    assert "table · comparison 1/4" in text
    assert "best so far" not in text


def test_lines(clock: Any) -> None:
    board = Board(metric="val_accuracy")
    board.note(StageStarted("search", 0, 4, 1))
    carry_out(board, clock, spec(), seconds=20, value=0.5)
    gist = recipe(spec(3))
    assert gist == "freeze 2, lr 0.012 × 0.5, sgd"
    augmented = {**spec(3).params, "augmentation": "basic", "mixing": "mixup", "erasing": 0.1}
    assert recipe(replace(spec(3), params=augmented)) == f"{gist}, basic, erasing, mixup"
    tail = f"{gist} · 1/4 · about 60 s left"
    expected = [
        (Remark("MLflow is back"), "note: MLflow is back"),
        (Preparing(0.034, "glyphs: 3 s"), "  3%  glyphs: 3 s"),
        (Preparing(1.0, "scoring"), "100%  scoring"),
        (StageStarted("search", 3, 10, 1), "search: 3 of 10 done, 1 worker"),
        (StageStarted("search", 3, 10, 2), "search: 3 of 10 done, 2 workers"),
        (RunStarted(spec(3)), ""),
        (EpochSeen(spec(3), epoch(1, 0.5)), ""),
        (Tick(), ""),
        (RunEnded(spec(3), None, None, ""), "trial 3: saved, goes on with the next run"),
        (
            RunEnded(spec(3), "complete", 0.91234, ""),
            f"trial 3: complete val_accuracy 0.9123 · {tail}",
        ),
        (
            RunEnded(spec(3), "pruned", None, ""),
            f"trial 3: pruned · {tail}",
        ),
        (
            RunEnded(spec(3), "diverged", None, "loss is nan"),
            f"trial 3: diverged (loss is nan) · {tail}",
        ),
    ]
    for notice, line in expected:
        assert line_of(notice, board) == line


def test_preparations_are_told_now_and_then(clock: Any) -> None:
    out = io.StringIO()
    console = Console(file=out, highlight=False, markup=False, emoji=False, width=40)
    view = PlainView(console, Board(metric="val_accuracy"))
    view(Preparing(0.0, "reading the data"))
    view(Preparing(0.1, "source model: 1 of 9"))
    view(Preparing(0.2, "source model: 2 of 9"))
    clock.now += 11
    view(Preparing(0.3, "source model: 3 of 9"))
    view(Preparing(0.4, "source model: 4 of 9"))
    assert out.getvalue().splitlines() == [
        "  0%  reading the data",
        " 10%  source model: 1 of 9",
        " 30%  source model: 3 of 9",
    ]


def test_other_peoples_brackets_are_no_markup(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, config: Any
) -> None:
    text = "[Errno 28] of [/tmp/x] and [bold] :warning: " + "long " * 40
    for to_stderr in (False, True):
        with watching_module.watching(config, to_stderr=to_stderr) as watch:
            watch(Remark(text))
            watch(Tick())
        captured = capsys.readouterr()
        assert (captured.err if to_stderr else captured.out) == f"note: {text}\n"
        assert not (captured.out if to_stderr else captured.err)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    with watching_module.watching(config, to_stderr=False) as watch:
        watch(Remark("[/tmp/x] :warning:"))
    assert "note: [/tmp/x] :warning:" in capsys.readouterr().out


def drawn(view: LiveView) -> str:
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    with console.capture() as capture:
        console.print(view.render())
    return capture.get()


def test_the_live_view(clock: Any) -> None:
    def seen() -> str:
        return drawn(view)

    board = Board(metric="val_accuracy")
    view = LiveView("quick", board)
    assert "quick · starting workers" in seen()
    board.note(Preparing(0.5, "source model"))
    assert "quick · source model" in seen()
    board.note(StageStarted("search", 0, 4, 1))
    assert "quick · search 0/4 · time left unknown" in seen()
    assert "best so far: none yet" in seen()
    carry_out(board, clock, spec(0), seconds=20, value=0.8765)
    board.note(RunStarted(spec(1)))
    assert "0/10" in seen()
    board.note(EpochSeen(spec(1), epoch(3, 0.4321)))
    text = seen()
    assert "quick · search 1/4 · about 60 s left" in text
    assert "best so far: val_accuracy 0.8765 · trial 0 · freeze 2" in text
    assert "3/10" in text
    assert "val_accuracy 0.4321" in text
