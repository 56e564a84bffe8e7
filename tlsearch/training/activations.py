"""The frozen part of a network runs once: its activations are kept on disk and shared.

A kept activation depends on nothing but the frozen weights, the images and the numerics, all of
which are in its key. It is computed in batches of one fixed size, so a trial that finds it and a
trial that makes it compute with the same bits.
"""

import os
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from tlsearch.training.batches import Pixels, pixel_batch
from tlsearch.training.precision import Numerics

BATCH_SIZE = 256
MAX_BYTES = 4 << 30
"""Largest file of activations; beyond it the frozen part runs in every step. A fixed number, so
that the choice, and with it the last bit of every result, does not depend on the disk."""

_FIELD = "activations"


class ActivationStore:
    """Activations (N, …) of all images of a study at each depth; deletable at any time."""

    def __init__(self, folder: Path, *, pixels: Pixels, data_key: str, numerics: Numerics) -> None:
        self._folder = folder
        self._pixels = pixels
        self._data_key = data_key
        self._numerics = numerics
        self._open: dict[str, Tensor] = {}

    def at_depth(self, stages: Sequence[nn.Module], *, device: torch.device) -> Tensor | None:
        """Activations behind these frozen stages, memory-mapped; None where they are too large."""
        key = self._key(stages)
        if key not in self._open:
            path = self._folder / f"{key}.safetensors"
            if not self._fits(stages, device=device):
                return None
            self._folder.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_suffix(".lock")):
                found = _read(path)
                self._open[key] = self._make(stages, path, device) if found is None else found
        return self._open[key]

    def _key(self, stages: Sequence[nn.Module]) -> str:
        digest = blake2b(digest_size=16)
        digest.update(f"{self._data_key} {self._numerics} {torch.__version__}".encode())
        for depth, stage in enumerate(stages):
            for name, value in stage.state_dict().items():
                digest.update(f"{depth} {name} {tuple(value.shape)}".encode())
                digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _fits(self, stages: Sequence[nn.Module], *, device: torch.device) -> bool:
        one = self._run(stages, np.array([0]), device)
        return one.numel() * one.element_size() * len(self._pixels.labels) <= MAX_BYTES

    @torch.no_grad()
    def _run(self, stages: Sequence[nn.Module], rows: np.ndarray, device: torch.device) -> Tensor:
        with self._numerics.autocast(device):
            return run_stages(stages, pixel_batch(self._pixels, rows, device=device))

    def _make(self, stages: Sequence[nn.Module], path: Path, device: torch.device) -> Tensor:
        for stage in stages:
            stage.eval()
        rows = np.arange(len(self._pixels.labels))
        parts = [
            self._run(stages, rows[i : i + BATCH_SIZE], device).cpu().contiguous()
            for i in range(0, len(rows), BATCH_SIZE)
        ]
        partial = path.with_suffix(f".{os.getpid()}.part")
        save_file({_FIELD: torch.cat(parts)}, partial)
        partial.replace(path)
        made = _read(path)
        assert made is not None, f"{path} was written a moment ago"
        return made


def run_stages(stages: Sequence[nn.Module], batch: Tensor) -> Tensor:
    """Apply stages in order."""
    for stage in stages:
        batch = stage(batch)
    return batch


def _read(path: Path) -> Tensor | None:
    """The kept tensor, or None if there is none or the file is damaged: it is then made again."""
    try:
        with safe_open(path, framework="pt") as file:
            tensor: Tensor = file.get_tensor(_FIELD)
            return tensor
    except (FileNotFoundError, SafetensorError):
        return None
