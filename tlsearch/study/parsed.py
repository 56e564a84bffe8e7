"""Fields that pydantic leaves to a function of ours: to read, to write and to describe."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema


@dataclass(frozen=True)
class Parsed:
    """Annotation of a field with a syntax of its own: how to read, describe and write it."""

    parse: Callable[[Any], Any]
    schema: Mapping[str, Any]
    write: Callable[[Any], Any]

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Hook of pydantic: read by `parse`."""
        return parsed_schema(self.parse, self.write)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Hook of pydantic: what an editor may offer."""
        return dict(self.schema)


def parsed_schema(parse: Callable[[Any], Any], write: Callable[[Any], Any]) -> CoreSchema:
    """The pydantic schema of a value that `parse` reads and `write` gives back."""
    return core_schema.no_info_plain_validator_function(
        parse, serialization=core_schema.plain_serializer_function_ser_schema(write)
    )


def list_schema(item: dict[str, Any]) -> dict[str, Any]:
    """The JSON Schema of a list that offers a choice."""
    return {"type": "array", "items": item, "minItems": 1, "uniqueItems": True}
