"""What a search may try first: strategies that won elsewhere, clipped into a study's own space.

`portfolio.json` is data with its provenance, written by benchmarks/curves/portfolio.py from
recorded trainings: a greedy portfolio as of arXiv:2007.13382, in units that any network has.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tlsearch.config.catalog import CATALOGUE, groups
from tlsearch.config.space import Choice, Dimension, Fixed, Range

if TYPE_CHECKING:
    from tlsearch.config.schema import StudyConfig

FILE = Path(__file__).with_name("portfolio.json")


class Start(NamedTuple):
    """Values of searched dimensions, of which `clipped` lay outside of the study's ranges; what an
    entry does not know, or the study does not offer, is left to the sampler.
    """

    values: Mapping[str, Any]
    clipped: tuple[str, ...]


@cache
def portfolio() -> dict[str, Any]:
    """The whole file."""
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def starts(config: "StudyConfig") -> list[Start]:
    """What the first trials of a search are to be, the most useful first; none where the study asks
    for none. No two are alike.
    """
    if config.search.start == "none":
        return []
    found: list[Start] = []
    for entry in portfolio()["entries"]:
        start = _placed(config, entry)
        if start.values and start.values not in [other.values for other in found]:
            found.append(start)
    return found


def start_note(config: "StudyConfig") -> str:
    """What is said of the portfolio where it is used: how much of it was clipped; "" without."""
    found = starts(config)[: config.num_trials()]
    if not found:
        return ""
    names = sorted({name for start in found for name in start.clipped})
    clipped = sum(bool(start.clipped) for start in found)
    outside = f"; {clipped} of them clipped into this space ({', '.join(names)})" if clipped else ""
    return (
        f"search.start: the first {len(found)} trials are strategies that did well on "
        f"{len(portfolio()['tasks'])} other tasks{outside}"
    )


def _placed(config: "StudyConfig", entry: Mapping[str, Any]) -> Start:
    values: dict[str, Any] = {}
    clipped = []
    for name, dimension in config.searched().items():
        wanted = _in_units_of(config, name, entry)
        value = None if wanted is None else _nearest(dimension, wanted)
        if value is not None:
            values[name] = value
            if isinstance(dimension, Range) and not dimension.low <= wanted <= dimension.high:
                clipped.append(name)
    return Start(values, tuple(clipped))


def _in_units_of(config: "StudyConfig", name: str, entry: Mapping[str, Any]) -> Any:
    """An entry's value of a dimension in the study's units; None where it has none."""
    # Of several networks the shallowest: a depth must be one of each.
    depth = min(len(groups(CATALOGUE[n])) - 1 for n in config.backbone.names)
    match name:
        case "freeze_depth":
            return round(entry["frozen_share"] * depth)
        case "lr_ratio":
            return entry["input_lr_fraction"] ** (1 / max(1, depth))
        case "warmup_epochs":
            return round(entry["warmup_fraction"] * config.budget.epochs)
        case _:
            return entry.get(name)


def _nearest(dimension: Dimension, wanted: Any) -> Any:
    """The value of a dimension that is nearest; None where a list does not hold it."""
    match dimension:
        case Fixed():
            return None
        case Choice(values) if wanted in values:
            return wanted
        case Choice(values):
            numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
            is_number = isinstance(wanted, int | float) and not isinstance(wanted, bool)
            return min(numbers, key=lambda v: abs(v - wanted)) if numbers and is_number else None
        case Range(low, high, _, step):
            clipped = min(max(wanted, low), high)
            if step is not None:
                clipped = low + round((clipped - low) / step) * step
                clipped -= step if clipped > high else 0
            return int(clipped) if dimension.whole else float(clipped)
