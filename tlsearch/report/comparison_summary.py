"""What a comparison comes to, in few sentences: what its reader sees first."""

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
from tlsearch.report.verdict_text import (
    MEANINGS,
    OWN,
    Spoken,
    arm_name,
    params_text,
    spoken,
    varying,
)
from tlsearch.report.wording import (
    accuracy_text,
    count,
    duration,
    gain_text,
    joined,
    percent,
    points,
)

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
    luck = " It does not allow for other luck in tuning, which few validation images leave much of."
    allowed = (
        "other draws and seeds; that of an estimate less the later accuracy also for other images"
        if is_splits
        else "other seeds and other test images"
    )
    return (
        " ".join((sizes, *(_splits(tables) if is_splits else _trainings(tables)))),
        "An effect is the mean difference between an arm and what it is held against, paired by "
        f"{paired}. Brackets hold its {_share(1 - found.alpha)} interval, which allows for "
        f"{allowed}.{luck if tuned else ''}",
        "With many claims some would come out by luck. So verdicts are read off wider intervals "
        f"(Holm's correction), which keep the chance of any false verdict in a table below "
        f"{_share(found.alpha)}; an interval may therefore leave out 0 and its claim still be "
        "inconclusive.",
    )


class Told(NamedTuple):
    """One fact of where the figures come from."""

    term: str
    text: str


def provenance_told(tables: Tables) -> tuple[Told, ...]:
    """Command, cost, machine, fingerprints and versions, as far as they are known; empty where
    nothing was run.
    """
    return tuple(_provenance(tables.provenance)) if tables.provenance else ()


def said_text(place: ScenarioOverview) -> str:
    """What a scenario is said to be; "" where nothing is."""
    words = {"labels": "with {} labels", "order": "in order of {}"}
    said = ", ".join(words.get(name, "{}").format(v) for name, v in place.traits.items())
    return f"Said to be {said}." if said else ""


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
        yield f"a linear probe is right on {percent(facts['probe_accuracy'])}"


def _trainings(tables: Tables) -> Iterator[str]:
    """Tuning and confirmation, as far as there was any."""
    found = tables.protocol
    epochs, seeds = count(found.epochs, "epoch"), count(found.seeds, "seed")
    tuned = _arms(tables, tuned=True)
    if tuned:
        yield (
            f"In each scenario every arm was tuned with {count(found.trials, 'trial')} of up to "
            f"{epochs}, judged on validation images alone; its best configuration was trained "
            f"again with {seeds}, and each of these models met the test images once."
        )
        untuned = [arm for arm in _arms(tables, tuned=False) if arm not in tuned]
        if untuned:
            names = joined([arm_name(arm, tables) for arm in untuned])
            yield f"Nothing was left to tune in {names}."
    else:
        yield (
            "Nothing was tuned: the study sets every arm's configuration. Each was trained with "
            f"{seeds} for up to {epochs}, and each of these models met the test images once."
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


def _provenance(found: Provenance) -> Iterator[Told]:
    if found.command:
        yield Told("Command", found.command)
    states = ", ".join(f"{number:,} {state}" for state, number in found.trainings.items())
    cost = [count(sum(found.trainings.values()), "training") + (f" ({states})" if states else "")]
    if found.images_trained:
        cost.append(f"{found.images_trained:,} images seen")
    date = f"; the last ended on {found.date}" if found.date else ""
    yield Told("Cost", f"{', '.join([*cost, duration(found.seconds)])} in all{date}")
    cores = count(found.cores, "core") if found.cores else ""
    machine = [*found.precisions, *found.devices, *([cores] if cores else [])]
    if machine:
        yield Told("Number format and machine", ", ".join(machine))
    if found.fingerprints:
        told = "; ".join(f"{name} {value}" for name, value in found.fingerprints.items())
        yield Told("Fingerprints", told)
    if found.revision:
        yield Told("Revision", found.revision)
    if found.versions:
        told = ", ".join(f"{name} {number}" for name, number in found.versions.items())
        yield Told("Versions", told)


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
    lost = ("Negative transfer: training from scratch does better than every other arm here.",)
    is_splits = tables.protocol.future is not None
    return SpokenScenario(
        name=place.scenario,
        said=said_text(place),
        measured=measured_text(place),
        warnings=(*(lost if place.negative_transfer else ()), *place.remarks),
        finding=foretold_text(place, tables),
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
    return (
        Column("arm", is_number=False),
        Column("test accuracy, 95 % interval", is_number=True),
        Column(f"over {arm_name(tables.protocol.reference, tables)}", is_number=True),
        Column("configuration, where arms differ", is_number=False),
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
    return (arm_name(arm.arm, tables), accuracy, gain, params_text(arm.params, varying(tables)))
