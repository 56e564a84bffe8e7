"""The main job and the commands beside it: seconds and memory against their goals.

    uv run python benchmarks/quickstart.py [--warm-only]

Runs studies/quickstart.yaml in an empty folder, first with an empty cache (the source model is
trained, goal 300 s), then in another folder with the cache (goal 150 s), and times `--help`
(goal 0.5 s) and `check` (goal 1.5 s), the fastest of five. Memory is the largest resident size seen
of the coordinator (goal 600 MB) and of a worker (goal 1 GB), sampled twice a second; shared library
pages count in each. Needs an idle machine of two cores to mean anything.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

STUDY = Path(__file__).parents[1] / "studies" / "quickstart.yaml"
COMMAND = [sys.executable, "-m", "tlsearch"]
MB = 1e6


def show(what: str, found: float, goal: float, unit: str) -> None:
    print(f"{what:<28} {found:8.2f} {unit}   {found / goal:5.2f} of the goal", flush=True)


def run(cache: Path, goal: float, label: str) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryFile("w+", encoding="utf-8") as told,
    ):
        started = time.perf_counter()
        process = subprocess.Popen(
            [*COMMAND, "run", str(STUDY), "--json"],
            cwd=folder,
            env={**os.environ, "TLSEARCH_CACHE": str(cache)},
            stdout=subprocess.PIPE,
            stderr=told,
            text=True,
        )
        sizes = {"coordinator": 0.0, "worker": 0.0}
        parent = psutil.Process(process.pid)
        while process.poll() is None:
            for role, members in (("coordinator", [parent]), ("worker", parent.children())):
                for member in members:
                    try:
                        sizes[role] = max(sizes[role], member.memory_info().rss / MB)
                    except psutil.Error:
                        continue
            time.sleep(0.5)
        seconds = time.perf_counter() - started
        if process.returncode:
            told.seek(0)
            sys.exit(told.read())
        assert process.stdout is not None
        answer = json.loads(process.stdout.read())
    show(f"{label} quickstart", seconds, goal, "s ")
    show("  coordinator, peak", sizes["coordinator"], 600, "MB")
    show("  worker, peak", sizes["worker"], 1000, "MB")
    test = answer["test"]["accuracy"]
    print(f"  winner {test['mean']:.4f} ({test['low']:.4f} … {test['high']:.4f})")
    for name, found in answer["baselines"].items():
        gain = found["gain"]
        print(f"  over {name} {gain['mean']:+.4f} ({gain['low']:+.4f} … {gain['high']:+.4f})")


def command(arguments: list[str], goal: float) -> None:
    fastest = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run([*COMMAND, *arguments], check=True, stdout=subprocess.DEVNULL)
        fastest = min(fastest, time.perf_counter() - started)
    show(f"tlsearch {arguments[0]}", fastest, goal, "s ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--warm-only", action="store_true", help="use the user's own cache")
    warm_only = parser.parse_args().warm_only
    command(["--help"], 0.5)
    command(["check", str(STUDY)], 1.5)
    if warm_only:
        from tlsearch.config.paths import user_cache

        return run(user_cache(), 150, "warm")
    with tempfile.TemporaryDirectory() as cache:
        run(Path(cache), 300, "cold")
        return run(Path(cache), 150, "warm")


if __name__ == "__main__":
    main()
