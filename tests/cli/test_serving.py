"""The champion by its name in the registry: loaded by pyfunc, and served over HTTP."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient

from tests.cli.conftest import command, only_line
from tests.cli.finished import STUDY, Finished

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader"),  # MLflow's own tables
]
# urlopen's own opener keeps the proxies of its first use, which may have been another test's.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
PATIENCE_SECONDS = 240
LOAD = """
import json, sys, mlflow, numpy as np
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
np.save("loaded.npy", model.predict(np.load("images.npy")))
print(json.dumps(model.metadata.metadata))
"""


@pytest.fixture(scope="module")
def address(finished: Finished) -> str:
    found = finished.result["registered"]
    assert found == "models:/tiny@champion"
    return str(found)


def test_one_version_with_the_figures_of_the_study(finished: Finished, address: str) -> None:
    assert address
    client = MlflowClient(finished.result["mlflow"]["tracking_uri"])
    (version,) = client.search_model_versions("name = 'tiny'")
    assert version.source == finished.result["model"]
    assert client.get_model_version_by_alias("tiny", "champion").version == version.version
    accuracy = finished.result["test"]["accuracy"]
    assert version.tags["tlsearch.study"] == "tiny"
    assert version.tags["tlsearch.trial"] == "0"
    assert version.tags["tlsearch.test_accuracy"] == f"{accuracy['mean']:.4f}"


def test_pyfunc_in_a_fresh_process(finished: Finished, address: str, tmp_path: Path) -> None:
    scores = finished.scores()
    np.save(tmp_path / "images.npy", finished.inputs(scores["rows"]))
    uri = finished.result["mlflow"]["tracking_uri"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOAD, uri, address],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded = np.load(tmp_path / "loaded.npy")
    np.testing.assert_allclose(loaded, scores["probabilities"], atol=1e-5)
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["image_size"], result["fit"], result["study"]) == (32, "crop", "tiny")


def test_a_registry_that_refuses_fails_no_study(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY.replace("{folder: photos}", "digits"))
    done = command(
        *("run", "study.yaml", "--json", "--set", "data.labels_per_class=3"),
        cwd=tmp_path,
        TLSEARCH_CACHE=str(tmp_path / "cache"),
        MLFLOW_REGISTRY_URI="nowhere://x",
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(only_line(done.stdout))
    assert result["finished"]
    assert result["model"].startswith("models:/m-")
    assert result["registered"] is None
    assert "note: the model could not be registered in MLflow at sqlite:" in done.stderr
    assert f"it is logged all the same: {result['model']}" in done.stderr


def test_served_over_http(finished: Finished, address: str, tmp_path: Path) -> None:
    scores = finished.scores()
    rows = scores["rows"][:3]
    with serving(finished, address, tmp_path) as base:
        found = asked(f"{base}/invocations", {"inputs": finished.inputs(rows).tolist()})
    np.testing.assert_allclose(found["predictions"], scores["probabilities"][:3], atol=1e-5)


@contextmanager
def serving(finished: Finished, address: str, tmp_path: Path) -> Iterator[str]:
    """MLflow's own server on a free port of this machine alone; it ends with all its children."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    # `mlflow models serve` finds its web server on the path.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    uri = finished.result["mlflow"]["tracking_uri"]
    with (tmp_path / "serving.log").open("w+") as log:
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "models", "serve", "-m", address),
                *("--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)),
            ],
            cwd=tmp_path,
            env={**os.environ, "PATH": path, "MLFLOW_TRACKING_URI": uri, "OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            base = f"http://127.0.0.1:{port}"
            wait_for(f"{base}/ping", server, tmp_path / "serving.log")
            yield base
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def wait_for(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        assert server.poll() is None, log.read_text()
        try:
            with DIRECT.open(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            with suppress(subprocess.TimeoutExpired):
                server.wait(0.2)
    raise AssertionError(f"no answer in {PATIENCE_SECONDS} s: {log.read_text()}")


def asked(url: str, question: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        url, json.dumps(question).encode(), {"Content-Type": "application/json"}
    )
    with DIRECT.open(request, timeout=60) as answer:
        return json.load(answer)
