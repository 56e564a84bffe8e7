"""What a comparison comes to, in few sentences: what its reader sees first."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tlsearch.evidence.answers import Answered, Bias, ClaimAnswer, ScenarioOverview, Tables
from tlsearch.report.comparison.wording import MEANINGS, OWN, arm_name, spoken
from tlsearch.report.wording import count, joined, points

_LEADS: Mapping[Answered, str] = {
    "supported": "Held",
    "contradicted": "The opposite held",
    "no material effect": "No difference worth having",
    "inconclusive": "Still open",
    "not measured": "Not measured",
}
_OWN_LEADS: Mapping[Answered, str] = {**_LEADS, "supported": "Better", "contradicted": "Worse"}
_BIASES: Mapping[Bias, str] = {
    "too optimistic": "Too optimistic",
    "too pessimistic": "Too pessimistic",
    "none shown": "No bias shown",
}


class Finding(NamedTuple):
    """What came out alike: `lead` says how, `text` what."""

    lead: str
    text: str


def summary(tables: Tables) -> str:
    """How many claims of the first table came out how: `Of 22 claims: 3 supported, …`."""
    found = [spoken(c) for c in _pooled(tables) if c.verdict != "described"]
    counts = Counter(one.verdict for one in found)
    order = [OWN.get(v, v) if tables.protocol.table == "own" else v for v in MEANINGS]
    told = [f"{counts[verdict]} {verdict}" for verdict in order if counts[verdict]]
    thing = "arm" if tables.protocol.table == "own" else "claim"
    return f"Of {count(len(found), thing)}: {joined(told)}." if found else "Nothing to judge yet."


def findings(tables: Tables) -> tuple[Finding, ...]:
    """What held, what did not and what stays open, by name; facts without chance are no finding."""
    is_own = tables.protocol.table == "own"
    found = []
    for verdict, lead in (_OWN_LEADS if is_own else _LEADS).items():
        alike = [answer for answer in _pooled(tables) if answer.verdict == verdict]
        if alike:
            names = [arm_name(answer.id, tables) for answer in alike]
            found.append(Finding(lead, f"{joined(names)}." if is_own else _said(alike, tables)))
    return tuple(found)


def foretold(tables: Tables) -> tuple[Finding, ...]:
    """Scenario by scenario, whose estimates came true; empty where a table is not about splits."""
    found = [Finding(s.scenario, foretold_text(s, tables)) for s in tables.scenarios]
    return tuple(finding for finding in found if finding.text)


def foretold_text(place: ScenarioOverview, tables: Tables) -> str:
    """Which splits' estimates are too optimistic, which too pessimistic, which is nearest."""
    told = [(arm_name(a.arm, tables), a.foretelling) for a in place.arms if a.foretelling]
    sentences = []
    for bias, lead in _BIASES.items():
        alike = [f"{n} ({points(f.optimism)}\u00a0points)" for n, f in told if f.bias == bias]
        if alike:
            sentences.append(f"{lead}: {joined(alike)}.")
    if len(told) > 1:
        nearest = min(told, key=lambda one: abs(one[1].optimism))
        sentences.append(f"Nearest to what came true: {nearest[0]}.")
    return " ".join(sentences)


def warnings(tables: Tables) -> tuple[str, ...]:
    """What must not be overlooked."""
    lost = [place.scenario for place in tables.scenarios if place.negative_transfer]
    if not lost:
        return ()
    return (
        f"Negative transfer in {joined(lost)}: training from scratch does better than every "
        "other arm.",
    )


def _pooled(tables: Tables) -> list[ClaimAnswer]:
    return [c for c in tables.claims if c.scenario == tables.tables[0].scenario]


def _said(answers: Iterable[ClaimAnswer], tables: Tables) -> str:
    """Row by row what was said: `Decay (A2): comes to rest; ends more accurate.`"""
    rows: dict[str, list[str]] = {}
    for answer in answers:
        fits = "fits " if answer.side == "fits" else ""
        rows.setdefault(arm_name(answer.id, tables), []).append(f"{fits}{answer.says}")
    return " ".join(f"{row[0].upper()}{row[1:]}: {'; '.join(said)}." for row, said in rows.items())
