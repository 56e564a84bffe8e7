"""The frozen part of a network runs once: its activations are kept on disk and shared.

A kept activation depends on nothing but the frozen weights, the images, the rows that are kept with
it and the numerics, all of which are in its key. It is computed in batches of one fixed size, so a
trial that finds it and a trial that makes it compute with the same bits.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from tlsearch.config.paths import atomic_write, made_once, remove_drafts
from tlsearch.models.backbones import Backbone
from tlsearch.models.freezing import freeze
from tlsearch.training.batches import Pixels, label_batch, normalised, pixel_batch, unit_batch
from tlsearch.training.precision import Numerics

BATCH_SIZE = 256
MAX_BYTES = 4 << 30
"""Largest file of activations; beyond it the frozen part runs in every step. A fixed number, so
that the choice, and with it the last bit of every result, does not depend on the disk."""
BUDGET_BYTES = 16 << 30
"""Of all files of activations in a folder: before one is added, the least recently used ones go.
A guess: four of the largest, or some hundred of small studies."""

_FIELD = "activations"
_DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16"}


class ActivationStore:
    """Activations (R, …) of rows of a study's images at each depth; deletable at any time.

    `threads` is how many batches are computed at a time; above 1 torch itself is to have a single
    thread (`torch_threads`). Then their number does not change a bit.
    """

    def __init__(
        self,
        folder: Path,
        *,
        pixels: Pixels,
        data_key: str,
        numerics: Numerics,
        threads: int = 1,
    ) -> None:
        self._folder = folder
        self._pixels = pixels
        self._data_key = data_key
        self._numerics = numerics
        self._threads = threads
        self._open: dict[str, Tensor] = {}

    def at_depth(
        self, stages: Sequence[nn.Module], rows: np.ndarray, *, device: torch.device
    ) -> Tensor | None:
        """Activations (R, …) of these rows behind these frozen stages, memory-mapped, on the CPU;
        None where they are too large. Leaves the stages in evaluation mode.

        Raises:
            WorkError: the folder cannot be written.
        """
        for stage in stages:
            stage.eval()
        path = self._folder / f"{self._key(stages, rows, device)}.safetensors"
        if path.name not in self._open:
            one = self._run(stages, rows[:1], device)
            if one.nbytes * len(rows) > MAX_BYTES:
                return None
            with made_once(path.with_suffix(".lock")):
                kept = _read(path)
                if kept is None:
                    make_room(self._folder, one.nbytes * len(rows))
                    kept = _write(path, self._batches(stages, rows, device), one, len(rows))
            self._open[path.name] = kept.permute(0, 3, 1, 2) if _is_channels_last(one) else kept
        with suppress(OSError):  # deleted since
            os.utime(path)  # used now, as `make_room` sees it
        return self._open[path.name]

    def of_rows(
        self, stages: Sequence[nn.Module], rows: np.ndarray, *, device: torch.device
    ) -> Tensor:
        """As `at_depth`, or computed now where they are too large to keep."""
        kept = self.at_depth(stages, rows, device=device)
        if kept is not None:
            return kept
        return torch.cat([part.cpu() for part in self._batches(stages, rows, device)])

    def _key(self, stages: Sequence[nn.Module], rows: np.ndarray, device: torch.device) -> str:
        """Digest of all that the activations depend on; the modules' text tells strides apart."""
        context = (self._data_key, self._pixels.mean, self._pixels.std, self._numerics)
        digest = sha256(f"{context} {device.type} {torch.__version__} {list(stages)}".encode())
        digest.update(rows.astype(np.int64).tobytes())
        for depth, stage in enumerate(stages):
            for name, value in stage.state_dict().items():
                digest.update(f"{depth} {name} {tuple(value.shape)}".encode())
                digest.update(value.cpu().contiguous().numpy())
        return digest.hexdigest()[:32]

    @torch.no_grad()
    def _run(self, stages: Sequence[nn.Module], rows: np.ndarray, device: torch.device) -> Tensor:
        with self._numerics.autocast(device):
            return run_stages(stages, pixel_batch(self._pixels, rows, device=device))

    def _batches(
        self, stages: Sequence[nn.Module], rows: np.ndarray, device: torch.device
    ) -> Iterator[Tensor]:
        def run(batch: np.ndarray) -> Tensor:
            return self._run(stages, batch, device)

        batches = [rows[i : i + BATCH_SIZE] for i in range(0, len(rows), BATCH_SIZE)]
        if self._threads == 1:
            yield from map(run, batches)
            return
        with ThreadPoolExecutor(self._threads) as pool:
            for i in range(0, len(batches), self._threads):  # not all: whoever writes may be slow
                yield from pool.map(run, batches[i : i + self._threads])


def run_stages(stages: Sequence[nn.Module], batch: Tensor) -> Tensor:
    """Apply stages in order."""
    for stage in stages:
        batch = stage(batch)
    return batch


def make_room(folder: Path, num_bytes: int) -> None:
    """Delete the least recently used files of activations until `num_bytes` more are within
    `BUDGET_BYTES`. Who has one of them open goes on reading it.
    """
    found = []
    for path in folder.glob("*.safetensors"):
        with suppress(FileNotFoundError):  # another process made room
            found.append((path.stat().st_mtime_ns, path.stat().st_size, path))
    total = num_bytes + sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= BUDGET_BYTES:
            return
        with suppress(OSError):  # Windows keeps a file that is open
            path.unlink()
            total -= size


@torch.no_grad()
def features(
    backbone: Backbone,
    pixels: Pixels,
    rows: np.ndarray,
    *,
    change: Callable[[Tensor, np.ndarray], Tensor] | None = None,
) -> list[np.ndarray]:
    """What each stage before the head, a layer group where the network can be cut, makes of these
    rows, averaged over space or tokens: float32 (R, width) each, the last what the head sees. In
    full precision; leaves the network in evaluation mode.

    change: of a batch of images (B, 3, H, W) in 0 … 1 and its rows, before normalisation.
    """
    backbone.model.eval()
    body, device = backbone.body, backbone.head.weight.device
    parts: list[list[np.ndarray]] = [[] for _ in body]
    for start in range(0, len(rows), BATCH_SIZE):
        some = rows[start : start + BATCH_SIZE]
        images = unit_batch(pixels, some, device=device)
        batch = normalised(images if change is None else change(images, some), pixels)
        for part, stage in zip(parts, body, strict=True):
            batch = stage(batch)
            pooled = by_channel(batch).mean(2)
            part.append(pooled.float().cpu().numpy())
    return [np.concatenate(part) for part in parts]


def by_channel(batch: Tensor) -> Tensor:
    """What a layer group gives, by channel and place: maps (B, C, S, S), or (B, S, S, C) as Swin's,
    tokens (B, P, C) or pooled features (B, C) as (B, C, P).
    """
    if batch.ndim == 4:
        is_square = batch.shape[2] == batch.shape[3]
        return batch.flatten(2) if is_square else batch.flatten(1, 2).mT
    return batch[:, :, None] if batch.ndim == 2 else batch.mT


def _is_channels_last(batch: Tensor) -> bool:
    """Whether a batch (B, C, H, W) lies in memory as (B, H, W, C)."""
    return batch.ndim == 4 and not batch.is_contiguous()


def _write(path: Path, batches: Iterator[Tensor], one: Tensor, num_rows: int) -> Tensor:
    """Write one safetensors file batch by batch, in memory order, whole or not at all; the tensor
    in it, mapped.

    The format's own writer would want the whole tensor in memory.
    """
    # Dimensions in memory order, for the whole and for each batch.
    dims = (0, 2, 3, 1) if _is_channels_last(one) else tuple(range(one.ndim))
    entry = {
        "dtype": _DTYPES[one.dtype],
        "shape": [num_rows, *one.permute(dims).shape[1:]],
        "data_offsets": [0, one.nbytes * num_rows],
    }
    header = json.dumps({_FIELD: entry}).encode()
    header += b" " * (-len(header) % 8)
    remove_drafts(path)  # the caller holds the lock
    with atomic_write(path) as draft, draft.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for batch in batches:
            rows = batch.permute(dims)
            file.write(rows.cpu().contiguous().view(torch.uint8).numpy().data)
    kept = _read(path)
    assert kept is not None, f"{path} was written a moment ago"
    return kept


def _read(path: Path) -> Tensor | None:
    """The kept tensor, or None if there is none or the file is damaged: it is then made again."""
    try:
        with safe_open(path, framework="pt") as file:
            tensor: Tensor = file.get_tensor(_FIELD)
            return tensor
    except (FileNotFoundError, SafetensorError):
        return None


class Forward:
    """A backbone over a data set; `open_groups` train, and the first `begin` stages, before them,
    need no gradient. Where there is an `activations` store, those of `kept_rows` are kept.

    A head that is a stage of its own computes in fp32: it costs next to nothing, and what it is
    stacked with comes to the same.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        pixels: Pixels,
        activations: ActivationStore | None,
        kept_rows: np.ndarray | None,
        numerics: Numerics,
        device: torch.device,
    ) -> None:
        self.backbone = backbone
        self.pixels, self._activations = pixels, activations
        self._numerics, self._device = numerics, device
        self._rows = np.unique(kept_rows) if kept_rows is not None else np.empty(0, np.int64)
        self._kept: Tensor | None = None
        self.begin, self.open_groups, self.norms_alone = 0, backbone.groups, False
        backbone.to(device, numerics.memory_format)

    def freeze(self, open_groups: Sequence[str], *, norms_alone: bool) -> None:
        """Freeze all but these groups and choose where the inputs of the first come from."""
        self.open_groups, self.norms_alone = tuple(open_groups), norms_alone
        self.begin = self.backbone.num_stages(self.backbone.groups.index(self.open_groups[0]))
        self._kept = None
        freeze(self.backbone, open_groups, norms_alone=norms_alone)
        if self.begin and self._activations is not None and len(self._rows):
            frozen = self.backbone.stages[: self.begin]
            self._kept = self._activations.at_depth(frozen, self._rows, device=self._device)

    def logits(self, rows: np.ndarray) -> Tensor:
        """Class scores (B, K) in fp32; gradients flow through the open groups alone."""
        with self._numerics.autocast(self._device):
            batch = self._inputs(rows)
        return self._scores(batch, begin=self.begin)

    def features(self, rows: np.ndarray) -> Tensor:
        """What the head would see of these rows: (B, width)."""
        with self._numerics.autocast(self._device):
            return run_stages(self.backbone.body[self.begin :], self._inputs(rows))

    def unit_images(self, rows: np.ndarray) -> Tensor:
        """Stored images (B, 3, H, W) in 0 … 1; grey is repeated."""
        return unit_batch(self.pixels, rows, device=self._device)

    def logits_of(self, images: Tensor) -> Tensor:
        """Class scores (B, K) in fp32 of images (B, 3, H, W) in 0 … 1, through all groups. An image
        that wants a gradient gets one, through frozen groups too.
        """
        return self._scores(normalised(images, self.pixels), begin=0)

    def _scores(self, batch: Tensor, *, begin: int) -> Tensor:
        """Class scores in fp32 of what the stage `begin` sees."""
        stages = self.backbone.stages
        last = len(stages) - self.backbone.ends_in_head
        with self._numerics.autocast(self._device):
            batch = run_stages(stages[begin:last], batch)
        return run_stages(stages[last:], batch.float())

    def labels(self, rows: np.ndarray) -> Tensor:
        """Class indices (B,)."""
        return label_batch(self.pixels, rows, device=self._device)

    @torch.no_grad()
    def evaluate(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Scores (N, K) and labels (N,) in evaluation mode, in batches of one fixed size."""
        self.backbone.model.eval()
        starts = range(0, len(rows), BATCH_SIZE)
        parts = [self.logits(rows[i : i + BATCH_SIZE]) for i in starts]
        return torch.cat(parts), self.labels(rows)

    def _inputs(self, rows: np.ndarray) -> Tensor:
        """What the first open group sees of these rows: kept, or computed where some are not."""
        if self._kept is not None:
            places = np.searchsorted(self._rows, rows).clip(max=len(self._rows) - 1)
            if np.array_equal(self._rows[places], rows):
                return self._kept[torch.from_numpy(places)].to(self._device)
        batch = pixel_batch(self.pixels, rows, device=self._device)
        with torch.no_grad():
            return run_stages(self.backbone.stages[: self.begin], batch)
