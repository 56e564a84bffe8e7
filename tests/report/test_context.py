import json
import sys
from pathlib import Path

import pytest

from tests.report.fake import finished
from tlsearch.report.build import build_report
from tlsearch.report.context import read_search
from tlsearch.search.provenance import origin
from tlsearch.search.store import FACTS, ORIGIN


def test_what_was_noted_while_it_ran_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = finished(tmp_path, trials=3)
    words = ["run", "my studies/a.yaml", "--set", "tracking_uri=https://me:secret@host/x"]
    monkeypatch.setattr(sys, "argv", ["/somewhere/tlsearch", *words])
    noted = {**origin(), "revision": "abc123", "cores": 7}
    fake.store.note(ORIGIN, noted)
    text = "mine.pth: 100 of 100 tensors of resnet18's body are loaded"
    facts = fake.store.noted(FACTS) or {}
    fake.store.note(FACTS, {**facts, "networks": {"origin": {"resnet18": text}}})
    command = "tlsearch run 'my studies/a.yaml' --set 'tracking_uri=https://me:***@host/x'"
    found = read_search(fake.store, fake.layout).provenance
    assert (found.command, found.revision, found.is_noted) == (command, "abc123", True)
    assert found.machine == "7 cores, number format bf16"
    assert found.seeds == {"split": "0", "search": "0", "confirmation": "1, 2, 3"}
    page = build_report(fake.store, fake.layout, format="html")
    assert "(when the study ran)" in page
    assert "secret" not in page
    assert "mine.pth: 100 of 100 tensors of resnet18" in page
    markdown = build_report(fake.store, fake.layout, format="md")
    assert command in markdown
    assert "\nWeights: mine.pth: 100 of 100 tensors" in markdown
    told = json.loads(build_report(fake.store, fake.layout, format="json"))["provenance"]
    assert (told["command"], told["cores"]) == (command, 7)
    assert told["weights"] == {"resnet18": text}
    assert told["fingerprints"] == {"data": "0123456789abcdef", "weights": "fedcba9876543210"}


def test_of_an_older_study_the_moment_of_the_report_is_said(tmp_path: Path) -> None:
    fake = finished(tmp_path, trials=3)
    found = read_search(fake.store, fake.layout).provenance
    assert (found.command, found.cores, found.is_noted) == (None, None, False)
    assert "(when this report was made)" in build_report(fake.store, fake.layout, format="html")


def test_cost_is_that_of_every_training(tmp_path: Path) -> None:
    fake = finished(tmp_path, trials=3)
    found = read_search(fake.store, fake.layout).provenance
    rows = fake.store.rows()
    images = sum(row.images_trained for row in rows)
    assert found.trainings == len(rows) == 3 + (3 + 3 + 3) + (3 + 3 + 2)
    # ResNet-18 has 1.81 giga multiply-adds at 224 px; forward once, backward twice.
    assert found.giga_macs == pytest.approx(images * 1.81 * (32 / 224) ** 2 * 3, rel=0.01)
    text = found.cost
    assert f"{images:,} images of 32\u00a0×\u00a032 pixels" in text
    assert "trillion multiply-adds" in text
