"""A backbone as others use it, pixels in and probabilities out, written as .pt2 or ONNX.

Both are written by torch; ONNX needs optional packages.
"""

import contextlib
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from tlsearch.config.catalog import CATALOGUE, NetworkSpec, Normalisation
from tlsearch.errors import RequestError, WorkError
from tlsearch.models.backbones import Backbone, build_backbone
from tlsearch.models.describe import describe
from tlsearch.models.facts import METADATA_KEY, ModelFacts

Format = Literal["pt2", "onnx"]
_TO_WRITE = ("onnx", "onnxscript", "onnxruntime")
_OPSET = 20
"""Of 2023, so that runtimes of some age read it."""


class Classifier(nn.Module):
    """Images (N, 3, S, S), float in 0 … 1, to class probabilities (N, K); normalises inside."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.model = backbone.model
        mean, std = backbone.normalisation
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Probabilities of each class."""
        logits: Tensor = self.model((images - self.mean) / self.std)
        return logits.softmax(1)


class Halved(nn.Module):
    """A classifier that keeps its weights in fp16 and computes in fp32.

    So a file has half the size, answers as exactly as its weights allow, and needs no arithmetic
    that CPUs lack. Vectors (norms, biases) and buffers stay in fp32: they weigh nothing, and a
    batch norm's variance may lie beyond fp16. Takes over `classifier`, whose weights it rounds.

    Raises:
        WorkError: a weight is too large for fp16.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier
        for name, weight in classifier.named_parameters():
            if weight.ndim < 2:
                continue
            weight.data = weight.data.half()
            if not torch.isfinite(weight).all():
                raise WorkError(
                    f"the model cannot be exported with --half: {name} holds values beyond fp16's "
                    "65504 — export it without --half"
                )

    def forward(self, images: Tensor) -> Tensor:
        """Probabilities of each class, float32."""
        weights = {
            name: weight.float()
            for name, weight in self.classifier.named_parameters()
            if weight.dtype == torch.float16
        }
        found: Tensor = torch.func.functional_call(self.classifier, weights, (images,))
        return found


def empty_classifier(*, backbone: str, num_classes: int, image_size: int) -> Classifier:
    """A classifier in evaluation mode whose weights are yet to be loaded.

    Raises:
        NetworkError: it is of a network of the user's own, or of timm's, that is not there.
    """
    if backbone not in CATALOGUE:
        CATALOGUE.add(describe(NetworkSpec(backbone, image_size)))
    built = build_backbone(
        name=backbone, num_classes=num_classes, image_size=image_size, dropout=0.0, seed=0
    )
    return Classifier(built).requires_grad_(False).eval()


def load_classifier(
    weights: Path, *, backbone: str, num_classes: int, image_size: int, normalisation: Normalisation
) -> Classifier:
    """A classifier with the weights that a training left, a .safetensors file, of images that were
    normalised so.

    Raises:
        WorkError: the file is missing, damaged or does not fit.
    """
    classifier = empty_classifier(backbone=backbone, num_classes=num_classes, image_size=image_size)
    for buffer, channels in zip((classifier.mean, classifier.std), normalisation, strict=True):
        buffer.copy_(torch.tensor(channels).view(1, 3, 1, 1))
    try:
        classifier.model.load_state_dict(load_file(weights))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise WorkError(
            f"{weights}: the model's weights cannot be read "
            f"({str(error).splitlines()[0]}) — the model that is logged in MLflow is whole; or "
            "train it again with: tlsearch run STUDY --fresh"
        ) from error
    return classifier


def require_onnx(*, to_write: bool) -> None:
    """Check that what is needed is installed, before any work.

    Raises:
        RequestError: it is not.
    """
    wanted = _TO_WRITE if to_write else ("onnxruntime",)
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        raise RequestError(
            f"ONNX needs {' and '.join(missing)}, not installed here — pip install 'tlsearch[onnx]'"
        )


def write_model(module: nn.Module, path: Path, *, facts: ModelFacts, kind: Format) -> None:
    """Write `module`, which takes and gives what `facts` say, traced for any batch size. The file
    holds no pickle.

    Raises:
        OSError: it cannot be written.
        RuntimeError: torch cannot trace or translate it.
    """
    images = torch.zeros(3, 3, facts.image_size, facts.image_size)  # one would fix the batch size
    dynamic = {"images": {0: torch.export.Dim("batch")}}
    text = json.dumps(facts.as_json())
    if kind == "pt2":
        program = torch.export.export(module, (images,), dynamic_shapes=dynamic)
        program.example_inputs = None  # they would be pickled
        with path.open("wb") as file:
            torch.export.save(program, file, extra_files={METADATA_KEY: text})
        return
    with _quiet():
        translated = torch.onnx.export(
            module,
            (images,),
            dynamo=True,
            dynamic_shapes=dynamic,
            input_names=["images"],
            output_names=["probabilities"],
            opset_version=_OPSET,
            external_data=False,
            verbose=False,
        )
        assert translated is not None
        translated.model.metadata_props[METADATA_KEY] = text
        translated.save(path, external_data=False)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints its steps, and warns of its own deprecated calls."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
