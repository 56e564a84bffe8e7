"""A coordinator among stand-ins: workers that do as a test tells them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.search.fakes import (
    FakeExecutor,
    FakeMirror,
    Story,
    Watched,
    memory_ledger,
    setting_of,
    train,
)
from tlsearch.config.schema import StudyConfig
from tlsearch.execution.interrupts import Interrupts
from tlsearch.execution.runs import Run
from tlsearch.search.job_maker import train_job
from tlsearch.search.ledger import Ledger
from tlsearch.search.scheduler import Coordinator

Tell = Callable[[Any, int], Story]


class Scene:
    """A coordinator with everything around it."""

    def __init__(self, config: StudyConfig, folder: Path, story: Tell, *, workers: int = 1) -> None:
        self.ledger = memory_ledger(config)
        self.executor = FakeExecutor(workers, story)
        self.mirror, self.watched = FakeMirror(), Watched()
        self.interrupts, self.folder = Interrupts(), folder
        self.coordinator = Coordinator(
            make_job=train_job,
            ledger=self.ledger,
            executor=self.executor,
            mirror=self.mirror,  # type: ignore[arg-type]
            watch=self.watched,
            interrupts=self.interrupts,
            folder=folder,
        )
        self.coordinator.configure(setting_of(config, folder))

    def run(self, trials: int) -> None:
        self.coordinator.carry_out(limited(self.ledger, trials))

    @property
    def keys(self) -> list[str]:
        return [job.key for job in self.executor.jobs]  # type: ignore[union-attr]


def limited(ledger: Ledger, trials: int) -> Callable[[], Run | None]:
    def next_run() -> Run | None:
        if ledger.num_ended() + ledger.num_running() >= trials:
            return None
        return ledger.ask()

    return next_run


def steady(job: Any, _attempt: int) -> Story:
    return train(job.key, [0.2, 0.3, 0.4])


Make = Callable[..., Scene]
