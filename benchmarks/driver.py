"""What the coordinator, Optuna and MLflow cost a trial beyond its training.

    uv run python benchmarks/driver.py [--trials 500]

Drives the real coordinator, store (journal) and mirror (SQLite) with workers that train in no
time: 8 dimensions, 10 epochs, random sampler. Prints milliseconds a trial in blocks, the share of
each part, and the ratio of the last block to the first.
"""

import argparse
import resource
import tempfile
import time
from collections import deque
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from tlsearch.config.loader import read_study
from tlsearch.config.paths import Layout
from tlsearch.data.records import SplitFacts
from tlsearch.execution.interrupts import Interrupts
from tlsearch.execution.messages import (
    DataFacts,
    Decision,
    EpochDone,
    Event,
    Job,
    Setting,
    TrainDone,
    TrainJob,
)
from tlsearch.search.coordinator import Coordinator
from tlsearch.search.storage import open_storage
from tlsearch.search.store import Store
from tlsearch.tracking.mlflow_logger import Mirror
from tlsearch.tracking.reconcile import PARENT, wanted
from tlsearch.training.results import EpochResult, TrainResult

QUICKSTART = Path(__file__).parents[1] / "studies" / "quickstart.yaml"
BLOCK = 50
CLASSES = tuple("0123456789")


class InstantExecutor:
    """Two workers whose epochs are over as soon as they are asked for."""

    def __init__(self) -> None:
        self.jobs: dict[int, tuple[TrainJob, list[EpochResult]] | None] = {0: None, 1: None}
        self.told: deque[tuple[int, Event]] = deque()

    def idle(self) -> list[int]:
        return [i for i, job in self.jobs.items() if job is None]

    def configure(self, setting: Setting) -> None:
        pass

    def submit(self, worker: int, job: Job) -> None:
        assert isinstance(job, TrainJob), "there is nothing else to do"
        self.jobs[worker] = (job, [])
        self._epoch(worker)

    def _busy(self, worker: int) -> tuple[TrainJob, list[EpochResult]]:
        found = self.jobs[worker]
        assert found is not None, "an idle worker says nothing"
        return found

    def _epoch(self, worker: int) -> None:
        job, past = self._busy(worker)
        n = len(past) + 1
        past.append(EpochResult(n, 1 / n, 1 - 0.5 / n, 1 / n, 1 - 0.6 / n, 0.01, 2.0, 0.5))
        self.told.append((worker, EpochDone(job.key, past[-1], None)))

    def answer(self, worker: int, decision: Decision) -> None:
        job, past = self._busy(worker)
        if decision == "continue" and len(past) < job.run.num_epochs:
            self._epoch(worker)
            return
        ending: Literal["complete", "stopped"] = "complete" if decision == "continue" else "stopped"
        confusion = tuple(tuple(int(i == j) for j in range(10)) for i in range(10))
        result = TrainResult(
            ending="complete",
            reason="",
            epochs=tuple(past),
            chosen=past[-1],
            confusion=confusion if ending == "complete" else (),
            max_grad_norm=2.0,
            images_trained=2000,
            seconds=5.0,
            step_seconds=4.0,
            folds=(),
            measures={},
        )
        self.told.append((worker, TrainDone(job.key, ending, result)))

    def release(self, worker: int) -> None:
        self.jobs[worker] = None

    def events(self, *, timeout: float) -> list[tuple[int, Event]]:  # noqa: ARG002
        found, self.told = list(self.told), deque()
        return found

    def shutdown(self, *, now: bool) -> None:
        pass


class Overhead(NamedTuple):
    """Milliseconds a trial: of each block on the clock, and of the processor over all."""

    blocks: list[float]
    cpu: float


def overhead(num_trials: int) -> Overhead:
    """Drive so many trials."""
    overrides = ["search.sampler=random", "search.pruner=none", f"budget.trials={num_trials}"]
    config = read_study(QUICKSTART, overrides=overrides, preset=None)
    facts = DataFacts(
        num_images=1797,
        class_names=CLASSES,
        fingerprint="0" * 16,
        train_counts=(20,) * 10,
        validation_counts=(36,) * 10,
        test_counts=(108,) * 10,
        split=SplitFacts(
            strategy="stratified",
            folds=None,
            fingerprint="0" * 16,
            left_out=0,
            parts=(),
            pairs=(),
            notes=(),
        ),
    )
    with tempfile.TemporaryDirectory() as name:
        layout = Layout(Path(name) / "mlruns")
        layout.create()
        storage = open_storage(config, layout, create=True)
        assert storage is not None, "it may be made"
        store = Store(config, storage)
        mirror = Mirror(
            tracking_uri=f"sqlite:///{layout.mlflow_db}",
            artifact_root=layout.artifacts,
            experiment="benchmark",
            study_key=store.key,
            flush_seconds=2.0,
            patience_seconds=10.0,
            gives_up=lambda: False,
        )
        mirror.open(
            wanted(PARENT, run_name="benchmark"),
            children=(),
            datasets=(),
            experiment_tags={},
            abandoned=None,
        )
        mirror.flush()
        folder = layout.study(config.name)
        folder.mkdir(parents=True)
        coordinator = Coordinator(
            store=store,
            layout=layout,
            workers=InstantExecutor(),
            preparer=InstantExecutor(),
            num_workers=2,
            mirror=mirror,
            watch=lambda _: None,
            interrupts=Interrupts(),
            folder=folder,
        )
        groups = ("stem", "layer1", "layer2", "layer3", "layer4", "head")
        nowhere = Path(name)
        coordinator.configure(
            Setting(
                config=config,
                data=facts,
                groups=groups,
                folder=folder,
                store=nowhere,
                activations=nowhere,
                activations_key="0" * 16,
                source=None,
                weights="none",
                weights_fingerprint="none",
                precision="fp32",
                device="cpu",
            )
        )
        blocks, started, cpu = [], time.perf_counter(), time.process_time()
        for done in range(0, num_trials, BLOCK):
            asked = (store.ask() for _ in range(min(BLOCK, num_trials - done)))
            coordinator.carry_out(partial(next, asked, None))
            mirror.flush()  # what the mirror's thread still owes belongs to these trials
            now = time.perf_counter()
            blocks.append((now - started) / min(BLOCK, num_trials - done) * 1e3)
            print(f"trials {done + 1:4d} …: {blocks[-1]:6.1f} ms a trial", flush=True)
            started = now
        cpu = (time.process_time() - cpu) / num_trials * 1e3
        mirror.close(status="FINISHED")
    return Overhead(blocks, cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=500)
    blocks, cpu = overhead(parser.parse_args().trials)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"mean {sum(blocks) / len(blocks):.1f} ms a trial wall, {cpu:.1f} ms CPU (goal 20)")
    print(f"last block ÷ first block: {blocks[-1] / blocks[0]:.2f}")
    print(f"coordinator's peak memory: {peak:.0f} MB (goal 600)")


if __name__ == "__main__":
    main()
