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

from tests.search.conftest import Study
from tests.search.fakes import setting_of
from tests.training.small import pixels, tiny_backbone
from tests.training.test_pretrain import TINY
from tlsearch.config.runtime import no_progress
from tlsearch.config.strategy import Strategy
from tlsearch.data import dataset as store
from tlsearch.data.dataset import image_set
from tlsearch.data.sources import read_source
from tlsearch.errors import RequestError
from tlsearch.execution.messages import PrepareJob, Setting, SurveyJob, TrainJob
from tlsearch.execution.prepare import divide, prepare
from tlsearch.execution.source import (
    SOURCE_IMAGES,
    SourceTask,
    glyph_probe,
    glyph_source,
    own_source,
)
from tlsearch.execution.workbench import Workbench
from tlsearch.models.backbones import Backbone, build_backbone
from tlsearch.training.feature_cache import features as features_of
from tlsearch.training.pretrain import glyph_weights
from tlsearch.training.trainer import Trainer

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
    return SourceTask(
        pretrained, data=data, probe=glyph_probe(pretrained, weights=weights, data=data)
    )


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
    assert not list(weights.parent.glob(".*.part*"))
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
    assert not list(tmp_path.glob(".*.part*"))


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
    features = features_of(backbone, pixels(num_images=3, size=size), np.arange(3))
    assert [f.shape for f in features][-len(widths) :] == [(3, width) for width in widths]
    assert len(features) == len(backbone.groups) - 1


# A study's own source images.

OWN_HEAD = """
name: s
data: {source: {letters: {images: 120, classes: 4}}, size: 32, labels_per_class: 6}
backbone: {name: resnet10, weights: none, source: {textures: {images: 90, classes: 3}}}
"""
OWN_MEASURES = ("cka_drift", "source_accuracy", "domain_distance", "adapted_distance")


def silent(_share: float, _text: str) -> None:
    pass


def prepared(study: Study, folder: Path, *options: str) -> Setting:
    job = PrepareJob(
        config=study(*options, head=OWN_HEAD),
        cache=folder / "state",
        user_cache=folder / "user",
        threads=1,
    )
    return prepare(job, device_index=None, on_progress=silent)[0]


def pretrained_on_nothing(study: Study, folder: Path) -> Setting:
    """A setting with a file of weights, which happen to be random."""
    from safetensors.torch import save_file

    from tlsearch.models.backbones import build_backbone

    backbone = build_backbone(name="resnet10", num_classes=9, image_size=32, dropout=0.0, seed=5)
    path = folder / "own.safetensors"
    save_file({k: v.contiguous() for k, v in backbone.model.state_dict().items()}, path)
    return prepared(study, folder, f"backbone.weights={path}")


def train(setting: Setting, *, measures: tuple[str, ...] = (), **params: Any) -> Any:
    """A training of an epoch and its measures."""
    bench = Workbench(setting, device_index=None, on_progress=silent)
    flat = setting.config.space.assign(lambda _n, _d: 0.01) | {"batch_size": 8} | params
    init: Any = "random" if setting.weights == "none" else "pretrained"
    job = TrainJob(
        key="k",
        backbone="resnet10",
        strategy=Strategy.from_params(flat, init=init),
        seed=3,
        redraw=0,
        folds=(0,),
        num_epochs=1,
        checkpoint=Path("nowhere.pt"),
        weights_to=None,
        scores_to=None,
        measures=measures,
        split=None,
        future=None,
    )
    trainer = bench.trainer(job)
    list(trainer.epochs())
    return trainer, bench.measure(job, trainer, trainer.finish())


def test_own_source_images_are_read_divided_and_fingerprinted(study: Study, tmp_path: Path) -> None:
    setting = prepared(study, tmp_path)
    assert setting.source is not None
    assert setting.source_fingerprint == store.load(setting.source).fingerprint
    data = own_source(store.load(setting.source), backbone="resnet10")
    (pixels, train_rows), (_, held_out) = data.train, data.held_out
    assert data.num_classes == 3
    assert sorted([*train_rows, *held_out]) == list(range(90))
    assert np.bincount(pixels.labels[held_out]).tolist() == [6, 6, 6]  # a fifth of each class
    assert pixels.images.shape == (90, 32, 32, 3)
    other = prepared(study, tmp_path, "backbone.source={textures: {images: 90, classes: 4}}")
    assert other.source_fingerprint != setting.source_fingerprint
    assert prepared(study, tmp_path, "backbone.source=null").source_fingerprint is None


def test_many_source_images_are_held_out_up_to_a_number() -> None:
    images = np.zeros((9000, 2, 2, 1), np.uint8)
    found = own_source(image_set(images, np.arange(9000) % 3, ("a", "b", "c")), backbone="resnet10")
    assert len(found.held_out.rows) == 1023


def test_a_class_of_a_single_image_is_trained_on() -> None:
    labels = np.array([0, 0, 1, 1, 1, 2])
    images = np.zeros((6, 2, 2, 1), np.uint8)
    found = own_source(image_set(images, labels, ("a", "b", "c")), backbone="resnet10")
    assert labels[found.held_out.rows].tolist() == [0, 1]


def test_an_absent_folder_is_refused_by_its_own_field(study: Study, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"^backbone\.source.*nowhere"):
        prepared(study, tmp_path, "backbone.source={folder: nowhere}")


def test_a_source_of_one_class_is_no_task(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for i in range(9):
        place = tmp_path / "photos" / "a" / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((32, 32, 3), 20 * i, np.uint8)).save(place)
    config = study("backbone.source={folder: photos}", head=OWN_HEAD)
    with pytest.raises(RequestError, match=r"^backbone\.source\.folder\.path = .* of one class"):
        read_source(config, cache=tmp_path / "c", on_progress=silent)


def test_a_source_too_small_to_hold_any_out_is_refused(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, count in (("a", 2), ("b", 1), ("c", 1)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(count):
            picture = np.full((32, 32, 3), 50 * i + ord(name), np.uint8)
            Image.fromarray(picture).save(tmp_path / "photos" / name / f"{i}.png")
    config = study("backbone.source={folder: photos}", head=OWN_HEAD)
    with pytest.raises(RequestError, match=r"^backbone\.source: 4 usable images, and 1 of the"):
        read_source(config, cache=tmp_path / "c", on_progress=silent)


def test_glyphs_know_their_source() -> None:
    found = glyph_source(backbone="resnet10", image_size=12)
    assert found.num_classes == 36
    assert len(found.held_out.rows) == 1024
    assert glyph_source(backbone="resnet10", image_size=16).key != found.key


@pytest.mark.parametrize(
    "name",
    [
        "none",
        pytest.param("fourier", marks=pytest.mark.slow),
        pytest.param("moments", marks=pytest.mark.slow),
        "style",
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


def test_from_scratch_the_second_head_starts_at_random(study: Study, tmp_path: Path) -> None:
    trainer, _ = train(prepared(study, tmp_path), source_task_weight=0.5)
    again, _ = train(prepared(study, tmp_path), source_task_weight=0.5)
    heads = [t.second_task.head.weight for t in (trainer, again)]
    assert torch.equal(*heads)
    assert not (tmp_path / "state" / "probes").exists()


def surveyed(setting: Setting) -> dict[str, float | None]:
    bench = Workbench(setting, device_index=None, on_progress=silent)
    return dict(bench.survey(SurveyJob(future=None)))


def test_similarity_is_measured_by_own_source_images(study: Study, tmp_path: Path) -> None:
    setting = pretrained_on_nothing(study, tmp_path)
    facts = dict(
        Workbench(setting, device_index=None, on_progress=silent).survey(SurveyJob(future=None))
    )
    assert facts["source_distance"] is not None
    bare = prepared(study, tmp_path)
    facts = dict(
        Workbench(bare, device_index=None, on_progress=silent).survey(SurveyJob(future=None))
    )
    assert facts["source_distance"] is None  # a random network's eyes
