"""Images in the source's style: made once, before training, and kept on disk."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from tlsearch.errors import WorkError
from tlsearch.study.seeds import derive_seed
from tlsearch.training.adaptation.gram import (
    CONTENT_WEIGHT,
    NUM_STEPS,
    ROUGHNESS_WEIGHT,
    STEP_SIZE,
    StyleNetwork,
    transfer_style,
)
from tlsearch.training.batches import Pixels, unit_batch

BLOCK = 64
"""Images that are made, and saved, at a time: what a kill costs at the most."""

_LAYOUT = 1
"""Goes up whenever the same request would give other images."""

OnProgress = Callable[[float, str], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Atelier:
    """Makes images in the style of the source's, or finds them in `folder`, which may be deleted.

    Which of the source's images, `among` those of `source`, lends its style is drawn from (seed,
    row). `network` is asked for where something has to be made; `keys` tell data, source and
    network apart.
    """

    folder: Path
    pixels: Pixels
    source: Pixels
    among: np.ndarray
    network: Callable[[], StyleNetwork]
    keys: tuple[str, ...]
    seed: int
    device: torch.device
    on_progress: OnProgress

    def styled(self, rows: np.ndarray) -> np.ndarray:
        """uint8 (R, H, W, 3), mapped, of these rows. Made whole or not at all; whoever comes after
        a kill goes on behind the last whole block.

        Raises:
            WorkError: the folder cannot be written.
        """
        lenders = self._lenders(rows)
        path = self.folder / f"{self._key(rows, lenders)}.npy"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_suffix(".lock")):
                found = _read(path, rows=len(rows))
                if found is None:
                    self._make(path, rows, lenders)
                    found = _read(path, rows=len(rows))
        except OSError as error:
            raise WorkError(
                f"{self.folder}: images in another style cannot be written ({error}) — free some "
                "disk space or make the folder writable; it may be deleted at any time"
            ) from error
        assert found is not None, f"{path} was written a moment ago"
        return found

    def _lenders(self, rows: np.ndarray) -> np.ndarray:
        drawn = [derive_seed(self.seed, "style", int(row)) % len(self.among) for row in rows]
        return self.among[np.array(drawn, dtype=np.int64)]

    def _key(self, rows: np.ndarray, lenders: np.ndarray) -> str:
        recipe = (NUM_STEPS, STEP_SIZE, CONTENT_WEIGHT, ROUGHNESS_WEIGHT, BLOCK, _LAYOUT)
        digest = sha256(f"{self.keys} {recipe}".encode())
        digest.update(rows.astype(np.int64).tobytes() + lenders.tobytes())
        return digest.hexdigest()[:32]

    def _make(self, path: Path, rows: np.ndarray, lenders: np.ndarray) -> None:
        parts, network = path.with_suffix(".parts"), None
        parts.mkdir(exist_ok=True)
        starts = range(0, len(rows), BLOCK)
        blocks = []
        for i in starts:
            self.on_progress(i / len(rows), f"style: {i} of {len(rows)} images")
            place, wanted = parts / f"{i:08d}.npy", rows[i : i + BLOCK]
            block = _read(place, rows=len(wanted))
            if block is None:
                network = network or self.network()
                block = self._block(network, wanted, lenders[i : i + BLOCK])
                _write(place, block)
            blocks.append(block)
        _write(path, np.concatenate(blocks))
        shutil.rmtree(parts, ignore_errors=True)
        self.on_progress(1.0, f"style: {len(rows)} images")

    def _block(self, network: StyleNetwork, rows: np.ndarray, lenders: np.ndarray) -> np.ndarray:
        images = unit_batch(self.pixels, rows, device=self.device)
        sources = unit_batch(self.source, lenders, device=self.device)
        made = transfer_style(network, images.contiguous(), sources.contiguous())
        stored: np.ndarray = (255 * made).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        return stored


class InStyle:
    """A stage that mixes images with those that an atelier made of them, `strength` 0 … 1 of the
    latter. Rows that it was not given are made when they are asked for.
    """

    def __init__(self, atelier: Atelier, *, rows: np.ndarray, strength: float) -> None:
        self._atelier, self._strength = atelier, strength
        self._sets: list[tuple[dict[int, int], np.ndarray]] = []
        self._add(rows)

    def __call__(self, images: Tensor, rows: np.ndarray, *, epoch: int) -> Tensor:
        """The contract of `Stage`; the same in every epoch."""
        del epoch
        if not any(all(int(row) in places for row in rows) for places, _ in self._sets):
            self._add(rows)
        places, made = next(s for s in self._sets if all(int(row) in s[0] for row in rows))
        picked = torch.from_numpy(made[[places[int(row)] for row in rows]]).to(images.device)
        styled = picked.permute(0, 3, 1, 2).to(images.dtype).div_(255)
        return torch.lerp(images, styled, self._strength).clamp(0, 1)

    def _add(self, rows: np.ndarray) -> None:
        self._sets.append(({int(row): i for i, row in enumerate(rows)}, self._atelier.styled(rows)))


def _read(path: Path, *, rows: int) -> np.ndarray | None:
    """The kept array; None if there is none, or it is cut short: it is then made again."""
    try:
        found: np.ndarray = np.load(path, mmap_mode="r")
    except (FileNotFoundError, ValueError, EOFError, BadZipFile):
        return None
    return found if found.ndim == 4 and len(found) == rows else None


def _write(path: Path, images: np.ndarray) -> None:
    partial = path.with_suffix(f".{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            np.save(file, images)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
