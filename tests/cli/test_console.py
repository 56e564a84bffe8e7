"""What a terminal is shown: a run as it goes on, and what a study found."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.cli.made import epoch, found, record_of, row, spec, summary
from tlsearch.cli import console as console_module
from tlsearch.cli.console import (
    LiveView,
    PlainView,
    StudyProgress,
    line_of,
    recipe,
    show_outcome,
    show_status,
    time_left,
    watch_run,
)
from tlsearch.config.search_options import METRICS
from tlsearch.execution.messages import (
    EpochSeen,
    Preparing,
    Remark,
    RunEnded,
    RunStarted,
    StageStarted,
    Tick,
)
from tlsearch.metrics.curves import ClassBalance
from tlsearch.search.stop import Outlook
from tlsearch.search.summary import Summary, as_json


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Time that passes when a test says so."""

    class Clock:
        now = 100.0

        def monotonic(self) -> float:
            return self.now

    it = Clock()
    monkeypatch.setattr(console_module, "time", it)
    return it


def carry_out(
    state: StudyProgress, clock: Any, run: Any, *, seconds: float, value: float | None
) -> None:
    state.note(RunStarted(run))
    clock.now += seconds
    state.note(RunEnded(run, "complete" if value is not None else "pruned", value, ""))


def test_time_left(clock: Any) -> None:
    state = StudyProgress(metric="val_accuracy")
    assert state.seconds_left() is None
    state.note(StageStarted("search", 2, 10, 2))
    assert (state.done, state.seconds_left(), time_left(state)) == (2, None, "time left unknown")
    carry_out(state, clock, spec(2), seconds=30, value=0.5)
    assert state.seconds_left() == 7 * 30 / 2
    assert time_left(state) == "about 2 min left"
    carry_out(state, clock, spec(3), seconds=10, value=None)
    assert state.seconds_left() == 6 * 20 / 2
    assert time_left(state) == "about 60 s left"
    for number in range(4, 10):
        carry_out(state, clock, spec(number), seconds=10, value=0.1)
    assert (state.done, state.seconds_left()) == (10, 0)
    state.note(StageStarted("confirmation", 0, 4, 2))
    assert state.seconds_left() is None  # other runs, other times


def test_baselines_are_not_part_of_the_search(clock: Any) -> None:
    state = StudyProgress(metric="val_accuracy")
    state.note(StageStarted("search", 0, 4, 1))
    probe = spec(0, baseline="linear_probe")
    carry_out(state, clock, probe, seconds=99, value=0.9)
    assert (state.done, state.seconds_left(), state.best) == (0, None, None)
    state.note(StageStarted("confirmation", 0, 4, 1))
    again = spec(1, baseline="linear_probe")
    carry_out(state, clock, again, seconds=5, value=0.8)
    assert (state.done, state.seconds_left()) == (1, 15)


def test_a_run_that_is_saved_is_not_done() -> None:
    state = StudyProgress(metric="val_accuracy")
    state.note(StageStarted("search", 0, 4, 1))
    state.note(RunStarted(spec()))
    state.note(RunEnded(spec(), None, None, ""))
    assert (state.done, state.running, state.seconds_left()) == (0, {}, None)


@pytest.mark.parametrize(("metric", "best"), [("val_accuracy", 1), ("val_loss", 0)])
def test_best_so_far(clock: Any, metric: str, best: int) -> None:
    state = StudyProgress(metric=metric)
    state.note(StageStarted("search", 0, 4, 1))
    for number, value in enumerate([0.2, 0.7, 0.7]):
        carry_out(state, clock, spec(number), seconds=1, value=value)
    assert state.best is not None
    assert state.best[1].key == spec(best).key


def test_after_a_resume_the_best_of_before_stands(clock: Any) -> None:
    state = StudyProgress(metric="val_accuracy")
    state.note(StageStarted("search", 2, 4, 1, (0.8, spec(1))))
    carry_out(state, clock, spec(2), seconds=1, value=0.7)
    assert state.best == (0.8, spec(1))
    assert "best so far: val_accuracy 0.8000 · trial 1" in drawn(LiveView("quick", state))
    carry_out(state, clock, spec(3), seconds=1, value=0.9)
    assert state.best == (0.9, spec(3))
    state.note(StageStarted("confirmation", 0, 4, 1, state.best))
    assert state.best == (0.9, spec(3))


def test_a_comparison_has_no_best(clock: Any) -> None:
    state = StudyProgress(metric="val_accuracy")
    state.note(StageStarted("comparison", 0, 4, 1))
    carry_out(state, clock, spec(0), seconds=20, value=0.8)
    text = drawn(LiveView("table", state))
    assert "table · comparison 1/4" in text
    assert "best so far" not in text


def test_lines(clock: Any) -> None:
    state = StudyProgress(metric="val_accuracy")
    state.note(StageStarted("search", 0, 4, 1))
    carry_out(state, clock, spec(), seconds=20, value=0.5)
    gist = recipe(spec(3), ())
    assert gist == "freeze 2, lr 0.012 × 0.5, sgd"
    augmented = {**spec(3).params, "augmentation": "basic", "mixing": "mixup", "erasing": 0.1}
    assert recipe(replace(spec(3), params=augmented), ()) == f"{gist}, basic, erasing, mixup"
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
        assert line_of(notice, state) == line


def test_preparations_are_shown_now_and_then(clock: Any) -> None:
    out = io.StringIO()
    console = Console(file=out, highlight=False, markup=False, emoji=False, width=40)
    view = PlainView(console, StudyProgress(metric="val_accuracy"))
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
        with watch_run(config, to_stderr=to_stderr) as watch:
            watch(Remark(text))
            watch(Tick())
        captured = capsys.readouterr()
        assert (captured.err if to_stderr else captured.out) == f"note: {text}\n"
        assert not (captured.out if to_stderr else captured.err)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    with watch_run(config, to_stderr=False) as watch:
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

    state = StudyProgress(metric="val_accuracy")
    view = LiveView("quick", state)
    assert "quick · starting workers" in seen()
    state.note(Preparing(0.5, "source model"))
    assert "quick · source model" in seen()
    state.note(StageStarted("search", 0, 4, 1))
    assert "quick · search 0/4 · time left unknown" in seen()
    assert "best so far: none yet" in seen()
    carry_out(state, clock, spec(0), seconds=20, value=0.8765)
    state.note(RunStarted(spec(1)))
    assert "0/10" in seen()
    state.note(EpochSeen(spec(1), epoch(3, 0.4321)))
    text = seen()
    assert "quick · search 1/4 · about 60 s left" in text
    assert "best so far: val_accuracy 0.8765 · trial 0 · freeze 2" in text
    assert "3/10" in text
    assert "val_accuracy 0.4321" in text


CLEAR, UNCLEAR = found(0.011, 0.004, 0.018), found(0.011, -0.001, 0.02)
WORSE = found(-0.02, -0.03, -0.01)


def test_the_line_of_a_trial_names_what_was_searched() -> None:
    searched = {"dropout", "optimizer", "optimizer.sgd.momentum", "optimizer.adam.beta1"}
    state = StudyProgress(metric="val_accuracy", searched=searched)
    state.note(StageStarted("search", 0, 4, 1))
    run = replace(spec(3), params={**spec(3).params, "optimizer.sgd.momentum": 0.91234})
    line = line_of(RunEnded(run, "complete", 0.9, ""), state)
    words = set(line.split(" · ")[1].split(", "))
    assert words == {"dropout 0", "optimizer sgd", "momentum 0.912"}
    # A baseline was not searched.
    probe = line_of(RunEnded(spec(0, baseline="linear_probe"), "complete", 0.9, ""), state)
    assert "freeze 2, lr 0.012 × 0.5, sgd" in probe


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    def shown(of: Summary) -> list[str]:
        show_outcome(of, arguments="'my study.yaml'", report=Path("/r/[x].html"), seconds=61.4)
        return capsys.readouterr().out.splitlines()

    return shown


def test_the_result_and_what_it_gained(printed: Any) -> None:
    lines = printed(summary(test=record_of(scratch=CLEAR), is_finished=True))
    value = "val_accuracy 0.9000 in the search, 0.8900 confirmed"
    assert lines[0] == f"confirmed winner: trial 0, {value}"
    assert "  lr = 0.01235" in lines
    assert "  optimizer = sgd" in lines
    assert not any("freeze_depth" in line for line in lines), "it was not searched"
    test = lines.index(
        "test accuracy 0.9610 (95 % interval 0.9500 … 0.9720) over 3 seeds, 1078 images"
    )
    assert lines[test + 2 : test + 4] == [
        "  against linear probe, one fixed recipe (0.9000): +6.1 points "
        "(95 % interval +4.0 … +8.0) better",
        "  against from scratch, one fixed recipe (0.9500): +1.1 points "
        "(95 % interval +0.4 … +1.8) better",
    ]
    assert lines[-1] == "3 of 30 trials: 1 complete, 1 pruned, 1 failed; 61 s; computed in bf16"
    assert not any("negative" in line or "scored" in line for line in lines)


def test_an_imbalance_stands_in_the_line_of_the_accuracy(printed: Any) -> None:
    classes = ClassBalance("ok", 0.9, "scratched", 0.02, 0.25, "scratched", 0.25, 3)
    told = "always answering “ok”, the largest class, gives 90.0 %; "
    told += "of the smallest class, “scratched”, 25.0 % are recognised"
    lines = printed(summary(test=record_of(scratch=CLEAR), classes=classes))
    (line,) = (line for line in lines if line.startswith("test accuracy"))
    assert line.endswith(f"over 3 seeds, 1078 images; {told}")
    assert printed(summary(classes=classes._replace(largest_share=0.9)))[0].endswith(
        "not clearly more than the 90.0 % of always answering “ok”; "
        "of the smallest class, “scratched”, 25.0 % are recognised"
    )
    even = ClassBalance("a", 0.5, "b", 0.5, 0.3, "b", 0.3, 2)
    assert printed(summary(classes=even))[0].endswith("val_accuracy 0.9000")
    assert summary(classes=even, metric="val_loss").imbalance == ""
    uneven = summary(classes=classes, metric="val_loss").imbalance
    assert "the largest class, gives 90.0 % accuracy; of the smallest class" in uneven


def test_every_metric_stands_below_the_test_in_the_studys_own(printed: Any) -> None:
    classes = ClassBalance("ok", 0.9, "bad", 0.1, 0.25, "bad", 0.25, 2)
    record = record_of(scratch=CLEAR)
    for one in (record, *record["baselines"].values()):
        one["scores"] = {m.name: {**one["accuracy"], "mean": 0.52} for m in METRICS.values()}
        one["scores"]["balanced_accuracy"] |= {"low": 0.48}
        one["gains"] = {m.name: {**one["accuracy"], "low": -0.1} for m in METRICS.values()}
        one["classes"] = classes._asdict()
    record["champion_scores"] = record["scores"]
    shown = summary(test=record, classes=classes, metric="val_balanced_accuracy")
    lines = printed(shown)
    at = next(i for i, line in enumerate(lines) if line.startswith("test balanced accuracy 0.5200"))
    assert "not clearly more than the 50.0 % balanced accuracy of always answering" in lines[at]
    assert "no clear difference" in lines[at + 2]
    assert any(line.startswith("As far as the test part tells") for line in lines)
    head = next(line for line in lines if "always “ok”" in line and "the winner" in line)
    table = lines[lines.index(head) :][:7]
    assert [line[: head.index("the winner")].strip() for line in table[1:]] == [
        *(m.label for m in METRICS.values()), "recall of the worst class"
    ]  # fmt: skip
    assert "∞" in table[5]
    assert table[6].count("25.0 % of “bad”") == 3


def test_where_to_look_next(printed: Any) -> None:
    lines = printed(summary(test=record_of(scratch=CLEAR)))
    assert "report            /r/[x].html" in lines
    assert "model             models:/m-1" in lines
    assert "dashboards        tlsearch ui 'my study.yaml'" in lines
    assert "MLflow UI         mlflow ui --backend-store-uri 'sqlite:////a b/mlflow.db'" in lines
    assert any(ln.startswith("Optuna Dashboard  optuna-dashboard '/a b/optuna") for ln in lines)
    assert "report again      tlsearch report 'my study.yaml'" in lines
    server = {"tracking_uri": "http://h:5000/", "experiment_id": "7"}
    assert "MLflow            http://h:5000/#/experiments/7" in printed(summary(mlflow=server))


def test_no_clear_difference(printed: Any) -> None:
    lines = printed(summary(test=record_of(scratch=UNCLEAR)))
    (line,) = (line for line in lines if "from scratch" in line)
    assert line.endswith("(95 % interval -0.1 … +2.0) no clear difference")


def test_negative_transfer(printed: Any) -> None:
    of = summary(test=record_of(scratch=WORSE, scorings=2, seeds=1))
    lines = printed(of)
    assert of.negative_transfer
    assert any("with one fixed recipe, which was not tuned, does better" in line for line in lines)
    assert "  the test part has been scored 2 times" in lines
    assert any("-2.0 points (95 % interval -3.0 … -1.0) worse" in line for line in lines)
    assert any(line.endswith("over 1 seed, 1078 images") for line in lines)


def test_a_reference_that_is_missing_is_no_negative_transfer() -> None:
    record = record_of(scratch=WORSE)
    del record["baselines"]["from_scratch"]
    assert not summary(test=record).negative_transfer
    assert not summary().negative_transfer
    assert not summary(test=record_of(scratch=UNCLEAR)).negative_transfer


def test_without_confirmation(printed: Any) -> None:
    lines = printed(summary())
    assert lines[0] == "best trial so far, not confirmed: trial 0, val_accuracy 0.9000"
    assert "  linear probe: val_accuracy 0.8500" in lines
    assert not any("from scratch" in line for line in lines)
    assert printed(summary(best=None, mlflow=None))[0].startswith("No trial was completed")


def test_what_more_trials_would_gain(printed: Any) -> None:
    told = {"outlook_text": "27 more trials would gain [little]"}
    lines = printed(summary(test=record_of(scratch=CLEAR), is_finished=True, **told))
    assert lines.count("27 more trials would gain [little]") == 1
    both = printed(summary(stopped="search.stop: the search ended", **told))
    place = both.index("search.stop: the search ended")
    assert both[place + 1] == "27 more trials would gain [little]"
    shown = as_json(
        summary(outlook=Outlook(3, 27, 0.01), stopped="search.stop: x"), report=None, seconds=None
    )
    assert shown["outlook"] == {"trials": 3, "more": 27, "gain": 0.01}
    assert shown["stopped"] == "search.stop: x"
    assert as_json(summary(), report=None, seconds=None)["stopped"] is None


def test_trials_beyond_the_budget_that_is_asked_about(printed: Any) -> None:
    text = printed(summary(budget=2))[-1]
    assert text.startswith("3 trials, more than the budget of 2 given here: 1 complete")


def test_status(capsys: pytest.CaptureFixture[str]) -> None:
    of = summary(rows=[row(0, "complete", 0.9), row(3, "waiting", None), row(4, "running", None)])
    show_status(of, arguments="'a b.yaml' --preset small", running=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("quickstart: not finished; 3 of 30 trials")
    assert lines[1:3] == ["  trial 3: interrupted", "  trial 4: interrupted"]
    assert lines[-1] == "carry on with: tlsearch run 'a b.yaml' --preset small"
    show_status(of, arguments="a.yaml", running=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("quickstart: running")
    assert lines[1:3] == ["  trial 3: waiting", "  trial 4: running"]
    assert "carry on" not in lines[-1]
    show_status(summary(is_finished=True), arguments="a.yaml", running=False)
    assert capsys.readouterr().out.startswith("quickstart: finished")


def test_json() -> None:
    record = record_of(scratch=WORSE)
    of = summary(test=record, is_finished=True)
    result = json.loads(json.dumps(as_json(of, report=Path("/r.html"), seconds=3.5)))
    assert set(result) >= {
        *("study", "trials", "best", "test", "baselines", "report", "model", "mlflow", "optuna"),
        "seconds",
    }
    assert result["trials"] == {"complete": 1, "pruned": 1, "failed": 1, "diverged": 0}
    assert result["best"]["number"] == 0
    assert result["best"]["value"] == 0.9
    assert result["best"]["params"]["lr"] == 0.012345678
    assert result["test"]["accuracy"]["mean"] == 0.961
    assert result["baselines"]["from_scratch"]["gain"]["mean"] == -0.02
    assert result["negative_transfer"] is True
    assert result["precision"] == "bf16"
    assert result["model"] == "models:/m-1"
    assert result["optuna"] == {"storage": "/a b/optuna.journal", "study_name": "quickstart"}
    empty = as_json(summary(best=None), report=None, seconds=None)
    assert (empty["best"], empty["test"], empty["report"], empty["model"]) == (None,) * 4
