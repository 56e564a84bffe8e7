"""A study that has begun and a file that has changed since."""

from collections.abc import Mapping
from typing import Any

from tlsearch.errors import StoreError
from tlsearch.search.runs import fixed_name
from tlsearch.study.cells import SEPARATOR
from tlsearch.study.identity import changes


def told(name: str) -> str:
    """A study as its user knows it: by its name, or a cell by its place in the comparison."""
    _, *place = name.removesuffix(fixed_name("")).split(SEPARATOR)
    if len(place) == 2:
        return f"comparison.arms.{place[1]} in scenario {place[0]!r}"
    return f"name = {name!r}"


def refuse_changes(name: str, known: Any, ours: Mapping[str, Any]) -> None:
    """Compare what a study was begun as, None if not by tlsearch, with what it is now.

    Raises:
        StoreError: they differ.
    """
    if known is None:
        raise StoreError(
            f"name = {name!r}: the store holds an Optuna study of this name that tlsearch did not "
            "make — give this study another name"
        )
    changed = changes(known, ours)
    if changed:
        raise StoreError(
            f"{told(name)}: the study was started with other settings, and its trials cannot be "
            "mixed with new ones:\n"
            + "\n".join(f"  {line}" for line in changed)
            + "\nChange them back to carry on, give the study a new name, or start it over with "
            "--fresh"
        )
