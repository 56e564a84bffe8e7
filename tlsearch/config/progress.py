"""How a long piece of work says how far it is."""

from collections.abc import Callable

OnProgress = Callable[[float, str], None]
"""Gets the share that is done, from 0 to 1, and what is being done."""


def no_progress(_share: float, _text: str) -> None:
    """Show nothing."""
