import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.made import found, record_of, row, summary
from tlsearch.cli.console import show_outcome, show_status
from tlsearch.search.summary import Summary, as_json

CLEAR, UNCLEAR = found(0.011, 0.004, 0.018), found(0.011, -0.001, 0.02)
WORSE = found(-0.02, -0.03, -0.01)


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Any:
    def telling(of: Summary) -> list[str]:
        show_outcome(of, asked="'my study.yaml'", report=Path("/r/[x].html"), seconds=61.4)
        return capsys.readouterr().out.splitlines()

    return telling


def test_the_result_and_what_it_gained(told: Any) -> None:
    lines = told(summary(test=record_of(scratch=CLEAR), is_finished=True))
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
    assert lines[-1] == "3 of 30 trials: 1 complete, 1 pruned, 1 failed; 61 s"
    assert not any("negative" in line or "scored" in line for line in lines)


def test_where_to_look_next(told: Any) -> None:
    lines = told(summary(test=record_of(scratch=CLEAR)))
    assert "report            /r/[x].html" in lines
    assert "model             models:/m-1" in lines
    assert "dashboards        tlsearch ui 'my study.yaml'" in lines
    assert "MLflow UI         mlflow ui --backend-store-uri 'sqlite:////a b/mlflow.db'" in lines
    assert any(ln.startswith("Optuna Dashboard  optuna-dashboard '/a b/optuna") for ln in lines)
    assert "report again      tlsearch report 'my study.yaml'" in lines
    server = {"tracking_uri": "http://h:5000/", "experiment_id": "7"}
    assert "MLflow            http://h:5000/#/experiments/7" in told(summary(mlflow=server))


def test_no_clear_difference(told: Any) -> None:
    lines = told(summary(test=record_of(scratch=UNCLEAR)))
    (line,) = (line for line in lines if "from scratch" in line)
    assert line.endswith("(95 % interval -0.1 … +2.0) no clear difference")


def test_negative_transfer(told: Any) -> None:
    of = summary(test=record_of(scratch=WORSE, scorings=2, seeds=1))
    lines = told(of)
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


def test_without_confirmation(told: Any) -> None:
    lines = told(summary())
    assert lines[0] == "best trial so far, not confirmed: trial 0, val_accuracy 0.9000"
    assert "  linear probe: val_accuracy 0.8500" in lines
    assert not any("from scratch" in line for line in lines)
    assert told(summary(best=None, mlflow=None))[0] == "no trial has been completed yet"


def test_status(capsys: pytest.CaptureFixture[str]) -> None:
    of = summary(rows=[row(0, "complete", 0.9), row(3, "waiting", None), row(4, "running", None)])
    show_status(of, asked="'a b.yaml' --preset small", running=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("quickstart: not finished; 3 of 30 trials")
    assert lines[1:3] == ["  trial 3: interrupted", "  trial 4: interrupted"]
    assert lines[-1] == "carry on with: tlsearch run 'a b.yaml' --preset small"
    show_status(of, asked="a.yaml", running=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("quickstart: running")
    assert lines[1:3] == ["  trial 3: waiting", "  trial 4: running"]
    assert "carry on" not in lines[-1]
    show_status(summary(is_finished=True), asked="a.yaml", running=False)
    assert capsys.readouterr().out.startswith("quickstart: finished")


def test_json() -> None:
    record = record_of(scratch=WORSE)
    of = summary(test=record, is_finished=True)
    told = json.loads(json.dumps(as_json(of, report=Path("/r.html"), seconds=3.5)))
    assert set(told) >= {
        *("study", "trials", "best", "test", "baselines", "report", "model", "mlflow", "optuna"),
        "seconds",
    }
    assert told["trials"] == {"complete": 1, "pruned": 1, "failed": 1, "diverged": 0}
    assert told["best"]["number"] == 0
    assert told["best"]["value"] == 0.9
    assert told["best"]["params"]["lr"] == 0.012345678
    assert told["test"]["accuracy"]["mean"] == 0.961
    assert told["baselines"]["from_scratch"]["gain"]["mean"] == -0.02
    assert told["negative_transfer"] is True
    assert told["model"] == "models:/m-1"
    assert told["optuna"] == {"storage": "/a b/optuna.journal", "study_name": "quickstart"}
    empty = as_json(summary(best=None), report=None, seconds=None)
    assert (empty["best"], empty["test"], empty["report"], empty["model"]) == (None,) * 4
