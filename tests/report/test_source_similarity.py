from pathlib import Path

import pytest

from tests.report.fake import STUDY, fake_study, know_data
from tlsearch.report.build import build_report
from tlsearch.report.context import read_search
from tlsearch.search.store import LIKENESS

MEASURED = {
    "similarity": 0.764,
    "frechet_distance": 0.42,
    "domain_error": 0.031,
    "probe_accuracy": 0.9,
}


def test_every_format_tells_what_was_measured(tmp_path: Path) -> None:
    fake = fake_study(tmp_path, "backbone.weights=glyphs")
    know_data(fake)
    fake.store.note(LIKENESS, MEASURED)
    told = read_search(fake.store, fake.layout).answer.similarity
    assert told.startswith("Similarity to the source's images: 0.76, as resnet18 sees both")
    assert "Fréchet distance of the features: 0.42 per feature" in told
    assert "errs in 3.1\N{NO-BREAK SPACE}%" in told
    text = build_report(fake.store, fake.layout, format="md")
    assert told.replace("\N{NO-BREAK SPACE}", " ") in text
    assert "Similarity to the source&#39;s images: 0.76" in build_report(
        fake.store, fake.layout, format="html"
    )
    assert '"similarity": 0.764' in build_report(fake.store, fake.layout, format="json")


@pytest.mark.parametrize(
    ("weights", "measured", "words"),
    [
        ("none", {}, ""),
        ("own.safetensors", {}, "is not known: backbone.source names none."),
        ("glyphs", {}, "was not measured."),
        ("glyphs", {**MEASURED, "domain_error": None}, "with their pixels in disorder)."),
    ],
)
def test_what_is_missing_is_said(
    weights: str, measured: dict[str, float | None], words: str, tmp_path: Path
) -> None:
    fake = fake_study(tmp_path, f"backbone.weights={weights}", study=STUDY)
    fake.store.note(LIKENESS, measured)
    assert read_search(fake.store, fake.layout).answer.similarity.endswith(words)
