"""How a comparison was measured, and where its figures come from, in sentences."""

from collections.abc import Iterator
from typing import NamedTuple

from tlsearch.evidence.answers import Provenance, ScenarioOverview, Tables
from tlsearch.report.comparison.wording import arm_name
from tlsearch.report.wording import count, duration, joined, percent

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
