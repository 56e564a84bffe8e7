"""`tlsearch ui` in a real browser: the study, its runs and trials, and the note with the answer."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.cli.finished import Finished
from tests.cli.test_ui import shown

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader"),  # MLflow's own tables
]


@pytest.fixture(scope="module")
def addresses(
    browser: "Browser",  # where there is none, nothing is run for it
    finished: Finished,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, str]]:
    """MLflow's page and that of Optuna Dashboard, while both run."""
    assert browser
    with shown(finished.folder, tmp_path_factory.mktemp("ui") / "log") as (_, told):
        mlflow, optuna = re.findall(r"http://127\.0\.0\.1:\S+", told)
        yield mlflow, optuna


def near(address: str) -> tuple[str, ...]:
    return (address.removeprefix("http://").partition("/")[0],)
