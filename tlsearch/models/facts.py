"""What a model file says of its model: the facts that whoever uses it needs. Free of torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from tlsearch import __version__
from tlsearch.config.catalog import IMAGENET, Channels
from tlsearch.config.images import Background, Fit

FORMAT = "tlsearch-model"
FORMAT_VERSION = 1
"""Raised whenever an older tlsearch could no longer read a newer file rightly."""
METADATA_KEY = "tlsearch.json"
"""Under which name a model file keeps its facts."""


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """A classifier of square RGB images; `test` is what the study found on its test part, as in
    its record: mean, low and high of the accuracy over seeds. `trial` is None of a baseline, and
    `run` says which one. `white`, `background` and
    `max_megapixels` are how files were decoded, `mean` and `std` how the model normalises inside;
    defaults are those of models that do not say.
    """

    class_names: Annotated[tuple[str, ...], Field(min_length=1)]
    image_size: Annotated[int, Field(gt=0, le=4096)]
    fit: Fit
    backbone: str
    study: str
    trial: int | None
    run: str
    test: Mapping[str, Any]
    weights: Literal["float32", "float16"]
    white: int = 65535
    background: Background = "white"
    max_megapixels: int = 250
    mean: Channels = IMAGENET[0]
    std: Channels = IMAGENET[1]

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
