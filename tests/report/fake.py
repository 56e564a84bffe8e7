"""Studies whose trainings are made up, told through the store as the coordinator tells them."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna

from tlsearch.config.loader import read_study
from tlsearch.config.paths import (
    Layout,
    evaluation_path,
    examples_path,
    scores_folder,
    scores_path,
    write_text,
)
from tlsearch.data.dataset import image_set
from tlsearch.execution.examples import as_json
from tlsearch.execution.runs import Run
from tlsearch.search.baselines import baseline_run
from tlsearch.search.champion import effects_on_test, recipe_of
from tlsearch.search.confirm import baseline_keys, choose, runs_after, sure_baselines
from tlsearch.search.mirroring import evaluation
from tlsearch.search.store import FACTS, MLFLOW, SEARCH, TEST, Store
from tlsearch.training.results import EpochResult, TrainResult

STUDY = """
name: quickstart
data:
  source: digits
  split: {strategy: stratified, validation: 0.2, test: 0.6, seed: 0}
  labels_per_class: 20
backbone: {name: resnet18, weights: glyphs}
budget: {trials: 30, epochs: 10}
search: {sampler: random, pruner: none}
space:
  freeze_depth: {low: 0, high: 5}
  lr: {low: 1.0e-4, high: 1.0e-1, log: true}
  lr_ratio: {low: 0.1, high: 1.0, log: true}
  dropout: {low: 0.0, high: 0.5}
  batch_size: [16, 32, 64]
  optimizer:
    sgd: {momentum: {low: 0.8, high: 0.99}}
    adam: {}
confirm: {top: 3, seeds: 3}
"""
DIGITS = tuple(str(i) for i in range(10))


class Fake(NamedTuple):
    store: Store
    layout: Layout

    @property
    def folder(self) -> Path:
        return self.layout.study(self.store.config.name)


def fake_study(folder: Path, *overrides: str, study: str = STUDY) -> Fake:
    path = folder / "study.yaml"
    path.write_text(study)
    config = read_study(path, overrides=overrides, preset=None)
    return Fake(Store(config, optuna.storages.InMemoryStorage()), Layout(folder / "mlruns"))


def know_data(fake: Fake, names: Sequence[str] = DIGITS, *, test_images: int = 270) -> None:
    size = len(names)
    facts = {
        "num_images": 1797,
        "class_names": list(names),
        "fingerprint": "0123456789abcdef",
        "train_counts": [20] * size,
        "validation_counts": [36] * size,
        "test_counts": [test_images // size] * size,
    }
    found = {"data": "0123456789abcdef", "weights": "fedcba9876543210", "precision": "bf16"}
    fake.store.note(FACTS, {**found, "groups": [], "facts": facts})
    fake.store.note(MLFLOW, {"tracking_uri": "sqlite:///mlflow.db", "experiment_id": "1"})


def accuracy_of(params: dict[str, Any]) -> float:
    """What a trial of the search reaches: best at a rate of 0.01 and two frozen groups."""
    rate = 0.05 * (math.log10(params["lr"]) + 2) ** 2
    return 0.965 - rate - 0.006 * abs(params["freeze_depth"] - 2) - 0.02 * params["dropout"]


def epochs_to(accuracy: float, number: int) -> tuple[EpochResult, ...]:
    curve = [accuracy * (1 - 0.6 ** (9 * e / number + 1)) for e in range(1, number + 1)]
    return tuple(
        EpochResult(
            epoch=e,
            train_loss=2.0 / e,
            train_accuracy=accuracy,
            val_loss=1.0 - accuracy,
            val_accuracy=reached,
            lr=0.01,
            max_grad_norm=3.0,
            seconds=0.4,
            val_balanced_accuracy=reached,
            val_macro_f1=reached,
            val_macro_auroc=reached,
        )
        for e, reached in enumerate(curve, start=1)
    )


def train(
    fake: Fake,
    run: Run,
    accuracy: float,
    *,
    ending: Any = "complete",
    names: Sequence[str] = DIGITS,
    reason: str = "",
) -> None:
    planned = run.num_epochs
    epochs = epochs_to(accuracy, planned)
    if ending != "complete":
        epochs = epochs[:3]
    for epoch in epochs:
        fake.store.report(run, epoch, fold=None)
    last = epochs[-1]._replace(val_accuracy=accuracy)
    result = TrainResult(
        ending="diverged" if ending == "diverged" else "complete",
        reason=reason,
        epochs=(*epochs[:-1], last) if ending == "complete" else epochs,
        chosen=last,
        confusion=(),
        max_grad_norm=3.0,
        images_trained=200 * len(epochs),
        seconds=0.4 * len(epochs),
        step_seconds=0.3 * len(epochs),
        folds=(),
        measures={},
    )
    fake.store.tell(run, ending, None if ending == "failed" else result, reason=reason)
    if ending == "complete":
        write_evaluation(fake, run.key, accuracy, names)


def write_evaluation(fake: Fake, key: str, accuracy: float, names: Sequence[str]) -> None:
    counts = np.diag([round(36 * accuracy)] * len(names))
    for i in range(len(names)):
        counts[i, (i + 3) % len(names)] += 36 - counts[i, i]
    path = evaluation_path(fake.folder, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(evaluation(tuple(names), counts.tolist())))


def search(fake: Fake, trials: int, *, names: Sequence[str] = DIGITS) -> None:
    """Trials as a search has them: most complete, some pruned, a few diverged, one failed."""
    for number in range(trials):
        run = fake.store.ask()
        ending = "pruned" if number % 7 == 4 else "diverged" if number % 13 == 6 else "complete"
        if number == 11:
            ending = "failed"
        reason = {
            "diverged": "the loss became NaN in epoch 3",
            "failed": "worker 1 died (exit code -9), 3 times; is there enough memory?",
        }.get(ending, "")
        accuracy = accuracy_of(dict(run.params))
        train(fake, run, accuracy, ending=ending, names=names, reason=reason)


BASELINE_ACCURACIES = {"linear_probe": 0.885, "full_fine_tuning": 0.951, "from_scratch": 0.938}


def baselines(fake: Fake, *, names: Sequence[str] = DIGITS) -> None:
    config = fake.store.config
    fake.store.enqueue([baseline_run(config, name, seed=1) for name in config.baselines])
    _carry_out(fake, names)


def confirm(
    fake: Fake,
    *,
    names: Sequence[str] = DIGITS,
    winner: float = 0.966,
    test_images: int = 270,
    references: dict[str, float] = BASELINE_ACCURACIES,
) -> None:
    """Confirmation, the scores on the test part, and the record of what they say."""
    config = fake.store.config
    fake.store.enqueue(sure_baselines(config))
    while fake.store.enqueue(runs_after(fake.store, SEARCH)):
        _carry_out(fake, names)
    choice = choose(fake.store)
    assert choice is not None
    rows, baselines = fake.store.rows(), baseline_keys(fake.store, choice)
    for row in rows:
        if row.run.redraw:
            accuracy = references.get(row.run.name, winner)
            write_scores(fake, row.run.key, accuracy, names, test_images)
    write_examples(fake, choice.champion)
    record: dict[str, Any] = {
        "winner": None if choice.baseline else choice.number,
        "baseline": choice.baseline,
        "best_trial": choice.number,
        "mean_validation": choice.mean,
        "keys": list(choice.keys),
        "baseline_keys": baselines,
        "champion": choice.champion,
        "scorings": 1,
        "backbone": config.backbone.name,
        **effects_on_test(choice, baselines, scores_folder(fake.folder), names),
        "model": "models:/m-0123",
    }
    for name, found in record["baselines"].items():
        found |= recipe_of(fake.store, name)
    fake.store.note(TEST, record)


def write_scores(fake: Fake, key: str, accuracy: float, names: Sequence[str], images: int) -> None:
    rng = np.random.default_rng(int.from_bytes(key.encode()) % 2**32)
    labels = np.arange(images) % len(names)
    wrong = rng.random(images) > accuracy
    said = np.where(wrong, (labels + rng.integers(1, 4, images)) % len(names), labels)
    path = scores_folder(fake.folder) / f"{key}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, probabilities=np.eye(len(names))[said], labels=labels, rows=np.arange(images))


def write_examples(fake: Fake, key: str) -> None:
    """Pictures of made-up test images, each in a grey of its own."""
    with np.load(scores_path(fake.folder, key)) as scores:
        rows, probabilities, labels = (scores[n] for n in ("rows", "probabilities", "labels"))
    pixels = np.arange(len(rows), dtype=np.uint8).repeat(64).reshape(-1, 8, 8, 1)
    data = image_set(pixels, labels, tuple(map(str, range(probabilities.shape[1]))))
    views = np.zeros((2, 3, 8, 8, 3), dtype=np.uint8)
    content = as_json(
        data, rows=rows, probabilities=probabilities, trained=np.array([0, 1]), views=views
    )
    write_text(examples_path(fake.folder, key), json.dumps(content))


def _carry_out(fake: Fake, names: Sequence[str]) -> None:
    while (run := fake.store.ask_fixed()) is not None:
        accuracy = BASELINE_ACCURACIES.get(run.name, 0.96 + 0.001 * run.redraw)
        train(fake, run, accuracy, names=names)


def finished(folder: Path, *overrides: str, trials: int = 30) -> Fake:
    """A whole study, confirmed and scored."""
    fake = fake_study(folder, *overrides)
    know_data(fake)
    baselines(fake)
    search(fake, trials)
    confirm(fake)
    return fake
