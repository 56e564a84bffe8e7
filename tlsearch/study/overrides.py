"""Values set from outside a study's fields: `--set` options and presets."""

import copy
from typing import Any, NamedTuple

from pydantic import BaseModel

from tlsearch.errors import Problem, RequestError
from tlsearch.study.complaints import fields_of, section_in, shown
from tlsearch.study.config import StudyConfig
from tlsearch.study.document import Document, parse


class Override(NamedTuple):
    """A value from the command line or a preset; `told` names it in messages."""

    loc: tuple[str, ...]
    value: Any
    told: str
    line: int | None


def option(text: str) -> Override:
    """One `a.b=c` of the command line."""
    dotted, equals, value = text.partition("=")
    told = f"--set {dotted.strip()}"
    if not equals:
        raise RequestError(
            f"--set {text}: has no '=' — write --set {text or 'budget.trials'}=VALUE"
        )
    if not value.strip():
        raise RequestError(f"{told}: has no value — write null to clear a field")
    loc = tuple(dotted.strip().split("."))
    if not all(loc):
        raise RequestError(f"{told}: is no field — write one such as budget.trials=8")
    document = parse(value, origin=told)
    if document.complaints:
        raise RequestError(f"{told}: {document.complaints[0].rule}")
    override = Override(loc, document.data, told, None)
    problem = whole_section(override)
    if problem:
        raise RequestError(str(problem))
    return override


def presets(document: Document) -> dict[str, list[Override]]:
    """The settings of each preset that is a mapping; others are reported as fields."""
    found = document.data.get("presets")
    if not isinstance(found, dict):
        return {}
    return {
        name: [
            Override(
                tuple(dotted.split(".")),
                value,
                f"presets.{name}.{dotted}",
                document.lines.get(("presets", name, dotted)),
            )
            for dotted, value in (settings.items() if isinstance(settings, dict) else ())
        ]
        for name, settings in found.items()
    }


def whole_section(override: Override) -> Problem | None:
    """Refuse to replace a section by a mapping: its other fields would fall back silently."""
    if not isinstance(override.value, dict):
        return None
    model: type[BaseModel] = StudyConfig
    for part in override.loc:
        inner = section_in(model, part)
        if inner is None:
            return None
        model = inner
    first = next(iter(fields_of(model)))
    remedy = f"set its fields one by one, such as {'.'.join(override.loc)}.{first}"
    rule = "is a section, and would lose its other fields"
    return Problem(override.told, shown(override.value), rule, remedy, override.line)


def apply(data: dict[str, Any], override: Override) -> None:
    """Set one value in the tree; a name on the way becomes the mapping that it abbreviates."""
    *way, last = override.loc
    here: dict[str, Any] = data
    for part, following in zip(way, override.loc[1:], strict=True):
        inner = here.get(part)
        if isinstance(inner, list) and all(isinstance(i, str) for i in inner):
            inner = {name: {} for name in inner}
        elif isinstance(inner, str) and inner == following:
            inner = {inner: {}}
        elif not isinstance(inner, dict):
            inner = {}
        here[part] = inner
        here = inner
    here[last] = copy.deepcopy(override.value)


def replaces(later: Override, earlier: Override) -> bool:
    """Whether nothing is left of `earlier` once `later` is applied; see `apply`."""
    size = len(earlier.loc)
    if later.loc[:size] != earlier.loc or len(later.loc) == size:
        return earlier.loc[: len(later.loc)] == later.loc
    value = earlier.value
    is_names = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return not (isinstance(value, dict) or is_names or value == later.loc[size])
