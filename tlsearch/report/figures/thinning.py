"""Fewer of many: a page of thousands of lines is slow, and shows no more."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def evenly(items: Sequence[T], limit: int) -> tuple[T, ...]:
    """At most `limit` of them, at even distances, the first and the last among them."""
    if len(items) <= limit:
        return tuple(items)
    last = len(items) - 1
    return tuple(items[round(i * last / (limit - 1))] for i in range(limit))


def rounded(value: float) -> float:
    """Five significant digits: more than a screen shows, and half the page."""
    return float(f"{value:.5g}")
