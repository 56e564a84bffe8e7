"""The claims that a comparison is there to answer, and what it cannot answer as it is."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.markup import escape

from tlsearch.errors import Problem, RequestError
from tlsearch.study.cells import cell_config, cells, compared
from tlsearch.study.complaints import shown
from tlsearch.study.config import StudyConfig
from tlsearch.study.source_checks import knows_source

if TYPE_CHECKING:
    from tlsearch.evidence.claim import Claim

_OF_THE_SOURCE = ("cka_drift", "source_accuracy", "domain_distance", "adapted_distance")
"""Statistics that are taken on images of the source task."""


def claims_of(config: StudyConfig) -> "list[Claim]":
    """Those of the arms that are run."""
    from tlsearch.evidence.claims import claims_asked

    comparison = compared(config)
    return claims_asked(comparison.table, arms=_arms(config), reference=comparison.held_against)


def refuse_unclaimed(config: StudyConfig) -> None:
    """Refuse a comparison that would train its arms and find nothing to judge.

    Raises:
        RequestError: no claim of the documents' text is about the arms.
    """
    if compared(config).table == "C" and not claims_of(config):
        arms = shown(_arms(config))
        rule = "no claim of table C is about these arms"
        remedy = "write comparison.table: own, which holds each arm against comparison.reference"
        raise RequestError(str(Problem("comparison.arms", arms, rule, remedy)))


def claim_lines(config: StudyConfig) -> Iterator[str]:
    """What will be answered, by the documents' ids."""
    found = claims_of(config)
    yield "[bold]claims to be answered[/bold]"
    for name in dict.fromkeys(claim.id for claim in found):
        said = "; ".join(claim.says for claim in found if claim.id == name)
        yield f"  {escape(name)}: {escape(said)}"


def claim_notes(config: StudyConfig) -> list[str]:
    """Arms without a claim, and claims that these scenarios and weights cannot answer."""
    return [*_unclaimed(config), *_unplaced(config), *_unsourced(config)]


def _arms(config: StudyConfig) -> list[str]:
    return list(dict.fromkeys(cell.arm for cell in cells(compared(config))))


def _unclaimed(config: StudyConfig) -> Iterator[str]:
    from tlsearch.evidence.claims import unclaimed

    comparison = compared(config)
    if comparison.table != "C":
        return
    found = unclaimed(_arms(config))
    if any(claim.statistic == "score_correlation" for claim in claims_of(config)):
        # There every network counts, whatever its arm is called.
        found = [arm for arm in found if "backbone.name" not in comparison.arms[arm]]
    if found:
        names = ", ".join(map(repr, found))
        verb = "is trained" if len(found) == 1 else "are trained"
        yield (
            f"no claim is about {names}, which {verb} without a verdict; comparison.table: own "
            "holds every arm against one of them"
        )


def _unplaced(config: StudyConfig) -> Iterator[str]:
    """Claims about kinds of scenarios that are not among those that are run."""
    from tlsearch.evidence.claim import Scenario
    from tlsearch.evidence.gathering import in_words

    comparison = compared(config)
    said = [Scenario(**vars(comparison.scenarios[name].traits)) for name in comparison.used]
    missing: dict[str, list[Claim]] = {}
    for claim in claims_of(config):
        for kind in (claim.scenario, claim.elsewhere):
            if kind is not None and not any(map(kind.includes, said)):
                missing.setdefault(in_words(kind), []).append(claim)
                break
    for wanted, claims in missing.items():
        yield (
            f"{_named(claims)} will not be answered: no scenario is said to be {wanted} "
            "(comparison.scenarios.NAME.traits)"
        )


def _unsourced(config: StudyConfig) -> Iterator[str]:
    """Claims whose figures are taken on images of the source, where none are known."""
    configs = [(cell.arm, cell_config(config, cell)) for cell in cells(compared(config))]
    known = {arm for arm, ours in configs if knows_source(ours)}
    claims = [
        claim
        for claim in claims_of(config)
        if claim.statistic in _OF_THE_SOURCE and claim.arm not in known
    ]
    if claims:
        yield (
            f"{_named(claims)} will not be answered: no images of the source task are known — "
            "write backbone.source: {folder: PATH}, labelled images of that task"
        )


def _named(claims: "Sequence[Claim]") -> str:
    return " and ".join(f"{claim.id} ({claim.says})" for claim in claims)
