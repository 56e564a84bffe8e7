"""A study written out: every default as YAML that reads back equal, and the schema for editors."""

import json
import re
from typing import Any

import yaml
from pydantic.json_schema import GenerateJsonSchema

from tlsearch.study.branches import Branches
from tlsearch.study.complaints import Section
from tlsearch.study.config import StudyConfig
from tlsearch.study.dimensions import Choice, Fixed, Range, raw
from tlsearch.study.document import FLOAT
from tlsearch.study.search_options import PRUNERS, SAMPLERS
from tlsearch.study.values import hidden


def to_yaml(config: StudyConfig) -> str:
    """The complete study; reading it gives an equal one. May hold a store's password."""
    text: str = yaml.dump(
        config.model_dump(mode="json"),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=None,
        width=100,
    )
    return text


def redacted(config: StudyConfig) -> StudyConfig:
    """The study without the passwords of its stores, fit to be shown and logged."""
    told = ("storage", "tracking_uri", "presets")
    return config.model_copy(update={name: hidden(getattr(config, name)) for name in told})


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a study file."""
    schema = StudyConfig.model_json_schema(schema_generator=_SchemaGenerator)
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema, "title": "tlsearch study"}


def schema_text() -> str:
    """`json_schema` as the file that editors read, studies/study.schema.json."""
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.1 or 1.2 would take for something else than text; never aliases."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


# PyYAML's own rule for floats wants a dot, and would leave the text "1e-4" unquoted.
_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(f"^(?:{FLOAT.pattern})$"), list("-+.0123456789")
)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:int", re.compile("^0o[0-7]+$"), ["0"])


class _SchemaGenerator(GenerateJsonSchema):
    """Writes defaults as a study file holds them."""

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, Fixed | Range | Choice):
            return raw(dft)
        if isinstance(dft, Branches):
            return {name: option.model_dump(mode="json") for name, option in dft.options.items()}
        if isinstance(dft, Section):
            kinds = {kind: name for name, kind in {**SAMPLERS, **PRUNERS}.items()}
            written = dft.model_dump(mode="json")
            return {kinds[type(dft)]: written} if type(dft) in kinds else written
        return super().encode_default(dft)
