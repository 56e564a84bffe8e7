"""What measuring a trained network costs beside its training: ResNet-18, glyph weights, 32 px.

    python benchmarks/measures.py

One thread, 100 training images of sklearn's digits, 12 epochs. The first training renders the
source's images and fits its probe; later ones find both.
"""

import tempfile
import time
from pathlib import Path

from tlsearch.config.loader import read_study
from tlsearch.config.paths import user_cache
from tlsearch.config.runtime import no_progress
from tlsearch.execution.measures import Trained
from tlsearch.execution.messages import PrepareJob, Setting, TrainJob
from tlsearch.execution.prepare import prepare
from tlsearch.execution.runs import Run
from tlsearch.execution.workbench import Workbench
from tlsearch.metrics.registry import MEASURES, take_measures
from tlsearch.training.results import TrainResult
from tlsearch.training.trainer import Trainer

STUDY = """
name: measures
data: {source: digits, size: 32, labels_per_class: 10, split: {test: 0.6}}
backbone: {name: resnet18, weights: glyphs}
device: cpu
budget: {trials: 1, epochs: 12}
space: {lr: 0.01, batch_size: 16}
"""


def prepared(folder: Path) -> Setting:
    path = folder / "study.yaml"
    path.write_text(STUDY)
    job = PrepareJob(
        config=read_study(path, overrides=(), preset=None),
        folder=folder,
        cache=folder / "cache",
        user_cache=user_cache(),
        threads=2,
    )
    return prepare(job, device_index=None, on_progress=no_progress)[0]


def trained(
    bench: Workbench, setting: Setting, measures: tuple[str, ...]
) -> tuple[TrainJob, Trainer, TrainResult, float]:
    params = setting.config.space.assign(lambda _n, _d: None)
    run = Run(
        study=setting.config.name,
        scenario="",
        arm="",
        role="trial",
        name="",
        trial=0,
        params=params,
        init="pretrained",
        seed=0,
        redraw=0,
        folds=(0,),
        num_epochs=12,
        backbone="",
    )
    job = TrainJob(run=run, measures=measures)
    trainer = bench.trainer(job)
    assert isinstance(trainer, Trainer), "a single fold"
    started = time.perf_counter()
    list(trainer.epochs())
    return job, trainer, trainer.finish(), time.perf_counter() - started


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        setting = prepared(folder)
        bench = Workbench(setting, device_index=None, on_progress=no_progress)
        trained(bench, setting, ())  # warm
        *_, plain = trained(bench, setting, ())
        job, trainer, result, watched = trained(bench, setting, tuple(MEASURES))
        print(f"{setting.precision}: training {plain:.2f} s, with updates measured {watched:.2f} s")
        started = time.perf_counter()
        bench.measure(job, trainer, result)
        print(f"all measures, the first time in a worker: {time.perf_counter() - started:.2f} s")
        total = 0.0
        for measure in MEASURES:
            of = Trained(
                trainer=trainer,
                result=result,
                test=bench._splits(0)[0].test,
                pretrained=bench._pretrained,
                source=lambda: bench._source_task,
            )
            started = time.perf_counter()
            found = take_measures((measure,), of)
            seconds = time.perf_counter() - started
            total += seconds
            print(f"{measure:20} {seconds:6.2f} s {seconds / plain:6.1%}  {found}")
        print(f"all, each alone: {total:.2f} s, {total / plain:.0%} of the training")


if __name__ == "__main__":
    main()
