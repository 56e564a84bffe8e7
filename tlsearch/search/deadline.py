"""A time limit that may be absent."""

import time


class Deadline:
    """Seconds from now on, or None for no limit."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    @property
    def passed(self) -> bool:
        """Whether the limit is over."""
        return self._end is not None and time.monotonic() >= self._end
