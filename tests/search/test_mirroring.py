"""How runs look in MLflow, and where a study says that it comes from."""

import json
import os
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.search.conftest import Study
from tests.search.fakes import GROUPS, drive, epoch, memory_store, setting_of
from tlsearch.search.baselines import baseline_run
from tlsearch.search.confirm import runs_after
from tlsearch.search.mirroring import (
    begun,
    epoch_metrics,
    keep_evaluation,
    mirror_row,
    run_name,
    run_params,
    run_tags,
)
from tlsearch.search.provenance import (
    git_revision,
    parent_params,
    parent_tags,
    requirements,
    study_texts,
    versions,
)
from tlsearch.search.store import SEARCH, Store
from tlsearch.training.results import FoldResult


@pytest.fixture
def store(study: Study) -> Store:
    return memory_store(study("space.freeze_depth=2", "space.lr_ratio=0.5"))


def test_names_sort(store: Store) -> None:
    spec = store.ask()
    assert run_name(spec) == f"trial-0000 · freeze 2 · lr {spec.params['lr']:.0e}"


def test_rates_per_group(store: Store) -> None:
    spec = store.ask()
    params, lr = run_params(spec, GROUPS), spec.params["lr"]
    rates = [params[f"group_lr.{group}"] for group in GROUPS]
    assert rates == pytest.approx([0, 0, lr / 8, lr / 4, lr / 2, lr])
    assert (params["init"], params["seed"], params["redraw"]) == ("random", 0, 0)
    assert spec.params.items() <= params.items()


def test_gradual_unfreezing_gives_every_group_a_rate(study: Study) -> None:
    spec = memory_store(study("space.freeze_depth=2", "space.unfreeze_every_epochs=1")).ask()
    params = run_params(spec, GROUPS)
    assert {params[f"group_lr.{group}"] for group in GROUPS} == {spec.params["lr"]}


def test_groups_that_are_named_have_a_rate_and_the_others_none(study: Study) -> None:
    spec = memory_store(study("space.trained=layer3+stem", "space.lr_ratio=0.5")).ask()
    params, lr = run_params(spec, GROUPS), spec.params["lr"]
    rates = [params[f"group_lr.{group}"] for group in GROUPS]
    assert rates == pytest.approx([lr / 32, 0, 0, lr / 4, 0, lr])
    assert params["trained"] == "layer3+stem"
    assert run_name(spec).startswith("trial-0000 · train layer3+stem · lr ")


def test_a_group_whose_layers_have_rates_of_their_own_has_none(study: Study) -> None:
    spec = memory_store(study("space.layer_decay=0.5", "space.freeze_depth=2")).ask()
    params = run_params(spec, GROUPS)
    found = {name: value for name, value in params.items() if name.startswith("group_lr.")}
    assert found == {
        "group_lr.stem": 0.0,
        "group_lr.layer1": 0.0,
        "group_lr.head": spec.params["lr"],
    }


def test_unfreezing_that_does_not_come_so_far_gives_no_rate(study: Study) -> None:
    # Three epochs open two of the four.
    spec = memory_store(study("space.freeze_depth=4", "space.unfreeze_every_epochs=1")).ask()
    params = run_params(spec, GROUPS)
    opened = [params[f"group_lr.{group}"] > 0 for group in GROUPS]
    assert opened == [False, False, True, True, True, True]


def test_tags_tell_the_kinds_apart(store: Store) -> None:
    run = store.ask()
    drive(store, run, [0.5] * 3)
    assert run_tags(run) == {"tlsearch.kind": "search", "tlsearch.trial": 0}
    baseline = baseline_run(store.config, "full_fine_tuning", seed=0)
    assert run_tags(baseline) == {
        "tlsearch.kind": "baseline",
        "tlsearch.baseline": "full_fine_tuning",
    }
    confirm = runs_after(store, SEARCH)[-1]
    assert run_tags(confirm) == {
        "tlsearch.kind": "confirm",
        "tlsearch.confirms": 0,
    }


def test_the_last_epoch_of_a_fold_tells_the_fold() -> None:
    fold = FoldResult(2, 6, 0.3, 0.7, 0.4, 0.6)
    told = epoch_metrics(epoch(6, 0.7), fold)
    assert set(told) - set(epoch_metrics(epoch(6, 0.7), None)) == {
        "fold",
        "fold_val_loss",
        "fold_val_accuracy",
        "mean_val_loss",
        "mean_val_accuracy",
    }
    assert (told["fold"], told["fold_val_accuracy"], told["mean_val_accuracy"]) == (2, 0.7, 0.6)
    ranked = fold._replace(val_macro_auroc=0.9, mean_val_macro_auroc=0.8)
    told = epoch_metrics(epoch(6, 0.7)._replace(val_macro_auroc=0.9), ranked)
    assert (told["val_macro_auroc"], told["mean_val_macro_auroc"]) == (0.9, 0.8)


def test_metrics_of_an_epoch() -> None:
    assert epoch_metrics(epoch(3, 0.75), None) == {
        "train_loss": 1.0,
        "train_accuracy": 0.5,
        "val_loss": 0.25,
        "val_accuracy": 0.75,
        "lr": 0.01,
        "max_grad_norm": 2.0,
        "epoch_seconds": 0.1,
    }


def test_a_row_shows_all_of_a_run(store: Store, tmp_path: Path) -> None:
    before = datetime.now(tz=UTC).timestamp() * 1000
    drive(store, store.ask(), [0.2, 0.5, 0.4])
    store.ask()
    after = datetime.now(tz=UTC).timestamp() * 1000
    keep_evaluation(tmp_path, "trial-0000", ("a", "b"), ((1, 0), (0, 1)))
    ended, running = (mirror_row(row, GROUPS, folder=tmp_path, table=None) for row in store.rows())
    assert (ended.key, ended.status) == ("trial-0000", "FINISHED")
    shown = {p.step: p.value for p in ended.points if p.name == "val_accuracy"}
    assert shown == {1: 0.2, 2: 0.5, 3: 0.4}
    assert json.loads(ended.artifacts["evaluation.json"])["confusion"] == [[1, 0], [0, 1]]
    assert running.artifacts == {}
    assert ended.tags["tlsearch.state"] == "complete"
    assert ended.start_ms is not None
    assert ended.end_ms is not None
    assert before - 2 <= ended.start_ms <= ended.end_ms <= after + 2
    assert (running.status, running.end_ms) == ("RUNNING", None)
    assert running.tags["tlsearch.state"] == "running"


@pytest.mark.parametrize(
    ("ending", "status"), [("pruned", "KILLED"), ("diverged", "FAILED"), ("failed", "FAILED")]
)
def test_statuses(store: Store, ending: str, status: str, tmp_path: Path) -> None:
    run = store.ask()
    store.tell(run, ending, None, reason="why")  # type: ignore[arg-type]
    row = mirror_row(store.rows()[0], GROUPS, folder=tmp_path, table=None)
    assert row.status == status
    assert row.tags["tlsearch.reason"] == "why"


def test_a_paused_run_is_scheduled(store: Store, tmp_path: Path) -> None:
    store.pause(store.ask(), None)
    assert mirror_row(store.rows()[0], GROUPS, folder=tmp_path, table=None).status == "SCHEDULED"


def test_what_waits_in_the_queue_is_not_shown(store: Store) -> None:
    """It would have begun in 1970."""
    store.enqueue([baseline_run(store.config, "from_scratch", seed=0)])
    assert len(store.rows()) == 1
    assert begun(store.rows()) == []
    store.ask()
    fixed = store.ask_fixed()
    assert fixed is not None
    store.pause(fixed, None)
    assert [row.run.key for row in begun(store.rows())] == ["trial-0000", fixed.key]


def test_versions_without_importing() -> None:
    found = versions()
    assert found["torch"] == version("torch")
    assert set(found) >= {"tlsearch", "python", "optuna", "mlflow", "numpy"}
    assert all("==" in line and "+" not in line for line in requirements())


def test_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    assert git_revision() is None
    identity = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    for role in ("AUTHOR", "COMMITTER"):
        identity |= {f"GIT_{role}_NAME": "a", f"GIT_{role}_EMAIL": "a@example.org"}

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments],
            env={**os.environ, **identity},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    git("init", "-q")
    assert git_revision() is None
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-qm", "one")
    git("tag", "v1")
    assert git_revision() == git("rev-parse", "HEAD")
    (tmp_path / "file").write_text("2")
    assert git_revision() == git("rev-parse", "HEAD") + "-dirty"
    monkeypatch.setenv("PATH", "")
    assert git_revision() is None


def test_the_parent_tells_everything_but_passwords(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["run", "my study.yaml", "--set", "storage=postgresql://me:secret@h/x"]
    monkeypatch.setattr("sys.argv", ["/somewhere/tlsearch", *words])
    config = study("storage=postgresql://me:secret@h/x", "tracking_uri=http://me:secret@h")
    setting = setting_of(config, tmp_path)
    setting.store.mkdir()
    setting.split_file.write_text("{}")
    assert "tlsearch.about" not in parent_tags(setting)
    asked = replace(setting, config=config.model_copy(update={"about": "Does freezing help?"}))
    assert parent_tags(asked)["tlsearch.about"] == "Does freezing help?"
    told = [parent_tags(setting), parent_params(config, setting), study_texts(config)]
    assert "secret" not in str(told)
    assert told[0]["tlsearch.data"] == "f" * 16
    assert told[1]["train_images"] == 8
    assert "freeze_depth" in told[2]["study.yaml"]
    command = "tlsearch run 'my study.yaml' --set 'storage=postgresql://me:***@h/x'\n"
    assert told[2]["command.txt"] == command
