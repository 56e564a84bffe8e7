"""`tlsearch networks`: what there is, and what no study can take."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke
from tlsearch.config.catalog import CATALOGUE, PREFIX, left_out


def test_networks_are_listed_by_a_part_of_their_names(tlsearch: Invoke) -> None:
    text = tlsearch("networks", "timm/resnet18d").stdout
    assert "11.7 M" in text
    found = json.loads(tlsearch("networks", "timm/*ResNet18*", "--json").stdout)["networks"]
    assert {"timm/resnet18", "timm/resnet18d"} < {row["name"] for row in found}
    number = sum(name.startswith(PREFIX) for name in CATALOGUE)
    assert f"and {number:,} of timm's" in tlsearch("networks").stdout
    assert "in no network's name" in tlsearch("networks", "nonesuch", code=2).stderr


def test_what_no_study_can_take_is_listed_with_the_reason(tlsearch: Invoke) -> None:
    assert not left_out().keys() & CATALOGUE.keys()
    text = tlsearch("networks", "crossvit_9_240").stdout
    assert "timm/crossvit_9_240: no study can take it: it has 2 classifiers (head.0, hea" in text
    assert (
        f"; {len(left_out())} more have several classifiers or none" in tlsearch("networks").stdout
    )


def test_weights_in_the_cache_that_xdg_names_are_here(
    tlsearch: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept = tmp_path / "huggingface/hub/models--timm--resnet18d.ra2_in1k/snapshots/1"
    kept.mkdir(parents=True)
    (kept / "model.safetensors").touch()
    assert "[ra2_in1k]" in tlsearch("networks", "timm/resnet18d").stdout
