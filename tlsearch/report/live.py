"""The report of a study that runs, built again and again in a process of its own.

The process yields to trainings and rests twenty times as long as it worked; it reads the stores as
`tlsearch report` does, so that nothing of it can reach the study.
"""

import math
import os
import sys
import threading
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tlsearch.config.paths import Layout, draft_of, write_text
from tlsearch.config.schema import StudyConfig
from tlsearch.execution.worker import ignore_interrupts, undisturbed

if TYPE_CHECKING:
    import optuna


LEAST_SECONDS = 15.0
"""Between two pages."""
_START_SECONDS = 1.0
"""Between two looks for a study that has not been started."""
_REST = 20
"""Times the processor's time of the last page: 5 % of one core at the most."""
_LAST_PAGE_SECONDS = 60.0
_NICENESS = 5
"""A quarter of a core beside a training on it; with 15 a page of two seconds took a minute."""
_PARTING_SECONDS = 0.5
_DONE = "done"
_LIVE = b"<!-- live -->"
"""What the addition to a live page begins with."""
_Built = Literal["written", "not started", "failed"]


@contextmanager
def live_report(
    config: StudyConfig, layout: Layout, path: Path, *, browser: bool
) -> Iterator[None]:
    """Keep the page at `path` up to date while the block runs, and open it once it is there.

    What goes wrong with the page is no concern of the block. Where the block fails or is
    interrupted, and even where this process is killed, the last page says how far it came and no
    longer renews itself; after success the caller writes the last one, and should that fail, the
    one before is at rest.
    """
    theirs, ours = get_context("spawn").Pipe(duplex=False)
    keeper = get_context("spawn").Process(
        target=_keep,
        args=(theirs, config, layout, path, browser),
        name="live-report",
        daemon=True,
    )
    with suppress(OSError), undisturbed():  # no memory or process left: the study comes first
        keeper.start()
    theirs.close()
    patience = _LAST_PAGE_SECONDS
    try:
        yield
        with suppress(OSError):
            ours.send(_DONE)
        patience = _PARTING_SECONDS  # a page that it is at would be of no use
    finally:
        ours.close()
        if keeper.pid is not None:
            keeper.join(patience)
            keeper.kill()
            keeper.join()
            draft_of(path, keeper.pid).unlink(missing_ok=True)
            put_to_rest(path)


def can_open_pages() -> bool:
    """Whether there is a browser with a window; one in the terminal would take the terminal."""
    places = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in places)


def live_page(page: str, *, seconds: float, moment: datetime) -> str:
    """A page that loads itself anew every so many seconds, unless its reader is at work on it."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("tlsearch.report", "templates"), autoescape=True)
    addition = environment.get_template("live.html.j2").render(
        seconds=math.ceil(seconds), moment=f"{moment:%H:%M:%S}"
    )
    head, end, tail = page.rpartition("</body>")
    return f"{head}{addition}{end}{tail}"


def put_to_rest(path: Path) -> None:
    """Take what renews a page off it, if it is live; in place, since the disk may be full."""
    with suppress(OSError), path.open("r+b") as file:
        page = file.read()
        start, end = page.rfind(_LIVE), page.rfind(b"</body>")
        if 0 <= start < end:
            file.seek(start)
            file.write(b" " * (end - start))


def _keep(
    parent: Connection, config: StudyConfig, layout: Layout, path: Path, browser: bool
) -> None:
    """What the process of the live report does."""
    ignore_interrupts()  # the parent decides
    with suppress(OSError):
        os.nice(_NICENESS)
    sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - the terminal is the parent's
    _follow(parent, _Builder(config, layout, path), browser=browser)


def _follow(parent: Connection, builder: "_Builder", *, browser: bool) -> None:
    """Build pages until the parent is done (silently) or gone (with a last page)."""
    pause, opened = LEAST_SECONDS, not browser
    while True:
        began = time.process_time()
        built = builder.build(seconds=pause)
        took = time.process_time() - began
        if built == "written" and not opened:
            opened = True
            # Some browsers end only when they are closed.
            page = builder.path.as_uri()
            threading.Thread(target=webbrowser.open, args=(page,), daemon=True).start()
        pause = max(LEAST_SECONDS, _REST * took)
        if parent.poll(_START_SECONDS if built == "not started" else pause):
            break
    with suppress(EOFError, OSError):
        if parent.recv() == _DONE:
            return
    if builder.build(seconds=None) != "written":
        put_to_rest(builder.path)


class _Builder:
    """Reads and writes; the storage stays open, so that a journal is read on, not read again."""

    def __init__(self, config: StudyConfig, layout: Layout, path: Path) -> None:
        self._config, self._layout, self.path = config, layout, path
        self._storage: optuna.storages.BaseStorage | None = None

    def build(self, *, seconds: float | None) -> _Built:
        """Write a page, live for so many seconds."""
        try:
            page = self._page()
            if page is None:
                return "not started"
            if seconds is not None:
                page = live_page(page, seconds=seconds, moment=datetime.now())
            write_text(self.path, page)
        except Exception:  # an old page is better than none, and `tlsearch report` tells why
            return "failed"
        return "written"

    def _page(self) -> str | None:
        from tlsearch.search.storage import open_storage
        from tlsearch.search.store import existing_store

        config, layout = self._config, self._layout
        self._storage = self._storage or open_storage(config, layout, create=False)
        store = existing_store(config, self._storage)
        if store is None:
            return None
        from tlsearch.report.build import build_report

        return build_report(store, layout, format="html")
