"""What Optuna Dashboard shows beside a study and its trials."""

from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta
from optuna_dashboard import get_note, save_note

from tests.report.fake import Fake, fake_study, know_data, search
from tlsearch.errors import WorkError
from tlsearch.search import champion as publishing
from tlsearch.search.champion import Stills, _attach, publish
from tlsearch.search.store import MIRRORED, MLFLOW

NO_STILLS = Stills({}, {})


def shown(fake: Fake) -> dict[str, bytes]:
    store = FileSystemArtifactStore(fake.layout.optuna_artifacts)
    found = {}
    for meta in get_all_artifact_meta(fake.store.study):
        with store.open_reader(meta.artifact_id) as file:
            assert meta.filename not in found
            assert meta.mimetype == "image/png"
            found[meta.filename] = file.read()
    return found


def test_pictures_are_attached_once_and_drawn_anew(tmp_path: Path) -> None:
    fake = fake_study(tmp_path)
    search(fake, 2)
    study = fake.store.study
    first, second = (optuna.Trial(study, trial._trial_id) for trial in study.trials)
    for content in (b"one", b"two"):
        stills = Stills({"history.png": content}, {"trial-0001": content})
        _attach(fake.store, fake.layout.optuna_artifacts, stills)
        assert shown(fake) == {"history.png": content, "trial-0001-confusion.png": content}
    note = get_note(second)
    assert note.startswith("![Confusion matrix](/artifacts/0/")
    assert (fake.layout.optuna_artifacts / note[:-1].rpartition("/")[2]).read_bytes() == b"two"
    assert get_note(first) == ""
    save_note(second, "mine")
    _attach(fake.store, fake.layout.optuna_artifacts, Stills({}, {"trial-0001": b"three"}))
    assert get_note(second) == "mine"
    assert len(list(fake.layout.optuna_artifacts.iterdir())) == 2


def published(
    fake: Fake, text: str, *, trouble: str | None, draw: Callable[[], Stills] = lambda: NO_STILLS
) -> None:
    report = fake.layout.root / "report.html"
    assert publish(fake.store, fake.layout, text=text, report=report, draw=draw) == trouble


def test_what_went_wrong_is_made_good_and_a_note_of_ours_stays_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []

    def fails(**_: object) -> None:
        raise WorkError("MLflow is gone")

    def takes(*, text: str, **_: object) -> None:
        taken.append(text)

    fake = fake_study(tmp_path)
    know_data(fake)
    mlflow = fake.store.noted(MLFLOW)
    fake.store.note(MLFLOW, {**mlflow, "run_id": "1"})
    fake.store.note(MIRRORED, True)
    monkeypatch.setattr(publishing, "publish_in_mlflow", fails)
    for text in ("one", "two"):
        published(fake, text, trouble="MLflow is gone")
        assert get_note(fake.store.study) == text
    monkeypatch.setattr(publishing, "publish_in_mlflow", takes)

    def draw() -> Stills:
        raise ValueError("no such axis")

    told = "figures could not be drawn for the dashboards (ValueError: no such axis)"
    published(fake, "two", trouble=told, draw=draw)
    for _ in range(2):  # the second time there is nothing left to do
        published(fake, "two", trouble=None)
    assert taken == ["two", "two"]
    save_note(fake.store.study, "mine")
    published(fake, "three", trouble=None)
    assert (taken[-1], get_note(fake.store.study)) == ("three", "mine")


def test_a_trial_says_in_optuna_how_it_went(tmp_path: Path) -> None:
    fake = fake_study(tmp_path)
    search(fake, 1)
    told = dict(fake.store.study.trials[0].user_attrs)
    (row,) = fake.store.trials()
    assert told["ending"] == "complete"
    assert told["strategy"] == row.run.scope
    assert told["epochs"] == len(row.epochs)
    assert told["training seconds"] == round(row.seconds, 1)
    assert fake.store.study.metric_names == ["val_accuracy"]
