"""Model files are opened, whatever their format, and answer for images, in batches.

No code of a file is run. `torch.export.load` unpickles what an archive tells it to (torch 2.15:
weights, constants and sample inputs fall back to `weights_only=False`), compiles what the graph
names, and loads shared libraries. So the graph of a .pt2 is for those who deploy the file; only
numbers are taken out of it here, and the network is built by us.
"""

import json
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import MISSING, fields
from itertools import islice
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from tlsearch.config.catalog import CATALOGUE, PREFIX
from tlsearch.config.runtime import usable_cores
from tlsearch.errors import RequestError
from tlsearch.models.export import empty_classifier, require_onnx
from tlsearch.models.facts import FORMAT, FORMAT_VERSION, METADATA_KEY, ModelFacts
from tlsearch.models.own import lies_here

_WEIGHTS = "data/weights/"
_CONFIG = f"{_WEIGHTS}model_weights_config.json"
_TYPES = {5: np.int64, 6: np.float16, 7: np.float32}  # of torch._export.serde.schema.ScalarType
_LARGEST_TEXT = 64 * 2**20  # bytes; a network's list of weights has some ten thousand
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, EOFError),
    *(AttributeError, KeyError, TypeError, ValueError, RuntimeError),
)


class PortableModel(Protocol):
    """A model that answers."""

    facts: ModelFacts

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Of float32 (N, 3, S, S) in 0 … 1: float32 (N, K)."""


class TorchModel:
    """A module of torch's that answers, on the CPU."""

    def __init__(self, module: nn.Module, facts: ModelFacts) -> None:
        self._module, self.facts = module, facts

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Of float32 (N, 3, S, S) in 0 … 1: float32 (N, K)."""
        with torch.inference_mode():
            found: np.ndarray = self._module(torch.from_numpy(images)).numpy()
        return found


class OnnxModel:
    """A model in onnxruntime, on the CPU."""

    def __init__(self, path: Path) -> None:
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
            raise _damaged(path, error) from error
        text = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if text is None:
            raise _not_ours(path)
        self.facts = _read_facts(text, path)
        inputs = [node.name for node in self._session.get_inputs()]
        outputs = [node.shape[-1] for node in self._session.get_outputs()]
        if inputs != ["images"] or outputs != [len(self.facts.class_names)]:
            raise _damaged(path, ValueError(f"inputs {inputs} and outputs {outputs} are not ours"))

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Of float32 (N, 3, S, S) in 0 … 1: float32 (N, K)."""
        found: np.ndarray = self._session.run(None, {"images": images})[0]
        return found


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
        raise _damaged(path, ValueError("it is no archive"))
    raise RequestError(f"{path}: no model — give a .pt2 or .onnx file that `tlsearch export` wrote")


def readings(path: Path) -> list[PortableModel]:
    """A file that we have just written in each way that it will be read: ours, and for a .pt2 also
    that of programs which run its graph.

    Raises:
        RequestError: it cannot be read.
        RuntimeError: torch cannot load its graph.
    """
    ours = open_model(path)
    if path.suffix != ".pt2":
        return [ours]
    with path.open("rb") as file:
        graph = torch.export.load(file).module()
    return [ours, TorchModel(graph, ours.facts)]


def _open_pt2(path: Path) -> PortableModel:
    """The network of the facts with the weights of the archive, fp16 as fp32."""
    try:
        with zipfile.ZipFile(path) as archive:
            records = _records(archive, path)
            if f"extra/{METADATA_KEY}" not in records:
                raise _not_ours(path)
            facts = _read_facts(_text(archive, records[f"extra/{METADATA_KEY}"]), path)
            state = _weights(archive, records)
    except RequestError:
        raise
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    classifier = empty_classifier(
        backbone=facts.backbone, num_classes=len(facts.class_names), image_size=facts.image_size
    )
    try:
        classifier.load_state_dict(state)
    except RuntimeError as error:
        raise _damaged(path, ValueError(f"its weights are not {facts.backbone}'s")) from error
    return TorchModel(classifier, facts)


def _records(archive: zipfile.ZipFile, path: Path) -> Mapping[str, zipfile.ZipInfo]:
    """Records by name below the archive's one folder."""
    found: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.partition("/")[2]
        if name in found:
            raise ValueError(f"two records named {name}")
        found[name] = info
    if "archive_format" not in found:
        raise _not_ours(path)
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
    if (
        strides != list(torch.empty(shape, device="meta").stride())
        or meta["storage_offset"]["as_int"] != 0
    ):
        raise ValueError(f"{info.filename} is not stored in a row")
    if info.file_size != count * kind.itemsize or info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{info.filename} has {info.file_size} bytes for {shape}")
    values = torch.from_numpy(np.frombuffer(archive.read(info), kind).reshape(shape).copy())
    return values.float() if values.dtype == torch.float16 else values


def _read_facts(text: str | bytes, path: Path) -> ModelFacts:
    """The facts of a model file from its JSON.

    Raises:
        RequestError: they are not tlsearch's, or of a newer format.
    """
    try:
        found = json.loads(text)
        if found["format"] != FORMAT:
            raise _not_ours(path)
        if found["format_version"] > FORMAT_VERSION:
            raise RequestError(
                f"{path}: made by tlsearch {found['tlsearch']} in a newer format "
                f"({found['format_version']}; this one reads {FORMAT_VERSION}) — update tlsearch"
            )
        own = {
            field.name: found[field.name]
            for field in fields(ModelFacts)
            if field.default is MISSING or field.name in found
        }
        facts = TypeAdapter(ModelFacts).validate_python(own)
    except RequestError:
        raise
    except (KeyError, TypeError, ValueError) as error:  # pydantic's errors are ValueErrors
        raise _not_ours(path) from error
    if ":" in facts.backbone:
        if not lies_here(facts.backbone):
            raise RequestError(
                f"{path}: holds your own network {facts.backbone}, whose code a .pt2 lacks — run "
                "this in the folder where the code lies, or export to ONNX"
            )
    elif facts.backbone not in CATALOGUE and not facts.backbone.startswith(PREFIX):
        raise RequestError(
            f"{path}: holds the backbone {facts.backbone!r}, which this tlsearch does not know — "
            "update tlsearch"
        )
    return facts


def _not_ours(path: Path) -> RequestError:
    return RequestError(
        f"{path}: no model that tlsearch made (it lacks tlsearch's metadata) — make one with: "
        "tlsearch export STUDY"
    )


def _damaged(path: Path, error: Exception) -> RequestError:
    why = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return RequestError(
        f"{path}: the file is damaged or cut short ({why}) — copy or export it again"
    )


Item = TypeVar("Item")


class Prediction(NamedTuple, Generic[Item]):
    """What a model says of a file or of an image in memory: probabilities float32 (K,), or why
    there is no image in it.
    """

    item: Item
    probabilities: np.ndarray | None
    error: str


def predict(
    model: PortableModel,
    items: Iterable[Item],
    *,
    decode: Callable[[Item], np.ndarray | str],
    batch_size: int,
    threads: int,
) -> Iterator[Prediction[Item]]:
    """Answers in the order of `items`; `decode` gives the pixels of one, uint8 (S, S, C), or why it
    has none. While a batch is computed, threads decode the next one; no more than two batches of
    small squares are kept.
    """
    left = iter(items)
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        ahead: deque[tuple[Item, Future[np.ndarray | str]]] = deque()

        def fill() -> None:
            for item in islice(left, 2 * batch_size - len(ahead)):
                ahead.append((item, pool.submit(decode, item)))

        try:
            fill()
            while ahead:
                batch = [ahead.popleft() for _ in range(min(batch_size, len(ahead)))]
                found = [(item, job.result()) for item, job in batch]
                fill()
                squares = [pixels for _, pixels in found if isinstance(pixels, np.ndarray)]
                answers = model.probabilities(to_input(np.stack(squares))) if squares else ()
                answer = iter(answers)
                for item, pixels in found:
                    if isinstance(pixels, str):
                        yield Prediction(item, None, pixels)
                    else:
                        yield Prediction(item, next(answer), "")
        finally:  # whoever stops listening need not wait for what was queued
            pool.shutdown(wait=False, cancel_futures=True)


def to_input(pixels: np.ndarray) -> np.ndarray:
    """From uint8 (N, S, S, C), C 1 or 3, to what models take: float32 (N, 3, S, S) in 0 … 1."""
    colours = np.broadcast_to(pixels, (*pixels.shape[:3], 3)).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(colours, dtype=np.float32) / np.float32(255)
