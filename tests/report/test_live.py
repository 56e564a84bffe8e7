"""The page that renews itself while a study runs, and the process that keeps it."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.report.fake import STUDY
from tlsearch.config.loader import read_study
from tlsearch.config.paths import Layout
from tlsearch.report import live
from tlsearch.report.live import can_open_pages, live_page, live_report, put_to_rest
from tlsearch.search.storage import open_storage
from tlsearch.search.store import Store

PATIENCE_SECONDS = 120


def begun(folder: Path) -> tuple[Path, Layout]:
    """A study that has been started, and nothing more."""
    file, layout = folder / "study.yaml", Layout(folder / "mlruns")
    file.write_text(STUDY)
    layout.create()
    config = read_study(file, overrides=[], preset=None)
    storage = open_storage(config, layout, create=True)
    assert storage is not None
    Store(config, storage)
    return file, layout


def awaited(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_live(page: Path) -> bool:
    return page.exists() and "location.reload" in page.read_text()


def test_a_live_page_says_of_when_it_is_and_asks_nobody() -> None:
    page = live_page(
        "<body><p>one</body></html>", seconds=15.2, moment=datetime(2026, 1, 2, 3, 4, 5)
    )
    assert page.startswith("<body><p>one")
    assert page.endswith("</body></html>")
    assert "as of 03:04:05" in page
    assert "1000 * 16" in page
    assert "http" not in page


def test_a_page_is_put_to_rest_where_it_lies(tmp_path: Path) -> None:
    page, text = tmp_path / "report.html", "<body><p>one</body></html>"
    page.write_text(live_page(text, seconds=15, moment=datetime(2026, 1, 2)))
    size = page.stat().st_size
    assert is_live(page)
    for _ in range(2):
        put_to_rest(page)
        assert re.sub(r"\s", "", page.read_text()) == text
        assert page.stat().st_size == size
    put_to_rest(tmp_path / "none")
    assert list(tmp_path.iterdir()) == [page]


class Parent:
    """The end of the pipe that a keeper listens at; notes its rests, and says `word` at last."""

    def __init__(self, rests: int, word: str | None) -> None:
        self.left, self.word, self.rests = rests, word, list[float]()

    def poll(self, seconds: float) -> bool:
        self.rests.append(seconds)
        return len(self.rests) == self.left

    def recv(self) -> str:
        if self.word is None:
            raise EOFError
        return self.word


def test_a_page_that_fails_rests_as_long_as_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_self: object) -> str:
        raise ValueError("no such axis")

    file, layout = tmp_path / "study.yaml", Layout(tmp_path / "mlruns")
    file.write_text(STUDY)
    config, page = read_study(file, overrides=[], preset=None), tmp_path / "report.html"
    seconds = iter(range(0, 100, 2))  # of the processor: 2 for each page
    monkeypatch.setattr(live.time, "process_time", lambda: next(seconds))
    for there, expected in ((False, [1.0, 1.0]), (True, [40.0, 40.0])):
        if there:
            monkeypatch.setattr(live._Builder, "_page", fails)
            page.write_text(live_page("<body></body>", seconds=15, moment=datetime(2026, 1, 2)))
        parent: Any = Parent(2, None)
        live._follow(parent, live._Builder(config, layout, page), browser=False)
        assert parent.rests == expected
    assert not is_live(page), "the study is gone, and its last page could not be made"


@pytest.mark.slow
def test_a_last_page_that_cannot_be_made_leaves_one_that_rests(tmp_path: Path) -> None:
    file, layout = begun(tmp_path)
    page, config = tmp_path / "report.html", read_study(file, overrides=[], preset=None)
    with live_report(config, layout, page, browser=False):
        awaited(lambda: is_live(page))
    assert page.exists()
    assert not is_live(page)


@pytest.mark.slow
def test_the_page_is_there_while_the_study_runs_and_is_opened_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, layout = begun(tmp_path)
    page, log = tmp_path / "report.html", tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f"#!/bin/sh\necho $1 >> {log}\n")
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    monkeypatch.setattr(live, "_PARTING_SECONDS", 60.0)
    assert can_open_pages()
    config = read_study(file, overrides=[], preset=None)
    with live_report(config, layout, page, browser=True):
        awaited(lambda: is_live(page) and log.exists())
        page.write_text("the last page")
    assert page.read_text() == "the last page"
    assert log.read_text() == f"{page.as_uri()}\n"
    assert not list(tmp_path.glob(".*.part"))


@pytest.mark.slow
def test_a_study_that_fails_leaves_a_page_that_rests(tmp_path: Path) -> None:
    file, layout = begun(tmp_path)
    page, config = tmp_path / "report.html", read_study(file, overrides=[], preset=None)
    with (  # noqa: PT012 - the page must be there before the block fails
        pytest.raises(ValueError, match="as it may"),
        live_report(config, layout, page, browser=False),
    ):
        awaited(lambda: is_live(page))
        raise ValueError("as it may")
    assert page.exists()
    assert not is_live(page)


@pytest.mark.slow
def test_a_coordinator_that_is_killed_leaves_a_page_that_rests(tmp_path: Path) -> None:
    file, _ = begun(tmp_path)
    page = tmp_path / "report.html"
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, time\n"
        "from pathlib import Path\n"
        "from tlsearch.report.live import live_report\n"
        "from tlsearch.config.paths import layout_here\n"
        "from tlsearch.config.loader import read_study\n"
        "if __name__ == '__main__':\n"
        "    config = read_study(Path(sys.argv[1]), overrides=[], preset=None)\n"
        "    with live_report(config, layout_here(), Path(sys.argv[2]), browser=False):\n"
        "        time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, script, file, page], cwd=tmp_path) as process:
        awaited(lambda: is_live(page))
        os.kill(process.pid, signal.SIGKILL)
    awaited(lambda: not is_live(page))


def test_without_a_window_no_browser_takes_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    assert can_open_pages() == (sys.platform in ("darwin", "win32"))
