"""A study file, a preset and `--set` options → a checked `StudyConfig`, or all that is wrong."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from tlsearch.config.arms import ComparisonConfig
from tlsearch.config.cells import Cell, as_cell, cell_overrides, sweep_overrides
from tlsearch.config.checks import contradictions
from tlsearch.config.comparison_checks import (
    cell_contradictions,
    identical_arms,
    replaced_options,
    sweep_contradictions,
)
from tlsearch.config.contradiction import Contradiction
from tlsearch.config.document import (
    Document,
    Override,
    apply,
    describe,
    option,
    parse,
    presets,
    whole_section,
)
from tlsearch.config.schema import StudyConfig
from tlsearch.config.validation import Complaint, Loc, complaints
from tlsearch.errors import Problem, RequestError, StudyError, nearest

_LARGEST_FILE = 1_000_000  # bytes: more is no study but a mistaken path
# Stand in for required fields that are missing or wrong, so that the rest can still be checked;
# no contradiction that involves one of them is shown.
_STAND_INS: Mapping[tuple[str, ...], str] = {
    ("name",): "study",
    ("data", "source"): "digits",
    ("backbone", "name"): "resnet18",
    ("backbone", "weights"): "none",
}


class _Outcome(NamedTuple):
    config: StudyConfig | None
    problems: list[Problem]


def read_study(path: Path, *, overrides: Sequence[str], preset: str | None) -> StudyConfig:
    """Read, override, validate and check one study.

    Precedence: overrides (`a.b=c`, later ones win), preset, file, default. Once one of the first
    two is applied, the study has no presets left.

    Raises:
        StudyError: everything that is wrong with the fields and between them.
        RequestError: there is no study to read, or an override or preset that cannot be applied.
    """
    document = parse(_text(path), origin=str(path))
    if not isinstance(document.data, dict):
        remedy = "write at least `name`, `data` and `backbone`"
        raise RequestError(f"{path}: {describe(document.data)}, not a mapping of fields — {remedy}")
    options = [option(text) for text in overrides]
    named = presets(document)
    chosen: list[Override] = []
    if preset is not None:
        if preset not in named:
            remedy = nearest(preset, list(named)) or f"known: {', '.join(named) or 'none'}"
            raise RequestError(f"{path}: no preset {preset!r} — {remedy}")
        chosen = named[preset]
    outcome = _outcome(document, [*chosen, *options])
    if outcome.config is not None:
        config, problems = outcome.config, _cell_problems(document, [*chosen, *options], outcome)
        if config.comparison is not None:
            problems = replaced_options(config.comparison, options) or problems
        outcome = _Outcome(config, problems)
    if outcome.problems or outcome.config is None:
        raise StudyError(outcome.problems, file=str(path))
    if chosen or options:
        # The presets were made for the file as it is, and may not fit what it became.
        return outcome.config.model_copy(update={"presets": {}})
    problems = _preset_problems(document, named)
    if problems:
        raise StudyError(problems, file=str(path))
    return outcome.config


def _text(path: Path) -> str:
    try:
        if path.is_dir():
            raise RequestError(f"{path}: is a folder — name a study file in it")
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
        if len(content) > _LARGEST_FILE:
            raise RequestError(f"{path}: is larger than 1 MB — name a study file")
        return content.decode("utf-8-sig")
    except RequestError:
        raise
    except FileNotFoundError:
        siblings = [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        remedy = nearest(path.name, sorted(siblings)) or "check the path"
        raise RequestError(f"{path}: no such file — {remedy}") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise RequestError(f"{path}: line {line}: not UTF-8 text — save it as UTF-8") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RequestError(f"{path}: cannot be read: {reason} — check the path") from None


def _preset_problems(document: Document, named: Mapping[str, list[Override]]) -> list[Problem]:
    """What each preset would break in a study that is right without it."""
    problems: list[Problem] = []
    for settings in named.values():
        outcome = _outcome(document, settings)
        problems += outcome.problems or _cell_problems(document, settings, outcome)
    return problems


def _cell_problems(
    document: Document, overrides: Sequence[Override], outcome: _Outcome
) -> list[Problem]:
    """What is wrong with the cells of a comparison that is right by itself, each told once."""
    config = outcome.config
    if config is None or config.comparison is None:
        return []
    comparison, found = config.comparison, dict[tuple[str, str], tuple[str, Problem]]()
    # What an option or a preset replaced stands in no line.
    lines = {
        loc: line
        for loc, line in document.lines.items()
        if not any(loc[: len(override.loc)] == override.loc for override in overrides)
    }

    def note(problems: Sequence[Problem]) -> bool:
        for problem in problems:
            found.setdefault((problem.field, problem.rule), (scenario, problem))
        return not problems

    for scenario in comparison.used:
        own = cell_overrides(comparison, Cell(scenario, ""), lines=lines)
        if not note(_outcome(document, [*overrides, *own], comparison).problems):
            continue
        for arm in comparison.arms_in(scenario):
            cell = Cell(scenario, arm)
            ours = [*overrides, *cell_overrides(comparison, cell, lines=lines)]
            if note(_outcome(document, ours, comparison).problems) and note(
                [_problem(c, document.lines, overrides) for c in sweep_contradictions(config, cell)]
            ):
                for swept in sweep_overrides(comparison, cell, lines=lines):
                    note(_outcome(document, [*ours, swept], comparison).problems)
    if not found:
        return [_problem(c, document.lines, overrides) for c in identical_arms(config)]
    return _told_apart(list(found.values()))


def _told_apart(found: Sequence[tuple[str, Problem]]) -> list[Problem]:
    """Problems with the scenario that they were first met in, where several speak of one field and
    would contradict one another.
    """
    met = {
        problem.field: {scenario for scenario, other in found if other.field == problem.field}
        for _, problem in found
    }
    return [
        problem._replace(field=f"scenario {scenario!r}: {problem.field}")
        if len(met[problem.field]) > 1
        else problem
        for scenario, problem in found
    ]


def _outcome(
    document: Document, overrides: Sequence[Override], comparison: ComparisonConfig | None = None
) -> _Outcome:
    """Validate and check the document with the overrides applied; with a comparison, as the cell
    that they make of it.
    """
    data = copy.deepcopy(document.data)
    problems: list[Problem] = []
    for override in overrides:
        problem = whole_section(override)
        if problem:
            problems.append(problem)
        else:
            apply(data, override)
    if comparison is not None:
        data = as_cell(data, comparison)

    def told(complaint: Complaint | Contradiction) -> Problem:
        return _problem(complaint, document.lines, overrides)

    problems += [told(c) for c in document.complaints]
    config, found = _validated(data)
    problems += [told(c) for c in found]
    broken = [c.loc for c in found]
    checked = config or _repaired(data, found)
    if checked is not None:
        between = contradictions(checked)
        if comparison is not None:
            between += cell_contradictions(checked, comparison)
        problems += [told(c) for c in between if not _touches(c, broken)]
    return _Outcome(config if not problems else None, sorted(problems, key=lambda p: p.line or 0))


def _validated(data: dict[str, Any]) -> tuple[StudyConfig | None, list[Complaint]]:
    try:
        return StudyConfig.model_validate(data), []
    except ValidationError as error:
        return None, complaints(error, StudyConfig)


def _repaired(data: dict[str, Any], found: Sequence[Complaint]) -> StudyConfig | None:
    """The study without its broken fields, or None if too little is left of it."""
    data = copy.deepcopy(data)
    for _ in range(4):  # each round cuts one level higher
        for complaint in found:
            _cut(data, complaint.loc)
        for loc, word in _STAND_INS.items():
            section = data
            for part in loc[:-1]:
                if not isinstance(section.get(part), dict):
                    section[part] = {}
                section = section[part]
            section.setdefault(loc[-1], word)
        config, found = _validated(data)
        if config is not None:
            return config
    return None


def _cut(data: dict[str, Any], loc: Loc) -> None:
    """Remove what lies at `loc`, or what encloses it if nothing does or it stands in a list."""
    way: list[dict[Any, Any]] = [data]
    for part in loc[:-1]:
        inner = way[-1].get(part)
        if not isinstance(inner, dict):
            break
        way.append(inner)
    depth = len(way) - 1
    if loc[depth] in way[depth]:
        del way[depth][loc[depth]]
    elif depth:
        del way[depth - 1][loc[depth - 1]]


def _touches(contradiction: Contradiction, broken: Sequence[Loc]) -> bool:
    """Whether one of the fields involved is broken itself, or part of what is."""
    return any(
        a == b[: len(a)] or b == a[: len(b)]
        for a in (tuple(f.split(".")) for f in contradiction.involved)
        for b in broken
    )


def _problem(
    complaint: Complaint | Contradiction,
    lines: Mapping[Loc, int],
    overrides: Sequence[Override],
) -> Problem:
    """Name the place: the option or the preset that set it last, or else its line."""
    if isinstance(complaint, Contradiction):
        loc = _place(complaint.field, lines)
        blamed: list[Loc] = [tuple(f.split(".")) for f in complaint.involved]
    else:
        loc = complaint.loc
        blamed = [loc]
        parent = loc[:-1]
        if parent and not any(at[: len(parent)] == parent and at != parent for at in lines):
            blamed.append(parent)  # which is not in the file, so that an override made it
    field = _dotted(loc) or "study"
    line = next(lines[loc[:n]] for n in range(len(loc), -1, -1) if loc[:n] in lines)
    for place in blamed:
        for override in reversed(overrides):
            size = len(override.loc)
            if place[:size] == override.loc or override.loc[: len(place)] == place:
                field = override.told if loc == override.loc else f"{override.told}: {field}"
                return Problem(
                    field, complaint.value, complaint.rule, complaint.remedy, override.line
                )
    return Problem(field, complaint.value, complaint.rule, complaint.remedy, line)


def _place(field: str, lines: Mapping[Loc, int]) -> Loc:
    """Where a field lies: a number is a place in a list if the document has one there."""
    loc: Loc = ()
    for part in field.split("."):
        is_index = part.isdigit() and (*loc, int(part)) in lines
        loc = (*loc, int(part) if is_index else part)
    return loc


def _dotted(loc: Loc) -> str:
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
