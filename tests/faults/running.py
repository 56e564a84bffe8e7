"""A real `tlsearch run` in a folder of its own, watched by its output and its files."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

DEADLINE_SECONDS = 240.0
"""For a condition that must come; machines that run tests are busy."""
POLL_SECONDS = 0.01

STUDY = """
name: tiny
data: {source: digits, size: 32, labels_per_class: 3, split: {validation: 0.2, test: 0.6}}
backbone: {name: resnet18, weights: none}
budget: {trials: 3, epochs: 3}
workers: 1
device: cpu
precision: fp32
search: {sampler: random, pruner: none}
space:
  lr: {low: 1.0e-3, high: 1.0e-2, log: true}
  dropout: {low: 0.0, high: 0.5}
  batch_size: 16
confirm: null
baselines: []
"""


class Place:
    """A folder with a study, and how to run it there."""

    def __init__(self, folder: Path, *, cache: Path, study: str = STUDY) -> None:
        self.folder, self.cache = folder, cache
        self.state = folder / "mlruns"
        self.file = folder / "study.yaml"
        self.file.write_text(study)

    @property
    def own(self) -> Path:
        """The study's own folder."""
        return self.state / "studies" / "tiny"

    def checkpoint(self, key: str) -> Path:
        return self.own / "checkpoints" / f"{key}.pt"

    def start(
        self, *options: str, command: str = "run", env: dict[str, str] | None = None
    ) -> "Command":
        return Command(self, [command, str(self.file), *options], env or {})

    def run(
        self, *options: str, command: str = "run", env: dict[str, str] | None = None
    ) -> "Command":
        started = self.start(*options, command=command, env=env)
        started.wait()
        return started

    def finish(self, *options: str) -> "Command":
        """Run to the end, which must come."""
        done = self.run(*options)
        assert done.code == 0, done.said
        return done


class Command:
    """A running command in a session of its own, so that a signal to its group hits nobody else."""

    def __init__(self, place: Place, arguments: Sequence[str], env: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tlsearch", *arguments],
            cwd=place.folder,
            env=_environment(place) | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._lines.append(line.rstrip("\n"))

    @property
    def said(self) -> str:
        """All that it printed so far."""
        return "\n".join(self._lines)

    @property
    def message(self) -> str:
        """What it said at last, which for an error must be all that it said in its own name."""
        assert "Traceback" not in self.said, self.said
        return self.said[self.said.index("tlsearch: ") :]

    @property
    def code(self) -> int:
        code = self._process.returncode
        assert code is not None
        return code

    def wait(self) -> None:
        """Until it has ended, and all processes that it started."""
        self._process.wait(DEADLINE_SECONDS)
        self._reader.join(DEADLINE_SECONDS)
        until(lambda: not _session(self.pid), "its processes end")

    def wait_for(self, text: str) -> None:
        """Until a line with this text was printed."""
        self.wait_until(lambda: text in self.said, f"{text!r} is printed")

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Until `condition` holds, while the command runs."""
        until(lambda: condition() or self._process.poll() is not None, what)
        assert condition(), f"it ended (code {self._process.returncode}) before {what}: {self.said}"

    def kill(self) -> None:
        """SIGKILL for the coordinator alone; what it started must end by itself."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def signal_group(self, number: signal.Signals) -> None:
        """As a terminal does with Ctrl-C."""
        os.killpg(self.pid, number)

    def workers(self) -> list[psutil.Process]:
        """Processes that prepare, train or log, oldest first: those forked from the server."""
        found = [
            p
            for p in _session(self.pid)
            if "multiprocessing.forkserver" in " ".join(p.cmdline()) and p.ppid() != self.pid
        ]
        return sorted(found, key=lambda p: p.create_time())


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(POLL_SECONDS)


def _session(leader: int) -> list[psutil.Process]:
    """Live processes of a session."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def _environment(place: Place) -> dict[str, str]:
    known = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "TLSEARCH_"))}
    known.pop("PYTHONDONTWRITEBYTECODE", None)  # without it every process compiles torch anew
    return known | {
        "TLSEARCH_CACHE": str(place.cache),
        "TLSEARCH_CHECKPOINT_SHARE": "inf",
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
    }
