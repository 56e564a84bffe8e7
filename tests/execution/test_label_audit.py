"""Labels that a linear probe does not believe: dropped, kept or refused, and never of the test."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.made import folder_of
from tlsearch.config.loader import read_study
from tlsearch.config.runtime import no_progress
from tlsearch.config.schema import StudyConfig
from tlsearch.data.dataset import ImageSet
from tlsearch.data.records import Audit, AuditError
from tlsearch.data.splits import draw_splits
from tlsearch.execution import prepare
from tlsearch.execution.prepare import Network, audit_labels
from tlsearch.models.backbones import build_backbone

STUDY = """\
name: s
data: {source: {folder: x}, size: 32, audit: {label_errors: drop}}
backbone: {name: resnet18, weights: IMAGENET1K_V1}
budget: {trials: 4, epochs: 2}
space: {lr: {low: 1.0e-3, high: 1.0e-1, log: true}}
"""
NUM, WRONG = 100, (3, 8, 21, 46, 55, 70, 83, 94)
NOTHING = Audit(
    num_images=NUM,
    num_used=NUM,
    class_counts=(("a", 50), ("b", 50)),
    findings=(),
    clean=(),
    unseen=(),
)


def study(folder: Path, *overrides: str) -> StudyConfig:
    path = folder / "study.yaml"
    path.write_text(STUDY)
    return read_study(path, overrides=overrides, preset=None)


@pytest.fixture(scope="module")
def data() -> ImageSet:
    """Stripes that lie or stand, some of them under the wrong label."""
    draw = np.random.default_rng(0)
    pictures, labels = [], []
    for i in range(NUM):
        stripes = np.tile((np.arange(32) // 4 % 2 * 150)[:, None], (1, 32))
        noise = draw.integers(0, 100, (32, 32))
        pictures.append(
            Image.fromarray(((stripes if i % 2 else stripes.T) + noise).astype(np.uint8))
        )
        labels.append(i % 2 ^ (i in WRONG))
    return folder_of(pictures, labels)


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    network = build_backbone(name="resnet18", num_classes=2, image_size=32, dropout=0.0, seed=1)
    return network.model.state_dict()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Activations of the images, computed once for all tests."""
    return tmp_path_factory.mktemp("cache")


Look = Callable[..., tuple[ImageSet, Audit]]


@pytest.fixture
def look(data: ImageSet, state: dict[str, torch.Tensor], cache: Path) -> Look:
    """An audit of these labels, some of its arguments changed."""

    def make(config: StudyConfig, **changes: Any) -> tuple[ImageSet, Audit]:
        known: dict[str, Any] = {
            "data": data,
            "audit": NOTHING,
            "network": Network(
                config=config,
                groups=(),
                weights="w",
                state=changes.pop("state", state),
                fingerprint="w",
                precision=changes.pop("precision", "fp32"),
                uncut="",
            ),
            "device": torch.device("cpu"),
            "cache": cache,
            "on_progress": no_progress,
        }
        return audit_labels(**known | changes)

    return make


def test_suspects_leave_training_alone(look: Look, data: ImageSet, tmp_path: Path) -> None:
    config = study(tmp_path, "data.split.seed=3")  # two of the wrong ones are in the test part
    (parts, *_) = draw_splits(data, split=config.data.split, labels_per_class=None, redraw=0)
    assert len(set(WRONG) & set(parts.test.tolist())) == 2
    found, audit = look(config)
    (finding,) = audit.findings
    names = [name for row in finding.files for name in row.names]
    suspects = {int(name.rpartition("/")[2].removesuffix(".png")) for name in names}
    # The folds decide about one or two of them.
    assert len(suspects & set(WRONG)) >= len(WRONG) - 2
    assert len(suspects) <= len(WRONG) + 3
    # Only those that are not tested are dropped, and the test part stays what it was.
    assert found.suspects is not None
    dropped = suspects - set(parts.test.tolist())
    assert np.flatnonzero(found.suspects).tolist() == sorted(dropped)
    assert (finding.dropped, finding.count) == (len(dropped), len(suspects))
    assert found.fingerprint != data.fingerprint
    (again, *_) = draw_splits(found, split=config.data.split, labels_per_class=None, redraw=0)
    assert again.test.tolist() == parts.test.tolist()


def test_what_was_found_is_kept_for_a_machine_that_computes_otherwise(
    look: Look, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = study(tmp_path, "data.split.seed=1")
    before = set((cache / "audit").glob("*"))
    first, audit = look(config)
    (kept,) = set((cache / "audit").iterdir()) - before
    with monkeypatch.context() as patched:
        patched.setattr(prepare, "_frozen_features", None)
        again = look(config, precision="bf16")
    assert again[0].fingerprint == first.fingerprint
    assert again[1] == audit
    kept.write_bytes(kept.read_bytes()[:50])
    assert look(config)[1] == audit
    # The features, too, are computed once.
    assert len(list((cache / "activations").glob("*.safetensors"))) == 1


def test_other_policies(look: Look, data: ImageSet, tmp_path: Path) -> None:
    with pytest.raises(AuditError, match=r"data\.audit\.label_errors = error: \d+ images"):
        look(study(tmp_path, "data.audit.label_errors=error"))
    found, audit = look(study(tmp_path, "data.audit.label_errors=keep"))
    assert found is data
    assert audit.findings[0].dropped == 0


def test_where_labels_are_not_looked_at(look: Look, data: ImageSet, tmp_path: Path) -> None:
    few = replace(data, rows=np.arange(10))
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("data.audit.label_errors=off", {}, "label_errors is off"),
        ("data.size=32", {"state": None}, "no pretrained weights"),
        ("data.size=32", {"data": few}, "no two classes are large"),
    ]
    for override, changes, why in cases:
        found, audit = look(study(tmp_path, override), **changes)
        assert found is changes.get("data", data)
        assert why in audit.unseen[0]
        assert audit == replace(NOTHING, unseen=audit.unseen)
    # The embedded sources have no wrong labels but planted ones.
    embedded = look(study(tmp_path, "data.source=digits"), cache=tmp_path / "cache")
    assert embedded == (data, NOTHING)
    assert not (tmp_path / "cache").exists()
