from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import finished  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from playwright.sync_api import Browser


Built = Callable[[str], Path]


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """One for each module: Playwright's loop must not run on under other modules' tests."""
    from tests.browser.chromium import started

    with started() as browser:
        yield browser


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The file of a page by its name, made once; see `tests.browser.pages.PAGES`."""
    from tests.browser.pages import PAGES

    folder = tmp_path_factory.mktemp("pages")

    def build(name: str) -> Path:
        path = folder / f"{name}.html"
        if not path.exists():
            (folder / name).mkdir()
            path.write_text(PAGES[name](folder / name), encoding="utf-8")
        return path

    return build
