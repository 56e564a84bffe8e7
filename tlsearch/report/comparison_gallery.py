"""All figures of a comparison's page, in the order in which they are shown."""

from collections.abc import Mapping
from functools import partial
from types import ModuleType
from typing import NamedTuple

from tlsearch.comparison.answers import Tables
from tlsearch.report.figures import drift, first_steps, forest, foretelling, sensitivity
from tlsearch.report.figures.canvas import Picture, drawn_or_told
from tlsearch.report.verdict_text import arm_name
from tlsearch.report.wording import Absent


class Entry(NamedTuple):
    """A module with `compute`, `draw`, `caption` and `alt`, whose findings know their height; in a
    title `{reference}` stands for the arm that others are held against.
    """

    title: str
    module: ModuleType


_GAINS = Entry("Gains over {reference}", forest)
_EXPECTED = Entry("What splits made one expect, and what came true", foretelling)
REASONS: Mapping[str, Entry] = {
    "sensitivity": Entry("How right the learning rate has to be", sensitivity),
    "drift": Entry("How far layers move from what was pretrained", drift),
    "first_steps": Entry("Gradients in the first steps", first_steps),
}
"""What lies behind the answer, as far as a comparison measures it."""


def answer_picture(tables: Tables) -> Picture:
    """The answer at a glance: gains, or of splits what they foretold."""
    is_splits = tables.protocol.future is not None
    name, entry = ("foretelling", _EXPECTED) if is_splits else ("forest", _GAINS)
    return _picture(name, entry, tables)


def reasons(tables: Tables) -> tuple[Picture, ...]:
    """The figures of `REASONS`; without a plot those that were not measured."""
    return tuple(_picture(name, entry, tables) for name, entry in REASONS.items())


def _picture(name: str, entry: Entry, tables: Tables) -> Picture:
    title = entry.title.format(reference=arm_name(tables.protocol.reference, tables))
    return drawn_or_told(name, title, partial(_drawn, name, title, entry.module, tables))


def _drawn(name: str, title: str, module: ModuleType, tables: Tables) -> Picture:
    found = module.compute(tables)
    if isinstance(found, Absent):
        return Picture(name, title, found.reason, "", None, 0)
    return Picture(
        id=name,
        title=title,
        caption=module.caption(found),
        alt=module.alt(found),
        plot=module.draw(found).to_json(),
        height=found.height,
    )
