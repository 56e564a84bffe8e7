"""A comparison's tables as JSON, with its schema, and as CSV."""

import csv
import json
from functools import cache
from io import StringIO
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from tlsearch.evidence.answers import ClaimAnswer, Tables

_COLUMNS = (
    "table", "scenario", "id", "side", "says", "verdict", "arm", "reference", "measure", "unit",
    "effect", "low", "high", "guarded_low", "guarded_high", "guarded_level", "arm_mean",
    "reference_mean", "smallest", "n", "n_of", "seeds", "scenarios", "p", "adjusted_p",
    "sign_flip_p", "bca_low", "bca_high", "needed", "needed_of", "needs_images", "figure", "text",
    "reason", "notes", "key",
)  # fmt: skip


def tables_json(tables: Tables) -> dict[str, Any]:
    """The tables as studies/results/tables.schema.json describes them."""
    found: dict[str, Any] = _adapter().dump_python(tables, mode="json")
    return found


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
