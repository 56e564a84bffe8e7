"""Signals that ask a study to leave, also in the moments in which its processes start."""

import os
import signal

from tlsearch.execution.interrupts import SIGNALS, Interrupts
from tlsearch.execution.worker import undisturbed


def test_every_signal_counts_and_a_hangup_under_nohup_does_not() -> None:
    interrupts = Interrupts()
    with interrupts.listening():
        for sign in SIGNALS:
            os.kill(os.getpid(), sign)
    assert interrupts.count == 3
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupts.listening():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert interrupts.count == 3


def test_a_process_starts_with_signals_that_wait() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with undisturbed():
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) >= set(SIGNALS)  # a child inherits it
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
