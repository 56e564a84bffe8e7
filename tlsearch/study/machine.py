"""What this machine offers, told without importing torch."""

import os
from pathlib import Path


def usable_cores() -> int:
    """Cores that this process may use: its affinity, within the container's quota."""
    affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
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
