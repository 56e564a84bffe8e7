"""How numbers and names are written for people, the same in every format."""

import re
from collections.abc import Sequence
from typing import Any

from tlsearch.evidence.effects import Effect

MINUS = "−"
_TIED = "\u00a0"
"""A space that no line is broken at."""
_UNSEEN = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2066-\\u2069\\ud800-\\udfff]"
)
_PLAIN = {
    "full_fine_tuning": "full fine-tuning",
    "val_accuracy": "validation accuracy",
    "val_loss": "validation loss",
}


def value_text(value: float | None, metric: str) -> str:
    """A value of the study's metric: accuracies in per cent, losses with four digits."""
    if value is None:
        return "–"
    return percent(value) if metric.endswith("accuracy") else f"{value:.4g}"


def percent(share: float) -> str:
    """A share in per cent: `96.4 %` with a space that ties."""
    return f"{100 * share:.1f}{_TIED}%"


def points(share: float) -> str:
    """A signed difference of shares in percentage points: `+1.2`.

    `−0.0` is a difference below 0, and the end of an interval that leaves 0 out.
    """
    return f"{_without_dust(100 * share):+.1f}".replace("-", MINUS)


def _without_dust(value: float) -> float:
    """0 for what is left of sums that should be 0."""
    return 0.0 if abs(value) < 1e-9 else value


def accuracy_text(effect: Effect) -> str:
    """An accuracy with its interval."""
    low, high = f"{100 * effect.low:.1f}", f"{100 * effect.high:.1f}"
    return f"{percent(effect.mean)} ({low}{_TIED}to{_TIED}{high})"


def gain_text(effect: Effect) -> str:
    """A gain with its interval."""
    low, high = points(effect.low), points(effect.high)
    return f"{points(effect.mean)}{_TIED}points ({low}{_TIED}to{_TIED}{high})"


def basis(effect: Effect) -> str:
    """What an interval rests on."""
    return f"n = {effect.num_images:,} test images, {count(effect.num_seeds, 'seed')}"


def count(number: int, thing: str) -> str:
    """`1 trial`, `2 trials`."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def setting_text(value: Any) -> str:
    """A parameter's value: three digits where a search has drawn it, `none`, `yes`, `no`."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def joined(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def plain(name: str) -> str:
    """A name of code as words: `full_fine_tuning` → `full fine tuning`."""
    return _PLAIN.get(name, name.replace("_", " "))


def duration(seconds: float) -> str:
    """`48 s`, `12 min`, `3.4 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def printable(text: str) -> str:
    """The text with a mark in place of what would break a file or turn the text around it: control
    characters, halves of characters, and those that change the direction of writing.
    """
    return _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text)


def shortened(name: str, length: int) -> str:
    """A name cut to what an axis has room for."""
    return name if len(name) <= length else f"{name[: length - 1]}…"
