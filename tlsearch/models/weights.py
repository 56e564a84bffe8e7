"""Pretrained weights by name or from a file: tensors only, never a pickle that runs code.

Free of torch until something is read, so that commands which only look for weights start at once.
"""

import errno
import io
import json
import pickle
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

from tlsearch.config.catalog import CATALOGUE, TIMM
from tlsearch.config.paths import downloads_cache, expanded
from tlsearch.config.schema import is_weights_file
from tlsearch.errors import WeightsError, WorkError, nearest

if TYPE_CHECKING:
    from torch import Tensor

_STALL_SECONDS = 60.0  # a guess
_ANSWER_SECONDS = 5.0  # a guess: to look up a name and connect takes a slow network two


def no_such_file(file: Path) -> WeightsError:
    """The error of a weights file that is not there."""
    return WeightsError(f"backbone.weights = '{file}': no such file, seen from {Path.cwd()}")


def weights_at_hand(*, backbone: str, weights: str, patience_seconds: float) -> bool:
    """Whether torchvision's `weights` lie in torch's cache, or their server answers in time."""
    # torchvision's names end in a part of the hash, which only torchvision knows.
    if any(downloads().glob(f"{backbone}-*.pth")):
        return True
    from torchvision.models import get_model_weights

    address = get_model_weights(backbone)[weights].url
    return not _silence(address, seconds=patience_seconds)


def refuse_out_of_reach(*, backbone: str, weights: str) -> None:
    """Refuse published weights that are not here and whose server does not answer within seconds.

    Raises:
        WeightsError: they cannot be had.
    """
    if backbone in TIMM or weights not in CATALOGUE[backbone].weights:
        return
    from torchvision.models import get_model_weights

    address = get_model_weights(backbone)[weights].url
    if not _download_of(address).exists() and (why := _silence(address, seconds=_ANSWER_SECONDS)):
        raise _no_download(backbone, weights, address, why)


def _silence(address: str, *, seconds: float) -> str:
    """Why a server does not answer in time; "" where it does. A name may be looked up for a minute
    where there is no network, with no limit to set: hence the thread.
    """
    found = [f"no answer within {seconds:g} s"]

    def ask() -> None:
        try:
            with urlopen(Request(address, method="HEAD"), timeout=seconds):  # noqa: S310
                found[0] = ""
        except (OSError, ValueError) as error:
            found[0] = str(getattr(error, "reason", None) or error)

    asking = Thread(target=ask, daemon=True)
    asking.start()
    asking.join(seconds)
    return found[0]


def _no_download(backbone: str, weights: str, address: str, why: object) -> WeightsError:
    file = _download_of(address)
    return WeightsError(
        f"backbone.weights = {weights!r} of {backbone}: no download ({why}) — fetch {address}"
        f" elsewhere and put {file.name} into {file.parent}, or choose glyphs or none"
    )


def _download_of(address: str) -> Path:
    return downloads() / address.rpartition("/")[2]


def downloads() -> Path:
    """Where torch keeps the weights that it downloaded."""
    return downloads_cache() / "hub" / "checkpoints"


def pretrained_state(*, backbone: str, weights: str) -> "dict[str, Tensor] | None":
    """The state dict that `weights` names, on the CPU; None for "none".

    `weights` is one of torchvision's names (downloaded once to `$TORCH_HOME/hub/checkpoints`) or
    the path of a file (`config.schema.WEIGHTS_FILES`).

    Raises:
        WeightsError: the name is unknown, the file is missing or damaged, or there is no network.
        WorkError: the disk is full.
    """
    if weights == "none":
        return None
    if is_weights_file(weights):
        from tlsearch.models.checkpoints import read_checkpoint

        return read_checkpoint(expanded(weights)).state
    known = CATALOGUE[backbone].weights
    if weights not in known:
        hint = nearest(weights, [*known, "none", "glyphs"])
        raise WeightsError(
            f"backbone.weights = {weights!r}: {backbone} has {', '.join(known)}; besides these"
            f" there are glyphs, none and the path of a file. {hint}".strip()
        )
    if backbone in TIMM:
        from tlsearch.models.backbones import fetch_timm

        return fetch_timm(backbone, tag=weights)
    return _from_torchvision(backbone, weights)


def damage(file: Path) -> str | None:
    """What is wrong with a .safetensors file, judged by its header and length; None if nothing."""
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            prefix = stream.read(8)
            if len(prefix) < 8:
                return "no header"
            (length,) = struct.unpack("<Q", prefix)
            if length > size - 8:
                return "header cut short"
            header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    except (FileNotFoundError, NotADirectoryError):
        return "absent"
    except (ValueError, TypeError, KeyError, AttributeError):
        return "header unreadable"
    wanted = 8 + int(length) + int(end)
    return None if size == wanted and header else f"{size} bytes instead of {wanted}"


def _from_torchvision(backbone: str, weights: str) -> "dict[str, Tensor]":
    """What torch's cache holds, downloaded first if it is not there. torch checks a download's
    hash.
    """
    import torch
    from torchvision.models import get_model_weights

    entry = get_model_weights(backbone)[weights]
    file = _download_of(entry.url)
    there, what = file.exists(), f"backbone.weights = {weights!r} of {backbone}"
    try:
        # torch.hub announces a download on stdout, which belongs to the command's result.
        with patience(_STALL_SECONDS), redirect_stdout(io.StringIO()):
            state = entry.get_state_dict(
                model_dir=str(file.parent),
                progress=False,
                check_hash=True,
                weights_only=True,
                map_location="cpu",
            )
    except OSError as error:  # URLError and timeouts are OSErrors
        if error.errno == errno.ENOSPC:
            raise WorkError(f"{what}: the disk with {file.parent} is full") from None
        if there or isinstance(error, PermissionError):
            raise WeightsError(f"{what}: {file}: {error.strerror or error}") from None
        why = getattr(error, "reason", None) or error
        raise _no_download(backbone, weights, entry.url, why) from None
    except (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        if not file.exists():
            raise WeightsError(f"{what}: {entry.url} sent something else ({error})") from None
        raise WeightsError(
            f"{what}: {file} is damaged or cut short — remove it and run again, or put a whole"
            f" {file.name} there"
        ) from None
    if not isinstance(state, dict) or not all(torch.is_tensor(v) for v in state.values()):
        raise WeightsError(f"{what}: {file} holds no state dict — remove it and run again")
    return dict(state)


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Within, a server that is silent for so long is given up; torch would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
