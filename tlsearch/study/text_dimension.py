"""Dimensions of text: one of a few words, or names of layer groups joined by `+`."""

import re
from dataclasses import dataclass
from typing import Any

from tlsearch.errors import nearest
from tlsearch.study.annotations import ListedDim
from tlsearch.study.complaints import Complaint, Loc, shown
from tlsearch.study.dimensions import Scalar

ALL, NORMS = "all", "norms"
"""Values of `trained` that name no groups: everything; normalisation layers."""
_GROUP = r"[A-Za-z][A-Za-z0-9_]*"
_GROUPS = rf"{_GROUP}(\+{_GROUP})*"


@dataclass(frozen=True)
class WordDim(ListedDim):
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


class GroupsDim(ListedDim):
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
