"""A comparison's tables as JSON, with its schema, and as CSV."""

import csv
import json
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from io import StringIO
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from tlsearch.evidence.answers import ClaimAnswer, Tables

_COLUMNS = tuple(field.name for field in fields(ClaimAnswer))


def tables_json(tables: Tables) -> dict[str, Any]:
    """The tables as studies/results/tables.schema.json describes them."""
    found: dict[str, Any] = _adapter().dump_python(tables, mode="json")
    return found


def tables_of(found: Mapping[str, Any]) -> Tables:
    """The tables that `tables_json` wrote, alone or among the rest of a report; what an older one
    lacks is at its default.
    """
    ours = {field.name: found[field.name] for field in fields(Tables) if field.name in found}
    return _adapter().validate_python(ours)


def tables_schema_text() -> str:
    """The JSON Schema (draft 2020-12) of `tables_json`, as the file that is published."""
    schema = _adapter().json_schema(mode="serialization")
    whole = {"$schema": GenerateJsonSchema.schema_dialect, **schema, "title": "tlsearch tables"}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def tables_csv(tables: Tables) -> str:
    """A line for each claim in each scenario, with the names of `ClaimAnswer`; "" is no figure."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows([_cell(claim, name) for name in _COLUMNS] for claim in tables.claims)
    return text.getvalue()


def _cell(claim: ClaimAnswer, name: str) -> Any:
    value = getattr(claim, name)
    return "; ".join(value) if isinstance(value, tuple) else value


@cache
def _adapter() -> TypeAdapter[Tables]:
    return TypeAdapter(Tables)
