"""The source's own task after fine-tuning: a real network, pretrained on a few characters."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.search.conftest import Study
from tests.search.fakes import setting_of
from tests.training.small import pixels, tiny_backbone
from tests.training.test_pretrain import TINY
from tlsearch.config.progress import no_progress
from tlsearch.config.strategy import Strategy
from tlsearch.data import dataset as store
from tlsearch.data.dataset import image_set
from tlsearch.execution.messages import Setting, TrainJob
from tlsearch.execution.prepare import divide
from tlsearch.execution.source_data import (
    SourceTask,
    glyph_probe_file,
    glyph_source,
    pooled_features,
)
from tlsearch.execution.workbench import Workbench
from tlsearch.metrics.protocol import SOURCE_IMAGES
from tlsearch.models.backbones import Backbone, build_backbone
from tlsearch.training.pretrain import glyph_weights

BACKBONE = "mobilenet_v3_small"
HEAD = f"""
name: s
data: {{source: {{manifest: labels.csv}}}}
backbone: {{name: {BACKBONE}, weights: glyphs}}
"""
NAMES = ("cka_drift", "weight_drift", "source_accuracy")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return glyph_weights(
        TINY,
        backbone=BACKBONE,
        image_size=32,
        cache=tmp_path_factory.mktemp("cache"),
        threads=1,
        on_progress=no_progress,
    )


@pytest.fixture
def setting(study: Study, weights: Path, tmp_path: Path) -> Setting:
    config = study("data.size=32", head=HEAD)
    draw = np.random.default_rng(0).integers(0, 255, (60, 32, 32, 3)).astype(np.uint8)
    data = image_set(draw, np.arange(60) % 3, ("ape", "bee", "cat"))
    facts, _ = divide(data, config)
    place = store.save(data, tmp_path / "images")
    return replace(
        setting_of(config, tmp_path), data=facts, store=place, weights=str(weights), groups=()
    )


def glyph_task(pretrained: Backbone, *, weights: Path) -> SourceTask:
    """The embedded source task for a network of tests, whose probe is kept beside these weights."""
    data = glyph_source(backbone=pretrained.name, image_size=12)
    return SourceTask(pretrained, data=data, kept_as=glyph_probe_file(weights))


Measure = Callable[..., dict[str, float]]


@pytest.fixture
def measure(setting: Setting, tmp_path: Path) -> Measure:
    """Train for an epoch and measure, in a worker of its own."""

    def make(init: Any = "pretrained", **changes: Any) -> dict[str, float]:
        params = setting.config.space.assign(lambda _n, _d: 0.01)
        bench = Workbench(replace(setting, **changes), device_index=None, on_progress=no_progress)
        job = TrainJob(
            key="k",
            strategy=Strategy.from_params(params | {"freeze_depth": 2}, init=init),
            seed=0,
            redraw=0,
            folds=(0,),
            num_epochs=1,
            checkpoint=tmp_path / "k.pt",
            weights_to=None,
            scores_to=None,
            measures=NAMES,
            split=None,
            future=None,
            backbone="",
        )
        trainer = bench.trainer(job)
        list(trainer.epochs())
        return bench.measure(job, trainer, trainer.finish())

    return make


@pytest.mark.slow
def test_a_worker_measures_against_the_source(
    measure: Measure, weights: Path, study: Study
) -> None:
    backbone = build_backbone(name=BACKBONE, num_classes=3, image_size=32, dropout=0.0, seed=0)
    body = backbone.groups[:-1]
    first = measure()
    parts = {f"{name}.{group}" for name in NAMES[:2] for group in body}
    assert set(first) == {*NAMES, *parts}
    assert all(math.isfinite(value) for value in first.values())
    assert [first[f"{name}.{group}"] for name in NAMES[:2] for group in body[:2]] == [0] * 4
    assert first[f"weight_drift.{body[2]}"] > 0
    assert 0 < first["source_accuracy"] < 1
    # The probe is kept beside the weights, and found there, or made again where it is damaged.
    (kept,) = weights.parent.glob("source-probe-*.npz")
    made = kept.stat().st_mtime_ns
    assert measure() == first
    assert kept.stat().st_mtime_ns == made
    kept.write_bytes(kept.read_bytes()[:1000])
    assert measure() == first
    assert kept.stat().st_size > 1000
    assert not list(weights.parent.glob("*.part"))
    # Nothing is known of what a file of one's own was trained on, or of a random start.
    own_file = study("data.size=32", f"backbone.weights={weights}", head=HEAD)
    own = measure(config=own_file)
    assert math.isnan(own["cka_drift"])
    assert math.isnan(own["source_accuracy"])
    assert own["weight_drift"] == first["weight_drift"]
    scratch = measure(init="random")
    assert all(math.isnan(scratch[name]) for name in scratch)


def test_held_out_characters_are_the_same_every_time(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"1")
    pretrained = tiny_backbone(dropout=0.0, seed=0)
    one, two = (glyph_task(pretrained, weights=file) for _ in range(2))
    assert one.pretrained_features[0].shape == (SOURCE_IMAGES, 8)
    assert all(map(np.array_equal, one.pretrained_features, two.pretrained_features))
    assert one.accuracy(one.pretrained_features) == two.accuracy(two.pretrained_features)
    # Other weights have a probe of their own.
    file.write_bytes(b"2")
    glyph_task(tiny_backbone(dropout=0.0, seed=1), weights=file)
    assert len(list(tmp_path.glob("source-probe-*.npz"))) == 2


def test_a_cache_that_cannot_be_written_costs_time_alone(tmp_path: Path) -> None:
    pretrained = tiny_backbone(dropout=0.0, seed=0)
    file = tmp_path / "weights"
    file.write_bytes(b"1")
    kept = glyph_task(pretrained, weights=file)
    (place,) = tmp_path.glob("source-probe-*.npz")
    place.unlink()
    place.mkdir()  # no file can take its place, whoever asks
    again = glyph_task(pretrained, weights=file)
    assert again.accuracy(again.pretrained_features) == kept.accuracy(kept.pretrained_features)
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".part"] == []


@pytest.mark.parametrize(
    ("name", "size", "widths"),
    [
        ("resnet18", 32, [64, 64, 128, 256, 512]),
        ("swin_t", 32, [96, 192, 384, 768]),
        ("vit_b_16", 32, [768] * 5),
    ],
)
def test_features_are_averaged_over_space(name: str, size: int, widths: list[int]) -> None:
    backbone = build_backbone(name=name, num_classes=2, image_size=size, dropout=0.0, seed=0)
    features = pooled_features(backbone, pixels(num_images=3, size=size), np.arange(3))
    assert [f.shape for f in features][-len(widths) :] == [(3, width) for width in widths]
    assert len(features) == len(backbone.groups) - 1
