"""Dimensions of text: one of a few words, or names of layer groups joined by `+`."""

import re
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema

from tlsearch.errors import nearest
from tlsearch.study.annotations import scalar_or_list
from tlsearch.study.complaints import Complaint, Loc, shown
from tlsearch.study.complaints import refusal as refusal_of
from tlsearch.study.dimensions import Choice, Dimension, Fixed, Range, Scalar, raw
from tlsearch.study.parsed import list_schema, parsed_schema

ALL, NORMS = "all", "norms"
"""Values of `trained` that name no groups: everything; normalisation layers."""
_GROUP = r"[A-Za-z][A-Za-z0-9_]*"
_GROUPS = rf"{_GROUP}(\+{_GROUP})*"


class TextDim:
    """Base of the annotations of dimensions that hold text."""

    def parse(self, value: object) -> Dimension:
        """Read a text or a list of texts; pydantic's error names all that is wrong."""
        if isinstance(value, Fixed | Range | Choice):
            value = raw(value)
        found: list[Complaint] = []
        parsed = scalar_or_list(value, self._scalar, found)
        if found:
            raise refusal_of(found)
        return parsed

    def _scalar(self, value: object, loc: Loc, found: list[Complaint]) -> Scalar:
        raise NotImplementedError

    def _schema(self) -> dict[str, Any]:
        raise NotImplementedError

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Hook of pydantic: the whole union of types is read by `parse`."""
        return parsed_schema(self.parse, raw)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Hook of pydantic: what an editor may offer."""
        return {"anyOf": [self._schema(), list_schema(self._schema())]}


@dataclass(frozen=True)
class WordDim(TextDim):
    """Annotation of a dimension that is one of `words`."""

    words: tuple[str, ...]

    def _scalar(self, value: object, loc: Loc, found: list[Complaint]) -> Scalar:
        if isinstance(value, str) and value in self.words:
            return value
        rule = f"must be {' or '.join(self.words)}"
        meant = nearest(value, self.words) if isinstance(value, str) else ""
        remedy = meant or f"to search both write [{', '.join(self.words)}]"
        found.append(Complaint(loc, shown(value), rule, remedy))
        return None

    def _schema(self) -> dict[str, Any]:
        return {"enum": list(self.words)}


class GroupsDim(TextDim):
    """Annotation of a dimension that is `all`, `norms`, or layer groups: `layer1+layer2`.

    Whether the backbone has such groups is known to the study's checks alone.
    """

    def _scalar(self, value: object, loc: Loc, found: list[Complaint]) -> Scalar:
        text = value.replace(" ", "") if isinstance(value, str) else ""
        if not re.fullmatch(_GROUPS, text):
            rule = "must be all, norms or layer groups joined by +"
            found.append(Complaint(loc, shown(value), rule, "write one such as layer1+layer2"))
            return None
        names = text.split("+")
        for i, name in enumerate(names):
            if name in names[:i]:
                rule = f"names {name} twice"
                found.append(Complaint(loc, shown(value), rule, "drop one of them"))
            elif name in (ALL, NORMS) and len(names) > 1:
                rule = f"{name} goes with no other name"
                remedy = f"write {name} alone, or groups alone"
                found.append(Complaint(loc, shown(value), rule, remedy))
        return text

    def _schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": rf"^ *{_GROUP}( *\+ *{_GROUP})* *$"}
