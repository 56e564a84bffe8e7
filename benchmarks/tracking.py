"""What mirroring costs a trial, beside MLflow's own nested runs, in blocks of 50 trials.

    python benchmarks/tracking.py            # about half a minute; one core
    python benchmarks/tracking.py --trials 100

A trial has 10 epochs of 6 metrics, 10 params, 8 tags and 2 small JSON files. Both write to fresh
SQLite stores with default settings. "caller" is what the coordinator's own thread spends; "all"
the time until a block of trials is written together, as when they take less than the flush
interval; "alone" the same with each trial written by itself. In a study this overlaps with the
training. The nested runs log the same: params and tags in one call each, the metrics of an epoch
in one call, as MLflow's documentation does; of these, ten a block.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tlsearch.tracking.mlflow_logger import Mirror, now_ms
from tlsearch.tracking.reconcile import PARENT, EpochMetrics, wanted

BLOCK = 50
NESTED = 10  # of each block: they are slow
EPOCHS = 10
PARAMS = {f"param.{i}": 0.1 * i for i in range(10)}
TAGS = {f"tlsearch.tag{i}": f"value {i}" for i in range(8)}
ARTIFACTS: dict[str, dict[str, Any]] = {
    "confusion.json": {"matrix": [[1] * 10] * 10},
    "classes.json": {"f1": [0.5] * 10},
}


def metrics(epoch: int) -> dict[str, float]:
    """Six metrics of one epoch."""
    return {f"metric{i}": epoch + 0.1 * i for i in range(6)}


def mirrored(study: Mirror, number: int) -> None:
    """One trial through the mirror, as the coordinator sends it."""
    key = str(number)
    study.show(
        wanted(
            key,
            run_name=f"trial-{number:04d}",
            status="RUNNING",
            params=PARAMS,
            tags=TAGS,
            start_ms=now_ms(),
        )
    )
    for epoch in range(1, EPOCHS + 1):
        study.show(wanted(key, metrics=[EpochMetrics(epoch, now_ms(), metrics(epoch))]))
    tags = {"tlsearch.state": "complete"}
    study.show(wanted(key, status="FINISHED", tags=tags, artifacts=ARTIFACTS, end_ms=now_ms()))


def nested(number: int) -> None:
    """The same trial as an ordinary nested run."""
    import mlflow

    with mlflow.start_run(run_name=f"trial-{number:04d}", nested=True, tags=TAGS):
        mlflow.log_params(PARAMS)
        for epoch in range(1, EPOCHS + 1):
            mlflow.log_metrics(metrics(epoch), step=epoch)
        mlflow.set_tag("tlsearch.state", "complete")
        for path, content in ARTIFACTS.items():
            mlflow.log_dict(content, path)


def milliseconds(work: Callable[[], object], *, trials: int) -> float:
    """Wall-clock milliseconds a trial."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000 / trials


def main() -> None:
    """Run both, block by block, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=500)
    trials: int = parser.parse_args().trials
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), trials)


def compare(folder: Path, trials: int) -> None:
    """Alternate between the two, so that a busy machine hits both."""
    study = Mirror(
        tracking_uri=f"sqlite:///{folder}/mirror.db",
        artifact_root=folder / "mirror",
        experiment="benchmark",
        study_key="benchmark",
        flush_seconds=2.0,
        patience_seconds=60.0,
        gives_up=lambda: False,
    )
    start = time.perf_counter()
    study.open(
        wanted(PARENT, run_name="study"),
        children=(),
        datasets=(),
        experiment_tags={},
        abandoned=None,
    )
    study.flush()
    print(f"opening: {time.perf_counter() - start:.1f} s, in its thread (import, migrations)")

    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{folder}/nested.db")
    mlflow.set_experiment(
        experiment_id=mlflow.create_experiment("nested", (folder / "nested").as_uri())
    )
    print(
        f"{'trials':>9} {'caller':>8} {'all':>8} {'alone':>8} {'nested':>8}   (ms a trial)  ratio"
    )
    with mlflow.start_run(run_name="study"):
        for first in range(0, trials, BLOCK):
            numbers = range(first, first + BLOCK - NESTED)
            singles = range(first + BLOCK - NESTED, first + BLOCK)

            def send(numbers: range = numbers) -> None:
                for number in numbers:
                    mirrored(study, number)

            def send_singly(numbers: range = singles) -> None:
                for number in numbers:
                    mirrored(study, number)
                    study.flush()

            def ordinary(numbers: range = singles) -> None:
                for number in numbers:
                    nested(number)

            caller = milliseconds(send, trials=len(numbers))
            whole = caller + milliseconds(study.flush, trials=len(numbers))
            alone = milliseconds(send_singly, trials=NESTED)
            plain = milliseconds(ordinary, trials=NESTED)
            print(
                f"{f'{first + 1}-{first + BLOCK}':>9} {caller:8.2f} {whole:8.2f} {alone:8.2f}"
                f" {plain:8.2f}   {plain / whole:16.0f} ×"
            )
    study.close(status="FINISHED")


if __name__ == "__main__":
    main()
