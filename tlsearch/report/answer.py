"""The answer of a study in sentences and numbers, the same for every format."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tlsearch.comparison.variance import Effect
from tlsearch.report.context import ReportData
from tlsearch.report.wording import (
    accuracy_text,
    basis,
    count,
    gain_text,
    percent,
    plain,
    recipe_text,
    setting_text,
    value_text,
)
from tlsearch.search.confirm import effect


class Gain(NamedTuple):
    """The winner against one baseline on the test part, paired by seed and image."""

    baseline: str
    accuracy: Effect
    gain: Effect

    @property
    def verdict(self) -> str:
        """What the interval says, in words."""
        if self.gain.low > 0:
            return "better"
        return "worse" if self.gain.high < 0 else "no clear difference"


class Parameter(NamedTuple):
    """One parameter of the winner; `searched` tells its range, None where the study fixed it."""

    name: str
    value: str
    searched: str | None


class Answer(NamedTuple):
    """What to use and how sure that is.

    `headline` and `result` are sentences. `accuracy` and `gains` are of the test part, and empty
    before it was scored. `warnings` must not be overlooked; `notes` say what a figure rests on.
    """

    headline: str
    result: str
    accuracy: Effect | None
    gains: tuple[Gain, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    parameters: tuple[Parameter, ...]


def find_answer(data: ReportData) -> Answer:
    """Say what the study found, or why it has found nothing."""
    best, test = data.summary.best, data.summary.test
    if best is None:
        return Answer(
            headline="There is no answer yet.",
            result=_nothing(data),
            accuracy=None,
            gains=(),
            warnings=(),
            notes=(),
            parameters=(),
        )
    params = best.run.params
    accuracy = effect(test["accuracy"]) if test else None
    return Answer(
        headline=recipe_text(params, data.groups),
        result=_confirmed(data) if accuracy else _unconfirmed(data),
        accuracy=accuracy,
        gains=_gains(test),
        warnings=tuple(_warnings(data)),
        notes=tuple(_notes(data, accuracy)),
        parameters=tuple(
            Parameter(name, setting_text(value), data.space.get(name))
            for name, value in sorted(params.items(), key=lambda item: item[0] not in data.space)
        ),
    )


def status(data: ReportData) -> str:
    """How far the study is, in one line."""
    found = data.summary.counts
    states = ("complete", "pruned", "diverged", "failed", "running", "waiting")
    told = [f"{found[state]} {state}" for state in states if found.get(state)]
    end = "finished" if data.summary.is_finished else "not finished"
    trials = count(data.summary.budget, "trial")
    return f"{end}; {', '.join(told) or 'none started'} of a budget of {trials}"


def _confirmed(data: ReportData) -> str:
    test = data.summary.test
    accuracy = effect(test["accuracy"])
    return (
        f"Trial {test['winner']} reaches {percent(accuracy.mean)} on the test part "
        f"(95 % interval {100 * accuracy.low:.1f} to {100 * accuracy.high:.1f}; {basis(accuracy)})."
    )


def _unconfirmed(data: ReportData) -> str:
    best, metric = data.summary.best, data.summary.metric
    assert best is not None
    if data.config.confirm.seeds == 0:
        why = "confirmation is turned off"
    elif data.summary.is_finished:
        why = "no trial completed its confirmation"
    else:
        why = "the study is not finished"
    found = f"{plain(metric)} {value_text(best.value, metric)} on one split"
    if len(data.ranked) == 1:
        return (
            f"Unconfirmed: {why}. Trial {best.number} is the only complete one, with {found}; the "
            "test part has not been used."
        )
    return (
        f"Unconfirmed: {why}. Trial {best.number} is the best of {len(data.ranked)} complete ones, "
        f"with {found}; the best of several is flattered by its choice, and the test part has not "
        "been used."
    )


def _nothing(data: ReportData) -> str:
    found = data.summary.counts
    if not data.trials:
        return "No trial has been started. Run the study first."
    if not any(found.get(state) for state in ("running", "waiting")):
        if found.get("diverged", 0) == len(data.trials):
            return "All trials diverged: lower the rates in the study's space."
        return "No trial was completed; the table of trials below gives each one's reason."
    return "No trial has been completed yet."


def _gains(test: Mapping[str, Any]) -> tuple[Gain, ...]:
    found = test.get("baselines", {}) if test else {}
    return tuple(
        Gain(plain(name), effect(record["accuracy"]), effect(record["gain"]))
        for name, record in found.items()
    )


def _warnings(data: ReportData) -> list[str]:
    test = data.summary.test
    told: list[str] = []
    if data.summary.negative_transfer:
        lost = effect(test["baselines"]["from_scratch"]["gain"])
        told.append(
            f"Negative transfer: against training from scratch the winner gains "
            f"{gain_text(lost)}. The pretrained weights hurt on these images; train from scratch "
            "or look for a closer source."
        )
    told += [
        f"The plain baseline {gain.baseline} does better than the winner."
        for gain in _gains(test)
        if gain.gain.high < 0 and gain.baseline != plain("from_scratch")
    ]
    if test and test.get("scorings", 1) > 1:
        told.append(
            f"The test part was scored {test['scorings']} times, each time for a new winner: its "
            "figure is no longer that of untouched data."
        )
    return told


def _notes(data: ReportData, accuracy: Effect | None) -> list[str]:
    names, metric = data.config.baselines, data.summary.metric
    if accuracy is None:
        values = data.summary.baselines
        told = [
            f"{plain(n)} {value_text(values[n], metric)}" for n in names if values[n] is not None
        ]
        if not told:
            return ["No baseline has been completed: there is nothing to compare with yet."]
        return [
            f"Baselines on the same validation images, one seed and no interval: {', '.join(told)}."
        ]
    measured = data.summary.test["baselines"]
    notes = [
        "Intervals cover both the draw of seeds and splits and the draw of test images; gains are "
        "paired by both. “No clear difference” means that the interval contains 0."
    ]
    if accuracy.num_seeds == 1:
        notes[0] = (
            "With one seed the intervals cover the draw of test images alone; gains are paired by "
            "image. “No clear difference” means that the interval contains 0."
        )
    elif accuracy.num_seeds == 2:
        notes.append(
            "Two seeds say little about how much seeds differ, so the intervals are wide; a larger "
            "confirm.seeds narrows them."
        )
    absent = [plain(name) for name in names if name not in measured]
    if absent:
        notes.append(f"Not compared, for lack of completed seeds: {', '.join(absent)}.")
    return notes


def gain_rows(answer: Answer) -> list[tuple[str, str, str, str]]:
    """The comparison as texts: baseline, its accuracy, the gain over it, the verdict."""
    return [
        (g.baseline, accuracy_text(g.accuracy), gain_text(g.gain), g.verdict) for g in answer.gains
    ]
