"""Estimate and later accuracy of real trainings, and what a worker makes of a job with a future."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.execution.test_prepare import images, job
from tests.models.strategies import strategy
from tests.search.conftest import Study
from tests.search.fakes import setting_of
from tests.training import small
from tlsearch.config.images import SplitConfig
from tlsearch.config.runtime import no_progress
from tlsearch.data import dataset as store
from tlsearch.data.splits import Split, draw_past
from tlsearch.execution.measures import split_figures
from tlsearch.execution.prepare import divide
from tlsearch.execution.workbench import Workbench
from tlsearch.training.batches import TrainingData, pixel_batch
from tlsearch.training.trainer import Trainer

MANIFEST = """
name: s
data: {source: {manifest: labels.csv}, labels_per_class: 6}
backbone: {name: resnet18, weights: none}
"""
BODY = "budget: {trials: 4, epochs: 3}\nspace: {lr: {low: 1.0e-3, high: 1.0e-1, log: true}}\n"


def trained(pixels: Any, split: Split) -> Trainer:
    on = TrainingData(pixels, split.train, split.validation, small.CLASSES, None)
    trainer = small.trainer(strategy(lr=0.05), num_epochs=3, on=on)
    list(trainer.epochs())
    trainer.finish()
    return trainer


def test_accuracy_on_the_test_part_and_on_the_future() -> None:
    pixels = small.pixels(num_images=90)
    rows = np.arange(90)
    split = Split(rows[:40], rows[40:50], rows[50:70])
    trainer = trained(pixels, split)
    found = split_figures(trainer.forward, split, rows[70:])
    with torch.no_grad():
        scores = trainer.backbone.model(pixel_batch(pixels, rows, device=small.CPU))
    right = scores.argmax(1).numpy() == pixels.labels
    assert 0.4 < right.mean() < 1
    assert found["estimate"] == pytest.approx(right[50:70].mean())
    assert found["later_accuracy"] == pytest.approx(right[70:].mean())
    assert found["future_error"] == pytest.approx(abs(right[50:70].mean() - right[70:].mean()))


def test_a_drift_that_a_shuffled_split_cannot_see() -> None:
    """Later images are darker: a split by lot promises more than they keep."""
    pixels = small.pixels(num_images=180)
    darker = pixels.images.astype(float) - np.linspace(0, 30, 180)[:, None, None, None]
    pixels = pixels._replace(images=darker.clip(0, 255).astype(np.uint8))
    order = np.random.default_rng(0).permutation(120)
    rows = np.arange(180)
    errors = {}
    for name, past in (("random", order), ("time", rows[:120])):
        split = Split(*(np.sort(part) for part in np.split(past, [70, 90])))
        errors[name] = split_figures(trained(pixels, split).forward, split, rows[120:])
    assert errors["random"]["estimate"] > errors["time"]["estimate"]
    assert errors["random"]["future_error"] > errors["time"]["future_error"]


@pytest.fixture
def bench(study: Study, tmp_path: Path) -> Any:
    config = study(body=BODY, head=MANIFEST)
    data = images(120, times=np.arange(120.0)[::-1])
    facts, _ = divide(data, config)
    place = store.save(data, tmp_path / "images")
    setting = replace(setting_of(config, tmp_path), data=facts, store=place)
    return Workbench(setting, device_index=None, on_progress=no_progress), config, data


def test_a_worker_divides_the_past_as_its_job_says(bench: Any) -> None:
    workbench, config, data = bench
    split = SplitConfig(strategy="random", validation=0.3, test=0.3, seed=9)
    asked = replace(job(config, (0,), 2), split=split, future=0.25)
    trainer = workbench.trainer(asked)
    parts, future = draw_past(data, split=split, labels_per_class=6, share=0.25, seed=2)
    assert len(parts.train) == 18
    assert future.tolist() == list(range(30))
    np.testing.assert_array_equal(trainer.data.train, parts.train)
    np.testing.assert_array_equal(trainer.data.validation, parts.validation)
    list(trainer.epochs())
    trainer.finish()
    found = workbench._split_figures(asked, trainer)
    assert found == split_figures(trainer.forward, parts, future)
    assert found["later_accuracy"] * 30 == pytest.approx(round(found["later_accuracy"] * 30))
    assert workbench._split_figures(job(config, (0,), 2), trainer) == {}
