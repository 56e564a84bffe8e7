"""Checkpoints of a training between two epochs, written whole or not at all."""

import time
import zipfile
from pathlib import Path
from typing import Any

import torch

from tlsearch.config.paths import atomic_write, remove_drafts
from tlsearch.errors import WorkError
from tlsearch.training.cross_validation import Training

COST_SHARE = 0.01
"""Share of the training time that checkpoints may take. A checkpoint older than the last epoch is
no loss: the epochs since are trained again with the same bits."""


class Checkpointer:
    """Saves a training after an epoch once enough time has passed to afford it."""

    def __init__(self, path: Path, *, cost_share: float) -> None:
        self._path, self._cost_share = path, cost_share
        self._saved_at = time.perf_counter()
        self._cost = 0.0

    def after_epoch(self, trainer: Training) -> None:
        """Save if the last save's cost is within its share of the time since."""
        since = time.perf_counter() - self._saved_at
        expected = self._cost or _size(trainer) / 1e9  # 1 GB/s until measured
        if expected <= self._cost_share * since:
            self.save(trainer)

    def save(self, trainer: Training) -> None:
        """Write now, through a temporary file in the same folder."""
        started = time.perf_counter()
        try:
            with atomic_write(self._path) as draft:
                torch.save(trainer.state(), draft)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            raise WorkError(
                f"checkpoint {self._path}: cannot be written ({error}) — free some disk space or "
                "make the folder writable, then run again: finished trials are kept"
            ) from error
        self._saved_at = time.perf_counter()
        self._cost = self._saved_at - started

    def restore(self, trainer: Training) -> bool:
        """Continue from the saved epoch. False if there is none, or it is damaged or of another
        training: this one then starts anew and ends with the same figures.

        Raises:
            WorkError: the file may not be read.
        """
        state = _read(self._path)
        if not isinstance(state, dict) or state.get("fingerprint") != trainer.fingerprint:
            return False
        trainer.load_state(state)
        return True

    def remove(self) -> None:
        """Delete the checkpoint and what an interrupted save left behind."""
        self._path.unlink(missing_ok=True)
        remove_drafts(self._path)


def _read(path: Path) -> Any:
    """What the file holds, or None if there is none, or it is damaged."""
    try:
        # torch itself checks none of the sums that it writes: flipped bits would train on.
        with zipfile.ZipFile(path) as file:
            if file.testzip() is not None:
                return None
        return torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise WorkError(f"checkpoint {path}: may not be read ({error})") from error
    except Exception:  # damage shows as any of a dozen kinds, from OSError to UnicodeDecodeError
        return None


def _size(trainer: Training) -> float:
    """Bytes that a first checkpoint takes, about: open weights and one moment."""
    return 2.0 * sum(p.nbytes for p in trainer.backbone.model.parameters() if p.requires_grad)
