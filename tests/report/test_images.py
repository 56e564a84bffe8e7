import json
from pathlib import Path
from typing import Any

import pytest

from tests.data.made import audit_config, folder_of, jpeg, photo
from tests.report.fake import Fake, fake_study, know_data, search
from tests.report.test_build import HOSTILE, Page, html_of
from tlsearch.config.runtime import no_progress
from tlsearch.data.audit import audited
from tlsearch.data.dataset import Failure
from tlsearch.data.records import Audit, summary
from tlsearch.report.build import build_report
from tlsearch.search.store import AUDIT, FACTS
from tlsearch.search.summary import audit_texts, record_audit, remarks


def audit() -> Audit:
    """Hostile names under every kind of row, and twelve files that cannot be read."""
    pictures = [photo(i) for i in range(6)]
    pictures += [pictures[0], jpeg(pictures[1], 70)]
    names = [*HOSTILE, *"efgh"]
    failures = tuple(Failure("unreadable", f"{HOSTILE[0]}{i}", HOSTILE[3]) for i in range(12))
    data = folder_of(pictures, [0, 1] * 4, names=names, failures=failures)
    _, found = audited(data, audit_config(near_duplicates="drop"), on_progress=no_progress)
    assert [f.kind for f in found.findings] == ["unreadable", "exact_duplicates", "near_duplicates"]
    return found


@pytest.fixture
def told(tmp_path: Path) -> Fake:
    fake = fake_study(tmp_path, "budget.trials=3")
    know_data(fake, HOSTILE)
    search(fake, 3, names=HOSTILE)
    fake.store.note(AUDIT, summary(audit()))
    return fake


def test_the_page_shows_findings_and_what_happened(told: Fake) -> None:
    page = Page(html_of(told))
    begin = page.text.index("8 images were read, and 2 of them are left out.")
    section = page.text[begin : page.text.index("Where this comes from")]
    for part in ("unreadable files", "12 left out", "near duplicates", "1 left out", "the first 8"):
        assert part in section
    assert "and 4 more in audit.csv" in section
    assert "Looked for and not found: missing files, missing labels" in section
    for name in HOSTILE:
        assert name in section
    assert not any("onload" in attrs for _, attrs in page.elements)
    assert not any("alert(1)" in script for script in page.scripts[-1:])


def test_markdown_and_json(told: Fake) -> None:
    text = build_report(told.store, told.layout, format="md")
    assert "Data: 8 images were read, and 2 of them are left out." in text
    row = next(line for line in text.splitlines() if line.startswith("| unreadable files"))
    assert "and 10 more" in row
    assert "<script>" not in text.replace(r"\<script\>", "")
    assert "4 classes of 123 images: 80 training, 144 validation, 268 test." in text
    found = json.loads(build_report(told.store, told.layout, format="json"))["data"]
    assert found["audit"]["findings"][0]["listed"] == 12
    assert found["train_counts"] == [20] * 4


def test_of_folds_the_counts_are_said_to_be_of_the_first(told: Fake) -> None:
    formats = [build_report(told.store, told.layout, format="md"), Page(html_of(told)).text]
    assert not any("first of" in text for text in formats)
    facts = told.store.noted(FACTS)
    facts["facts"]["split"] = {"folds": 3, "parts": [], "pairs": []}
    told.store.note(FACTS, facts)
    text = build_report(told.store, told.layout, format="md")
    assert "4 classes of 123 images (first of 3 folds): 80 training" in text
    page = Page(html_of(told)).text
    for said in (
        "Images per class (4 classes; first of 3 folds)",
        "268 for the test (first of 3 folds)",
        "Share of each class in each part, first of 3 folds.",
    ):
        assert said in page


def test_a_study_that_was_not_audited_says_so(tmp_path: Path) -> None:
    fake = fake_study(tmp_path)
    assert "The images have not been audited." in Page(html_of(fake)).text


def test_the_listing_is_kept_whole(tmp_path: Path) -> None:
    fake, found = fake_study(tmp_path), audit()
    record_audit(fake.store, found, tmp_path / "folder")
    assert fake.store.noted(AUDIT) == summary(found)
    texts = audit_texts(found)
    assert (tmp_path / "folder" / "audit.csv").read_text() == texts["audit.csv"]
    listed: Any = texts["audit.json"]["findings"][0]["files"]
    assert len(listed) == 12
    lines = [remark.text for remark in remarks(found)]
    assert lines[0].startswith(
        "unreadable files: 12 files that cannot be decoded; 12 left out, the"
    )
    assert len(lines) == 3
