"""A file of weights: the tensors in it by name, wherever they lie there, and no code of it is run.

Of torch's own files the tensors stay on disk until they are used, where the format allows it.
"""

import json
import re
import shlex
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tlsearch.errors import WeightsError, shown
from tlsearch.models.weights import no_such_file

_PLACES = (
    "state_dict",
    "model",
    "model_state_dict",
    "model_state",
    "net",
    "network",
    "student",
    "model_ema",
    "state_dict_ema",
    "ema",
    "ema_state_dict",
    "teacher",
    "module",
)
"""Where training scripts put the state dict; the first of these that is there counts."""
_POINTER = b"version https://git-lfs."
_DEPTH = 4  # of mappings in mappings; a guess
_COPIES = 4  # of the file's bytes that its tensors may share, as tied weights do; a guess


class Checkpoint(NamedTuple):
    """The tensors of a file by name, the place in it where they lie ("" for the file itself), and
    further known places that hold as many. Of mappings in mappings the names have a dot between.
    """

    state: dict[str, Tensor]
    place: str
    others: tuple[str, ...] = ()


def read_checkpoint(file: Path) -> Checkpoint:
    """The state dict in a .safetensors file or in one that torch.save wrote.

    Raises:
        WeightsError: the file is not there, damaged, holds no state dict, or needs code to load.
    """
    if file.is_dir():
        raise _error(file, "is a folder", "name the file of weights in it")
    try:
        with file.open("rb") as stream:
            if stream.read(len(_POINTER)) == _POINTER:
                remedy = "fetch it: git lfs pull"
                raise _error(file, "is a pointer of Git LFS, not the file of weights", remedy)
        if file.suffix == ".safetensors":
            return Checkpoint(_read_safetensors(file), "")
        content = _unpickled(file)
    except FileNotFoundError:
        raise no_such_file(file) from None
    except OSError as error:
        raise _error(file, f"cannot be read ({error.strerror or error})") from None
    tensors = dict(_tensors(content))
    if not tensors:
        kind = type(content).__name__
        rule = "holds no tensors" if isinstance(content, Mapping) else f"is a {kind}, no state dict"
        raise _error(file, rule, "save model.state_dict()")
    found = {place: dict(_tensors(content[place])) for place in _PLACES if place in content}
    # A place with few tensors beside one with many is no network's.
    most = max(map(len, found.values()), default=0)
    large = [place for place, state in found.items() if state and 2 * len(state) >= most]
    checkpoint = Checkpoint(tensors, "")
    if large:
        checkpoint = Checkpoint(found[large[0]], large[0], tuple(large[1:]))
    _refuse_claims(file, checkpoint.state)
    return checkpoint


def _error(file: Path, rule: str, remedy: str = "") -> WeightsError:
    return WeightsError(f"backbone.weights = '{file}': {rule}" + f" — {remedy}" * bool(remedy))


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file, device="cpu")
    except SafetensorError as error:
        rule = f"no safetensors file, or cut short ({error})"
        remedy = "write it again with safetensors.torch.save_file; a renamed .pt file will not do"
        raise _error(file, rule, remedy) from None


# torch's own files: a pickle, mostly in a zip archive with a record for each tensor.


class _Inert:
    """Stands in for an object beside the weights, such as a training script's options."""

    def __new__(cls, *_: object) -> "_Inert":
        return super().__new__(cls)

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


class _Mapping:
    """Stands in for a kind of dict, whose items are kept."""

    def __new__(cls, *_: object) -> dict[Any, Any]:  # type: ignore[misc]
        return {}


_STANDINS: Mapping[type, tuple[str, ...]] = {
    _Inert: (
        "argparse.Namespace",
        "types.SimpleNamespace",
        *(f"datetime.{name}" for name in ("date", "datetime", "timedelta", "timezone")),
        *(f"pathlib.{name}" for name in ("Path", "PosixPath", "PurePosixPath", "WindowsPath")),
        *(f"pathlib._local.{name}" for name in ("Path", "PosixPath", "WindowsPath")),
        *(f"numpy.{name}" for name in ("dtype", "ndarray", "float64", "float32", "int64")),
        *(
            f"numpy.{c}.multiarray.{n}"
            for c in ("core", "_core")
            for n in ("scalar", "_reconstruct")
        ),
        *(f"builtins.{name}" for name in ("bool", "dict", "float", "int", "list", "slice", "str")),
        "omegaconf.base.ContainerMetadata",
        "omegaconf.base.Metadata",
        "omegaconf.dictconfig.DictConfig",
        "omegaconf.listconfig.ListConfig",
        *(
            f"omegaconf.nodes.{kind}Node"
            for kind in ("Any", "Boolean", "Float", "Integer", "String")
        ),
        "typing.Any",
    ),
    _Mapping: (
        "collections.defaultdict",
        "pytorch_lightning.utilities.parsing.AttributeDict",
        "lightning.pytorch.utilities.parsing.AttributeDict",
        "lightning_fabric.utilities.data.AttributeDict",
        "lightning.fabric.utilities.data.AttributeDict",
    ),
}
"""What training scripts leave beside the weights: none of it is imported or made, an empty object
takes its place. Whatever else a file names is code.
"""


_ALLOCATES = rb"c(builtins|__builtin__)\nbytearray\n"
"""Of what torch allows a pickle to name, the only one that fills memory as it likes."""
_AGAIN = "copy or save it again, with torch.save(model.state_dict(), …)"


def _unpickled(file: Path) -> Any:
    """What torch.save wrote, with stand-ins for options; tensors are mapped where they can be."""
    with file.open("rb") as stream:
        is_archive = stream.read(4) == b"PK\x03\x04"  # by which torch decides as well
    # In the older format pickles and tensors alternate, and torch reads all of it.
    pickled = _pickle_of(file) if is_archive else file.read_bytes()
    if re.search(_ALLOCATES, pickled):
        raise _error(file, "makes a bytearray of a size of its own, which no weights need", _AGAIN)
    known: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
        (standin, name) for standin, names in _STANDINS.items() for name in names
    ]
    try:
        with torch.serialization.safe_globals(known), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of protocols and storages, all of them about the file
            return torch.load(file, map_location="cpu", weights_only=True, mmap=is_archive)
    except OSError:
        raise
    except Exception as error:  # a damaged pickle raises nearly anything
        if code := re.search(r"GLOBAL (?!default)(\S+)", str(error)):
            remedy = f"if you trust it, convert it where its code is installed: {conversion(file)}"
            raise _error(
                file, f"needs code to load ({shown(code[1])}), and none is run", remedy
            ) from None
        rule = "no file of torch's, damaged or cut short"
        raise _error(file, rule, _AGAIN) from None


def _pickle_of(file: Path) -> bytes:
    """The pickle of an archive that takes no more than its bytes in memory and is no TorchScript.

    Raises:
        WeightsError: it is damaged, compressed, or TorchScript.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            _refuse_entries(file, entries)
            names = (entry.filename for entry in entries)
            return b"".join(archive.read(name) for name in names if name.endswith("/data.pkl"))
    except WeightsError:
        raise
    except Exception:  # a damaged archive, too, raises nearly anything
        raise _error(file, "a zip archive that is damaged or cut short", _AGAIN) from None


def _refuse_entries(file: Path, entries: Sequence[zipfile.ZipInfo]) -> None:
    if any(entry.filename.rpartition("/")[2] == "constants.pkl" for entry in entries):
        remedy = f"if you trust it, convert it: {conversion(file, load='torch.jit.load')}"
        raise _error(file, "is TorchScript, which is code", remedy)
    claimed, size = sum(entry.file_size for entry in entries), file.stat().st_size
    if claimed > size or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        rule = f"unpacks to {claimed:,} bytes out of {size:,}, and torch compresses nothing"
        raise _error(file, rule, "save it again with torch.save; it is not read as it is")


def _tensors(content: object, depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a mapping and of those in it, by their names."""
    if not isinstance(content, Mapping) or depth == _DEPTH:
        return
    for name, value in content.items():
        if isinstance(name, str) and isinstance(value, Tensor):
            yield name, value.detach()
        elif isinstance(name, str):
            yield from ((f"{name}.{inner}", v) for inner, v in _tensors(value, depth + 1))


def _refuse_claims(file: Path, state: Mapping[str, Tensor]) -> None:
    """Refuse tensors without values of their own, and those that share what the file has so often
    that they would not fit anywhere.
    """
    for name, value in state.items():
        if value.layout != torch.strided or value.is_meta or value.is_quantized:
            rule = f"{name} is sparse, quantised or without values"
            raise _error(file, rule, "save the weights as plain tensors")
    claimed, size = sum(value.nbytes for value in state.values()), file.stat().st_size
    if claimed > _COPIES * size:
        rule = f"its tensors claim {claimed:,} bytes, and the file has {size:,}"
        raise _error(file, rule, "save them with .contiguous()")


def conversion(file: Path, *, load: str = "torch.load") -> str:
    """The command that turns a trusted checkpoint of torch's into .safetensors, running its code:
    the state dict is the module or mapping in it with the most tensors, whatever its name there.
    """
    target = file.with_name(re.sub(r"(\.\w{2,5}){1,2}$", "", file.name) + ".safetensors")
    options = ', map_location="cpu"' + ", weights_only=False" * (load == "torch.load")
    code = (
        "import torch; from safetensors.torch import save_file; "
        f"c = {load}({json.dumps(str(file))}{options}); "
        "c = [c, *(c.values() if isinstance(c, dict) else [])]; "
        'c = [x.state_dict() if hasattr(x, "state_dict") else x for x in c]; '
        "s = max((x for x in c if isinstance(x, dict)), "
        "key=lambda x: sum(map(torch.is_tensor, x.values()))); "
        "save_file({k: v.clone().contiguous() for k, v in s.items() if torch.is_tensor(v)}, "
        f"{json.dumps(str(target))})"
    )
    return f"python -c {shlex.quote(code)}"
