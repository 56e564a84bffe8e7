"""Words for a comparison: verdicts, findings, how it was measured; the same in every format."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from tlsearch.comparison.answers import (
    Answered,
    ArmOverview,
    Bias,
    ClaimAnswer,
    Provenance,
    ScenarioOverview,
    Tables,
    VerdictTable,
)
from tlsearch.comparison.variance import Effect
from tlsearch.report.wording import (
    MINUS,
    accuracy_text,
    count,
    duration,
    gain_text,
    joined,
    percent,
    points,
    setting_text,
)

SIDES: Mapping[str, str] = {"for": "advantage", "against": "drawback", "fits": "suited to"}

MEANINGS: Mapping[Answered, str] = {
    "supported": "the interval lies wholly on the side that the claim says",
    "contradicted": "the interval lies wholly on the other side",
    "no material effect": "the interval lies within ± the smallest effect that matters",
    "inconclusive": "the interval is too wide to decide: it takes more seeds or test images",
    "described": "a fact without chance, shown and not tested",
    "not measured": "the comparison lacks what this needs; the reason stands beside it",
}
OWN: Mapping[str, str] = {"supported": "better", "contradicted": "worse"}
"""What verdicts are called in an own table."""
_UNITS = {"share": "points", **{unit: unit for unit in ("epochs", "decades", "ranks", "groups")}}
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
    effect: str = ""
    sides: str = ""
    basis: str = ""
    settled_by: str = ""
    details: tuple[str, ...] = ()


def spoken(answer: ClaimAnswer) -> Spoken:
    """An answer in words."""
    verdict = OWN.get(answer.verdict, answer.verdict) if answer.table == "own" else answer.verdict
    if answer.verdict == "not measured":
        return Spoken(answer.says, verdict, answer.verdict, sides=answer.reason or "")
    if answer.verdict == "described":
        figure = answer.text if answer.figure is None else f"{answer.figure:,.4g}"
        sides = f"{answer.measure}: {figure}"
        return Spoken(answer.says, verdict, answer.verdict, sides=sides)
    notes = [note for note in answer.notes if note != _why_open(answer)]
    return Spoken(
        says=answer.says,
        verdict=verdict,
        kind=answer.verdict,
        effect=effect_text(answer) + _little(answer) + _corrected(answer),
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
    named, why = _with_unit(mean, answer.unit), _why_open(answer)
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


def varying(tables: Tables) -> tuple[str, ...]:
    """Parameters that are not the same in all arms and scenarios."""
    found = [arm.params for place in tables.scenarios for arm in place.arms]
    names = dict.fromkeys(name for params in found for name in params)
    return tuple(name for name in names if len({params.get(name) for params in found}) > 1)


def _little(answer: ClaimAnswer) -> str:
    """What must stand beside an effect that is certain and yet too small to matter."""
    if answer.verdict not in ("supported", "contradicted") or answer.effect is None:
        return ""
    if abs(answer.effect) >= answer.smallest:
        return ""
    return f", less than the {_worth(answer)} that matter"


def _corrected(answer: ClaimAnswer) -> str:
    """Why an effect whose own interval excludes 0 is no evidence all the same."""
    if answer.verdict != "inconclusive" or answer.low is None or answer.high is None:
        return ""
    if answer.low <= 0 <= answer.high:
        return ""
    none = "1" if answer.unit == "log ratio" else "0"
    return f"; this interval excludes {none}, the one corrected for many claims does not"


def _worth(answer: ClaimAnswer) -> str:
    return _with_unit(_difference(answer.smallest, answer.unit).lstrip("+"), answer.unit)


def _with_unit(figure: str, unit: str) -> str:
    return f"{figure}{_TIED}{_UNITS[unit]}" if unit in _UNITS else figure


def _sides(answer: ClaimAnswer) -> str:
    arm = f"{answer.measure}: {answer.arm} {_own(answer.arm_mean, answer.unit)}"
    if answer.reference_mean is None:
        return arm
    return f"{arm}, {answer.reference} {_own(answer.reference_mean, answer.unit)}"


def _details(answer: ClaimAnswer) -> Iterable[str]:
    if answer.adjusted_p is not None:
        yield f"p {_p(answer.adjusted_p)} after Holm's correction."
    yield f"Smallest effect that matters: {_worth(answer)}."


def _settled_by(answer: ClaimAnswer) -> str:
    if answer.needed is not None:
        each = "" if answer.needed_of == "scenarios" else " a scenario"
        needed = count(answer.needed, (answer.needed_of or "")[:-1])
        return f"about {needed}{each} would settle it"
    if answer.needs_images:
        return "more seeds would not settle it: it takes more test images"
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


# What came out, in few sentences: what a reader sees first.


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
    texts = [f"{counts[verdict]} {verdict}" for verdict in order if counts[verdict]]
    thing = "arm" if tables.protocol.table == "own" else "claim"
    return (
        f"Of {count(len(found), thing)}: {joined(texts)}."
        if found
        else "Nothing has been measured yet."
    )


def findings(tables: Tables) -> tuple[Finding, ...]:
    """Claims by verdict, or arms by name; facts without chance are no finding."""
    is_own = tables.protocol.table == "own"
    found = []
    for verdict in MEANINGS:
        alike = [answer for answer in _pooled(tables) if answer.verdict == verdict]
        if alike and verdict != "described":
            lead = (OWN.get(verdict, verdict) if is_own else verdict).capitalize()
            names = [arm_name(answer.id, tables) for answer in alike]
            found.append(Finding(lead, f"{joined(names)}." if is_own else _said(alike, tables)))
    return tuple(found)


def split_findings(tables: Tables) -> tuple[Finding, ...]:
    """Scenario by scenario, whose estimates were right; empty where a table is not about splits."""
    found = [Finding(s.scenario, bias_text(s, tables)) for s in tables.scenarios]
    return tuple(finding for finding in found if finding.text)


def bias_text(place: ScenarioOverview, tables: Tables) -> str:
    """Which splits' estimates are too optimistic, which too pessimistic, which is nearest."""
    texts = [(arm_name(a.arm, tables), a.foretelling) for a in place.arms if a.foretelling]
    sentences = []
    for bias, lead in _BIASES.items():
        alike = [f"{n} ({points(f.optimism)}\u00a0points)" for n, f in texts if f.bias == bias]
        if alike:
            sentences.append(f"{lead}: {joined(alike)}.")
    if len(texts) > 1:
        nearest = min(texts, key=lambda one: abs(one[1].optimism))
        sentences.append(f"Nearest to the later accuracy: {nearest[0]}.")
    return " ".join(sentences)


def warnings(tables: Tables) -> tuple[str, ...]:
    """What must not be overlooked."""
    lost = [place.scenario for place in tables.scenarios if place.negative_transfer]
    if not lost:
        return ()
    return (
        f"Negative transfer in {joined(lost)}: training from scratch is more accurate than every "
        "other arm.",
    )


def _pooled(tables: Tables) -> list[ClaimAnswer]:
    return [c for c in tables.claims if c.scenario == tables.tables[0].scenario]


def _said(answers: Iterable[ClaimAnswer], tables: Tables) -> str:
    """Claims by strategy: `Decay (A2): comes to rest; ends more accurate.`"""
    rows: dict[str, list[str]] = {}
    for answer in answers:
        suited = "suited to " if answer.side == "fits" else ""
        rows.setdefault(arm_name(answer.id, tables), []).append(f"{suited}{answer.says}")
    return " ".join(f"{row[0].upper()}{row[1:]}: {'; '.join(said)}." for row, said in rows.items())


# How a comparison was measured, and where its figures come from, in sentences.


_SWEPT = ("sensitivity", "usable_decades", "divergence_share")


def protocol_text(tables: Tables) -> tuple[str, ...]:
    """How it was measured, in sentences that need no other."""
    found = tables.protocol
    is_splits = found.future is not None
    arms = max((len(place.arms) for place in tables.scenarios), default=0)
    sizes = f"{count(arms, 'arm')} in {count(len(tables.scenarios), 'scenario')}."
    paired = "redraw" if is_splits else "seed and test image"
    tuned = bool(_arms(tables, tuned=True)) and not is_splits
    # Tuning once for all seeds leaves this out; tuning for each seed would cost as many times more.
    luck = " It leaves out the chance in tuning, which is large with few validation images."
    allowed = (
        "other draws and seeds; that of an estimate less the later accuracy also for other images"
        if is_splits
        else "other seeds and other test images"
    )
    return (
        " ".join((sizes, *(_splits(tables) if is_splits else _trainings(tables)))),
        "An effect is the mean difference between an arm and what it is compared with, paired by "
        f"{paired}. Brackets hold its {_share(1 - found.alpha)} interval, which allows for "
        f"{allowed}.{luck if tuned else ''}",
        "With many claims some would come out by chance. So verdicts are read off wider intervals "
        f"(Holm's correction), which keep the chance of any false verdict in a table below "
        f"{_share(found.alpha)}; an interval may therefore leave out 0 and its claim still be "
        "inconclusive.",
    )


class Fact(NamedTuple):
    """One fact of where the figures come from."""

    term: str
    text: str


def provenance_facts(tables: Tables) -> tuple[Fact, ...]:
    """Command, cost, machine, fingerprints and versions, as far as they are known; empty where
    nothing was run.
    """
    return tuple(_provenance(tables.provenance)) if tables.provenance else ()


def said_text(place: ScenarioOverview) -> str:
    """The traits that the study gives a scenario; "" where there are none."""
    words = {"labels": "with {} labels", "order": "in order of {}"}
    said = ", ".join(words.get(name, "{}").format(v) for name, v in place.traits.items())
    return f"Described as {said}." if said else ""


def measured_text(place: ScenarioOverview) -> str:
    """What was measured of a scenario, the weightiest first; "" where nothing was."""
    found = "; ".join(_facts(place.facts))
    return f"Measured: {found}." if found else ""


def _facts(facts: dict[str, float]) -> Iterator[str]:
    if "similarity" in facts:
        yield f"similarity to the source {facts['similarity']:.2f} (1: like the source)"
    if "difficulty" in facts:
        yield f"difficulty {facts['difficulty']:.2f} (error of the best arm)"
    if "best_freeze_depth" in facts:
        ends = (facts[f"best_freeze_depth{end}"] for end in ("", "_low", "_high"))
        mean, low, high = (f"{max(end, 0.0):.1f}" for end in ends)
        yield f"best freeze depth {mean} groups ({low} to {high})"
    parts = [part for part in ("train", "validation", "test", "later") if f"{part}_images" in facts]
    if parts:
        sizes = " / ".join(f"{facts[f'{part}_images']:,.0f}" for part in parts)
        yield f"{sizes} images ({' / '.join(parts)})"
    if "classes" in facts:
        yield f"{facts['classes']:,.0f} classes"
    if "imbalance" in facts:
        ratio = facts["imbalance"]
        yield (
            f"largest class {ratio:.3g} times the smallest"
            if ratio >= 1.005
            else "all classes of equal size"
        )
    if "probe_accuracy" in facts:
        yield f"a linear probe classifies {percent(facts['probe_accuracy'])} correctly"


def _trainings(tables: Tables) -> Iterator[str]:
    """Tuning and confirmation, as far as there was any."""
    found = tables.protocol
    epochs, seeds = count(found.epochs, "epoch"), count(found.seeds, "seed")
    tuned = _arms(tables, tuned=True)
    if tuned:
        yield (
            f"In each scenario every arm was tuned with {count(found.trials, 'trial')} of up to "
            f"{epochs}, judged on validation images alone; its best configuration was trained "
            f"again with {seeds}, and each of these models was scored on the test images once."
        )
        untuned = [arm for arm in _arms(tables, tuned=False) if arm not in tuned]
        if untuned:
            names = joined([arm_name(arm, tables) for arm in untuned])
            yield f"Nothing was left to tune in {names}."
    else:
        yield (
            "Nothing was tuned: the study sets every arm's configuration. Each was trained with "
            f"{seeds} for up to {epochs}, and each of these models was scored on the test images "
            "once."
        )
    if any(c.statistic in _SWEPT and c.verdict != "not measured" for c in tables.claims):
        yield (
            "For claims about how much a setting matters, the best configuration was also trained "
            "with that setting at each of several values."
        )


def _splits(tables: Tables) -> Iterator[str]:
    """How past and future were divided, and what was taken of each model."""
    found = tables.protocol
    assert found.future is not None
    yield (
        f"The latest {_share(found.future)} of each scenario's images were set apart as its "
        "future, which no split touched. The images before them each split divided into training, "
        f"validation and test parts, with each of {count(found.seeds, 'seed')} anew; a split by "
        "time cannot be redrawn, so there seeds change the training alone. Nothing was tuned: all "
        f"arms train alike, for up to {count(found.epochs, 'epoch')}. Each model gave two figures: "
        "its accuracy on the split's own test part, the estimate, and that on the future, the "
        "later accuracy."
    )
    shares = [c for c in tables.claims if c.statistic == "class_share_distance"]
    redraws = max((claim.seeds for claim in shares), default=0)
    if redraws:
        yield f"Class shares were compared over {count(redraws, 'redraw')}, without training."


def _arms(tables: Tables, *, tuned: bool) -> list[str]:
    """Arms that left something to tune in any scenario, or nothing in any."""
    arms = (arm for place in tables.scenarios for arm in place.arms)
    return list(dict.fromkeys(arm.arm for arm in arms if bool(arm.settings) == tuned))


def _provenance(found: Provenance) -> Iterator[Fact]:
    if found.command:
        yield Fact("Command", found.command)
    states = ", ".join(f"{number:,} {state}" for state, number in found.trainings.items())
    cost = [count(sum(found.trainings.values()), "training") + (f" ({states})" if states else "")]
    if found.images_trained:
        cost.append(f"{found.images_trained:,} images seen")
    date = f"; the last ended on {found.date}" if found.date else ""
    yield Fact("Cost", f"{', '.join([*cost, duration(found.seconds)])} in all{date}")
    cores = count(found.cores, "core") if found.cores else ""
    machine = [*found.precisions, *found.devices, *([cores] if cores else [])]
    if machine:
        yield Fact("Number format and machine", ", ".join(machine))
    if found.fingerprints:
        text = "; ".join(f"{name} {value}" for name, value in found.fingerprints.items())
        yield Fact("Fingerprints", text)
    if found.revision:
        yield Fact("Revision", found.revision)
    if found.versions:
        text = ", ".join(f"{name} {number}" for name, number in found.versions.items())
        yield Fact("Versions", text)


def _share(share: float) -> str:
    return f"{100 * share:g}\u00a0%"


# Rows, arms and scenarios of a comparison as texts, the same in every format.


class SpokenRow(NamedTuple):
    """A strategy and what is said of it, by side."""

    id: str
    strategy: str
    cells: dict[str, list[Spoken]]


class Column(NamedTuple):
    """Head of a column in a scenario's table of arms."""

    title: str
    is_number: bool


class SpokenScenario(NamedTuple):
    """A scenario as texts: what it is said to be, what was measured of it, and its arms.

    `finding` is "" where the table is not about splits; `arms` are lines of a text for each of
    `columns`; `rows` are of its own table of verdicts, if it has one.
    """

    name: str
    said: str
    measured: str
    warnings: tuple[str, ...]
    finding: str
    columns: tuple[Column, ...]
    arms: list[tuple[str, ...]]
    rows: list[SpokenRow]


def rows_of(tables: Tables, table: VerdictTable) -> list[SpokenRow]:
    """A table's rows with their answers in words, all sides of the documents present."""
    return [
        SpokenRow(
            row.id,
            row.strategy,
            {
                cell.side: [spoken(tables.answer(key, table.scenario)) for key in cell.claims]
                for cell in row.cells
            },
        )
        for row in table.rows
    ]


def scenarios_of(tables: Tables) -> list[SpokenScenario]:
    """All scenarios in words, each with its own table of verdicts where there is one."""
    alone = {table.scenario: table for table in tables.tables[1:]}
    return [_scenario(tables, place, alone.get(place.scenario)) for place in tables.scenarios]


def _scenario(
    tables: Tables, place: ScenarioOverview, table: VerdictTable | None
) -> SpokenScenario:
    lost = ("Negative transfer: training from scratch is more accurate than every other arm here.",)
    is_splits = tables.protocol.future is not None
    return SpokenScenario(
        name=place.scenario,
        said=said_text(place),
        measured=measured_text(place),
        warnings=(*(lost if place.negative_transfer else ()), *place.remarks),
        finding=bias_text(place, tables),
        columns=_SPLITS if is_splits else _columns(tables),
        arms=[_split(arm, tables) if is_splits else _arm(arm, tables) for arm in place.arms],
        rows=rows_of(tables, table) if table else [],
    )


_SPLITS = (
    Column("arm", is_number=False),
    Column("the split's estimate", is_number=True),
    Column("accuracy on later images", is_number=True),
    Column("estimate less later accuracy, 95 % interval", is_number=True),
)


def _columns(tables: Tables) -> tuple[Column, ...]:
    configuration = Column("configuration, where arms differ", is_number=False)
    return (
        Column("arm", is_number=False),
        Column("test accuracy, 95 % interval", is_number=True),
        Column(f"over {arm_name(tables.protocol.reference, tables)}", is_number=True),
        *([configuration] if varying(tables) else ()),
    )


def _split(arm: ArmOverview, tables: Tables) -> tuple[str, ...]:
    name, found = arm_name(arm.arm, tables), arm.foretelling
    if found is None:
        return (name, "–", "–", "–")
    optimism = Effect(found.optimism, found.low, found.high, found.redraws, 0)
    return (name, percent(found.estimate), percent(found.later_accuracy), gain_text(optimism))


def _arm(arm: ArmOverview, tables: Tables) -> tuple[str, ...]:
    accuracy = gain = "–"
    if arm.accuracy is not None and arm.low is not None and arm.high is not None:
        accuracy = accuracy_text(Effect(arm.accuracy, arm.low, arm.high, arm.seeds, arm.n))
    if arm.gain is not None:
        found = arm.gain
        gain = gain_text(Effect(found.mean, found.low, found.high, arm.seeds, arm.n))
    elif arm.arm == tables.protocol.reference:
        gain = "the reference"
    names = varying(tables)
    texts = [f"{name} {setting_text(arm.params[name])}" for name in names if name in arm.params]
    configuration = [", ".join(texts)] if names else ()
    return (arm_name(arm.arm, tables), accuracy, gain, *configuration)
