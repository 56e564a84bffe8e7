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
from tlsearch.execution import label_audit as suspecting
from tlsearch.execution.label_audit import audit_labels
from tlsearch.models.backbones import build_backbone, normalisation
from tlsearch.training.batches import Pixels
from tlsearch.training.feature_cache import ActivationStore
from tlsearch.training.precision import BF16, FP32

STUDY = """\
name: s
data: {source: {folder: x}, size: 32, audit: {label_errors: drop}}
backbone: {name: resnet18, weights: IMAGENET1K_V1}
budget: {trials: 4, epochs: 2}
space: {lr: {low: 1.0e-3, high: 1.0e-1, log: true}}
"""
NUM, WRONG = 100, (3, 8, 21, 46, 55, 70, 83, 94)
NOTHING = Audit(num_images=0, num_used=0, class_counts=(), findings=(), clean=(), unseen=())
SEEN = {"weights_key": "w", "device": torch.device("cpu"), "on_progress": no_progress}


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
    return network(seed=1).model.state_dict()


def network(*, seed: int) -> Any:
    return build_backbone(name="resnet18", num_classes=2, image_size=32, dropout=0.0, seed=seed)


def held_out(data: ImageSet, config: StudyConfig) -> np.ndarray:
    return draw_splits(data, split=config.data.split, labels_per_class=None, redraw=0)[0].test


def test_suspects_leave_training_alone(data: ImageSet, state: Any, tmp_path: Path) -> None:
    config = study(tmp_path, "data.split.seed=3")  # two of the wrong ones are in the test part
    found, audit = audit_labels(
        data, NOTHING, config, state=state, numerics=FP32, cache=tmp_path, **SEEN
    )
    tested = held_out(data, config)
    rows = {int(name.rpartition("/")[2].removesuffix(".png")) for name in names(audit)}
    assert len(rows & set(WRONG)) >= len(WRONG) - 1
    assert len(rows) <= len(WRONG) + 3
    assert found.suspects is not None
    np.testing.assert_array_equal(
        np.flatnonzero(found.suspects), sorted(rows - set(tested.tolist()))
    )
    assert found.fingerprint != data.fingerprint
    (finding,) = audit.findings
    assert finding.dropped == found.suspects.sum() < finding.count
    # The test part stays what it was.
    np.testing.assert_array_equal(held_out(found, config), tested)


def names(audit: Audit) -> list[str]:
    (finding,) = audit.findings
    return [name for row in finding.files for name in row.names]


def test_the_linear_probe_finds_the_features_made(
    data: ImageSet, state: Any, tmp_path: Path
) -> None:
    config = study(tmp_path)
    audit_labels(data, NOTHING, config, state=state, numerics=FP32, cache=tmp_path, **SEEN)
    folder = tmp_path / "activations"
    made = sorted(folder.iterdir())
    mean, std = normalisation("resnet18")
    kept = ActivationStore(
        folder,
        pixels=Pixels(data.images, data.labels, mean, std),
        data_key=data.fingerprint,
        numerics=FP32,
    )
    other_head = network(seed=7)
    suspecting.load_pretrained(other_head, state)
    other_head.model.to(memory_format=torch.channels_last)
    features = kept.at_depth(other_head.stages[:-1], np.arange(NUM), device=torch.device("cpu"))
    assert features is not None
    assert features.shape == (NUM, 512)
    assert sorted(folder.iterdir()) == made
    assert len([path for path in made if path.suffix == ".safetensors"]) == 1


def test_what_was_found_is_kept_for_a_machine_that_computes_otherwise(
    data: ImageSet, state: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = study(tmp_path)
    first, audit = audit_labels(
        data, NOTHING, config, state=state, numerics=FP32, cache=tmp_path, **SEEN
    )
    (kept,) = (tmp_path / "audit").iterdir()
    with monkeypatch.context() as patched:
        patched.setattr(suspecting, "_features", None)
        again = audit_labels(
            data, NOTHING, config, state=state, numerics=BF16, cache=tmp_path, **SEEN
        )
    assert again[0].fingerprint == first.fingerprint
    assert again[1] == audit
    kept.write_bytes(kept.read_bytes()[:50])
    assert (
        audit_labels(data, NOTHING, config, state=state, numerics=FP32, cache=tmp_path, **SEEN)[1]
        == audit
    )


@pytest.mark.parametrize("policy", ["keep", "error"])
def test_other_policies(data: ImageSet, state: Any, tmp_path: Path, policy: str) -> None:
    config = study(tmp_path, f"data.audit.label_errors={policy}")

    def look() -> tuple[ImageSet, Audit]:
        return audit_labels(
            data, NOTHING, config, state=state, numerics=FP32, cache=tmp_path, **SEEN
        )

    if policy == "error":
        with pytest.raises(AuditError, match=r"data\.audit\.label_errors = error: \d+ images"):
            look()
        return
    found, audit = look()
    assert found is data
    assert audit.findings[0].dropped == 0


@pytest.mark.parametrize(
    ("overrides", "pretrained", "why"),
    [
        (["data.audit.label_errors=off"], True, "label_errors is off"),
        ([], False, "no pretrained weights"),
        (["data.source=digits"], True, None),
    ],
)
def test_where_labels_are_not_looked_at(
    data: ImageSet,
    state: Any,
    tmp_path: Path,
    overrides: list[str],
    pretrained: bool,
    why: str | None,
) -> None:
    config = study(tmp_path, *overrides)
    found, audit = audit_labels(
        data,
        NOTHING,
        config,
        state=state if pretrained else None,
        numerics=FP32,
        cache=tmp_path / "cache",
        **SEEN,
    )
    assert found is data
    assert not (tmp_path / "cache").exists()
    if why is None:
        assert audit is NOTHING
    else:
        assert why in audit.unseen[0]
        assert audit == replace(NOTHING, unseen=audit.unseen)


def test_too_few_images_are_not_judged(data: ImageSet, state: Any, tmp_path: Path) -> None:
    few = replace(data, rows=np.arange(10))
    config = study(tmp_path)
    found, audit = audit_labels(
        few, NOTHING, config, state=state, numerics=FP32, cache=tmp_path, **SEEN
    )
    assert found is few
    assert "no two classes are large" in audit.unseen[0]
