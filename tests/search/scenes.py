"""A coordinator among stand-ins: workers that do as a test says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.search.fakes import (
    FakeExecutor,
    FakeMirror,
    Story,
    Watched,
    layout_in,
    memory_store,
    setting_of,
    train,
)
from tlsearch.config.schema import StudyConfig
from tlsearch.execution.interrupts import Interrupts
from tlsearch.execution.runs import Run
from tlsearch.search.coordinator import Coordinator
from tlsearch.search.store import Store

Tell = Callable[[Any, int], Story]


class Scene:
    """A coordinator with everything around it."""

    def __init__(self, config: StudyConfig, folder: Path, story: Tell, *, workers: int = 1) -> None:
        self.store = memory_store(config)
        self.executor = FakeExecutor(workers, story)
        self.mirror, self.watched = FakeMirror(), Watched()
        self.interrupts, self.folder = Interrupts(), folder
        self.coordinator = Coordinator(
            store=self.store,
            layout=layout_in(folder.parent),
            workers=self.executor,
            preparer=self.executor,
            num_workers=workers,
            mirror=self.mirror,  # type: ignore[arg-type]
            watch=self.watched,
            interrupts=self.interrupts,
            folder=folder,
        )
        self.coordinator.configure(setting_of(config, folder))

    def run(self, trials: int) -> None:
        self.coordinator.carry_out(limited(self.store, trials))

    @property
    def keys(self) -> list[str]:
        return [job.key for job in self.executor.jobs]  # type: ignore[union-attr]


def limited(store: Store, trials: int) -> Callable[[], Run | None]:
    def next_run() -> Run | None:
        if store.num_ended() + store.num_running() >= trials:
            return None
        return store.ask()

    return next_run


def steady(job: Any, _attempt: int) -> Story:
    return train(job.key, [0.2, 0.3, 0.4])


Make = Callable[..., Scene]
