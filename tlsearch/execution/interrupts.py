"""Ctrl-C and SIGTERM, once or twice."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tlsearch.errors import TlsearchError


class Interrupted(TlsearchError):  # noqa: N818  (it is no error: the user asked for it)
    """The user asked to leave; everything is kept."""

    exit_code = 130


class Interrupts:
    """Counts requests to leave: one finishes the running epochs, two leave at once."""

    def __init__(self) -> None:
        self.count = 0

    @property
    def stopping(self) -> bool:
        """Whether to start nothing new and save what runs."""
        return self.count >= 1

    @property
    def at_once(self) -> bool:
        """Whether to leave in mid-epoch."""
        return self.count >= 2

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Count SIGINT and SIGTERM instead of dying; handlers go back afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield  # Python delivers signals to the main thread alone
            return
        before = {s: signal.signal(s, self._note) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
