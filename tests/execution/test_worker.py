"""A worker's answers to jobs that go wrong, in this process."""

import gc
import weakref
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch

from tlsearch.execution.messages import Event, JobFailed, OutOfMemory, ScoreJob
from tlsearch.execution.worker import _Server

SCORE = ScoreJob(keys=(), backbone="")


class Pipe:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[Event] = []

    def send(self, event: Event) -> None:
        self.sent.append(event)


class Bench:
    """Holds something large, and fails."""

    def __init__(self, fail: Callable[[], object]) -> None:
        self._fail, self.large = fail, torch.zeros(8)

    def score(self, _job: ScoreJob) -> object:
        large = self.large  # a local of the frame that the traceback names
        return self._fail(), large


def raising(kind: type[Exception], *args: object) -> Callable[[], object]:
    def fail() -> object:
        raise kind(*args)  # made here: an error that is kept would keep the frames of its traceback

    return fail


def served(fail: Callable[[], object]) -> tuple[Event, bool]:
    """The answer, and whether what the job held is gone."""
    pipe: Any = Pipe()
    server = _Server(pipe, None)
    bench = Bench(fail)
    held = weakref.ref(bench.large)
    server.setting = cast(Any, object())
    server._bench = ("", bench)
    del bench
    server.serve(SCORE)
    gc.collect()
    (event,) = pipe.sent
    return event, held() is None


@pytest.mark.parametrize(
    "fail",
    [
        lambda: torch.empty(2**60),  # a CPU's allocator, for real
        lambda: bytearray(2**62),
        raising(torch.OutOfMemoryError, "CUDA out of memory. Tried to allocate 2.00 GiB.\nMore"),
        raising(RuntimeError, "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
        raising(OSError, 12, "Cannot allocate memory"),
    ],
)
def test_out_of_memory_is_said_and_all_is_let_go(fail: Callable[[], object]) -> None:
    event, freed = served(fail)
    assert isinstance(event, OutOfMemory)
    assert event.message.startswith("out of memory")
    assert "\n" not in event.message
    assert freed


@pytest.mark.parametrize(
    ("fail", "exit_code", "said"),
    [
        (raising(OSError, 28, "No space left on device", "/x"), 1, "/x: No space left on device"),
        (raising(KeyError, "x"), None, "KeyError: 'x'"),
        (raising(RuntimeError, "shapes differ"), None, "RuntimeError: shapes differ"),
    ],
)
def test_other_failures(fail: Callable[[], object], exit_code: int | None, said: str) -> None:
    event, freed = served(fail)
    assert isinstance(event, JobFailed)
    assert (event.key, event.exit_code) == ("ScoreJob", exit_code)
    assert event.message.startswith(said)
    assert ("Traceback" in event.details) == (exit_code is None)
    assert not freed  # the next job finds it there
