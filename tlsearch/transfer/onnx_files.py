"""Models as ONNX: written by torch, read by onnxruntime, both optional installations."""

import contextlib
import importlib.util
import io
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tlsearch.errors import RequestError
from tlsearch.study.machine import usable_cores
from tlsearch.transfer.model_facts import METADATA_KEY, ModelFacts, not_ours, read_facts
from tlsearch.transfer.pt2 import damaged, example

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
