"""A study that `--fresh` set aside leaves nothing open in MLflow."""

from pathlib import Path

from mlflow import MlflowClient

from tlsearch.tracking.mlflow_logger import Mirror


def mirror(address: str, root: Path, key: str) -> Mirror:
    made = Mirror(
        tracking_uri=address,
        artifact_root=root / "artifacts",
        experiment="digits",
        study_key=key,
        flush_seconds=0.05,
        patience_seconds=5.0,
    )
    made.open_parent(run_name="digits", tags={}, params={}, texts={}, datasets=())
    return made


def test_what_a_set_aside_study_left_open_is_ended(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'mlflow.db'}"
    killed = mirror(address, tmp_path, "old")
    killed.start("trial-0000", run_name="trial-0000", params={}, tags={})
    killed.start("trial-0001", run_name="trial-0001", params={}, tags={})
    killed.finish("trial-0001", status="SCHEDULED", tags={}, artifacts={})
    assert killed.flush()  # and here its process is killed

    elsewhere = mirror(address, tmp_path, "of another folder")
    assert elsewhere.flush()
    fresh = mirror(address, tmp_path, "new")
    fresh.abandon("old")
    fresh.start("trial-0000", run_name="trial-0000", params={}, tags={})
    assert fresh.flush()
    client = MlflowClient(address)
    assert fresh.experiment_id is not None
    found = {
        (run.data.tags["tlsearch.study_key"], run.info.run_name): run.info.status
        for run in client.search_runs([fresh.experiment_id])
    }
    assert found == {
        ("old", "digits"): "KILLED",
        ("old", "trial-0000"): "KILLED",
        ("old", "trial-0001"): "KILLED",
        ("of another folder", "digits"): "RUNNING",
        ("new", "digits"): "RUNNING",
        ("new", "trial-0000"): "RUNNING",
    }
    fresh.close(status="FINISHED", tags={})
    elsewhere.close(status="FINISHED", tags={})
    killed.close(status="KILLED", tags={})
