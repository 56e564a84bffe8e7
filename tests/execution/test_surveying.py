"""What is measured of a scenario before any strategy is tried."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.data.audit.made import quiet
from tests.execution.test_dividing import BODY, HEAD, images
from tests.search.conftest import Study
from tests.search.fakes import setting_of
from tests.training.small import CPU, tiny_backbone
from tlsearch.config.progress import no_progress
from tlsearch.config.schema import DataConfig
from tlsearch.data import dataset as store
from tlsearch.data.dataset import ImageSet, image_set
from tlsearch.data.glyph_recipe import RECIPE
from tlsearch.data.sources import load_images
from tlsearch.data.splits import Split, draw_splits
from tlsearch.execution.messages import SurveyJob
from tlsearch.execution.prepare import divide
from tlsearch.execution.survey import frozen_features, glyph_images, shapeless, survey
from tlsearch.execution.workbench import Workbench
from tlsearch.models.backbones import Backbone, build_backbone, load_pretrained
from tlsearch.models.weights import pretrained_state
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


def test_the_source_itself_is_most_similar_and_its_pixels_by_lot_least() -> None:
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


def test_features_are_what_the_head_sees() -> None:
    data, backbone = striped((5, 6)), tiny_backbone(dropout=0.5, seed=0)
    rows = np.array([1, 7, 10])
    features = frozen_features(data, rows, backbone, CPU)
    assert features.shape == (3, 8)
    again = frozen_features(data, np.arange(11), backbone, CPU)[rows]
    np.testing.assert_allclose(features, again, rtol=1e-5)


def test_source_images_are_not_those_of_a_study() -> None:
    asked = DataConfig.model_validate({"source": {"glyphs": {"images": 1000}}, "size": 16})
    of_study = load_images(asked, cache=Path("."), on_progress=quiet)
    held_out = glyph_images(size=16)
    assert held_out.images.shape == of_study.images.shape == (1000, 16, 16, 1)
    theirs = {image.tobytes() for image in of_study.images}
    assert not any(image.tobytes() in theirs for image in held_out.images)


@pytest.mark.parametrize("future", [None, 0.25])
def test_a_worker_surveys_what_is_not_tested(
    study: Study, tmp_path: Path, future: float | None
) -> None:
    config = study(body=BODY, head=HEAD % "{validation: 0.2, test: 0.3}")
    data = images(120, times=np.arange(120.0))
    facts, _ = divide(data, config)
    place = store.save(data, tmp_path / "images")
    setting = replace(setting_of(config, tmp_path), data=facts, store=place)
    found = dict(
        Workbench(setting, device_index=None, on_progress=no_progress).survey(
            SurveyJob(future=future)
        )
    )
    sizes = [found[f"{part}_images"] for part in Split._fields]
    assert sizes == ([60, 24, 36] if future is None else [45, 18, 27])
    assert found["classes"] == 3
    assert found["similarity"] is None  # weights: none
    assert found["probe_accuracy"] is not None


def similarities(weights: Path) -> dict[str, float]:
    backbone = build_backbone(name="resnet10", num_classes=2, image_size=32, dropout=0.0, seed=0)
    state = pretrained_state(backbone="resnet10", weights=str(weights))
    assert state is not None
    load_pretrained(backbone, state)
    return {name: similarity_of(SCENARIOS[name], backbone) for name in SCENARIOS}


def similarity_of(asked: Any, backbone: Backbone) -> float:
    config = DataConfig.model_validate({"source": asked, "size": 32})
    data = load_images(config, cache=Path("."), on_progress=quiet)
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
        brief, backbone="resnet10", image_size=32, cache=tmp_path, threads=1, on_progress=quiet
    )
    found = similarities(weights)
    # measured: 1.00, 0.86, 0.72, 0.57, 0.40, 0.12; after all images 1.00, 0.82, 0.77, 0.66, 0.66,
    # 0.15
    assert list(found) == sorted(found, key=lambda name: -found[name])
    assert found["glyphs"] > 0.98
    assert found["letters 1"] - found["letters 0"] > 0.1
    assert found["textures"] < 0.3
