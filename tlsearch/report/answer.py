"""The answer of a study in sentences and numbers, the same for every format."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tlsearch.comparison.variance import Effect
from tlsearch.config.data_checks import knows_source
from tlsearch.execution.runs import RunRow
from tlsearch.metrics.transferability import RankAgreement
from tlsearch.report.context import ReportData
from tlsearch.report.wording import (
    accuracy_text,
    basis,
    count,
    gain_text,
    joined,
    percent,
    plain,
    recipe_text,
    setting_text,
    value_text,
)
from tlsearch.search.summary import SCORES, Foretold


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

    `headline` and `result` are sentences. `accuracy`, the mean over seeds, `exported`, that of the
    exported model alone, and `gains` are of the test part, and empty before it was scored.
    `warnings` must not be overlooked; `notes` say what a figure rests on.
    """

    headline: str
    result: str
    accuracy: Effect | None
    exported: Effect | None
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
            exported=None,
            gains=(),
            warnings=(),
            notes=(),
            parameters=(),
        )
    params = best.run.params
    accuracy = Effect(**test["accuracy"]) if test else None
    return Answer(
        headline=recipe_text(params, data.groups),
        result=_confirmed(data) if accuracy else _unconfirmed(data),
        accuracy=accuracy,
        exported=Effect(**test["champion_accuracy"]) if test else None,
        gains=_gains(data),
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
    texts = [f"{found[state]} {state}" for state in states if found.get(state)]
    end = "finished" if data.summary.is_finished else "not finished"
    trials = count(data.summary.budget, "trial")
    return f"{end}; {', '.join(texts) or 'none started'} of a budget of {trials}"


def _confirmed(data: ReportData) -> str:
    test = data.summary.test
    mean, own = Effect(**test["accuracy"]), Effect(**test["champion_accuracy"])
    return (
        f"Trial {test['winner']} reaches {percent(mean.mean)} on the test part, the mean over "
        f"{count(mean.num_seeds, 'seed')} (95 % interval {100 * mean.low:.1f} to "
        f"{100 * mean.high:.1f}; {basis(mean)}). One of these models is exported, the first, and "
        f"reaches {accuracy_text(own)}."
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
        f"with {found}; choosing the best of several favours luck, and the test part has not "
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


def _gains(data: ReportData) -> tuple[Gain, ...]:
    test = data.summary.test
    found = test.get("baselines", {}) if test else {}
    return tuple(
        Gain(_recipe(name, data), Effect(**record["accuracy"]), Effect(**record["gain"]))
        for name, record in found.items()
    )


def _recipe(name: str, data: ReportData) -> str:
    """A baseline as what it is: trained with one fixed recipe, or tuned."""
    summary = data.summary
    # A baseline that was taken out of the study stands in the test's record.
    recipe = summary.recipes.get(name) or summary.test["baselines"][name]
    tuned = f"tuned, best of {count(recipe['trials'], 'trial')}"
    training = "training from scratch" if name == "from_scratch" else plain(name)
    return f"{training} ({tuned if recipe['recipe'] == 'tuned' else 'one fixed recipe'})"


def _warnings(data: ReportData) -> list[str]:
    test = data.summary.test
    texts: list[str] = []
    if data.summary.negative_transfer:
        lost = Effect(**test["baselines"]["from_scratch"]["gain"])
        texts.append(
            f"Negative transfer: over {_recipe('from_scratch', data)} the winner gains "
            f"{gain_text(lost)}. The pretrained weights hurt on these images; train from scratch "
            "or look for a closer source."
        )
    texts += [
        f"The baseline {_recipe(name, data)} is more accurate than the winner."
        for name, record in test.get("baselines", {}).items()
        if record["gain"]["high"] < 0 and name != "from_scratch"
    ]
    if test and test.get("scorings", 1) > 1:
        texts.append(
            f"The test part was scored {test['scorings']} times, each time for a new winner: its "
            "figure is no longer that of untouched data."
        )
    return texts


def _notes(data: ReportData, accuracy: Effect | None) -> list[str]:
    names, metric = data.config.baselines, data.summary.metric
    if accuracy is None:
        values = data.summary.baselines
        texts = [
            f"{plain(n)} {value_text(values[n], metric)}" for n in names if values[n] is not None
        ]
        if not texts:
            return ["No baseline has been completed: there is nothing to compare with yet."]
        return [
            "Baselines on the same validation images, one seed and no interval: "
            f"{', '.join(texts)}."
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
    """Each model's test accuracy, the winner's gain over it, and the verdict, as texts; empty
    before the test part was scored.
    """
    if answer.accuracy is None or answer.exported is None:
        return []
    mean = f"the winner, mean over {count(answer.accuracy.num_seeds, 'seed')}"
    return [
        (mean, accuracy_text(answer.accuracy), "", ""),
        ("the exported model alone", accuracy_text(answer.exported), "", ""),
        *(
            (g.baseline, accuracy_text(g.accuracy), gain_text(g.gain), g.verdict)
            for g in answer.gains
        ),
    ]


# Of a study over several networks: scores, values reached, whether they agree.


NETWORK_HEAD = (
    "network",
    *SCORES.values(),
    "trials",
    "best value",
    "parameters",
    "images/s in training",
)


def network_table(data: ReportData) -> list[tuple[str, ...]]:
    """A row for each network under `NETWORK_HEAD`, best first; empty for a study on one."""
    if data.networks is None:
        return []
    sign = -1 if data.maximise else 1
    ranked = sorted(
        data.networks.networks, key=lambda n: math.inf if n.best is None else sign * n.best
    )
    return [
        (
            network.backbone,
            *(_score(network.scores.get(name)) for name in SCORES),
            str(network.trials),
            value_text(network.best, data.summary.metric),
            _in_millions(network.scores.get("parameters")),
            _whole(network.scores.get("training_images_per_second")),
        )
        for network in ranked
    ]


def network_verdict(data: ReportData) -> str:
    """Whether the scores predicted the order of the networks, in a sentence or two."""
    found = data.networks
    if found is None:
        return ""
    texts = {SCORES[name]: a for name, a in found.agreements.items() if a is not None}
    known = {name: a for name, a in texts.items() if not math.isnan(a.kendall)}
    if not known:
        return "Too few networks have a score and a complete trial to tell whether scores predict."
    best = plain(data.summary.metric)
    parts = ", ".join(f"{name} τ = {agreement.kendall:+.2f}" for name, agreement in known.items())
    return (
        f"Order of the networks by score against that by best {best} of their trials: {parts} "
        f"(Kendall; +1 the same order, −1 the reverse; n = {_num(known)}). {_caution(found, known)}"
    )


def _num(known: dict[str, RankAgreement]) -> str:
    numbers = sorted({agreement.num for agreement in known.values()})
    return " to ".join(str(number) for number in dict.fromkeys((numbers[0], numbers[-1])))


def _caution(found: Foretold, known: dict[str, RankAgreement]) -> str:
    most = max(agreement.num for agreement in known.values())
    orders = math.factorial(most)
    fewest = min(network.trials for network in found.networks)
    return (
        f"A hint, no comparison: {most} networks stand in the right order by chance once in "
        f"{orders:,}, and the sampler gave some networks more trials than others, "
        f"{count(fewest, 'complete one')} at the least."
    )


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _in_millions(value: float | None) -> str:
    return "–" if value is None else f"{value / 1e6:.1f} M"


def _whole(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


# How hard the images are, and how much the pretrained network brings along.


def difficulty(data: ReportData) -> list[str]:
    """Sentences; the baselines on the study's own split stand in for measures of their own."""
    found = []
    for name, words in (
        ("linear_probe", "a linear probe of the frozen features is right in"),
        ("from_scratch", "a network from scratch in"),
    ):
        row = data.baselines.get(name)
        reached = _accuracy(row) if row else None
        if reached is not None:
            found.append(f"{words} {percent(reached)}")
    if not found:
        return []
    counts = _validated(data.provenance.facts.get("facts", {}))
    if sum(counts):
        found.append(f"always naming the commonest class in {percent(max(counts) / sum(counts))}")
    folds = data.config.data.split.folds
    mean = f", mean over {folds} folds" if folds else ""
    return [f"How hard these images are, by the validation part{mean}: {joined(found)}."]


def _accuracy(row: RunRow) -> float | None:
    """The validation accuracy of the weights that a finished run kept; over folds their mean."""
    if row.value is None:
        return None
    if row.folds:
        return row.folds[-1].mean_val_accuracy
    return row.epochs[-1].val_accuracy if row.epochs else None


def _validated(facts: Mapping[str, Any]) -> Sequence[int]:
    """Validation images of each class, over all folds."""
    parts = facts.get("split", {}).get("parts", ())
    counts = [p["class_counts"] for p in parts if p["part"] == "validation"]
    return [sum(column) for column in zip(*counts, strict=True)] or facts.get(
        "validation_counts", ()
    )


# How much the images look like those that the network was trained on, in words.


def source_similarity(data: ReportData) -> str:
    """What was measured of it, or why nothing was; "" for a network that has learnt nothing."""
    found, backbone = data.similarity, data.config.backbone
    ours = data.config.with_backbone(backbone.names[0])
    if ours.backbone.weights == "none":
        return ""
    if not knows_source(ours):
        return (
            "How much they look like the images that the network was trained on is not known: "
            "backbone.source names none."
        )
    similarity, apart = found.get("similarity"), found.get("frechet_distance")
    if similarity is None:
        return "How much they look like the source's images was not measured."
    text = (
        f"Similarity to the source's images: {similarity:.2f}, as {ours.backbone.name} sees both "
        "before it is fine-tuned (1: like the source itself; 0: no more than the source's images "
        "with their pixels in disorder)."
    )
    error = found.get("domain_error")
    if apart is None or error is None:
        return text
    return (
        f"{text} Fréchet distance of the features: {apart:.2f} per feature; a linear classifier "
        f"that is to tell the two apart errs in {percent(error)} of the images."
    )
