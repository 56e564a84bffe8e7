"""What every part of a run shares: derived seeds, progress, and what this machine offers."""

import os
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Literal


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed that depends on all parts and on their order."""
    digest = blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


OnProgress = Callable[[float, str], None]
"""Gets the share that is done, from 0 to 1, and what is being done."""


def no_progress(_share: float, _text: str) -> None:
    """Show nothing."""


def usable_cores() -> int:
    """Cores that this process may use: its affinity, within the container's quota."""
    affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="utf-8").split()
        return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):
        return cores


def visible_gpus() -> int:
    """Number of CUDA devices."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = len(list(Path("/dev").glob("nvidia[0-9]*")))
    if named is None:
        return found
    return min(found, len([n for n in named.split(",") if n.strip() and not n.startswith("-")]))


Precision = Literal["fp32", "bf16", "fp32 NCHW"]
"""In which number format a network computes; NCHW: with images and weights channel by channel in
memory, else pixel by pixel (channels last)."""


def planned_workers(workers: int | Literal["auto"], *, device: str) -> int:
    """How many workers a study has; of itself one for each GPU that it may use, or each core."""
    if workers != "auto":
        return workers
    return (0 if device == "cpu" else visible_gpus()) or usable_cores()
