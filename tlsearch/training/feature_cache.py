"""The frozen part of a network runs once: its activations are kept on disk and shared.

A kept activation depends on nothing but the frozen weights, the images and the numerics, all of
which are in its key. It is computed in batches of one fixed size, so a trial that finds it and a
trial that makes it compute with the same bits.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from tlsearch.errors import WorkError
from tlsearch.training.batches import Pixels, pixel_batch
from tlsearch.training.precision import Numerics

BATCH_SIZE = 256
MAX_BYTES = 4 << 30
"""Largest file of activations; beyond it the frozen part runs in every step. A fixed number, so
that the choice, and with it the last bit of every result, does not depend on the disk."""

_FIELD = "activations"
_DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16"}


class ActivationStore:
    """Activations (N, …) of all images of a study at each depth; deletable at any time."""

    def __init__(self, folder: Path, *, pixels: Pixels, data_key: str, numerics: Numerics) -> None:
        self._folder = folder
        self._pixels = pixels
        self._data_key = data_key
        self._numerics = numerics
        self._open: dict[str, Tensor] = {}

    def at_depth(self, stages: Sequence[nn.Module], *, device: torch.device) -> Tensor | None:
        """Activations behind these frozen stages, memory-mapped, on the CPU; None where they are
        too large. Leaves the stages in evaluation mode.

        Raises:
            WorkError: the folder cannot be written.
        """
        for stage in stages:
            stage.eval()
        key = self._key(stages, device)
        if key not in self._open:
            one = self._run(stages, np.array([0]), device)
            if one.nbytes * len(self._pixels.images) > MAX_BYTES:
                return None
            path = self._folder / f"{key}.safetensors"
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                with FileLock(path.with_suffix(".lock")):
                    kept = _read(path)
                    if kept is None:
                        _write(path, self._batches(stages, device), one, len(self._pixels.images))
                        kept = _read(path)
            except OSError as error:
                raise WorkError(
                    f"{self._folder}: activations cannot be written ({error}) — free some disk "
                    "space or make the folder writable; it may be deleted at any time"
                ) from error
            assert kept is not None, f"{path} was written a moment ago"
            self._open[key] = _as_computed(kept, one)
        return self._open[key]

    def of_rows(
        self, stages: Sequence[nn.Module], rows: np.ndarray, *, device: torch.device
    ) -> Tensor:
        """Activations (R, …) of these rows behind frozen stages, on the CPU: kept ones, or computed
        where all would be too large to keep.

        Raises:
            WorkError: the folder cannot be written.
        """
        kept = self.at_depth(stages, device=device)
        if kept is not None:
            return kept[torch.from_numpy(rows)]
        starts = range(0, len(rows), BATCH_SIZE)
        parts = [self._run(stages, rows[i : i + BATCH_SIZE], device).cpu() for i in starts]
        return torch.cat(parts)

    def _key(self, stages: Sequence[nn.Module], device: torch.device) -> str:
        """Digest of all that the activations depend on; the modules' text tells strides apart."""
        context = (self._data_key, self._pixels.mean, self._pixels.std, self._numerics)
        digest = sha256(f"{context} {device.type} {torch.__version__} {list(stages)}".encode())
        for depth, stage in enumerate(stages):
            for name, value in stage.state_dict().items():
                digest.update(f"{depth} {name} {tuple(value.shape)}".encode())
                digest.update(value.cpu().contiguous().numpy())
        return digest.hexdigest()[:32]

    @torch.no_grad()
    def _run(self, stages: Sequence[nn.Module], rows: np.ndarray, device: torch.device) -> Tensor:
        with self._numerics.autocast(device):
            return run_stages(stages, pixel_batch(self._pixels, rows, device=device))

    def _batches(self, stages: Sequence[nn.Module], device: torch.device) -> Iterator[Tensor]:
        rows = np.arange(len(self._pixels.images))
        for i in range(0, len(rows), BATCH_SIZE):
            yield self._run(stages, rows[i : i + BATCH_SIZE], device)


def run_stages(stages: Sequence[nn.Module], batch: Tensor) -> Tensor:
    """Apply stages in order."""
    for stage in stages:
        batch = stage(batch)
    return batch


def _is_channels_last(batch: Tensor) -> bool:
    """Whether a batch (B, C, H, W) lies in memory as (B, H, W, C)."""
    return (
        batch.ndim == 4
        and not batch.is_contiguous()
        and batch.is_contiguous(memory_format=torch.channels_last)
    )


def _as_computed(kept: Tensor, one: Tensor) -> Tensor:
    """The kept tensor with the dimensions of `one`, in the memory order that it was written in."""
    return kept.permute(0, 3, 1, 2) if _is_channels_last(one) else kept


def _write(path: Path, batches: Iterator[Tensor], one: Tensor, num_images: int) -> None:
    """Write one safetensors file batch by batch, in memory order, whole or not at all.

    The format's own writer would want the whole tensor in memory.
    """
    shape = one.permute(0, 2, 3, 1).shape if _is_channels_last(one) else one.shape
    entry = {
        "dtype": _DTYPES[one.dtype],
        "shape": [num_images, *shape[1:]],
        "data_offsets": [0, one.nbytes * num_images],
    }
    header = json.dumps({_FIELD: entry}).encode()
    header += b" " * (-len(header) % 8)
    partial = path.with_suffix(".part")  # the caller holds the lock
    try:
        with partial.open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            for batch in batches:
                rows = batch.permute(0, 2, 3, 1) if _is_channels_last(one) else batch
                file.write(rows.cpu().contiguous().view(torch.uint8).numpy().data)
            file.flush()
            os.fsync(file.fileno())  # else a power cut may leave a file of zeros under this name
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def _read(path: Path) -> Tensor | None:
    """The kept tensor, or None if there is none or the file is damaged: it is then made again."""
    try:
        with safe_open(path, framework="pt") as file:
            tensor: Tensor = file.get_tensor(_FIELD)
            return tensor
    except (FileNotFoundError, SafetensorError):
        return None
