"""One model, two file formats: write either, open whichever is given."""

from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from torch import nn

from tlsearch.errors import RequestError
from tlsearch.transfer.deployment import empty_classifier
from tlsearch.transfer.model_facts import ModelFacts
from tlsearch.transfer.onnx_files import OnnxModel, require_onnx, write_onnx
from tlsearch.transfer.pt2 import damaged, read_pt2, run_pt2, write_pt2

__all__ = [
    "Format",
    "PortableModel",
    "TorchModel",
    "open_model",
    "readings",
    "require_onnx",
    "write_model",
]

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
