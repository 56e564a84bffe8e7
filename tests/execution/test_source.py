"""The source task: characters or a study's own images, read, divided, adapted, measured, kept."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.execution.jobs import bench_of, setting_with, train_job
from tests.search.conftest import Study
from tests.training.small import pixels, tiny_backbone
from tests.training.test_pretrain import TINY
from tlsearch.config.runtime import no_progress
from tlsearch.config.schema import BackboneConfig
from tlsearch.data import dataset as store
from tlsearch.data.dataset import image_set
from tlsearch.data.sources import read_source
from tlsearch.errors import RequestError
from tlsearch.execution.messages import PrepareJob, Setting, SurveyJob
from tlsearch.execution.prepare import prepare
from tlsearch.execution.source import (
    SOURCE_IMAGES,
    SourceTask,
    glyph_probe,
    glyph_source,
    own_source,
)
from tlsearch.models.backbones import Backbone, build_backbone
from tlsearch.training.feature_cache import features as features_of
from tlsearch.training.pretrain import glyph_weights
from tlsearch.training.trainer import Trainer

RESNET10 = BackboneConfig.model_validate({"name": "resnet10", "weights": "none"})

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
    return setting_with(data, config, tmp_path, weights=str(weights), groups=())


def glyph_task(pretrained: Backbone, *, weights: Path) -> SourceTask:
    """The embedded source task for a network of tests, whose probe is kept beside these weights."""
    data = glyph_source(backbone=pretrained.name, image_size=12)
    return SourceTask(
        pretrained, data=data, probe=glyph_probe(pretrained, weights=weights, data=data)
    )


Measure = Callable[..., dict[str, float]]


@pytest.fixture
def measure(setting: Setting) -> Measure:
    """Train for an epoch and measure, in a worker of its own."""

    def make(init: Any = "pretrained", **changes: Any) -> dict[str, float]:
        params = {"freeze_depth": 2}
        changed = replace(setting, **changes)
        return trained(changed, params, init=init, measures=NAMES)[1]

    return make


def trained(setting: Setting, params: dict[str, Any], **changes: Any) -> Any:
    """A training of an epoch, and its measures."""
    bench, job = bench_of(setting), train_job(setting.config, params=params, **changes)
    trainer = bench.trainer(job)
    list(trainer.epochs())
    return trainer, bench.measure(job, trainer, trainer.finish())


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
    assert not list(weights.parent.glob(".*.part*"))
    # Nothing is known of what a file of one's own was trained on, or of a random start.
    own_file = study("data.size=32", f"backbone.weights={weights}", head=HEAD)
    own = measure(config=own_file)
    assert math.isnan(own["cka_drift"])
    assert math.isnan(own["source_accuracy"])
    assert own["weight_drift"] == first["weight_drift"]
    scratch = measure(init="random")
    assert all(math.isnan(scratch[name]) for name in scratch)


@pytest.mark.slow
def test_held_out_characters_are_the_same_every_time(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"1")
    pretrained = tiny_backbone(dropout=0.0, seed=0)
    one, two = (glyph_task(pretrained, weights=file) for _ in range(2))
    assert one.pretrained_features[0].shape == (SOURCE_IMAGES, 8)
    assert all(map(np.array_equal, one.pretrained_features, two.pretrained_features))
    assert one.accuracy(one.pretrained_features[-1]) == two.accuracy(two.pretrained_features[-1])
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
    assert again.accuracy(again.pretrained_features[-1]) == kept.accuracy(
        kept.pretrained_features[-1]
    )
    assert not list(tmp_path.glob(".*.part*"))


@pytest.mark.parametrize(
    ("name", "size", "widths"),
    [
        ("resnet18", 32, [64, 64, 128, 256, 512]),
        pytest.param("swin_t", 32, [96, 192, 384, 768], marks=pytest.mark.slow),
        pytest.param("vit_b_16", 32, [768] * 5, marks=pytest.mark.slow),
    ],
)
def test_features_are_averaged_over_space(name: str, size: int, widths: list[int]) -> None:
    backbone = build_backbone(name=name, num_classes=2, image_size=size, dropout=0.0, seed=0)
    features = features_of(backbone, pixels(num_images=3, size=size), np.arange(3))
    assert [f.shape for f in features][-len(widths) :] == [(3, width) for width in widths]
    assert len(features) == len(backbone.groups) - 1


# A study's own source images.

OWN_HEAD = """
name: s
data: {source: {letters: {images: 120, classes: 4}}, size: 32, labels_per_class: 6}
backbone: {name: resnet10, weights: none, source: {textures: {images: 90, classes: 3}}}
precision: fp32
"""
OWN_MEASURES = ("cka_drift", "source_accuracy", "domain_distance", "adapted_distance")


def prepared(study: Study, folder: Path, *options: str) -> Setting:
    job = PrepareJob(
        config=study(*options, head=OWN_HEAD),
        folder=folder / "study",
        cache=folder / "state",
        user_cache=folder / "user",
        threads=1,
    )
    return prepare(job, device_index=None, on_progress=no_progress)[0]


def pretrained_on_nothing(study: Study, folder: Path) -> Setting:
    """A setting with a file of weights, which happen to be random."""
    backbone = build_backbone(name="resnet10", num_classes=9, image_size=32, dropout=0.0, seed=5)
    path = folder / "own.safetensors"
    save_file({k: v.contiguous() for k, v in backbone.model.state_dict().items()}, path)
    return prepared(study, folder, f"backbone.weights={path}")


def train(setting: Setting, *, measures: tuple[str, ...] = (), **params: Any) -> Any:
    """A training of an epoch in small batches, and its measures."""
    init = "random" if setting.weights == "none" else "pretrained"
    params = {"batch_size": 8, **params}
    return trained(setting, params, init=init, measures=measures, backbone="resnet10", seed=3)


def test_own_source_images_are_read_divided_and_fingerprinted(study: Study, tmp_path: Path) -> None:
    setting = prepared(study, tmp_path)
    assert setting.source is not None
    assert setting.source_fingerprint == store.load(setting.source).fingerprint
    data = own_source(store.load(setting.source), backbone=RESNET10)
    (pixels, train_rows), (_, held_out) = data.train, data.held_out
    assert data.num_classes == 3
    assert sorted([*train_rows, *held_out]) == list(range(90))
    assert np.bincount(pixels.labels[held_out]).tolist() == [6, 6, 6]  # a fifth of each class
    assert pixels.images.shape == (90, 32, 32, 3)
    other = prepared(study, tmp_path, "backbone.source={textures: {images: 90, classes: 4}}")
    assert other.source_fingerprint != setting.source_fingerprint
    assert prepared(study, tmp_path, "backbone.source=null").source_fingerprint is None


def test_so_many_are_held_out_and_a_class_of_a_single_image_is_trained_on() -> None:
    for labels, held_out in ((np.arange(9000) % 3, [341] * 3), ([0, 0, 1, 1, 1, 2], [1, 1, 0])):
        images = np.zeros((len(labels), 2, 2, 1), np.uint8)
        data = image_set(images, np.array(labels), ("a", "b", "c"))
        found = data.labels[own_source(data, backbone=RESNET10).held_out.rows]
        assert np.bincount(found, minlength=3).tolist() == held_out


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({}, r"^backbone\.source.*photos"),
        ({"a": 9}, r"^backbone\.source\.folder\.path = .* of one class"),
        ({"a": 2, "b": 1, "c": 1}, r"^backbone\.source: 4 usable images, and 1 of the"),
    ],
    ids=["absent", "one class", "too small to hold any out"],
)
def test_what_is_no_source_is_refused(
    counts: dict[str, int],
    message: str,
    study: Study,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, count in counts.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(count):
            picture = np.full((32, 32, 3), 10 * i + ord(name), np.uint8)
            Image.fromarray(picture).save(tmp_path / "photos" / name / f"{i}.png")
    config = study("backbone.source={folder: photos}", head=OWN_HEAD)
    with pytest.raises(RequestError, match=message):
        read_source(config, cache=tmp_path / "c", on_progress=no_progress)


@pytest.mark.parametrize(
    "name",
    [
        "moments",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("none", "fourier", "style")),
    ],
)
def test_a_training_adapts_its_images_and_its_distance_is_measured(
    name: str, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlsearch.training.style_transfer.NUM_STEPS", 4)
    setting = pretrained_on_nothing(study, tmp_path)
    options = {
        "fourier": {"band": 0.3, "strength": 1.0},
        "style": {"strength": 1.0, "layers": 2},
        "moments": {"strength": 1.0},
    }
    inner = {f"adaptation.{name}.{k}": v for k, v in options.get(name, {}).items()}
    trainer, found = train(setting, measures=OWN_MEASURES, adaptation=name, **inner)
    assert all(math.isfinite(value) for value in found.values())
    assert (trainer.adaptation is None) == (name == "none") == (found["adapted_distance"] == 1)
    again, same = train(setting, measures=OWN_MEASURES, adaptation=name, **inner)
    assert same == found
    assert again.history[0].train_loss == trainer.history[0].train_loss
    # One set for the training part, and one for the validation images that are measured.
    assert len(list((tmp_path / "state" / "styled").glob("*.npy"))) == 2 * (name == "style")


def test_a_second_head_starts_as_the_probe_and_learns(study: Study, tmp_path: Path) -> None:
    setting = pretrained_on_nothing(study, tmp_path)
    still, before = train(setting, measures=("source_accuracy",), source_task_weight=1.0, lr=1e-30)
    assert isinstance(still, Trainer)
    assert still.second_task is not None
    assert still.second_task.head.out_features == 3
    (kept,) = (tmp_path / "state" / "probes").glob("source-probe-*.npz")
    with np.load(kept) as probe:
        start = probe["weight"]
    weights = still.second_task.head.weight.detach().numpy()
    np.testing.assert_allclose(weights, start, rtol=1e-5, atol=1e-7)
    moved, after = train(setting, measures=("source_accuracy",), source_task_weight=1.0, lr=0.05)
    assert not np.allclose(moved.second_task.head.weight.detach().numpy(), start)
    assert 0 < before["source_accuracy"] <= 1
    assert 0 < after["source_accuracy"] <= 1
    names = moved.backbone.model.state_dict()
    assert moved.backbone.head.out_features == 4
    assert not any("source" in name for name in names)


@pytest.mark.slow
def test_from_scratch_the_second_head_starts_at_random(study: Study, tmp_path: Path) -> None:
    trainer, _ = train(prepared(study, tmp_path), source_task_weight=0.5)
    again, _ = train(prepared(study, tmp_path), source_task_weight=0.5)
    heads = [t.second_task.head.weight for t in (trainer, again)]
    assert torch.equal(*heads)
    assert not (tmp_path / "state" / "probes").exists()


def test_similarity_is_measured_by_own_source_images(study: Study, tmp_path: Path) -> None:
    for setting in (pretrained_on_nothing(study, tmp_path), prepared(study, tmp_path)):
        facts = dict(bench_of(setting).survey(SurveyJob(future=None)))
        # A random network's eyes say nothing.
        assert (facts["source_distance"] is None) == (setting.weights == "none")
