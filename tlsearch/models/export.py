"""One model, two file formats: write either, open whichever is given."""

import contextlib
import importlib.util
import io
import json
import logging
import warnings
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from tlsearch.config.cost import usable_cores
from tlsearch.errors import RequestError, WorkError
from tlsearch.models.backbones import Backbone, build_backbone, normalisation
from tlsearch.models.pt2 import (
    METADATA_KEY,
    ModelFacts,
    damaged,
    example,
    not_ours,
    read_facts,
    read_pt2,
    run_pt2,
    write_pt2,
)

# A backbone as others use it: pixels in, probabilities out.


class Classifier(nn.Module):
    """Images (N, 3, S, S), float in 0 … 1, to class probabilities (N, K); normalises inside."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.model = backbone.model
        mean, std = normalisation(backbone.name)
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
    """A classifier in evaluation mode whose weights are yet to be loaded."""
    built = build_backbone(
        name=backbone, num_classes=num_classes, image_size=image_size, dropout=0.0, seed=0
    )
    return Classifier(built).requires_grad_(False).eval()


def load_classifier(
    weights: Path, *, backbone: str, num_classes: int, image_size: int
) -> Classifier:
    """A classifier with the weights that a training left, a .safetensors file.

    Raises:
        WorkError: the file is missing, damaged or does not fit.
    """
    classifier = empty_classifier(backbone=backbone, num_classes=num_classes, image_size=image_size)
    try:
        classifier.model.load_state_dict(load_file(weights))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise WorkError(
            f"{weights}: the model's weights cannot be read "
            f"({str(error).splitlines()[0]}) — the model that is logged in MLflow is whole; or "
            "train it again with: tlsearch run STUDY --fresh"
        ) from error
    return classifier


# Models as ONNX: written by torch, read by onnxruntime, both optional installations.


_TO_WRITE = ("onnx", "onnxscript", "onnxruntime")
_OPSET = 20
"""Of 2023, so that runtimes of some age read it."""


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


def write_onnx(module: nn.Module, path: Path, *, facts: ModelFacts) -> None:
    """Trace `module`, any batch size, and write it with its facts.

    Raises:
        OSError: it cannot be written.
        RuntimeError: torch cannot trace or translate it.
    """
    with _quiet():
        program = torch.onnx.export(
            module,
            (example(facts),),
            dynamo=True,
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
            input_names=["images"],
            output_names=["probabilities"],
            opset_version=_OPSET,
            external_data=False,
            verbose=False,
        )
        assert program is not None
        program.model.metadata_props[METADATA_KEY] = json.dumps(facts.as_json())
        program.save(path, external_data=False)


class OnnxModel:
    """A model in onnxruntime, on the CPU."""

    def __init__(self, path: Path) -> None:
        """Open a file.

        Raises:
            RequestError: it is damaged, or no model of tlsearch's.
        """
        require_onnx(to_write=False)
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = usable_cores()
        options.log_severity_level = 4  # what goes wrong is raised; warnings are not the user's
        try:
            self._session: Any = onnxruntime.InferenceSession(
                path.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
        except OSError:
            raise
        except Exception as error:  # onnxruntime's own kinds have no common base
            raise damaged(path, error) from error
        text = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if text is None:
            raise not_ours(str(path))
        self.facts = read_facts(text, file=str(path))
        inputs = [node.name for node in self._session.get_inputs()]
        outputs = [node.shape[-1] for node in self._session.get_outputs()]
        if inputs != ["images"] or outputs != [len(self.facts.class_names)]:
            raise damaged(path, ValueError(f"inputs {inputs} and outputs {outputs} are not ours"))

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Of float32 (N, 3, S, S) in 0 … 1: float32 (N, K)."""
        found: np.ndarray = self._session.run(None, {"images": images})[0]
        return found


@contextlib.contextmanager
def _quiet() -> Any:
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


Format = Literal["pt2", "onnx"]


class PortableModel(Protocol):
    """A model that answers."""

    facts: ModelFacts

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Of float32 (N, 3, S, S) in 0 … 1: float32 (N, K)."""
        ...


class TorchModel:
    """A module of torch's that answers, on the CPU."""

    def __init__(self, module: nn.Module, facts: ModelFacts) -> None:
        self._module, self.facts = module, facts

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Of float32 (N, 3, S, S) in 0 … 1: float32 (N, K)."""
        with torch.inference_mode():
            found: np.ndarray = self._module(torch.from_numpy(images)).numpy()
        return found


def write_model(module: nn.Module, path: Path, *, facts: ModelFacts, kind: Format) -> None:
    """Write `module`, which takes and gives what `facts` say.

    Raises:
        OSError: it cannot be written.
        RuntimeError: torch cannot trace it.
    """
    {"pt2": write_pt2, "onnx": write_onnx}[kind](module, path, facts=facts)


def open_model(path: Path) -> PortableModel:
    """The model in a file, known by its content.

    Raises:
        RequestError: there is no such file, it is damaged, or no model of tlsearch's.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4)
        if start == b"PK\x03\x04":
            return _open_pt2(path)
        if path.suffix.lower() == ".onnx":
            return OnnxModel(path)
    except FileNotFoundError:
        if str(path).startswith("models:"):
            raise RequestError(
                f"{path}: is an address of MLflow's, and images are answered from files — write it "
                "to a file with: tlsearch export STUDY"
            ) from None
        raise RequestError(f"{path}: no such file, seen from {Path.cwd()}") from None
    except OSError as error:
        raise RequestError(f"{path}: cannot be read ({error.strerror or error})") from None
    if path.suffix.lower() == ".pt2":
        raise damaged(path, ValueError("it is no archive"))
    raise RequestError(f"{path}: no model — give a .pt2 or .onnx file that `tlsearch export` wrote")


def readings(path: Path) -> list[PortableModel]:
    """A file that we have just written in each way that it will be read: ours, and for a .pt2 also
    that of programs which run its graph.

    Raises:
        RequestError: it cannot be read.
        RuntimeError: torch cannot load its graph.
    """
    ours = open_model(path)
    graph = [TorchModel(run_pt2(path), ours.facts)] if path.suffix == ".pt2" else []
    return [ours, *graph]


def _open_pt2(path: Path) -> PortableModel:
    facts, state = read_pt2(path)
    classifier = empty_classifier(
        backbone=facts.backbone, num_classes=len(facts.class_names), image_size=facts.image_size
    )
    try:
        classifier.load_state_dict(state)
    except RuntimeError as error:
        raise damaged(path, ValueError(f"its weights are not {facts.backbone}'s")) from error
    return TorchModel(classifier, facts)
