from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.search.conftest import Study
from tlsearch.config.progress import no_progress
from tlsearch.config.schema import StudyConfig
from tlsearch.data.dataset import ImageSet, image_set
from tlsearch.data.splits import draw_splits
from tlsearch.errors import WeightsError
from tlsearch.execution import network_scores as scoring
from tlsearch.execution.network_scores import (
    multiply_adds,
    score_network,
    score_study,
    training_rows,
)
from tlsearch.execution.source_data import _logistic, head_features
from tlsearch.metrics.transferability import leep, log_me, nce, shrunk_h_score
from tlsearch.models.backbones import build_backbone, load_pretrained, normalisation
from tlsearch.training.batches import Pixels

CPU = torch.device("cpu")


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
    found = score_network(config, data, rows, weights="w", state=state, device=CPU)
    backbone = build_backbone(name="resnet10", num_classes=4, image_size=32, dropout=0.0, seed=5)
    load_pretrained(backbone, state)
    mean, std = normalisation("resnet10")
    features = head_features(backbone, Pixels(data.images, data.labels, mean, std), rows)
    labels = data.labels[rows]
    assert found.features == features.shape[1] == 512
    assert found.log_me == pytest.approx(log_me(features, labels), rel=1e-4)
    assert found.h_score == pytest.approx(shrunk_h_score(features, labels), rel=1e-3)
    # The file brings its classifier of seven classes along.
    logits = torch.from_numpy(features) @ state["fc.weight"].T + state["fc.bias"]
    given = logits.double().softmax(1).numpy()
    assert found.leep == pytest.approx(leep(given, labels), abs=1e-5)
    assert found.nce == pytest.approx(nce(given.argmax(1), labels))
    assert found.num_images == 32


def test_without_the_source_s_classifier_features_alone_are_scored(config: StudyConfig) -> None:
    data, state = made_up(), resnet10(num_classes=7, seed=1)
    trunk = {name: value for name, value in state.items() if not name.startswith("fc.")}
    rows = np.arange(40)
    for given in (trunk, None):
        found = score_network(config, data, rows, weights="w", state=given, device=CPU)
        assert found.log_me is not None
        assert found.leep is found.nce is None


def test_a_single_class_has_no_score(config: StudyConfig) -> None:
    data, state = made_up(), resnet10(num_classes=7, seed=1)
    rows = np.flatnonzero(data.labels == 2)
    found = score_network(config, data, rows, weights="w", state=state, device=CPU)
    assert found.log_me is found.h_score is found.leep is found.nce is None
    assert found.inference_images_per_second > 0


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


def test_the_source_s_classifier_is_logistic_regression() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    features = (rng.normal(size=(90, 5)) + labels[:, None]) * [1, 10, 0.1, 2, 0]
    ours = _logistic(features.astype(np.float32), labels, num_classes=3)
    scaled = StandardScaler().fit_transform(features.astype(np.float32).astype(float))
    theirs = LogisticRegression(C=0.1, tol=1e-8, max_iter=10_000).fit(scaled, labels)
    logits = torch.from_numpy(features.astype(np.float32) @ ours.weight + ours.bias)
    assert logits.softmax(1).numpy() == pytest.approx(theirs.predict_proba(scaled), abs=5e-3)
