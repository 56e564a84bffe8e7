"""From the stores to one object that holds everything a report shows, read in one pass."""

from collections.abc import Mapping
from dataclasses import dataclass

from tlsearch.report.absent import Absent
from tlsearch.report.evaluation import Evaluation, find_evaluation
from tlsearch.report.examples import Examples, find_examples
from tlsearch.report.images import Images, find_images
from tlsearch.report.importances import Importances, find_importances
from tlsearch.report.provenance import Provenance, find_provenance
from tlsearch.report.scores import Scores, find_scores
from tlsearch.search.confirm import best_first, maximises
from tlsearch.search.ledger import AUDIT, FACTS, LIKENESS, NETWORKS, Ledger
from tlsearch.search.networks import Foretold, foretold
from tlsearch.search.runs import RunRow
from tlsearch.search.summary import Summary, summarise
from tlsearch.study.backbones import groups
from tlsearch.study.config import StudyConfig
from tlsearch.study.dimensions import Choice, Dimension, Range
from tlsearch.study.layout import Layout
from tlsearch.study.resolved import redacted
from tlsearch.study.timm_backbones import CATALOGUE


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """A study as the report shows it. `ranked` holds the complete trials, best first.

    `groups` are the layer groups of the network; of several, of that of the best trial.
    `networks` is None for a study on one network; `likeness` holds `search.likeness.FIGURES`, or
    nothing where it was not measured. `space` tells each searched dimension in words.
    `missing` holds a sentence for each thing that should be there and is not.
    """

    config: StudyConfig
    summary: Summary
    ranked: tuple[RunRow, ...]
    maximise: bool
    groups: tuple[str, ...]
    space: Mapping[str, str]
    scores: Scores | Absent
    evaluation: Evaluation | Absent
    examples: Examples | Absent
    importances: Importances | Absent
    images: Images
    networks: Foretold | None
    likeness: Mapping[str, float | None]
    provenance: Provenance
    missing: tuple[str, ...]

    @property
    def trials(self) -> tuple[RunRow, ...]:
        """The search's trials by number."""
        return tuple(row for row in self.summary.rows if row.spec.kind == "search")

    @property
    def fixed(self) -> tuple[RunRow, ...]:
        """Baselines and confirmations, in the order in which they were asked for."""
        return tuple(row for row in self.summary.rows if row.spec.kind != "search")


def read_report(ledger: Ledger, layout: Layout) -> ReportData:
    """Read all that a report needs; nothing is created, and a missing file is named."""
    config = ledger.config
    summary = summarise(ledger, layout)
    facts = ledger.search.user_attrs.get(FACTS) or {}
    names = facts.get("facts", {}).get("class_names")
    class_names, folder = tuple(map(str, names)) if names else None, layout.study(config.name)
    scores = find_scores(summary, folder, class_names)
    evaluation, missing = find_evaluation(summary, folder, scores)
    examples = find_examples(summary, folder, class_names)
    if summary.test and isinstance(examples, Absent):
        missing.append(examples.reason)
    if not facts:
        missing.append("The data have not been read yet: their fingerprint is not known.")
    maximise = maximises(config)
    return ReportData(
        config=redacted(config),
        summary=summary,
        ranked=tuple(best_first(summary.rows, maximise=maximise)),
        maximise=maximise,
        groups=groups(CATALOGUE[_shown_network(config, summary)]),
        space={name: in_words(d) for name, d in config.searched().items()},
        scores=scores,
        evaluation=evaluation,
        examples=examples,
        importances=find_importances(config, ledger.search),
        images=find_images(facts, ledger.search.user_attrs.get(AUDIT)),
        networks=foretold(config, summary.rows, ledger.search.user_attrs.get(NETWORKS) or {}),
        likeness=ledger.search.user_attrs.get(LIKENESS) or {},
        provenance=find_provenance(ledger, summary),
        missing=tuple(missing),
    )


def _shown_network(config: StudyConfig, summary: Summary) -> str:
    """The only network, or of several that of the best trial so far."""
    names = config.backbone.names
    return summary.best.spec.backbone if summary.best and len(names) > 1 else names[0]


def in_words(dimension: Dimension) -> str:
    """A searched dimension as a reader wants it: `0.0001 to 0.1, logarithmic`."""
    match dimension:
        case Choice(values):
            return ", ".join("none" if v is None else str(v) for v in values)
        case Range(low, high, log, step):
            tail = ", logarithmic" if log else f", in steps of {step:g}" if step else ""
            return f"{low:g} to {high:g}{tail}"
    return str(dimension.value)
