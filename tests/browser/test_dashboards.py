"""`tlsearch ui` in a real browser: the study, its runs and trials, and the note with the answer."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.browser.chromium import Watched, photograph, window
from tests.cli.finished import Finished
from tests.cli.test_dashboards import shown

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader"),  # MLflow's own tables
]
RECIPE = "Train all layers, with Adam at a rate of 0.001."
NO_USERS = "/ajax-api/2.0/mlflow/users/current"
"""What MLflow's page asks even a server that knows no users, which answers 404."""


@pytest.fixture(scope="module")
def addresses(
    browser: "Browser",  # where there is none, no study is run
    finished: Finished,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, str]]:
    """MLflow's page and that of Optuna Dashboard, while both run."""
    assert browser
    with shown(finished.folder, logs=tmp_path_factory.mktemp("ui")) as (started,):
        mlflow, optuna = re.findall(r"http://127\.0\.0\.1:\S+", started.result())
        yield mlflow, optuna


@contextmanager
def looking(browser: "Browser", address: str) -> Iterator["Page"]:
    """A page that asks no other host for anything and has no errors of its own."""
    host = address.removeprefix("http://").partition("/")[0]
    with window(browser, hosts=(host,)) as watched:
        watched.page.goto(address)
        yield watched.page
        assert _errors(watched) == []
        assert [url for url in watched.requests if host not in url and url[:4] == "http"] == []


def _errors(watched: Watched) -> list[str]:
    """Warnings are for those who write the dashboards."""
    return [
        told for told in watched.troubles if not told.startswith("warning") and NO_USERS not in told
    ]


def test_mlflow_shows_the_study_its_trial_and_the_answer(
    browser: "Browser", addresses: tuple[str, str]
) -> None:
    with looking(browser, addresses[0]) as page:
        study = page.locator(".ag-row a", has_text=re.compile("^tiny$"))
        study.wait_for()
        trials = page.locator(".ag-row a", has_text=re.compile("^trial-0000 "))
        trials.first.wait_for()
        assert page.locator(".ag-row a", has_text=re.compile("^confirm-0000-seed-1 ")).count() == 1
        photograph(page, "mlflow-experiment", whole=False)
        study.first.click()
        page.get_by_text(RECIPE).first.wait_for()
        photograph(page, "mlflow-study", whole=False)


def test_optuna_dashboard_shows_the_study_its_trial_and_the_answer(
    browser: "Browser", addresses: tuple[str, str]
) -> None:
    with looking(browser, addresses[1]) as page:
        page.get_by_text(re.compile(r"^tiny \(id=\d+\)$")).first.wait_for()
        page.locator(".js-plotly-plot svg.main-svg").first.wait_for()
        photograph(page, "optuna-study", whole=False)
        page.goto(f"{addresses[1]}/note")
        page.get_by_text(RECIPE).first.wait_for()
        page.goto(f"{addresses[1]}/trials")
        page.get_by_text(re.compile(r"^Trial 0 \(trial_id=\d+\)$")).first.wait_for()
        page.get_by_text("Complete", exact=True).first.wait_for()
        photograph(page, "optuna-trial", whole=False)
