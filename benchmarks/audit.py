"""Seconds and memory of the audit's search for duplicates: python benchmarks/audit.py

By number of images of 64 px, with hashes by lot as photos have them, and with 64 different hashes
alone, as a set of very plain pictures might; each in a process of its own. The column "share" is
the time against reading and hashing the same pixels once, which any audit must do.
"""

import hashlib
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from tlsearch.config.images import DataConfig
from tlsearch.config.runtime import no_progress
from tlsearch.data.audit import audited
from tlsearch.data.dataset import Files, ImageSet

SIZE = 64
CASES = ((20_000, 64), (200_000, 64), (20_000, 6))
"""Images, and bits in which their hashes differ."""


def made(num: int, bits: int, folder: Path) -> ImageSet:
    draw = np.random.default_rng(0)
    place = folder / "images.npy"
    pixels = np.lib.format.open_memmap(place, mode="w+", dtype=np.uint8, shape=(num, SIZE, SIZE, 3))
    for start in range(0, num, 1000):
        coarse = draw.integers(0, 256, (1000, 8, 8, 3), dtype=np.uint8)
        pixels[start : start + 1000] = coarse.repeat(8, axis=1).repeat(8, axis=2)
    del pixels
    files = Files(
        names=np.array([f"a/{i}.jpg" for i in range(num)]),
        sizes=np.full((num, 2), 500, np.int32),
        digests=np.array([f"{i:032x}" for i in range(num)]),
        hashes=draw.integers(0, 2**bits, num, dtype=np.uint64),
    )
    return ImageSet(
        images=np.load(place, mmap_mode="r"),
        labels=np.arange(num) % 10,
        class_names=tuple("abcdefghij"),
        fingerprint="made",
        files=files,
    )


def measure(num: int, bits: int) -> None:
    config = DataConfig.model_validate({"source": {"folder": "x"}, "size": SIZE})
    with tempfile.TemporaryDirectory() as folder:
        data = made(num, bits, Path(folder))
        started = time.perf_counter()
        for image in data.images:
            hashlib.blake2b(image.data).digest()
        once = time.perf_counter() - started
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.perf_counter()
        _, audit = audited(data, config, on_progress=no_progress)
        taken = time.perf_counter() - started
        more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    whole = "all pairs" if not audit.unseen else "up to the limit"
    print(f"{num:>9,}{bits:>6}{taken:>9.1f}{taken / once:>9.1f}{more:>9.0f}  {whole}")


def main() -> None:
    print(f"{'images':>9}{'bits':>6}{'seconds':>9}{'share':>9}{'MB more':>9}")
    for case in CASES:
        process = multiprocessing.get_context("spawn").Process(target=measure, args=case)
        process.start()
        process.join()


if __name__ == "__main__":
    main()
