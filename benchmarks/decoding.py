"""Decoding a folder of JPEGs beside bare Pillow loops in two processes; memory; second start.

    python benchmarks/decoding.py                    # 20,000 files, about five minutes, 3 GB
    python benchmarks/decoding.py --images 4000

The files are 500 × 500 pixels of 1/f noise in colour, which is the spectrum of photographs, at
quality 85: some 130 kB each, so that entropy decoding costs what it does for a detailed photograph.
40 pictures are drawn, each file is one of them rolled sideways, so that no two are alike.

The plain loop is `Image.open(path).convert("RGB").resize(…)` to the same square, in two processes
over chunks of 16 files. Ours runs as many threads as cores, hashes the bytes and the picture as
well, and writes the store; it has libjpeg reduce while it decodes (`draft`), and so the drafted
loop is told too, which does the same. The three take turns, over a quarter of the files each time,
from a warm page cache; a ratio is of the sums. Target: 0.8 or more of the plain loop's rate.

Peak memory is that of a fresh process that decodes all files, and of one that decodes a quarter of
them (VmHWM, so on Linux alone): the difference should be small. The second start is the same call
in another fresh process.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from tlsearch.config.images import DataConfig
from tlsearch.config.runtime import no_progress
from tlsearch.data.sources import load_images

SIDE, SIZE, PICTURES, CLASSES, CHUNK = 500, 64, 40, 10, 16


def noise(draw: np.random.Generator) -> np.ndarray:
    """A picture (SIDE, SIDE, 3) whose amplitudes fall as 1/f."""
    rows, columns = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None]
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = 1
    white = draw.standard_normal((3, SIDE, SIDE))
    pink = np.fft.irfft2(np.fft.rfft2(white) / frequency, s=(SIDE, SIDE))
    pink = (pink - pink.mean()) / pink.std() * 50 + 128
    picture: np.ndarray = np.clip(np.moveaxis(pink, 0, -1), 0, 255).astype(np.uint8)
    return picture


def write_files(folder: Path, count: int) -> None:
    draw = np.random.default_rng(0)
    pictures = [noise(draw) for _ in range(PICTURES)]
    for i in range(count):
        place = folder / f"class {i % CLASSES}"
        place.mkdir(parents=True, exist_ok=True)
        rolled = np.roll(pictures[i % PICTURES], 7 * (i // PICTURES), axis=1)
        Image.fromarray(rolled).save(place / f"{i}.jpg", quality=85)


def bare(paths: list[Path], *, draft: bool) -> np.ndarray:
    found = []
    for path in paths:
        with Image.open(path) as picture:
            if draft:
                picture.draft("RGB", (2 * SIZE, 2 * SIZE))
            small = picture.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC)
            found.append(np.asarray(small))
    return np.stack(found)


def ours(folder: Path, cache: Path) -> int:
    data = DataConfig.model_validate({"source": {"folder": str(folder)}, "size": SIZE})
    found = load_images(data, cache=cache, on_progress=no_progress)
    return len(found.images)


def seconds_of_all(folders: list[Path], cache: Path) -> tuple[float, float, float]:
    """Seconds of the plain loop, the drafted one and ours, over all folders in turns."""
    plain = drafted = mine = 0.0
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for folder in folders:
            files = sorted(folder.rglob("*.jpg"))
            for path in files:
                path.read_bytes()
            chunks = [files[i : i + CHUNK] for i in range(0, len(files), CHUNK)]
            list(pool.map(partial(bare, draft=False), chunks[:2]))  # the processes start
            plain += timed(partial(in_processes, pool, chunks, draft=False))
            drafted += timed(partial(in_processes, pool, chunks, draft=True))
            mine += timed(partial(ours, folder, cache))
    return plain, drafted, mine


def in_processes(pool: ProcessPoolExecutor, chunks: list[list[Path]], *, draft: bool) -> None:
    list(pool.map(partial(bare, draft=draft), chunks))


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_a_process(folder: Path, cache: Path) -> tuple[float, float]:
    """Seconds and peak megabytes of one read in a fresh process."""
    command = [sys.executable, __file__, "--read", str(folder), str(cache)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(told[0]), float(told[1])


def read_once(folder: Path, cache: Path) -> None:
    start = time.perf_counter()
    ours(folder, cache)
    seconds = time.perf_counter() - start
    # Not getrusage: what it tells may be the peak of the process that started this one.
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    print(seconds, peak / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--read", nargs=2, type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.read:
        read_once(*asked.read)
        return
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        folders = [root / "files" / f"set {i}" for i in range(4)]
        for folder in folders:
            write_files(folder, asked.images // len(folders))
        plain, drafted, mine = seconds_of_all(folders, root / "first")
        num = asked.images // len(folders) * len(folders)
        print(f"{num} files: plain loop {num / plain:.0f}/s, ours {num / mine:.0f}/s", end=", ")
        print(f"ratio {plain / mine:.2f} (target: at least 0.80)")
        print(f"drafted loop {num / drafted:.0f}/s, ratio {drafted / mine:.2f}")
        everything, quarter = root / "files", folders[0]
        # Below `files` the sets are the classes; they hold the classes' folders.
        _, peak_quarter = in_a_process(quarter, root / "second")
        _, peak = in_a_process(everything, root / "second")
        again, _ = in_a_process(everything, root / "second")
        print(f"peak memory: {peak_quarter:.0f} MB for a quarter, {peak:.0f} MB for all")
        print(f"second start: {again:.2f} s (target: below 2)")


if __name__ == "__main__":
    main()
