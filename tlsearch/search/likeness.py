"""How much a study's images look like those that its network was trained on."""

from collections.abc import Mapping

from tlsearch.search.jobs import Setting, Surveyed, SurveyJob
from tlsearch.search.ledger import LIKENESS, Ledger
from tlsearch.search.stage import Stage
from tlsearch.search.watching import Preparing
from tlsearch.study.source_checks import knows_source

FIGURES = ("similarity", "frechet_distance", "domain_error", "probe_accuracy")
"""Of the facts that `search.work.surveying.survey` measures, those that a search keeps."""


def measure_likeness(ledger: Ledger, setting: Setting, stage: Stage) -> Mapping[str, float | None]:
    """`FIGURES` of the study's images but the test part, by its first network; measured once and
    kept in the study. Empty where no image of the source is known, or no network was trained on it.
    """
    if setting.config.backbone.weights == "none" or not knows_source(setting.config):
        return {}
    known: Mapping[str, float | None] | None = ledger.search.user_attrs.get(LIKENESS)
    if known is None:
        stage.preparer.configure(setting)
        stage.watch(Preparing(1.0, "measuring how much the images look like the source's"))
        answer = stage.errand(SurveyJob(future=None))
        assert isinstance(answer, Surveyed)
        facts = dict(answer.facts)
        known = {name: facts[name] for name in FIGURES}
        ledger.search.set_user_attr(LIKENESS, known)
    return known
