"""What a search may try first: strategies that won elsewhere, clipped into a study's own space.

`portfolio.json` is data with its provenance, written by benchmarks/curves/portfolio.py from
recorded trainings: a greedy portfolio as of arXiv:2007.13382, in units that any network has.
What won in the user's own earlier studies comes in the same units, from `config.history`.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tlsearch.config.catalog import CATALOGUE, groups
from tlsearch.config.space import Choice, Dimension, Range

if TYPE_CHECKING:
    from tlsearch.config.schema import StudyConfig

FILE = Path(__file__).with_name("portfolio.json")
MOST = 8
"""Strategies that a search starts with at the most."""
ORIGIN = "origin"
"""The field of an entry that says where it is from."""
Entry = Mapping[str, Any]


class Start(NamedTuple):
    """Values of searched dimensions, of which `clipped` lay outside of the study's ranges. What the
    entry does not know, or the study does not offer, is `left` to the sampler.
    """

    entry: Entry
    values: Mapping[str, Any]
    clipped: tuple[str, ...]
    left: tuple[str, ...]

    @property
    def origin(self) -> str:
        """Where it is from, in a few words."""
        return str(self.entry[ORIGIN])


@cache
def portfolio() -> dict[str, Any]:
    """The whole file."""
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def entries() -> list[Entry]:
    """Those of the portfolio, with their origin."""
    found = portfolio()["entries"]
    return [{**one, ORIGIN: f"portfolio {number}"} for number, one in enumerate(found, 1)]


def entries_for(config: "StudyConfig") -> list[Entry]:
    """Those of the portfolio; first those whose rates mean something to the study's optimizers."""
    return sorted(entries(), key=lambda entry: not _alike(config, entry))


def starts(config: "StudyConfig", found: Sequence[Entry] = ()) -> list[Start]:
    """What the first trials of a search are to be, the most useful first; none where the study asks
    for none. No two are alike. A search from history starts with what was `found` for it.
    """
    given = {"none": (), "portfolio": entries_for(config), "history": found}[config.search.start]
    kept: list[Start] = []
    for entry in given:
        start = _placed(config, entry)
        if start.values and start.values not in [other.values for other in kept]:
            kept.append(start)
    return kept[:MOST]


def start_note(config: "StudyConfig") -> str:
    """What is said beforehand of how a search starts: how much of the portfolio is clipped; "" for
    nothing.
    """
    if config.search.start == "history":
        return (
            f"search.start: the first trials, {MOST} at the most, are what won in earlier studies "
            "in MLflow, the nearest first, and strategies of the portfolio; run reads and names "
            "them"
        )
    found = starts(config)[: config.num_trials()]
    if not found:
        return ""
    return (
        f"search.start: the first {len(found)} trials are strategies that did well on "
        f"{len(portfolio()['tasks'])} other tasks{clipped_text(found)}"
    )


def clipped_text(found: Sequence[Start]) -> str:
    """How many of them were clipped, and where, for the end of a sentence; "" for none."""
    names = sorted({name for start in found for name in start.clipped})
    clipped = sum(bool(start.clipped) for start in found)
    return f"; {clipped} of them clipped into this space ({', '.join(names)})" if clipped else ""


# An entry in a study's own space.


_UNKNOWN: Any = object()
"""In place of a value that an entry does not know or a study does not offer; null may be one."""


def _placed(config: "StudyConfig", entry: Entry) -> Start:
    values: dict[str, Any] = {}
    clipped, left = [], []
    searched, ours = config.searched(), _with_optimizer(config, entry)
    for name, dimension in searched.items():
        choice, *option = name.split(".")
        if option and choice in searched and values.get(choice) != option[0]:
            continue  # of a choice that is not made, or not made here
        wanted = _in_units_of(config, name, ours)
        value = _UNKNOWN if wanted is _UNKNOWN else _nearest(dimension, wanted)
        if value is _UNKNOWN:
            left.append(name)
            continue
        values[name] = value
        if isinstance(dimension, Range) and not dimension.low <= wanted <= dimension.high:
            clipped.append(name)
    return Start(entry, values, tuple(clipped), tuple(left))


def _alike(config: "StudyConfig", entry: Entry) -> list[str]:
    """The study's optimizers of the entry's kind: those that divide by the gradient's size, or SGD
    that does not. A rate is worth nothing under the other kind.
    """
    is_sgd = entry.get("optimizer") == "sgd"
    return [name for name in config.space.optimizer.names if (name == "sgd") == is_sgd]


def _with_optimizer(config: "StudyConfig", entry: Entry) -> Entry:
    """The entry with an optimizer that the study has."""
    offered, its = config.space.optimizer.names, entry.get("optimizer")
    if its is None or its in offered:
        return entry
    if alike := _alike(config, entry):
        return {**entry, "optimizer": alike[0]}
    return {name: value for name, value in entry.items() if name not in ("optimizer", "lr")}


def _in_units_of(config: "StudyConfig", name: str, entry: Entry) -> Any:
    """An entry's value of a dimension in the study's units."""
    # Of several networks the shallowest: a depth must be one of each.
    depth = min(len(groups(CATALOGUE[n])) - 1 for n in config.backbone.names)
    match name:
        case "freeze_depth" if "frozen_share" in entry:
            return round(entry["frozen_share"] * depth)
        case "lr_ratio":
            return entry["input_lr_fraction"] ** (1 / max(1, depth))
        case "warmup_epochs":
            return round(entry["warmup_fraction"] * config.budget.epochs)
        case _:
            return entry.get(name, _UNKNOWN)


def _nearest(dimension: Dimension, wanted: Any) -> Any:
    """The value of a dimension that is nearest; unknown where a list does not hold it."""
    is_number = isinstance(wanted, int | float) and not isinstance(wanted, bool)
    match dimension:
        case Choice(values) if wanted in values:
            return wanted
        case Choice(values):
            numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
            near = numbers and is_number
            return min(numbers, key=lambda v: abs(v - wanted)) if near else _UNKNOWN
        case Range(low, high, _, step) if is_number:
            clipped = min(max(wanted, low), high)
            if step is not None:
                clipped = low + round((clipped - low) / step) * step
                clipped -= step if clipped > high else 0
            return int(clipped) if dimension.whole else float(clipped)
    return _UNKNOWN
