"""Ctrl-C, SIGTERM and a terminal that is closed, once or twice."""

import os
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
        self._terminal: list[int] = []

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
        """Count SIGINT, SIGTERM and SIGHUP instead of dying; handlers go back afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield  # Python delivers signals to the main thread alone
            return
        self._terminal = [fd for fd in (1, 2) if os.isatty(fd)]
        before = {sign: signal.signal(sign, self._note) for sign in heard()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.count += 1
        if number in HANGUP:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            for terminal in self._terminal:  # it is gone, and what is written there would fail
                os.dup2(nowhere, terminal)
            os.close(nowhere)


HANGUP = [signal.SIGHUP] if hasattr(signal, "SIGHUP") else []
"""What a process gets whose terminal is closed; Windows knows none."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, *HANGUP)
"""What asks a process to leave."""


def heard() -> list[signal.Signals]:
    """Those of `SIGNALS` that are to be answered: under nohup a closed terminal is none."""
    return [s for s in SIGNALS if s not in HANGUP or signal.getsignal(s) != signal.SIG_IGN]
