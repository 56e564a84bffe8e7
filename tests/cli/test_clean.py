"""`tlsearch clean`: what may go, and nothing else."""

import json
from pathlib import Path

import numpy as np
import optuna
import pytest

from tests.cli.conftest import STUDY, Invoke
from tlsearch.config.paths import Layout
from tlsearch.search.storage import open_storage


def gone(files: dict[str, Path]) -> list[str]:
    return [name for name, file in files.items() if not file.exists()]


def test_nothing_goes_unasked_and_the_usual_when_agreed(
    caches: dict[str, Path], tlsearch: Invoke
) -> None:
    done = tlsearch("clean")  # nobody answers
    assert "activations      1.0 kB" in done.stdout
    assert "(stays)          1.0 kB" in done.stdout
    assert "Delete activations (1.0 kB)?" in done.stdout
    assert done.stdout.endswith("nothing is deleted; --yes asks no question\n")
    assert json.loads(tlsearch("clean", "--json").stdout)["deleted"] == []
    assert gone(caches) == []
    assert "deleted: activations (1.0 kB)" in tlsearch("clean", "--yes").stdout
    assert gone(caches) == ["activations"]
    found = json.loads(tlsearch("clean", "measurements", "source-models", "--yes", "--json").stdout)
    assert found["deleted"] == ["measurements", "source-models"]
    assert gone(caches) == ["activations", "source-models", "measurements"]
    assert "PART = 'image'" in tlsearch("clean", "image", code=2).stderr


def test_images_of_a_size_that_no_study_uses(here: Path, tlsearch: Invoke) -> None:
    files = {side: here / "cache" / "images" / str(side) / "images.npy" for side in (32, 48)}
    for side, file in files.items():
        file.parent.mkdir(parents=True)
        np.save(file, np.zeros((2, side, side, 3), np.uint8))
    tlsearch("clean", "other-sizes", "--yes")
    assert all(file.exists() for file in files.values())  # of no study is known what it uses
    known = here / "mlruns" / "studies" / "s" / "study.yaml"
    known.parent.mkdir(parents=True)
    known.write_text(STUDY)
    tlsearch("clean", "other-sizes", "--yes")
    assert [side for side, file in files.items() if file.exists()] == [32]
    known.write_text("of: another version")
    tlsearch("clean", "other-sizes", "--yes")
    assert files[32].exists()


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_study_that_was_set_aside_goes_with_its_cells_and_pictures(
    here: Path, tlsearch: Invoke
) -> None:
    layout = Layout(here / "mlruns")
    layout.create()
    layout.optuna_artifacts.mkdir()
    storage = open_storage(None, layout, create=True)
    artifacts = optuna.artifacts.FileSystemArtifactStore(layout.optuna_artifacts)
    for name in ("s", "s:fixed", "s until 2026-01-01", "s:fixed until 2026-01-01"):
        study = optuna.create_study(study_name=name, storage=storage)
        if ":" not in name:
            optuna.artifacts.upload_artifact(
                artifact_store=artifacts, file_path=str(here / "study.yaml"), study_or_trial=study
            )
    done = tlsearch("clean", "--yes")
    assert "by --fresh: s until 2026-01-01" in done.stdout
    assert f"deleted: set-aside ({len(STUDY)} bytes)" in done.stdout
    assert optuna.get_all_study_names(open_storage(None, layout, create=False)) == ["s", "s:fixed"]
    assert len(list(layout.optuna_artifacts.iterdir())) == 1
