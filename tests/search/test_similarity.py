from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.search.conftest import Study
from tests.search.fakes import memory_store, setting_of
from tlsearch.execution.messages import SurveyJob
from tlsearch.search.runner import _measure_similarity
from tlsearch.search.store import SIMILARITY, Store
from tlsearch.search.summary import SIMILARITY_FIGURES

FACTS = {
    "similarity": 0.7,
    "source_distance": 3.0,
    "frechet_distance": 0.5,
    "domain_error": None,
    "probe_accuracy": 0.9,
    "classes": 10.0,
}


class FakeStage(SimpleNamespace):
    """Answers surveys and counts them."""

    def __init__(self, store: Store) -> None:
        super().__init__(store=store, asked=[], preparing=self)

    def configure(self, _setting: Any) -> None:
        """Nothing is trained."""

    def watch(self, _event: Any) -> None:
        """Nobody looks."""

    def run_job(self, job: Any) -> Any:
        self.asked.append(job)
        return FACTS


def test_it_is_measured_once_and_kept(study: Study, tmp_path: Path) -> None:
    config = study("backbone.weights=glyphs")
    store, setting = memory_store(config), setting_of(config, tmp_path)
    stage = FakeStage(store)
    for _ in range(2):
        _measure_similarity(stage, setting)  # type: ignore[arg-type]
        assert store.noted(SIMILARITY) == {name: FACTS[name] for name in SIMILARITY_FIGURES}
    assert stage.asked == [SurveyJob(future=None)]


@pytest.mark.parametrize("weights", ["none", "a.safetensors"])
def test_nothing_is_measured_where_nothing_is_known(
    study: Study, weights: str, tmp_path: Path
) -> None:
    config = study(f"backbone.weights={weights}")
    stage = FakeStage(memory_store(config))
    setting = replace(setting_of(config, tmp_path), config=config)
    _measure_similarity(stage, setting)  # type: ignore[arg-type]
    assert stage.store.noted(SIMILARITY) is None
    assert stage.asked == []
