"""What a report cannot show, and why."""

from typing import NamedTuple


class Absent(NamedTuple):
    """Stands in the place of a finding; `reason` is a sentence for the reader."""

    reason: str
