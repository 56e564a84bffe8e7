"""What a model file tells of itself: how images must be prepared and what its answers mean."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tlsearch import __version__
from tlsearch.errors import RequestError
from tlsearch.study.data import Fit
from tlsearch.study.timm_backbones import CATALOGUE

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

    class_names: tuple[str, ...]
    image_size: int
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
            raise ValueError(found["format"])
        if found["format_version"] > FORMAT_VERSION:
            raise RequestError(
                f"{file}: made by tlsearch {found['tlsearch']} in a newer format "
                f"({found['format_version']}; this one reads {FORMAT_VERSION}) — update tlsearch"
            )
        facts = ModelFacts(
            class_names=tuple(str(name) for name in found["class_names"]),
            image_size=int(found["image_size"]),
            fit=found["fit"],
            backbone=str(found["backbone"]),
            study=str(found["study"]),
            trial=int(found["trial"]),
            run=str(found["run"]),
            test=dict(found["test"]),
            weights=found["weights"],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, RequestError):
            raise
        raise not_ours(file) from error
    sound = facts.fit in ("crop", "pad", "stretch") and facts.weights in ("float32", "float16")
    if not (sound and facts.class_names and 0 < facts.image_size <= 4096):
        raise not_ours(file)
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
