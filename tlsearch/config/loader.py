"""A study file, a preset and `--set` options → a checked `StudyConfig`, or all that is wrong."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from tlsearch.config.cells import (
    Cell,
    Override,
    apply,
    as_cell,
    cell_contradictions,
    cell_overrides,
    identical_arms,
    overrides_at,
    replaced_options,
    sweep_contradictions,
    sweep_overrides,
)
from tlsearch.config.checks import contradictions, cut_to_epochs
from tlsearch.config.comparison import ComparisonConfig
from tlsearch.config.network_checks import undescribed
from tlsearch.config.schema import StudyConfig
from tlsearch.config.space import raw
from tlsearch.config.validation import Fault, Loc, dotted, faults, named_fields, section_in
from tlsearch.errors import Problem, RequestError, StudyError, nearest, shown

_EPOCHS = ("budget", "epochs")
_LARGEST_FILE = 1_000_000  # bytes: more is no study but a mistaken path
_TAG = "tag:yaml.org,2002:"
_SCALARS = {f"{_TAG}{name}" for name in ("null", "bool", "int", "float", "str")}
# What YAML 1.1 knows and a study has no use for: such scalars are text.
_TEXTS = {f"{_TAG}{name}" for name in ("timestamp", "value", "merge")}


class Document(NamedTuple):
    """Plain data, the line of each place in it, and what was wrong without stopping the reading."""

    data: Any
    lines: dict[Loc, int]
    faults: list[Fault]


_Outcome = tuple[StudyConfig | None, list[Problem]]
"""A study, None where pydantic refuses it, and all that is wrong with it."""


def read_study(path: Path, *, overrides: Sequence[str], preset: str | None) -> StudyConfig:
    """Read, override, validate and check one study; see `read_noted`."""
    return read_noted(path, overrides=overrides, preset=preset)[0]


def read_noted(
    path: Path, *, overrides: Sequence[str], preset: str | None
) -> tuple[StudyConfig, list[str]]:
    """Read, override, validate and check one study; with it what of the file was changed to go
    together with the rest, a sentence each.

    Precedence: overrides (`a.b=c`, later ones win), preset, file, default. Once one of the first
    two is applied, the study has no presets left. Where one of them shortens `budget.epochs`,
    searched dimensions of the file are cut to what is left of the training.

    Raises:
        StudyError: everything that is wrong with the fields and between them.
        RequestError: there is no study to read, or an override or preset that cannot be applied.
    """
    document = parse(_text(path), origin=str(path))
    if not isinstance(document.data, dict):
        single = f"holds the single value {shown(document.data)}"
        found = "holds a list" if isinstance(document.data, list) else single
        found = "is empty" if document.data is None else found
        remedy = "write at least `name`, `data` and `backbone`"
        raise RequestError(f"{path}: {found}, not a mapping of fields — {remedy}")
    options = [_option(text) for text in overrides]
    named, chosen = _presets(document), list[Override]()
    if preset is not None:
        if preset not in named:
            remedy = nearest(preset, list(named)) or f"known: {', '.join(named) or 'none'}"
            raise RequestError(f"{path}: no preset {preset!r} — {remedy}")
        chosen = named[preset]
    cuts = _cuts(document, [*chosen, *options])
    config, problems = _checked(document, [*chosen, *options, *cuts])
    if config is not None and config.comparison is not None:
        problems = replaced_options(config.comparison, options) or problems
    if not problems and not chosen and not options:
        problems = [
            problem
            for settings in named.values()
            for problem in _checked(document, [*settings, *_cuts(document, settings)])[1]
        ]
    if config is None or problems:
        raise StudyError(problems, file=str(path))
    if chosen or options:
        # Presets are made for the file as it is, and may not fit what it became.
        config = config.model_copy(update={"presets": {}})
    return config, [f"{cut.origin}: {'.'.join(cut.loc)} becomes {shown(cut.value)}" for cut in cuts]


def _cuts(document: Document, overrides: Sequence[Override]) -> list[Override]:
    """What is left of the searched dimensions of a file where an override shortens the training;
    one that an override has set itself, and those of a comparison's arms, stay as they are.
    """
    budget = [o for o in overrides if o.loc == _EPOCHS]
    data = copy.deepcopy(document.data)
    for override in overrides:
        apply(data, override)
    try:
        config = StudyConfig.model_validate(data) if budget else None
    except ValidationError:
        return []
    if config is None or config.comparison is not None:
        return []
    found = {("space", *name.split(".")): left for name, left in cut_to_epochs(config).items()}
    return [
        Override(loc, raw(left), budget[-1].origin, budget[-1].line)
        for loc, left in found.items()
        if not any(loc[: len(o.loc)] == o.loc or o.loc[: len(loc)] == loc for o in overrides)
    ]


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


def _checked(document: Document, overrides: Sequence[Override]) -> _Outcome:
    """The document with the overrides applied, as a study or as all cells of a comparison. What is
    wrong in several cells is reported once.
    """
    config, problems = _outcome(document, overrides)
    if config is None or config.comparison is None:
        return config, problems
    comparison, met = config.comparison, dict[tuple[str, str], tuple[str, Problem]]()
    # What an option or a preset replaced stands in no line.
    lines = {
        loc: line
        for loc, line in document.lines.items()
        if not any(loc[: len(override.loc)] == override.loc for override in overrides)
    }

    def as_problems(found: Iterable[Fault]) -> list[Problem]:
        return [_problem(fault, document.lines, overrides) for fault in found]

    def note(problems: Sequence[Problem]) -> bool:
        for problem in problems:
            met.setdefault((problem.field, problem.rule), (scenario, problem))
        return not problems

    for scenario in comparison.used:
        own = cell_overrides(comparison, Cell(scenario, ""), lines=lines)
        if not note(_outcome(document, [*overrides, *own], comparison)[1]):
            continue
        for arm in comparison.arms_in(scenario):
            cell = Cell(scenario, arm)
            ours = [*overrides, *cell_overrides(comparison, cell, lines=lines)]
            is_right = note(_outcome(document, ours, comparison)[1])
            if is_right and note(as_problems(sweep_contradictions(config, cell))):
                for swept in sweep_overrides(comparison, cell, lines=lines):
                    note(_outcome(document, [*ours, swept], comparison)[1])
    if not met:
        return config, as_problems(identical_arms(config))
    return config, _by_scenario(list(met.values()))


def _by_scenario(found: Sequence[tuple[str, Problem]]) -> list[Problem]:
    """Problems with the scenario that they were first met in, where several speak of one field and
    would contradict one another.
    """
    scenarios: dict[str, set[str]] = {}
    for scenario, problem in found:
        scenarios.setdefault(problem.field, set()).add(scenario)
    return [
        problem._replace(field=f"scenario {scenario!r}: {problem.field}")
        if len(scenarios[problem.field]) > 1
        else problem
        for scenario, problem in found
    ]


def _outcome(
    document: Document, overrides: Sequence[Override], comparison: ComparisonConfig | None = None
) -> _Outcome:
    """Validate and check the document with the overrides applied; with a comparison, as the cell
    that they make of it. What contradicts one another is reported once all fields are right.
    """
    data = copy.deepcopy(document.data)
    problems: list[Problem] = []
    for override in overrides:
        if problem := _whole_section(override):
            problems.append(problem)
        else:
            apply(data, override)
    if comparison is not None:
        data = as_cell(data, comparison)
    found, config = list(document.faults), None
    try:
        config = StudyConfig.model_validate(data)
    except ValidationError as error:
        found += faults(error, StudyConfig, data)
    if config is not None and not problems and not found:
        found += list(undescribed(config)) or contradictions(config)
        if comparison is not None:
            found += cell_contradictions(config, comparison)
    problems += [_problem(fault, document.lines, overrides) for fault in found]
    return None if problems else config, sorted(problems, key=lambda p: p.line or 0)


def _problem(fault: Fault, lines: Mapping[Loc, int], overrides: Sequence[Override]) -> Problem:
    """Name the place: the option or the preset that set it last, or else its line."""
    loc = _in_lists(fault.loc, lines)
    blamed = [*(fault.involved or (loc,))]
    parent = loc[:-1]
    if (
        not fault.involved
        and parent
        and not any(at[: len(parent)] == parent and at != parent for at in lines)
    ):
        blamed.append(parent)  # which is not in the file, so that an override made it
    field = dotted(loc) or "study"
    line = next(lines[loc[:n]] for n in range(len(loc), -1, -1) if loc[:n] in lines)
    for place in blamed:
        for override in reversed(overrides):
            size = len(override.loc)
            if place[:size] == override.loc or override.loc[: len(place)] == place:
                field = override.origin if loc == override.loc else f"{override.origin}: {field}"
                return Problem(field, fault.value, fault.rule, fault.remedy, override.line)
    return Problem(field, fault.value, fault.rule, fault.remedy, line)


def _in_lists(loc: Loc, lines: Mapping[Loc, int]) -> Loc:
    """The same place with the numbers that are places in a list, not keys."""
    found: Loc = ()
    for part in loc:
        is_index = isinstance(part, str) and part.isdigit() and (*found, int(part)) in lines
        found = (*found, int(part) if is_index else part)
    return found


# YAML as plain data with the lines of everything in it.


def parse(text: str, *, origin: str) -> Document:
    """Read one YAML document by YAML 1.2; `origin` opens every message.

    Raises:
        RequestError: the text is not YAML, or uses what no study needs: anchors, aliases and tags
            could hide or explode one.
    """
    yaml = YAML(typ="safe", pure=True)
    document = Document(None, {}, [])
    try:
        # Composing constructs nothing; scalars alone are constructed, by the safe loader.
        node = yaml.compose(text)
        data = None if node is None else _plain(node, (), document, yaml)
    except YAMLError as error:
        raise RequestError(f"{origin}: {_yaml_message(error)}") from None
    except RecursionError:
        raise RequestError(f"{origin}: nested too deeply for a study") from None
    except _UnsupportedError as error:
        raise RequestError(f"{origin}: {error}") from None
    return document._replace(data=data)


class _UnsupportedError(Exception):
    """Legal YAML that no study needs."""


def _plain(node: Node, loc: Loc, document: Document, yaml: YAML) -> Any:
    line, tag = node.start_mark.line + 1, str(node.tag)
    document.lines.setdefault(loc, line)
    if node.anchor:
        raise _UnsupportedError(
            f"line {line}: anchors and aliases are not read: write the value out"
        )
    if isinstance(node, ScalarNode):
        if tag in _TEXTS:
            return node.value
        if tag in _SCALARS:
            try:
                return yaml.constructor.construct_object(node)
            except ValueError:  # Python refuses integers of thousands of digits
                return node.value
    elif isinstance(node, SequenceNode) and tag == f"{_TAG}seq":
        return [_plain(v, (*loc, i), document, yaml) for i, v in enumerate(node.value)]
    elif isinstance(node, MappingNode) and tag == f"{_TAG}map":
        return _mapping(node, loc, document, yaml)
    raise _UnsupportedError(f"line {line}: tags such as {tag} are not read: drop it")


def _mapping(node: MappingNode, loc: Loc, document: Document, yaml: YAML) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, ScalarNode):
            rule, remedy = "a key must be a word", "quote it or write a word"
            document.faults.append(Fault(loc, "", rule, remedy))
            continue
        here: Loc = (*loc, key.value)
        if key.value in data:
            rule = f"is set twice, first in line {document.lines[here]}"
            document.faults.append(Fault(here, "", rule, "keep one of them"))
        document.lines[here] = key.start_mark.line + 1  # of several, the last is shown
        data[key.value] = _plain(value, here, document, yaml)
    return data


def _yaml_message(error: YAMLError) -> str:
    """A scanner's or parser's error on one line."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    where = f"line {mark.line + 1}: " if mark is not None else ""
    remedy = ""
    if "'\\t'" in problem:
        remedy = " — indent with spaces, not tabs"
    elif "another document" in str(error) or "single document" in str(error):
        remedy = " — keep one document in the file"
    elif "mapping values are not allowed" in problem:
        remedy = " — check the indentation, or quote a text that holds ': '"
    elif "expected ',' or" in problem or "<stream end>" in problem:
        remedy = " — check brackets, quotes and commas"
    return f"{where}not valid YAML: {' '.join(str(problem).split())}{remedy}"


# Values set from outside a study's fields: `--set` options and presets.


def _option(text: str) -> Override:
    """One `a.b=c` of the command line."""
    field, equals, value = text.partition("=")
    origin = f"--set {field.strip()}"
    if not equals:
        raise RequestError(
            f"--set {text}: has no '=' — write --set {text or 'budget.trials'}=VALUE"
        )
    if not value.strip():
        raise RequestError(f"{origin}: has no value — write null to clear a field")
    loc = tuple(field.strip().split("."))
    if not all(loc):
        raise RequestError(f"{origin}: is no field — write one such as budget.trials=8")
    document = parse(value, origin=origin)
    if document.faults:
        raise RequestError(f"{origin}: {document.faults[0].rule}")
    override = Override(loc, document.data, origin, None)
    problem = _whole_section(override)
    if problem:
        raise RequestError(str(problem))
    return override


def _presets(document: Document) -> dict[str, list[Override]]:
    """The settings of each preset that is a mapping; others are reported as fields."""
    found = document.data.get("presets")
    presets: dict[str, Any] = found if isinstance(found, dict) else {}
    named = {name: fields if isinstance(fields, dict) else {} for name, fields in presets.items()}
    return {
        name: overrides_at(("presets", name), fields, f"presets.{name}.", lines=document.lines)
        for name, fields in named.items()
    }


def _whole_section(override: Override) -> Problem | None:
    """Refuse to replace a section by a mapping: its other fields would fall back silently."""
    if not isinstance(override.value, dict):
        return None
    model: type[BaseModel] = StudyConfig
    for part in override.loc:
        inner = section_in(model, part)
        if inner is None:
            return None
        model = inner
    first = next(iter(named_fields(model)))
    remedy = f"set its fields one by one, such as {'.'.join(override.loc)}.{first}"
    rule = "is a section, and would lose its other fields"
    return Problem(override.origin, shown(override.value), rule, remedy, override.line)
