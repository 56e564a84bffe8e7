"""What Optuna Dashboard shows beside a study and its trials."""

from pathlib import Path

import optuna
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta
from optuna_dashboard import get_note, save_note

from tests.report.fake import Fake, fake_study, search
from tlsearch.search.publishing import Stills, _attach


def shown(fake: Fake) -> dict[str, bytes]:
    store = FileSystemArtifactStore(fake.layout.optuna_artifacts)
    found = {}
    for meta in get_all_artifact_meta(fake.ledger.search):
        with store.open_reader(meta.artifact_id) as file:
            assert meta.filename not in found
            assert meta.mimetype == "image/png"
            found[meta.filename] = file.read()
    return found


def test_pictures_are_attached_once_and_drawn_anew(tmp_path: Path) -> None:
    fake = fake_study(tmp_path)
    search(fake, 2)
    study = fake.ledger.search
    first, second = (optuna.Trial(study, trial._trial_id) for trial in study.trials)
    for content in (b"one", b"two"):
        stills = Stills({"history.png": content}, {"trial-0001": content})
        _attach(fake.ledger, fake.layout.optuna_artifacts, stills)
        assert shown(fake) == {"history.png": content, "trial-0001-confusion.png": content}
    note = get_note(second)
    assert note.startswith("![Confusion matrix](/artifacts/0/")
    assert (fake.layout.optuna_artifacts / note[:-1].rpartition("/")[2]).read_bytes() == b"two"
    assert get_note(first) == ""
    save_note(second, "mine")
    _attach(fake.ledger, fake.layout.optuna_artifacts, Stills({}, {"trial-0001": b"three"}))
    assert get_note(second) == "mine"
    assert len(list(fake.layout.optuna_artifacts.iterdir())) == 2


def test_a_trial_says_in_optuna_how_it_went(tmp_path: Path) -> None:
    fake = fake_study(tmp_path)
    search(fake, 1)
    told = dict(fake.ledger.search.trials[0].user_attrs)
    (row,) = fake.ledger.rows_of(fake.ledger.search)
    assert told["ending"] == "complete"
    assert told["strategy"] == row.spec.scope
    assert told["epochs"] == len(row.epochs)
    assert told["training seconds"] == round(row.seconds, 1)
    assert fake.ledger.search.metric_names == ["val_accuracy"]
