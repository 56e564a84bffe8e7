"""What a model file says of itself: how images must be prepared and what its answers mean."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from tlsearch import __version__
from tlsearch.config.catalog import CATALOGUE
from tlsearch.config.schema import Fit
from tlsearch.errors import RequestError

FORMAT = "tlsearch-model"
FORMAT_VERSION = 1
"""Raised whenever an older tlsearch could no longer read a newer file rightly."""
METADATA_KEY = "tlsearch.json"
"""Under which name a model file keeps its facts."""


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """A classifier of square RGB images; `test` is what the study found on its test part, as in
    its record: mean, low and high of the accuracy over seeds.
    """

    class_names: Annotated[tuple[str, ...], Field(min_length=1)]
    image_size: Annotated[int, Field(gt=0, le=4096)]
    fit: Fit
    backbone: str
    study: str
    trial: int
    run: str
    test: Mapping[str, Any]
    weights: Literal["float32", "float16"]

    def as_json(self) -> dict[str, Any]:
        """Everything a reader needs who does not have tlsearch."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "tlsearch": __version__,
            "input": f"float32 (N, 3, {self.image_size}, {self.image_size}), RGB, 0 to 1",
            "output": f"float32 (N, {len(self.class_names)}), probabilities of class_names",
            "channels": "RGB",
            **asdict(self),
            "class_names": list(self.class_names),
        }


def read_facts(text: str | bytes, *, file: str) -> ModelFacts:
    """The facts of a model file from its JSON.

    Raises:
        RequestError: they are not tlsearch's, or of a newer format.
    """
    try:
        found = json.loads(text)
        if found["format"] != FORMAT:
            raise not_ours(file)
        if found["format_version"] > FORMAT_VERSION:
            raise RequestError(
                f"{file}: made by tlsearch {found['tlsearch']} in a newer format "
                f"({found['format_version']}; this one reads {FORMAT_VERSION}) — update tlsearch"
            )
        own = {field.name: found[field.name] for field in fields(ModelFacts)}
        facts = TypeAdapter(ModelFacts).validate_python(own)
    except RequestError:
        raise
    except (KeyError, TypeError, ValueError) as error:  # pydantic's errors are ValueErrors
        raise not_ours(file) from error
    if facts.backbone not in CATALOGUE:
        raise RequestError(
            f"{file}: holds the backbone {facts.backbone!r}, which this tlsearch does not know — "
            "update tlsearch"
        )
    return facts


def not_ours(file: str) -> RequestError:
    """The error of a file that is no model of tlsearch's."""
    return RequestError(
        f"{file}: no model that tlsearch made (it lacks tlsearch's metadata) — make one with: "
        "tlsearch export STUDY"
    )


def damaged(path: Path, error: Exception) -> RequestError:
    """The error of a model file that is cut short or changed."""
    why = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return RequestError(
        f"{path}: the file is damaged or cut short ({why}) — copy or export it again"
    )
