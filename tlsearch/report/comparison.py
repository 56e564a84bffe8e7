"""A comparison as every format shows it: verdicts, findings and how it was measured, in words."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from tlsearch.comparison.answers import (
    Answered,
    ArmOverview,
    Bias,
    ClaimAnswer,
    ScenarioOverview,
    Tables,
    VerdictTable,
)
from tlsearch.comparison.variance import Effect
from tlsearch.config.comparison import Traits
from tlsearch.report.wording import (
    MINUS,
    accuracy_text,
    count,
    duration,
    gain_text,
    joined,
    percent,
    points,
    round_percent,
    setting_text,
)
from tlsearch.search.summary import UNEVEN

_SIDES: Mapping[str, str] = {"for": "advantage", "against": "drawback", "fits": "suited to"}
_MEANINGS: Mapping[Answered, str] = {
    "supported": "the interval lies wholly on the side that the claim says",
    "contradicted": "the interval lies wholly on the other side",
    "no material effect": "the interval lies within ± the smallest effect that matters",
    "inconclusive": "the interval is too wide to decide: it takes more seeds or test images",
    "described": "a fact without chance, shown and not tested",
    "not measured": "the comparison lacks what this needs; the reason stands beside it",
}
_OWN: Mapping[str, str] = {"supported": "better", "contradicted": "worse"}
"""What verdicts are called in an own table."""
_BIASES: Mapping[Bias, str] = {
    "too optimistic": "Too optimistic",
    "too pessimistic": "Too pessimistic",
    "none shown": "No bias shown",
}
_SWEPT = ("sensitivity", "usable_decades", "divergence_share")
_UNITS = {"share": "points", **{unit: unit for unit in ("epochs", "decades", "ranks", "groups")}}
_TIED = "\u00a0"


class Fact(NamedTuple):
    """A sentence or more, `text`, and what it is about or how that came out, `lead`."""

    lead: str
    text: str


class Spoken(NamedTuple):
    """One answer as texts. `verdict` is for people, `kind` one of `Answered` for colours.

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
    verdict = _OWN.get(answer.verdict, answer.verdict) if answer.table == "own" else answer.verdict
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


class Row(NamedTuple):
    """A strategy and what is said of it, by side in words."""

    id: str
    strategy: str
    cells: Mapping[str, Sequence[Spoken]]


class Place(NamedTuple):
    """A scenario as texts: what it is said to be, what was measured of it, and its arms.

    `finding` is "" where the table is not about splits; `arms` are lines under `head`, numbers but
    for the first column and those at `texts`; `rows` are of its own table of verdicts, if any.
    """

    name: str
    said: str
    measured: str
    warnings: tuple[str, ...]
    finding: str
    head: tuple[str, ...]
    texts: tuple[int, ...]
    arms: list[tuple[str, ...]]
    rows: Sequence[Row]


@dataclass(frozen=True)
class ComparisonReport:
    """All that any format says of a comparison; figures are drawn from its `tables`."""

    tables: Tables

    @property
    def name(self) -> str:
        """The study's name."""
        return self.tables.protocol.comparison

    @property
    def about(self) -> str | None:
        """What the study says of its purpose."""
        return self.tables.provenance.about if self.tables.provenance else None

    @property
    def study(self) -> str | None:
        """The resolved study, to repeat it."""
        return self.tables.provenance.study if self.tables.provenance else None

    @property
    def title(self) -> str:
        """What the pooled table is about."""
        return self.tables.tables[0].title

    @property
    def is_own(self) -> bool:
        """Whether the arms are the user's own, each compared with `reference`."""
        return self.tables.protocol.table == "own"

    @property
    def is_splits(self) -> bool:
        """Whether it is about ways to split the data."""
        return self.tables.protocol.future is not None

    @property
    def reference(self) -> str:
        """The arm that others are compared with."""
        return self.arm_name(self.tables.protocol.reference)

    @cached_property
    def _strategies(self) -> Mapping[str, str]:
        return {row.id: row.strategy for row in self.tables.tables[0].rows}

    def arm_name(self, arm: str) -> str:
        """An arm by the name of its strategy: `decay (A2)`; one of the user's own by its own."""
        name = self._strategies.get(arm, arm)
        return f"{name} ({arm})" if name != arm else arm

    @property
    def arms(self) -> tuple[str, ...]:
        """All arms by their names for people."""
        arms = (self.arm_name(arm.arm) for place in self.tables.scenarios for arm in place.arms)
        return tuple(dict.fromkeys(arms))

    @cached_property
    def varying(self) -> tuple[str, ...]:
        """Parameters that are not the same in all arms and scenarios."""
        found = [arm.params for place in self.tables.scenarios for arm in place.arms]
        names = dict.fromkeys(name for params in found for name in params)
        return tuple(name for name in names if len({params.get(name) for params in found}) > 1)

    # What came out, in few sentences: what a reader sees first.

    @property
    def meanings(self) -> Sequence[tuple[Answered, str, str]]:
        """Every verdict as the tables have it, as it is called here, and what it means."""
        return [(kind, self._verdict(kind), meaning) for kind, meaning in _MEANINGS.items()]

    def _verdict(self, kind: Answered) -> str:
        return _OWN.get(kind, kind) if self.is_own else kind

    @property
    def summary(self) -> str:
        """How many claims of the first table came out how: `Of 22 claims: 3 supported, …`."""
        counts = Counter[Answered](c.verdict for c in self._pooled)
        del counts["described"]
        if not counts:
            return "Nothing has been measured yet."
        texts = [f"{counts[v]} {self._verdict(v)}" for v in _MEANINGS if counts[v]]
        thing = "arm" if self.is_own else "claim"
        return f"Of {count(counts.total(), thing)}: {joined(texts)}."

    @property
    def findings(self) -> Sequence[Fact]:
        """Claims by verdict, or arms by name; facts without chance are no finding."""
        found = []
        for verdict in _MEANINGS:
            alike = [answer for answer in self._pooled if answer.verdict == verdict]
            if alike and verdict != "described":
                names = f"{joined([self.arm_name(answer.id) for answer in alike])}."
                text = names if self.is_own else self._said(alike)
                found.append(Fact(self._verdict(verdict).capitalize(), text))
        return found

    @property
    def split_findings(self) -> Sequence[Fact]:
        """Scenario by scenario, whose estimates were right; empty where it is not about splits."""
        found = [Fact(s.scenario, self._bias(s)) for s in self.tables.scenarios]
        return [one for one in found if one.text]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What must not be overlooked."""
        lost = [place.scenario for place in self.tables.scenarios if place.negative_transfer]
        if not lost:
            return ()
        return (
            f"Negative transfer in {joined(lost)}: training from scratch is more accurate than "
            "every other arm.",
        )

    @property
    def _pooled(self) -> Sequence[ClaimAnswer]:
        return [c for c in self.tables.claims if c.scenario == self.tables.tables[0].scenario]

    def _said(self, answers: Iterable[ClaimAnswer]) -> str:
        """Claims by strategy: `Decay (A2): comes to rest; ends more accurate.`"""
        rows: dict[str, list[str]] = {}
        for answer in answers:
            suited = "suited to " if answer.side == "fits" else ""
            rows.setdefault(self.arm_name(answer.id), []).append(f"{suited}{answer.says}")
        texts = (f"{row[0].upper()}{row[1:]}: {'; '.join(said)}." for row, said in rows.items())
        return " ".join(texts)

    def _bias(self, place: ScenarioOverview) -> str:
        """Which splits' estimates are too optimistic, which too pessimistic, which is nearest."""
        found = [(self.arm_name(a.arm), a.foretelling) for a in place.arms if a.foretelling]
        sentences = []
        for bias, lead in _BIASES.items():
            alike = [f"{n} ({points(f.optimism)}{_TIED}points)" for n, f in found if f.bias == bias]
            if alike:
                sentences.append(f"{lead}: {joined(alike)}.")
        if len(found) > 1:
            nearest = min(found, key=lambda one: abs(one[1].optimism))
            sentences.append(f"Nearest to the later accuracy: {nearest[0]}.")
        return " ".join(sentences)

    # Verdicts and arms, pooled and scenario by scenario.

    @cached_property
    def rows(self) -> Sequence[Row]:
        """The pooled table's rows with their answers in words."""
        return self._rows(self.tables.tables[0])

    def sides(self, rows: Sequence[Row]) -> Sequence[str]:
        """The sides that anything is said on in these rows, in the documents' order."""
        return [side for side in _SIDES.values() if any(side in row.cells for row in rows)]

    @cached_property
    def scenarios(self) -> Sequence[Place]:
        """All scenarios in words, each with its own table of verdicts where there is one."""
        alone = {table.scenario: self._rows(table) for table in self.tables.tables[1:]}
        return [self._place(one, alone.get(one.scenario, ())) for one in self.tables.scenarios]

    def _rows(self, table: VerdictTable) -> Sequence[Row]:
        answers = {c.key: c for c in self.tables.claims if c.scenario == table.scenario}
        return [
            Row(
                row.id,
                row.strategy,
                {_SIDES[c.side]: [spoken(answers[key]) for key in c.claims] for c in row.cells},
            )
            for row in table.rows
        ]

    def _place(self, place: ScenarioOverview, rows: Sequence[Row]) -> Place:
        lost = (
            "Negative transfer: training from scratch is more accurate than every other arm here."
        )
        return Place(
            name=place.scenario,
            said=said_text(place),
            measured=measured_text(place),
            warnings=(*([lost] if place.negative_transfer else ()), *place.remarks),
            finding=self._bias(place),
            head=self._head,
            texts=() if self.is_splits else (3,),
            arms=[self._split(arm) if self.is_splits else self._arm(arm) for arm in place.arms],
            rows=rows,
        )

    @property
    def _head(self) -> tuple[str, ...]:
        if self.is_splits:
            interval = "estimate less later accuracy, 95 % interval"
            return ("arm", "the split's estimate", "accuracy on later images", interval)
        configuration = ["configuration, where arms differ"] if self.varying else []
        return ("arm", "test accuracy, 95 % interval", f"over {self.reference}", *configuration)

    def _split(self, arm: ArmOverview) -> tuple[str, ...]:
        name, found = self.arm_name(arm.arm), arm.foretelling
        if found is None:
            return (name, "–", "–", "–")
        optimism = Effect(found.optimism, found.low, found.high, found.redraws, 0)
        return (name, percent(found.estimate), percent(found.later_accuracy), gain_text(optimism))

    def _arm(self, arm: ArmOverview) -> tuple[str, ...]:
        accuracy = gain = "–"
        if arm.accuracy is not None and arm.low is not None and arm.high is not None:
            accuracy = accuracy_text(Effect(arm.accuracy, arm.low, arm.high, arm.seeds, arm.n))
        if arm.gain is not None:
            found = arm.gain
            gain = gain_text(Effect(found.mean, found.low, found.high, arm.seeds, arm.n))
        elif arm.arm == self.tables.protocol.reference:
            gain = "the reference"
        known = [name for name in self.varying if name in arm.params]
        configuration = ", ".join(f"{name} {setting_text(arm.params[name])}" for name in known)
        return (
            self.arm_name(arm.arm), accuracy, gain, *([configuration] if self.varying else ()),
        )  # fmt: skip

    # How it was measured, and where its figures come from.

    @property
    def protocol(self) -> tuple[str, ...]:
        """How it was measured, in sentences that need no other."""
        found, places = self.tables.protocol, self.tables.scenarios
        arms = max((len(place.arms) for place in places), default=0)
        sizes = f"{count(arms, 'arm')} in {count(len(places), 'scenario')}."
        paired, luck = "seed and test image", ""
        allowed = "other seeds and other test images"
        if self.is_splits:
            paired = "redraw"
            allowed = (
                "other draws and seeds; that of an estimate less the later accuracy also for other "
                "images"
            )
        elif self._tunable(True):
            # Tuning once for all seeds leaves this out; tuning for each would cost times as much.
            luck = " It leaves out the chance in tuning, which is large with few validation images."
        return (
            " ".join((sizes, *(self._splits() if self.is_splits else self._trainings()))),
            "An effect is the mean difference between an arm and what it is compared with, paired "
            f"by {paired}. Brackets hold its {round_percent(1 - found.alpha)} interval, which "
            f"allows for {allowed}.{luck}",
            "With many claims some would come out by chance. So verdicts are read off wider "
            "intervals (Holm's correction), which keep the chance of any false verdict in a table "
            f"below {round_percent(found.alpha)}; an interval may therefore leave out 0 and its "
            "claim still be inconclusive.",
        )

    def _trainings(self) -> Iterator[str]:
        """Tuning and confirmation, as far as there was any."""
        found = self.tables.protocol
        epochs, seeds = count(found.epochs, "epoch"), count(found.seeds, "seed")
        tuned = self._tunable(True)
        if tuned:
            yield (
                f"In each scenario every arm was tuned with {count(found.trials, 'trial')} of up "
                f"to {epochs}, judged on validation images alone; its best configuration was "
                f"trained again with {seeds}, and each of these models was scored on the test "
                "images once."
            )
            untuned = [self.arm_name(arm) for arm in self._tunable(False) if arm not in tuned]
            if untuned:
                yield f"Nothing was left to tune in {joined(untuned)}."
        else:
            yield (
                "Nothing was tuned: the study sets every arm's configuration. Each was trained "
                f"with {seeds} for up to {epochs}, and each of these models was scored on the test "
                "images once."
            )
        if any(c.statistic in _SWEPT and c.verdict != "not measured" for c in self.tables.claims):
            yield (
                "For claims about how much a setting matters, the best configuration was also "
                "trained with that setting at each of several values."
            )

    def _splits(self) -> Iterator[str]:
        """How past and future were divided, and what was taken of each model."""
        found = self.tables.protocol
        assert found.future is not None
        yield (
            f"The latest {round_percent(found.future)} of each scenario's images were set apart as "
            "its future, which no split touched. The images before them each split divided into "
            f"training, validation and test parts, with each of {count(found.seeds, 'seed')} anew; "
            "a split by time cannot be redrawn, so there seeds change the training alone. Nothing "
            f"was tuned: all arms train alike, for up to {count(found.epochs, 'epoch')}. Each "
            "model gave two figures: its accuracy on the split's own test part, the estimate, and "
            "that on the future, the later accuracy."
        )
        shares = [c for c in self.tables.claims if c.statistic == "class_share_distance"]
        redraws = max((claim.seeds for claim in shares), default=0)
        if redraws:
            yield f"Class shares were compared over {count(redraws, 'redraw')}, without training."

    def _tunable(self, is_tuned: bool) -> list[str]:
        """Arms that left something to tune in any scenario, or nothing in any."""
        arms = (arm for place in self.tables.scenarios for arm in place.arms)
        return list(dict.fromkeys(arm.arm for arm in arms if bool(arm.settings) == is_tuned))

    @property
    def provenance(self) -> Sequence[Fact]:
        """Command, cost, machine, fingerprints and versions, as far as they are known; empty where
        nothing was run.
        """
        found = self.tables.provenance
        if found is None:
            return ()
        num = sum(found.trainings.values())
        states = ", ".join(f"{number:,} {state}" for state, number in found.trainings.items())
        seen = f", {found.images_trained:,} images seen" if found.images_trained else ""
        date = f"; the last ended on {found.date}" if found.date else ""
        cores = [count(found.cores, "core")] if found.cores else []
        facts = {
            "Command": found.command,
            "Cost": (
                f"{count(num, 'training')}{f' ({states})' if states else ''}{seen}, "
                f"{duration(found.seconds)} in all{date}"
            ),
            "Number format and machine": ", ".join([*found.precisions, *found.devices, *cores]),
            "Fingerprints": "; ".join(f"{k} {v}" for k, v in found.fingerprints.items()),
            "Weights": "; ".join(found.weights),
            "Revision": found.revision,
            "Versions": ", ".join(f"{name} {number}" for name, number in found.versions.items()),
        }
        return [Fact(term, text) for term, text in facts.items() if text]


def said_text(place: ScenarioOverview) -> str:
    """The traits that the study gives a scenario; "" where there are none."""
    said = Traits.model_validate(place.traits).in_words()
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
        if ratio >= UNEVEN and "largest_class" in facts:
            yield f"always answering with it gives {percent(facts['largest_class'])}"
    if "probe_accuracy" in facts:
        yield f"a linear probe classifies {percent(facts['probe_accuracy'])} correctly"
