"""The model that users load: in a process of its own, from MLflow alone."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from torch import nn

from tlsearch.errors import WorkError
from tlsearch.tracking.registry import log_model
from tlsearch.tracking.store import open_store

_LOAD = """
import json, sys, mlflow, numpy as np, torch
import mlflow.pytorch
mlflow.set_tracking_uri(sys.argv[1])
expected = np.load("expected.npz")
pyfunc = mlflow.pyfunc.load_model(sys.argv[2])
module = mlflow.pytorch.load_model(sys.argv[2])
for count in (1, 5):
    images, want = expected["images"][:count], expected["probabilities"][:count]
    np.testing.assert_allclose(pyfunc.predict(images), want, atol=1e-6)
    np.testing.assert_allclose(module(torch.from_numpy(images)).detach(), want, atol=1e-6)
info = pyfunc.metadata
print(json.dumps({"metadata": info.metadata, "inputs": info.get_input_schema().to_json()}))
"""


class Classifier(nn.Module):
    """Has what export must get right: statistics of batches, and a mean over positions."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Linear(4, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.head(self.body(images).mean(dim=(2, 3))), dim=1)


@pytest.fixture(autouse=True)
def global_address(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`log_model` sets MLflow's global address, and expects a process of its own."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    yield
    mlflow.set_tracking_uri(None)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred")  # by MLflow, of its own types
def test_a_fresh_process_loads_and_predicts(
    uri: str, client: MlflowClient, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = open_store(tracking_uri=uri, artifact_root=tmp_path / "art", experiment="quickstart")
    parent = client.create_run(store.experiment_id).info.run_id
    client.set_terminated(parent, "FINISHED")
    crashed = client.create_logged_model(
        store.experiment_id, "model", source_run_id=parent, tags={"tlsearch.model_key": "best"}
    )

    module = Classifier().eval()
    images = np.random.default_rng(0).random((5, 3, 8, 8), dtype=np.float32)
    with torch.inference_mode():
        probabilities = module(torch.from_numpy(images)).numpy()
    np.savez(tmp_path / "expected.npz", images=images, probabilities=probabilities)
    first, again = (
        log_model(
            module,
            tracking_uri=uri,
            run_id=parent,
            model_key="best",
            metadata={"image_size": 8, "class_names": ["a", "b", "ç"]},
            pip_requirements=["torch", "mlflow"],
        )
        for _ in range(2)
    )
    assert capfd.readouterr() == ("", "")
    assert first == again != crashed.model_uri
    (model,) = client.search_logged_models([store.experiment_id])
    assert model.model_uri == first
    assert client.get_run(parent).info.status == "FINISHED"
    assert len(client.get_run(parent).outputs.model_outputs) == 1

    loaded = subprocess.run(
        [sys.executable, "-c", _LOAD, uri, first],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.returncode == 0, loaded.stderr
    facts = json.loads(loaded.stdout)
    assert facts["metadata"] == {"image_size": 8, "class_names": ["a", "b", "ç"]}
    assert json.loads(facts["inputs"])[0]["tensor-spec"] == {
        "dtype": "float32",
        "shape": [-1, 3, 8, 8],
    }


class Unexportable(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3)) if images.sum().item() > 0 else images.sum((2, 3))


@pytest.mark.slow
def test_a_module_that_cannot_be_exported(uri: str, client: MlflowClient, tmp_path: Path) -> None:
    store = open_store(tracking_uri=uri, artifact_root=tmp_path / "art", experiment="quickstart")
    with pytest.raises(WorkError, match=r"could not be saved in MLflow at .* — its checkpoint"):
        log_model(
            Unexportable(),
            tracking_uri=uri,
            run_id=client.create_run(store.experiment_id).info.run_id,
            model_key="best",
            metadata={"image_size": 8, "class_names": ["a"]},
            pip_requirements=["torch"],
        )
