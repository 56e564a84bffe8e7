"""A study written out: every default as YAML that reads back equal, and the schema for editors."""

import json
from collections.abc import Mapping
from contextlib import suppress
from functools import reduce
from io import StringIO
from typing import Any

from pydantic import ValidationError
from pydantic.json_schema import GenerateJsonSchema
from ruamel.yaml import YAML

from tlsearch.config.schema import StudyConfig
from tlsearch.config.search_options import PRUNERS, SAMPLERS
from tlsearch.config.space import (
    Branches,
    Choice,
    Dimension,
    Fixed,
    Range,
    raw,
    with_defaults,
    written,
)
from tlsearch.config.validation import Section
from tlsearch.errors import hidden, shown


def to_yaml(config: StudyConfig) -> str:
    """The complete study; reading it gives an equal one. May hold a store's password."""
    yaml: Any = YAML(typ="safe", pure=True)
    stream = StringIO()
    yaml.default_flow_style, yaml.width, yaml.allow_unicode = None, 100, True
    yaml.sort_base_mapping_type_on_output = False
    yaml.representer.ignore_aliases = lambda _: True
    yaml.dump(config.model_dump(mode="json"), stream)
    return stream.getvalue()


def redacted(config: StudyConfig) -> StudyConfig:
    """The study without the passwords of its stores, fit to be shown and logged."""
    names = ("storage", "tracking_uri", "presets")
    return config.model_copy(update={name: hidden(getattr(config, name)) for name in names})


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a study file."""
    schema = StudyConfig.model_json_schema(schema_generator=_SchemaGenerator)
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema, "title": "tlsearch study"}


def schema_text() -> str:
    """`json_schema` as the file that editors read, studies/study.schema.json."""
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"


class _SchemaGenerator(GenerateJsonSchema):
    """Writes defaults as a study file holds them."""

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, Fixed | Range | Choice):
            return raw(dft)
        if isinstance(dft, Branches):
            return dft.written()
        if isinstance(dft, Section):
            kinds = {**SAMPLERS, **PRUNERS}
            is_option = type(dft) in kinds.values()
            return written(dft, kinds) if is_option else dft.model_dump(mode="json")
        return super().encode_default(dft)


# What a study is, as opposed to how it runs: a started study resumes only if this is the same.


# Workers, devices, the number of trials, when to stop, time limits, stores and confirmation may
# change between runs: they change how soon and how surely an answer comes, not the question.
_SECTIONS = ("data", "backbone", "search")
_MAY_CHANGE = ("search.stop",)
_IMAGES = ("folder.path", "manifest.path", "manifest.root", "torchvision.root")
_PLACES = {f"{section}.source.{field}" for section in ("data", "backbone") for field in _IMAGES}
"""Where images lie. What they are is compared by their fingerprint, once they are read."""


def identity(config: StudyConfig) -> dict[str, Any]:
    """The fields that may not change once a study has begun: dotted names, JSON values."""
    found: dict[str, Any] = {}
    for section in _SECTIONS:
        _flatten(section, getattr(config, section).model_dump(mode="json"), found)
    found = {name: value for name, value in found.items() if not name.startswith(_MAY_CHANGE)}
    found["budget.epochs"] = config.budget.epochs
    dimensions: Mapping[str, Dimension] = config.space.dimensions()
    found.update({f"space.{name}": raw(d) for name, d in dimensions.items()})
    return found


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """One line for each field that differs, such as `space.lr: 0.1 → 0.2`. A field that did not
    exist when `old` was written was at its default. Images may have moved.
    """
    prefix = "space."
    space = {n.removeprefix(prefix): v for n, v in old.items() if n.startswith(prefix)}
    old = {**old, **{f"{prefix}{n}": v for n, v in with_defaults(space).items()}}
    for section in _SECTIONS:
        old = _completed(section, old)

    def text(fields: Mapping[str, Any], name: str) -> str:
        return shown(fields[name]) if name in fields else "absent"

    return [
        f"{name}: {text(old, name)} → {text(new, name)}"
        for name in dict.fromkeys((*old, *new))
        if not name.startswith(_MAY_CHANGE)
        and (name not in old or name not in new or (old[name] != new[name] and name not in _PLACES))
    ]


def _completed(section: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields with those that came to a section since, at their defaults; as they are where the
    section cannot be read any more.
    """
    tree: dict[str, Any] = {}
    found = {name: value for name, value in fields.items() if not name.startswith(f"{section}.")}
    # Names with a dot of their own, of networks, cannot be told from fields of fields.
    with suppress(ValidationError, AttributeError, TypeError):
        for name in fields.keys() - found.keys():
            *path, last = name.split(".")[1:]
            reduce(lambda place, part: place.setdefault(part, {}), path, tree)[last] = fields[name]
        kind: Any = StudyConfig.model_fields[section].annotation
        _flatten(section, kind.model_validate(tree).model_dump(mode="json"), found)
        return found
    return dict(fields)


def _flatten(name: str, value: Any, found: dict[str, Any]) -> None:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            _flatten(f"{name}.{key}", inner, found)
    else:
        found[name] = value
