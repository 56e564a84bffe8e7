"""How answers to claims are written for people, the same in every format."""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tlsearch.comparison.answers import Answered, ClaimAnswer, Tables
from tlsearch.report.wording import MINUS, count, points, setting_text

SIDES: Mapping[str, str] = {"for": "said for", "against": "said against", "fits": "said to fit"}

MEANINGS: Mapping[Answered, str] = {
    "supported": "the interval lies wholly on the side that the claim says",
    "contradicted": "the interval lies wholly on the other side",
    "no material effect": "the interval lies within ± the smallest effect worth having",
    "inconclusive": "the interval allows for too much: more seeds or test images would tell",
    "described": "a fact without chance, printed and not tested",
    "not measured": "the comparison lacks what it takes; the reason stands beside it",
}
OWN: Mapping[str, str] = {"supported": "better", "contradicted": "worse"}
"""What verdicts are called in an own table."""
_NOUNS = {"epochs": "epochs", "decades": "decades", "ranks": "ranks", "groups": "groups"}
_TIED = "\u00a0"


class Spoken(NamedTuple):
    """One answer as texts. `verdict` is for people, `kind` one of `MEANINGS` for colours.

    `effect` holds the interval, `sides` both means, `basis` what they rest on, `settled_by` what
    would settle an *inconclusive* claim; "" where there is none. `details` are sentences of lesser
    weight.
    """

    says: str
    verdict: str
    kind: str
    effect: str
    sides: str
    basis: str
    settled_by: str
    details: tuple[str, ...]


def spoken(answer: ClaimAnswer) -> Spoken:
    """An answer in words."""
    if answer.verdict == "not measured":
        return _fact(answer, answer.reason or "")
    if answer.verdict == "described":
        figure = "" if answer.figure is None else f"{answer.measure}: {answer.figure:,.4g}"
        return _fact(answer, figure or f"{answer.measure}: {answer.text}")
    verdict = OWN.get(answer.verdict, answer.verdict) if answer.table == "own" else answer.verdict
    notes = [note for note in answer.notes if note != _why_open(answer)]
    return Spoken(
        says=answer.says,
        verdict=verdict,
        kind=answer.verdict,
        effect=effect_text(answer) + _little(answer),
        sides=_sides(answer),
        basis=basis_text(answer),
        settled_by=_settled_by(answer),
        details=(*_details(answer), *(f"{note[0].upper()}{note[1:]}." for note in notes)),
    )


def effect_text(answer: ClaimAnswer) -> str:
    """An effect with its interval: `+3.1 points (+2.2 to +4.0)`, `×1.25 (×1.10 to ×1.42)`; or with
    the reason why it has none.
    """
    figures = (answer.effect, answer.low, answer.high)
    mean, low, high = (_difference(figure, answer.unit) for figure in figures)
    unit = "points" if answer.unit == "share" else _NOUNS.get(answer.unit, "")
    named = f"{mean}{_TIED}{unit}" if unit else mean
    why = _why_open(answer)
    return f"{named} (no interval: {why})" if why else f"{named} ({low}{_TIED}to{_TIED}{high})"


def _why_open(answer: ClaimAnswer) -> str:
    """Why an effect has no interval: judging says it last of all; "" where there is one."""
    return answer.notes[-1] if answer.low is None and answer.notes else ""


def basis_text(answer: ClaimAnswer) -> str:
    """What an answer rests on: `n = 1,078 test images, 8 seeds, 2 scenarios`."""
    parts = [f"n = {answer.n:,} {'pairs of models' if answer.n_of == 'seeds' else answer.n_of}"]
    if answer.n_of == "redraws":
        parts.append(f"{answer.seeds:,} a scenario")
    elif answer.n_of != "scenarios":
        parts.append(count(answer.seeds, "seed"))
    if len(answer.scenarios) > 1 and answer.n_of != "scenarios":
        parts.append(count(len(answer.scenarios), "scenario"))
    return ", ".join(parts)


def arm_name(arm: str, tables: Tables) -> str:
    """An arm by the name of its strategy: `decay (A2)`; one of the user's own by its own."""
    names = {row.id: row.strategy for row in tables.tables[0].rows}
    return f"{names[arm]} ({arm})" if names.get(arm, arm) != arm else arm


def params_text(params: Mapping[str, object], varying: Iterable[str]) -> str:
    """The parameters named by `varying`, as `lr 0.01, optimizer sgd`."""
    return ", ".join(f"{name} {setting_text(params[name])}" for name in varying if name in params)


def varying(tables: Tables) -> tuple[str, ...]:
    """Parameters that are not the same in all arms and scenarios."""
    seen: dict[str, set[object]] = {}
    arms = [arm for place in tables.scenarios for arm in place.arms]
    for arm in arms:
        for name in arm.params:
            seen.setdefault(name, set())
    for name, values in seen.items():
        values.update(arm.params.get(name) for arm in arms)
    return tuple(name for name, values in seen.items() if len(values) > 1)


def _little(answer: ClaimAnswer) -> str:
    """What must stand beside an effect that is certain and yet too small to matter."""
    if answer.verdict not in ("supported", "contradicted") or answer.effect is None:
        return ""
    if abs(answer.effect) >= answer.smallest:
        return ""
    return f", less than the {_worth(answer)} that matter"


def _worth(answer: ClaimAnswer) -> str:
    small = _difference(answer.smallest, answer.unit).lstrip("+")
    unit = "points" if answer.unit == "share" else _NOUNS.get(answer.unit, "")
    return f"{small}{_TIED}{unit}" if unit else small


def _fact(answer: ClaimAnswer, text: str) -> Spoken:
    return Spoken(answer.says, answer.verdict, answer.verdict, "", text, "", "", ())


def _sides(answer: ClaimAnswer) -> str:
    arm = f"{answer.measure}: {answer.arm} {_own(answer.arm_mean, answer.unit)}"
    if answer.reference_mean is None:
        return arm
    return f"{arm}, {answer.reference} {_own(answer.reference_mean, answer.unit)}"


def _details(answer: ClaimAnswer) -> Iterable[str]:
    if answer.adjusted_p is not None:
        yield f"p {_p(answer.adjusted_p)} after Holm's correction."
    yield f"Smallest effect worth having: {_worth(answer)}."


def _settled_by(answer: ClaimAnswer) -> str:
    if answer.needed is not None:
        each = "" if answer.needed_of == "scenarios" else " a scenario"
        needed = count(answer.needed, (answer.needed_of or "")[:-1])
        return f"about {needed}{each} would settle it"
    if answer.needs_images:
        return "more seeds never would settle it: it takes more test images"
    return f"not even 1,000 {answer.needed_of} would settle it" if answer.needed_of else ""


def _difference(value: float | None, unit: str) -> str:
    """A signed difference; of log ratios the factor."""
    if value is None:
        return "?"
    if unit == "share":
        return points(value)
    if unit == "log ratio":
        return f"×{math.exp(value):.2f}" if abs(value) < 7 else f"×{math.exp(value):.1e}"
    return f"{value + 0.0:+.2f}".replace("-", MINUS)


def _own(value: float | None, unit: str) -> str:
    """A value by itself."""
    if value is None:
        return "?"
    if unit == "share":
        return f"{100 * value:.1f}{_TIED}%"
    return f"{value:.3g}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"
