"""From a study's own source images to what trainings do with them: read, divided, adapted, kept."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.search.conftest import Study
from tlsearch.config.strategy import Strategy
from tlsearch.data import dataset as store
from tlsearch.data.dataset import image_set
from tlsearch.data.sources import read_source
from tlsearch.errors import RequestError
from tlsearch.execution.messages import PrepareJob, Setting, SurveyJob, TrainJob
from tlsearch.execution.prepare import prepare
from tlsearch.execution.source_data import glyph_source, own_source
from tlsearch.execution.workbench import Workbench
from tlsearch.training.trainer import Trainer

HEAD = """
name: s
data: {source: {letters: {images: 120, classes: 4}}, size: 32, labels_per_class: 6}
backbone: {name: resnet10, weights: none, source: {textures: {images: 90, classes: 3}}}
"""
MEASURES = ("cka_drift", "source_accuracy", "domain_distance", "adapted_distance")


def silent(_share: float, _text: str) -> None:
    pass


def prepared(study: Study, folder: Path, *options: str) -> Setting:
    job = PrepareJob(
        config=study(*options, head=HEAD),
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


def test_own_source_images_are_read_divided_and_told_apart(study: Study, tmp_path: Path) -> None:
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


def test_a_folder_that_is_not_there_is_told_by_its_own_field(study: Study, tmp_path: Path) -> None:
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
    config = study("backbone.source={folder: photos}", head=HEAD)
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
    config = study("backbone.source={folder: photos}", head=HEAD)
    with pytest.raises(RequestError, match=r"^backbone\.source: 4 usable images, and 1 of the"):
        read_source(config, cache=tmp_path / "c", on_progress=silent)


def test_glyphs_know_their_source() -> None:
    found = glyph_source(backbone="resnet10", image_size=12)
    assert found.num_classes == 36
    assert len(found.held_out.rows) == 1024
    assert glyph_source(backbone="resnet10", image_size=16).key != found.key


@pytest.mark.parametrize("name", ["none", "fourier", "moments", "style"])
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
    trainer, found = train(setting, measures=MEASURES, adaptation=name, **inner)
    assert all(math.isfinite(value) for value in found.values())
    assert (trainer.adaptation is None) == (name == "none") == (found["adapted_distance"] == 1)
    again, same = train(setting, measures=MEASURES, adaptation=name, **inner)
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
        start = 10 * probe["weight"].T
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
