"""One contradiction, and what every check needs to find some."""

from typing import NamedTuple

from tlsearch.study.complaints import shown
from tlsearch.study.config import StudyConfig
from tlsearch.study.dimensions import Dimension, raw


class Contradiction(NamedTuple):
    """Fields that are right alone and wrong together; `field` is where to show it."""

    field: str
    value: str
    rule: str
    remedy: str
    involved: tuple[str, ...]


def clash(field: str, value: object, rule: str, remedy: str, *others: str) -> Contradiction:
    """A contradiction of `field` with `others`."""
    return Contradiction(field, shown(value), rule, remedy, (field, *others))


def dimension(config: StudyConfig, name: str) -> tuple[str, Dimension, object]:
    """A dimension's full field name, itself, and what the file holds for it."""
    found: Dimension = getattr(config.space, name)
    return f"space.{name}", found, raw(found)
