"""YAML text → plain data and the line of everything in it, by YAML 1.2's rules for scalars."""

import copy
import re
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel
from yaml.events import AliasEvent, NodeEvent, ScalarEvent
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from tlsearch.config.schema import StudyConfig
from tlsearch.config.validation import Complaint, Loc, fields_of, section_in, shown
from tlsearch.errors import Problem, RequestError

FLOAT = re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
}


class Document(NamedTuple):
    """Plain data, the line of each place in it, and what was wrong without stopping the reading."""

    data: Any
    lines: dict[Loc, int]
    complaints: list[Complaint]


class _Unsupported(yaml.YAMLError):
    """Legal YAML that no study needs, and that could be used to hide or to explode one."""


class _Composer(yaml.SafeLoader):
    """Composes nodes alone: nothing is constructed, and there are no aliases and no tags."""

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if isinstance(event, AliasEvent) or (isinstance(event, NodeEvent) and event.anchor):
            raise _Unsupported(
                f"line {line}: anchors and aliases are not read: write the value out"
            )
        tag = getattr(event, "tag", None)
        if tag and not (isinstance(event, ScalarEvent) and tag == "!"):
            raise _Unsupported(f"line {line}: tags such as {tag} are not read: drop it")
        node: Node | None = super().compose_node(parent, index)
        return node


def scalar(text: str) -> Any:
    """An unquoted scalar by YAML 1.2's core schema: `1e-4` is a number, `yes` is text."""
    if text in _WORDS:
        return _WORDS[text]
    try:
        if re.fullmatch(r"[-+]?\d+", text, re.ASCII):
            return int(text)
        if re.fullmatch(r"0o[0-7]+|0x[0-9a-fA-F]+", text):
            return int(text, 0)
    except ValueError:  # Python refuses integers of thousands of digits
        return text
    return float(text) if FLOAT.fullmatch(text) and text.isascii() else text


def parse(text: str, *, origin: str) -> Document:
    """Read one YAML document; `origin` opens every message.

    Raises:
        RequestError: the text is not YAML, or uses what no study needs.
    """
    try:
        # The parent class is safe, and composing constructs no objects at all.
        node = yaml.compose(text, Loader=_Composer)
        document = Document(None, {}, [])
        data = None if node is None else _plain(node, (), document)
    except _Unsupported as error:
        raise RequestError(f"{origin}: {error}") from None
    except yaml.YAMLError as error:
        raise RequestError(f"{origin}: {_told(error)}") from None
    except RecursionError:
        raise RequestError(f"{origin}: nested too deeply for a study") from None
    return document._replace(data=data)


def _plain(node: Node, loc: Loc, document: Document) -> Any:
    document.lines.setdefault(loc, node.start_mark.line + 1)
    if isinstance(node, ScalarNode):
        return scalar(node.value) if node.style is None else node.value
    if isinstance(node, SequenceNode):
        return [_plain(item, (*loc, i), document) for i, item in enumerate(node.value)]
    assert isinstance(node, MappingNode)
    data: dict[str, Any] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, ScalarNode):
            found = Complaint(loc, "", "a key must be a word", "quote it or write a word")
            document.complaints.append(found)
            continue
        name = key.value
        if name in data:
            first = document.lines[(*loc, name)]
            rule = f"is set twice, first in line {first}"
            again: Loc = (*loc, name)
            document.lines[again] = line  # the line to show is the second one
            document.complaints.append(Complaint(again, "", rule, "keep one of them"))
            continue
        document.lines[(*loc, name)] = line
        data[name] = _plain(value, (*loc, name), document)
    return data


def _told(error: yaml.YAMLError) -> str:
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


def describe(value: object) -> str:
    """What a document is, where a mapping was wanted."""
    if value is None:
        return "is empty"
    kind = "a list" if isinstance(value, list) else f"the single value {shown(value)}"
    return f"holds {kind}"


# Values set from outside a study's fields: `--set` options and presets.


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
