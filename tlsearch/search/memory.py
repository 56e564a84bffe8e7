"""Giving memory back between jobs, so that a worker stays as large as its largest training."""

import ctypes
import gc
import sys


def release_memory() -> None:
    """Drop what only cycles keep alive, and hand the C library's free pages to the system.

    A finished trainer is such a cycle: its weights, gradients and moments would still be there
    while the next one is built.
    """
    gc.collect()
    if sys.platform == "linux":
        try:
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        except (OSError, AttributeError):
            return  # another C library: it decides by itself
