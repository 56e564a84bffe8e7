from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.report.fake import baselines, fake_study, know_data
from tlsearch.report.context import SearchReport, read_search
from tlsearch.training.results import FoldResult


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SearchReport:
    fake = fake_study(tmp_path_factory.mktemp("study"))
    know_data(fake)
    baselines(fake)
    return read_search(fake.store, fake.layout)


def with_rows(data: SearchReport, **changed: Any) -> SearchReport:
    rows = tuple(replace(row, **changed) for row in data.summary.rows)
    return replace(data, summary=replace(data.summary, rows=rows))


def test_a_baseline_is_told_by_the_weights_it_kept_and_not_by_its_best_epoch(
    data: SearchReport,
) -> None:
    expected = (
        "by the validation part: a linear probe of the frozen features is right in "
        "88.5\u00a0%, a network from scratch in 93.8\u00a0% and always naming the commonest class "
        "in 10.0\u00a0%."
    )
    assert expected in data.answer.difficulty
    rows = data.summary.rows
    lucky = tuple(
        replace(row, epochs=(row.epochs[0]._replace(val_accuracy=0.99), *row.epochs[1:]))
        for row in rows
    )
    assert expected in replace(data, summary=replace(data.summary, rows=lucky)).answer.difficulty


def test_over_folds_their_mean_is_told(data: SearchReport) -> None:
    folds = (FoldResult(1, 2, 0.1, 0.9, 0.1, 0.9), FoldResult(2, 4, 0.3, 0.7, 0.2, 0.8))
    split = data.config.data.split.model_copy(update={"folds": 2})
    config = data.config.model_copy(
        update={"data": data.config.data.model_copy(update={"split": split})}
    )
    parts = [
        {"part": "train", "fold": 1, "class_counts": [9, 0]},
        {"part": "validation", "fold": 1, "class_counts": [3, 1]},
        {"part": "validation", "fold": 2, "class_counts": [1, 3]},
    ]
    facts = {"validation_counts": [3, 1], "split": {"parts": parts}}
    provenance = data.provenance._replace(facts={"facts": facts})
    crossed = replace(with_rows(data, folds=folds), config=config, provenance=provenance)
    assert (
        "by the validation part, mean over 2 folds: a linear probe of the frozen features is right "
        "in 80.0\u00a0%, a network from scratch in 80.0\u00a0% and always naming the commonest "
        "class in 50.0\u00a0%." in crossed.answer.difficulty
    )


def test_what_has_not_ended_says_nothing(data: SearchReport, tmp_path: Path) -> None:
    assert with_rows(data, state="running", value=None).answer.difficulty == ""
    fake = fake_study(tmp_path)
    assert read_search(fake.store, fake.layout).answer.difficulty == ""
