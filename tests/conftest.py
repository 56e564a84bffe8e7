import os
from collections.abc import Iterator

import pytest

from tlsearch.tracking.store import hush

hush()  # as every command does before MLflow is imported, which some tests do by themselves


@pytest.fixture(autouse=True)
def tracking_address_kept() -> Iterator[None]:
    """MLflow writes its global address into the environment, where later tests' processes find it;
    which tests share a process differs from run to run.
    """
    before = os.environ.get("MLFLOW_TRACKING_URI")
    yield
    assert os.environ.get("MLFLOW_TRACKING_URI") == before
