"""What a study is, as opposed to how it runs: a started study resumes only if this is the same."""

from collections.abc import Mapping
from typing import Any

from tlsearch.study.complaints import shown
from tlsearch.study.config import StudyConfig
from tlsearch.study.dimensions import Dimension, raw
from tlsearch.study.space import with_defaults

# Workers, devices, the number of trials, time limits, stores and confirmation may change between
# runs: they change how soon and how surely an answer comes, not the question.
_SECTIONS = ("data", "backbone", "search")


_LATER_FIELDS: Mapping[str, Any] = {"backbone.source": None, "data.planted": None}
"""Fields that older records lack, as they stood then."""


def identity(config: StudyConfig) -> dict[str, Any]:
    """The fields that may not change once a study has begun: dotted names, JSON values."""
    found: dict[str, Any] = {}
    for section in _SECTIONS:
        _flatten(section, getattr(config, section).model_dump(mode="json"), found)
    found["budget.epochs"] = config.budget.epochs
    dimensions: Mapping[str, Dimension] = config.space.dimensions()
    found.update({f"space.{name}": raw(d) for name, d in dimensions.items()})
    return found


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """One line for each field that differs, such as `space.lr: 0.1 → 0.2`. A dimension that did not
    exist when `old` was written was at its default.
    """
    old = _with_later_fields(_with_new_dimensions(old))
    return [
        f"{name}: {_told(old, name)} → {_told(new, name)}"
        for name in dict.fromkeys((*old, *new))
        if name not in old or name not in new or old[name] != new[name]
    ]


def _with_later_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    missing = {
        name: value
        for name, value in _LATER_FIELDS.items()
        if not any(known == name or known.startswith(f"{name}.") for known in fields)
    }
    return {**fields, **missing}


def _with_new_dimensions(fields: Mapping[str, Any]) -> dict[str, Any]:
    prefix = "space."
    space = {n.removeprefix(prefix): v for n, v in fields.items() if n.startswith(prefix)}
    return {**fields, **{f"{prefix}{n}": v for n, v in with_defaults(space).items()}}


def _told(fields: Mapping[str, Any], name: str) -> str:
    return shown(fields[name]) if name in fields else "absent"


def _flatten(name: str, value: Any, found: dict[str, Any]) -> None:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            _flatten(f"{name}.{key}", inner, found)
    else:
        found[name] = value
