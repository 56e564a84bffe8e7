"""Debian's Chromium through Playwright, and what goes wrong on a page."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Route


CHROMIUM = shutil.which("chromium")
IS_REQUIRED = os.environ.get("TLSEARCH_BROWSER") == "required"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESK, PHONE = (1280, 900), (390, 844)
"""Width and height of a window, pixels."""
PATIENCE_MS = 180_000
"""A machine that is busy with other tests takes its time."""


@contextmanager
def started() -> Iterator["Browser"]:
    """A browser with a profile of its own, so that tests beside this one are not disturbed.

    Where there is none, tests are skipped, but in CI, which says TLSEARCH_BROWSER=required.
    """
    lacks = pytest.fail if IS_REQUIRED else pytest.skip
    if CHROMIUM is None:
        lacks("no chromium on the path; on Debian: apt-get install chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        lacks("Playwright is not installed; it comes with: uv sync")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A window, and what its page told of its troubles and asked of others."""

    def __init__(self, context: "BrowserContext") -> None:
        self.page: Page = context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.troubles: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.troubles.append(f"page error: {error}"))
        self.page.on("request", self._asked)

    def _said(self, message: "ConsoleMessage") -> None:
        if message.type in ("error", "warning"):
            self.troubles.append(f"{message.type}: {message.text} ({message.location['url']})")

    def _asked(self, request: "Request") -> None:
        self.requests.append(request.url)


@contextmanager
def window(
    browser: "Browser",
    *,
    size: tuple[int, int] = DESK,
    scheme: Literal["light", "dark"] = "light",
    scripts: bool = True,
    hosts: tuple[str, ...] = (),
) -> Iterator[Watched]:
    """A window that reaches files and `hosts` alone; every other request is refused."""
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        java_script_enabled=scripts,
    )

    def refuse(route: "Route") -> None:
        is_near = route.request.url.startswith(tuple(f"http://{host}" for host in hosts) or "-")
        if is_near:
            route.continue_()
        else:
            route.abort()

    context.route(re.compile(r"^(?!file:|data:|blob:)"), refuse)
    try:
        yield Watched(context)
    finally:
        context.close()


def photograph(page: "Page", name: str, *, whole: bool = True) -> Path:
    """Keep a picture for people: in TLSEARCH_SCREENSHOTS, where CI asks for it; else nowhere."""
    folder = os.environ.get("TLSEARCH_SCREENSHOTS")
    if not folder:
        return Path(os.devnull)
    path = Path(folder) / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=path, full_page=whole)
    return path


def violations(page: "Page") -> list[dict[str, Any]]:
    """What axe-core finds against WCAG 2.2 AA and good practice, each with the elements."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        {
            "id": one["id"],
            "impact": one["impact"],
            "help": one["help"],
            "where": [node["html"][:160] for node in one["nodes"]][:5],
            "why": one["nodes"][0]["failureSummary"],
        }
        for one in found
    ]
