from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from tests.search.conftest import Study
from tests.search.fakes import drive, layout_in
from tlsearch.config.paths import PARTS
from tlsearch.search.ledger import Ledger
from tlsearch.search.storage import open_storage, set_aside


@pytest.mark.parametrize("address", ["null", "sqlite:///x.db"])
def test_what_was_there_is_kept_under_another_name(
    study: Study, tmp_path: Path, address: str
) -> None:
    config, layout = study(f"storage={address}"), layout_in(tmp_path)
    storage = open_storage(config, layout, create=True)
    assert storage is not None
    ledger = Ledger(config, storage)
    drive(ledger, ledger.ask(), [0.5] * 3)
    ledger.ask()
    ledger.pause(ledger.ask())
    key = ledger.key
    folder = layout.study("s")
    for part in PARTS:
        (folder / part).mkdir(parents=True)
    (folder / "report.html").write_text("r")

    set_aside("s", storage=storage, folder=folder)
    names = {s.study_name for s in storage.get_all_studies()}
    (old,) = (name for name in names if name.startswith("s until "))
    assert len(names) == 2
    assert [p.name for p in folder.iterdir()] == ["report.html"]
    states = [t.state for t in optuna.load_study(study_name=old, storage=storage).get_trials()]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.FAIL]

    # Another question may now be asked under the name.
    fresh = Ledger(study(f"storage={address}", "search.seed=7"), storage)
    assert fresh.rows() == []
    assert fresh.key != key


def test_nothing_to_set_aside(study: Study, tmp_path: Path) -> None:
    storage = open_storage(study(), layout_in(tmp_path), create=True)
    assert storage is not None
    set_aside("s", storage=storage, folder=tmp_path / "none")
    assert storage.get_all_studies() == []
