from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.search.conftest import Study
from tests.search.fakes import memory_ledger, setting_of
from tlsearch.execution.messages import Surveyed, SurveyJob
from tlsearch.search.summary import FIGURES, measure_likeness

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

    def __init__(self) -> None:
        super().__init__(asked=[], preparer=SimpleNamespace(configure=lambda _: None))

    def watch(self, _event: Any) -> None:
        """Nobody looks."""

    def errand(self, job: Any) -> Surveyed:
        self.asked.append(job)
        return Surveyed(tuple(FACTS.items()))


def test_it_is_measured_once_and_kept(study: Study, tmp_path: Path) -> None:
    config = study("backbone.weights=glyphs")
    ledger, stage, setting = memory_ledger(config), FakeStage(), setting_of(config, tmp_path)
    wanted = {name: FACTS[name] for name in FIGURES}
    assert measure_likeness(ledger, setting, stage) == wanted  # type: ignore[arg-type]
    assert measure_likeness(ledger, setting, stage) == wanted  # type: ignore[arg-type]
    assert stage.asked == [SurveyJob(future=None)]


@pytest.mark.parametrize("weights", ["none", "a.safetensors"])
def test_nothing_is_measured_where_nothing_is_known(
    study: Study, weights: str, tmp_path: Path
) -> None:
    config = study(f"backbone.weights={weights}")
    ledger, stage = memory_ledger(config), FakeStage()
    setting = replace(setting_of(config, tmp_path), config=config)
    assert measure_likeness(ledger, setting, stage) == {}  # type: ignore[arg-type]
    assert stage.asked == []
