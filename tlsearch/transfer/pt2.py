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
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tlsearch.errors import RequestError
from tlsearch.transfer.model_facts import METADATA_KEY, ModelFacts, not_ours, read_facts

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
