"""Giving memory back between jobs, so that a worker stays as large as its largest training."""

import ctypes
import sys


def release_memory() -> None:
    """Hand the pages that the C library keeps for later to the system: those of one training would
    otherwise add to the next one's.
    """
    if sys.platform == "linux":
        try:
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        except (OSError, AttributeError):
            return  # another C library: it decides by itself
