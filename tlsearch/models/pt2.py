"""Models as .pt2, torch's own portable format: written whole, and read without running it.

`torch.export.load` unpickles what an archive tells it to (torch 2.15: weights, constants and sample
inputs fall back to `weights_only=False`), compiles what the graph names, and loads shared
libraries. So the graph is for those who deploy the file; `read_weights` takes only numbers out of
it, and the network is built by us.
"""

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from tlsearch import __version__
from tlsearch.config.catalog import CATALOGUE
from tlsearch.config.schema import Fit
from tlsearch.errors import RequestError

# What a model file tells of itself: how images must be prepared and what its answers mean.


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


_WEIGHTS = "data/weights/"
_CONFIG = f"{_WEIGHTS}model_weights_config.json"
_TYPES = {5: np.int64, 6: np.float16, 7: np.float32}  # of torch._export.serde.schema.ScalarType
_LARGEST_TEXT = 64 * 2**20  # bytes; a network's list of weights has some ten thousand


def write_pt2(module: nn.Module, path: Path, *, facts: ModelFacts) -> None:
    """Trace `module`, any batch size, and write it with its facts. The file holds no pickle.

    Raises:
        OSError: it cannot be written.
        RuntimeError: torch cannot trace it.
    """
    program = torch.export.export(
        module, (example(facts),), dynamic_shapes={"images": {0: torch.export.Dim("batch")}}
    )
    program.example_inputs = None  # they would be pickled
    text = json.dumps(facts.as_json())
    with path.open("wb") as file:
        torch.export.save(program, file, extra_files={METADATA_KEY: text})


def example(facts: ModelFacts) -> Tensor:
    """Three images; one alone would fix the batch size at one."""
    return torch.zeros(3, 3, facts.image_size, facts.image_size)


def run_pt2(path: Path) -> nn.Module:
    """The traced network as other programs load it; only for a file that we have just written.

    Raises:
        RuntimeError: torch cannot load it.
    """
    with path.open("rb") as file:
        return torch.export.load(file).module()


def read_pt2(path: Path) -> tuple[ModelFacts, dict[str, Tensor]]:
    """The facts and the weights, by their names in a `Classifier`, fp16 as fp32.

    Raises:
        RequestError: it is damaged, or no model of tlsearch's.
        OSError: it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            records = _records(archive, path)
            if f"extra/{METADATA_KEY}" not in records:
                raise not_ours(str(path))
            facts = read_facts(_text(archive, records[f"extra/{METADATA_KEY}"]), file=str(path))
            return facts, _weights(archive, records)
    except _DAMAGE as error:
        if isinstance(error, RequestError):
            raise
        raise damaged(path, error) from error


_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, EOFError),
    *(AttributeError, KeyError, TypeError, ValueError, RuntimeError),
)


def damaged(path: Path, error: Exception) -> RequestError:
    """The error of a model file that is cut short or changed."""
    why = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return RequestError(
        f"{path}: the file is damaged or cut short ({why}) — copy or export it again"
    )


def _records(archive: zipfile.ZipFile, path: Path) -> Mapping[str, zipfile.ZipInfo]:
    """Records by name below the archive's one folder."""
    found: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.partition("/")[2]
        if name in found:
            raise ValueError(f"two records named {name}")
        found[name] = info
    if "archive_format" not in found:
        raise not_ours(str(path))
    return found


def _text(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    if info.file_size > _LARGEST_TEXT:
        raise ValueError(f"{info.filename} has {info.file_size} bytes")
    return archive.read(info)


def _weights(archive: zipfile.ZipFile, records: Mapping[str, zipfile.ZipInfo]) -> dict[str, Tensor]:
    listed = json.loads(_text(archive, records[_CONFIG]))["config"]
    found = {}
    for name, entry in listed.items():
        if entry["use_pickle"]:
            raise ValueError(f"{name} is a pickle")
        value = _tensor(archive, records[f"{_WEIGHTS}{entry['path_name']}"], entry["tensor_meta"])
        found[name.removeprefix("classifier.")] = value
    return found


def _tensor(archive: zipfile.ZipFile, info: zipfile.ZipInfo, meta: Mapping[str, Any]) -> Tensor:
    shape = [int(size["as_int"]) for size in meta["sizes"]]
    kind = np.dtype(_TYPES[meta["dtype"]])
    strides = [int(step["as_int"]) for step in meta["strides"]]
    count = int(np.prod(shape, dtype=object))
    if strides != _in_a_row(shape) or meta["storage_offset"]["as_int"] != 0:
        raise ValueError(f"{info.filename} is not stored in a row")
    if info.file_size != count * kind.itemsize or info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{info.filename} has {info.file_size} bytes for {shape}")
    values = torch.from_numpy(np.frombuffer(archive.read(info), kind).reshape(shape).copy())
    return values.float() if values.dtype == torch.float16 else values


def _in_a_row(shape: list[int]) -> list[int]:
    """The strides of a tensor that is stored without gaps."""
    return list(torch.empty(shape, device="meta").stride())
