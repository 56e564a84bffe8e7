"""What a network sees in data before any training: facts of a scenario, scores of the network."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.execution.jobs import bench_of, setting_with
from tests.execution.test_prepare import BODY, HEAD, images
from tests.search.conftest import Study
from tests.training.small import CPU, tiny_backbone
from tlsearch.config.catalog import CATALOGUE
from tlsearch.config.images import DataConfig
from tlsearch.config.runtime import no_progress
from tlsearch.config.schema import StudyConfig
from tlsearch.data.dataset import ImageSet, image_set
from tlsearch.data.glyph_recipe import RECIPE
from tlsearch.data.sources import load_images
from tlsearch.data.splits import Split, draw_splits
from tlsearch.errors import WeightsError
from tlsearch.execution import network_scores as scoring
from tlsearch.execution.messages import SurveyJob
from tlsearch.execution.network_scores import (
    glyph_images,
    multiply_adds,
    score_network,
    score_study,
    shapeless,
    survey,
    training_rows,
)
from tlsearch.metrics.transferability import h_score, leep, log_me, nce
from tlsearch.models.backbones import Backbone, build_backbone
from tlsearch.models.pretrained import load_pretrained
from tlsearch.models.weights import pretrained_state
from tlsearch.training.batches import Pixels
from tlsearch.training.feature_cache import features as features_of
from tlsearch.training.pretrain import glyph_weights

SCENARIOS: dict[str, Any] = {
    "glyphs": {"glyphs": {"images": 600}},
    "letters 1": {"letters": {"images": 600, "similarity": 1.0}},
    "letters 0.5": {"letters": {"images": 600, "similarity": 0.5}},
    "digits": "digits",
    "letters 0": {"letters": {"images": 600, "similarity": 0.0}},
    "textures": {"textures": {"images": 600}},
}


def striped(counts: tuple[int, ...]) -> ImageSet:
    """Classes of stripes of different widths."""
    labels = np.repeat(np.arange(len(counts)), counts)
    waves = np.sin(np.arange(12)[None] * (1 + labels[:, None]) / 2)
    pixels = np.repeat((waves * 80 + 100)[:, :, None], 12, axis=2)[..., None]
    noise = np.random.default_rng(0).integers(0, 40, pixels.shape)
    return image_set((pixels + noise).astype(np.uint8), labels, tuple("abc"[: len(counts)]))


def surveyed(data: ImageSet, *, source: ImageSet | None, **known: Any) -> dict[str, float | None]:
    rows = np.arange(len(data.labels))
    return survey(
        data,
        parts=Split(rows[::3], rows[1::3], rows[2::3]),
        looked_at=known.get("looked_at", rows),
        backbone=known.get("backbone") or tiny_backbone(dropout=0.0, seed=0),
        source=source,
        device=CPU,
        seed=0,
    )


def test_facts_without_source_images() -> None:
    data = striped((20, 30, 10))
    found = surveyed(data, source=None)
    assert found["similarity"] is None
    assert found["source_distance"] is None
    assert found["frechet_distance"] is found["domain_error"] is None
    assert found["probe_accuracy"] == 1
    assert (found["classes"], found["imbalance"]) == (3, 3)
    sizes = [found[f"{part}_images"] for part in Split._fields]
    assert sizes == [20, 20, 20]


def test_only_what_may_be_used_counts_and_small_classes_are_not_probed() -> None:
    data = replace(striped((20, 30, 10)), rows=np.arange(44))
    found = surveyed(data, source=None, looked_at=np.arange(22))
    assert (found["classes"], found["imbalance"]) == (2, 1.2)
    assert found["probe_accuracy"] is None


def test_only_rows_that_may_be_looked_at_move_a_figure() -> None:
    data, source = striped((30, 30)), striped((20, 20))
    seen = np.arange(0, 60, 2)
    hidden = data.images.copy()
    hidden[1::2] = 255
    other = image_set(hidden, data.labels, data.class_names)
    assert surveyed(data, source=source, looked_at=seen) == surveyed(
        other, source=source, looked_at=seen
    )
    assert surveyed(data, source=source) != surveyed(other, source=source)


def test_the_source_itself_is_most_similar_and_its_shuffled_pixels_least() -> None:
    source = striped((60, 60))
    same = surveyed(source, source=source)
    assert same["similarity"] == 1
    assert same["frechet_distance"] == pytest.approx(0, abs=1e-6)
    lost = shapeless(source, seed=1)
    apart = surveyed(lost, source=source)
    assert apart["frechet_distance"] > 0.1  # type: ignore[operator]
    assert apart["domain_error"] < 0.1 < 0.4 < same["domain_error"]  # type: ignore[operator]
    assert (np.sort(lost.images.reshape(120, -1)) == np.sort(source.images.reshape(120, -1))).all()
    assert surveyed(lost, source=source)["similarity"] == pytest.approx(0, abs=0.05)


def test_source_images_are_not_those_of_a_study() -> None:
    asked = DataConfig.model_validate({"source": {"glyphs": {"images": 1000}}, "size": 16})
    of_study = load_images(asked, cache=Path("."), on_progress=no_progress)
    held_out = glyph_images(size=16)
    assert held_out.images.shape == of_study.images.shape == (1000, 16, 16, 1)
    theirs = {image.tobytes() for image in of_study.images}
    assert not any(image.tobytes() in theirs for image in held_out.images)


@pytest.mark.parametrize("future", [None, 0.25])
def test_a_worker_surveys_what_is_not_tested(
    study: Study, tmp_path: Path, future: float | None
) -> None:
    config = study(body=BODY, head=HEAD % "{validation: 0.2, test: 0.3}")
    setting = setting_with(images(120, times=np.arange(120.0)), config, tmp_path)
    found = dict(bench_of(setting).survey(SurveyJob(future=future)))
    sizes = [found[f"{part}_images"] for part in Split._fields]
    assert sizes == ([60, 24, 36] if future is None else [45, 18, 27])
    assert found["classes"] == 3
    assert found["similarity"] is None  # weights: none
    assert found["probe_accuracy"] is not None


def similarity_of(asked: Any, backbone: Backbone) -> float:
    config = DataConfig.model_validate({"source": asked, "size": 32})
    data = load_images(config, cache=Path("."), on_progress=no_progress)
    (parts,) = draw_splits(data, split=config.split, labels_per_class=None, redraw=0)
    found = survey(
        data,
        parts=parts,
        looked_at=np.setdiff1d(data.usable, parts.test),
        backbone=backbone,
        source=glyph_images(size=32),
        device=torch.device("cpu"),
        seed=0,
    )["similarity"]
    assert found is not None
    return found


@pytest.mark.slow
def test_the_order_of_the_embedded_scenarios(tmp_path: Path) -> None:
    """A sixth of the source model's images suffices to tell them apart."""
    brief = replace(RECIPE, num_images=9600)
    weights = glyph_weights(
        brief,
        backbone="resnet10",
        image_size=32,
        cache=tmp_path,
        threads=1,
        on_progress=no_progress,
    )
    backbone = build_backbone(name="resnet10", num_classes=2, image_size=32, dropout=0.0, seed=0)
    state = pretrained_state(backbone="resnet10", weights=str(weights))
    assert state is not None
    load_pretrained(backbone, state)
    found = {name: similarity_of(SCENARIOS[name], backbone) for name in SCENARIOS}
    # measured: 1.00, 0.86, 0.72, 0.57, 0.40, 0.12; after all images 1.00, 0.82, 0.77, 0.66, 0.66,
    # 0.15
    assert list(found) == sorted(found, key=lambda name: -found[name])
    assert found["glyphs"] > 0.98
    assert found["letters 1"] - found["letters 0"] > 0.1
    assert found["textures"] < 0.3


def made_up(num: int = 40, size: int = 32, seed: int = 0) -> ImageSet:
    rng = np.random.default_rng(seed)
    labels = np.arange(num) % 4
    pixels = rng.integers(0, 100, (num, size, size, 3)) + 30 * labels[:, None, None, None]
    return image_set(pixels.astype(np.uint8), labels, ("a", "b", "c", "d"))


def resnet10(*, num_classes: int, seed: int) -> dict[str, torch.Tensor]:
    built = build_backbone(
        name="resnet10", num_classes=num_classes, image_size=32, dropout=0.0, seed=seed
    )
    return dict(built.model.state_dict())


@pytest.fixture
def config(study: Study) -> StudyConfig:
    return study(
        "backbone.name=resnet10", "backbone.weights=w.safetensors", "data.split.validation=0.2"
    )


def test_scores_are_of_the_head_s_input(config: StudyConfig) -> None:
    data, state = made_up(), resnet10(num_classes=7, seed=1)
    rows = np.arange(3, 35)
    wrapped = {f"module.{name}": value for name, value in state.items()}
    found = score_network(config, data, rows, weights="w", state=wrapped, device=CPU)
    backbone = build_backbone(name="resnet10", num_classes=4, image_size=32, dropout=0.0, seed=5)
    load_pretrained(backbone, state)
    mean, std = CATALOGUE["resnet10"].normalisation
    features = features_of(backbone, Pixels(data.images, data.labels, mean, std), rows)[-1]
    labels = data.labels[rows]
    assert found.features == features.shape[1] == 512
    assert found.log_me == pytest.approx(log_me(features, labels), rel=1e-4)
    assert found.h_score == pytest.approx(h_score(features, labels), rel=1e-3)
    # The file brings its classifier of seven classes along.
    logits = torch.from_numpy(features) @ state["fc.weight"].T + state["fc.bias"]
    given = logits.double().softmax(1).numpy()
    assert found.leep == pytest.approx(leep(given, labels), abs=1e-5)
    assert found.nce == pytest.approx(nce(given.argmax(1), labels))
    assert found.num_images == 32


def test_what_is_not_there_has_no_score(config: StudyConfig) -> None:
    data, state = made_up(), resnet10(num_classes=7, seed=1)
    trunk = {name: value for name, value in state.items() if not name.startswith("fc.")}
    every, single = np.arange(40), np.flatnonzero(data.labels == 2)
    for given, rows in ((trunk, every), (None, every), (state, single)):
        found = score_network(config, data, rows, weights="w", state=given, device=CPU)
        assert found.leep is found.nce is None
        assert (found.log_me is None) == (found.h_score is None) == (rows is single)


def test_cost_is_counted_at_the_study_s_size(config: StudyConfig) -> None:
    # By hand, at 32 px with 4 classes: stem 64·3·49 at 16²; behind the pool maps of 8², 4², 2², 1².
    blocks = 0
    before = 64
    for width, side in ((64, 8), (128, 4), (256, 2), (512, 1)):
        shortcut = width * before if width != before else 0
        blocks += (width * before * 9 + width * width * 9 + shortcut) * side**2
        before = width
    assert multiply_adds(config, 4) == 64 * 3 * 49 * 16**2 + blocks + 512 * 4
    found = score_network(config, made_up(), np.arange(40), weights="none", state=None, device=CPU)
    built = build_backbone(name="resnet10", num_classes=4, image_size=32, dropout=0.0, seed=0)
    assert found.parameters == sum(p.numel() for p in built.model.parameters())
    assert found.training_images_per_second < found.inference_images_per_second


def test_only_the_training_part_is_looked_at(
    config: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = made_up(200)
    parts = draw_splits(
        data, split=config.data.split, labels_per_class=config.data.labels_per_class, redraw=0
    )[0]
    assert training_rows(data, config).tolist() == sorted(parts.train)
    monkeypatch.setattr(scoring, "MAX_IMAGES", 5)
    few = training_rows(data, config)
    assert len(few) == 5
    assert set(few) < set(parts.train)
    assert training_rows(data, config).tolist() == few.tolist()


@pytest.mark.slow
def test_a_study_s_networks_are_scored_without_a_trace_in_the_project(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    weights = tmp_path / "w.safetensors"
    save_file(resnet10(num_classes=3, seed=2), weights)
    config = study(
        "backbone.name=[mobilenet_v3_small, resnet10]",
        f"backbone.weights={{resnet10: {weights}, mobilenet_v3_small: none}}",
        "precision=fp32",
    )
    found = score_study(config, user_cache=tmp_path / "cache", on_progress=no_progress)
    assert [one.backbone for one in found] == ["mobilenet_v3_small", "resnet10"]
    assert [one.num_images for one in found] == [20, 20]  # two of each of ten digits
    assert (found[0].leep, found[1].leep is None) == (None, False)
    assert not list(project.iterdir())
    broken = config.with_backbone("resnet10").backbone.model_copy(
        update={"given_weights": str(tmp_path / "absent.safetensors")}
    )
    with pytest.raises(WeightsError, match="no such file"):
        score_study(
            config.model_copy(update={"backbone": broken}),
            user_cache=tmp_path / "cache",
            on_progress=no_progress,
        )
