"""The answer of a study in sentences and numbers, the same for every format."""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from tlsearch.comparison.variance import Effect
from tlsearch.config.checks import knows_source
from tlsearch.config.search_options import METRICS, Metric
from tlsearch.execution.runs import RunRow
from tlsearch.metrics.objectives import of_largest
from tlsearch.metrics.transferability import RankAgreement
from tlsearch.report.wording import (
    basis,
    count,
    difference_text,
    effect_text,
    joined,
    percent,
    plain,
    recipe_text,
    setting_text,
    value_text,
)
from tlsearch.search.confirm import BEST_TRIAL, FREE
from tlsearch.search.provenance import validation_counts
from tlsearch.search.summary import SCORES, NetworkRanking, Summary

if TYPE_CHECKING:
    from tlsearch.report.context import SearchReport


PROBE = "Freeze all but the head, and solve it as a logistic regression on the frozen features."


class Gain(NamedTuple):
    """The winner against one baseline on the test part, paired by seed and image, in `metric`;
    a `gain` is above 0 where the winner is better.
    """

    baseline: str
    metric: Metric
    score: Effect
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


class Scores(NamedTuple):
    """Every metric of the test part: a row for each, a column for the winner, for always answering
    the largest class and for each baseline; last the class of which the least is recognised.
    """

    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


class Networks(NamedTuple):
    """Of several networks: whether scores predicted their order, and a row for each, best first."""

    verdict: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


class Answer(NamedTuple):
    """What to use and how sure that is.

    `headline` and `result` are sentences, `status` is a line that says how far the study is.
    `score`, the mean over seeds in `metric`, `exported`, that of the exported model alone, `gains`,
    `rows`, which hold all of these as texts, and `scores` are of the test part, and empty before it
    was scored.
    `warnings` must not be overlooked; `notes` say what a figure rests on. `difficulty` says how
    hard the images are, `similarity` how much they look like the source's; "" where neither is
    known. `networks` is None for a study on one network.
    """

    status: str
    headline: str
    result: str
    difficulty: str
    similarity: str
    networks: Networks | None
    metric: Metric
    score: Effect | None = None
    exported: Effect | None = None
    gains: tuple[Gain, ...] = ()
    scores: Scores | None = None
    warnings: Sequence[str] = ()
    notes: Sequence[str] = ()
    parameters: tuple[Parameter, ...] = ()

    @property
    def rows(self) -> list[tuple[str, str, str, str]]:
        """Each model's figure on the test part, the winner's gain over it, and the verdict."""
        if self.score is None or self.exported is None:
            return []
        mean = f"the winner, mean over {count(self.score.num_seeds, 'seed')}"
        return [
            (mean, effect_text(self.score, self.metric), "", ""),
            ("the exported model alone", effect_text(self.exported, self.metric), "", ""),
            *(
                (
                    g.baseline,
                    effect_text(g.score, g.metric),
                    difference_text(g.gain, g.metric),
                    g.verdict,
                )
                for g in self.gains
            ),
        ]


def find_answer(data: "SearchReport") -> Answer:
    """Say what the study found, or why it has found nothing."""
    winner, test = data.summary.winner, data.summary.test
    found = Answer(
        status=_status(data),
        headline="There is no answer yet.",
        result=data.summary.nothing,
        difficulty=_difficulty(data),
        similarity=_similarity(data),
        networks=_networks(data.networks, data),
        metric=data.summary.tested,
    )
    if winner is None:
        return found
    params = winner.run.params
    score, exported = _reached(data) if test else (None, None)
    return found._replace(
        headline=PROBE if winner.run.name == FREE else recipe_text(params, data.groups),
        result=_confirmed(data) if test else _unconfirmed(data),
        score=score,
        exported=exported,
        gains=_gains(data),
        scores=score_table(data.summary),
        warnings=_warnings(data),
        notes=[*_notes(data, score), *_start(data), *_outlook(data), *_not_reused(data)],
        parameters=tuple(
            Parameter(name, setting_text(value), data.space.get(name))
            for name, value in sorted(params.items(), key=lambda item: item[0] not in data.space)
        ),
    )


def _status(data: "SearchReport") -> str:
    found = data.summary.counts
    states = ("complete", "pruned", "diverged", "failed", "running", "paused", "waiting")
    texts = [f"{found[state]} {state}" for state in states if found.get(state)]
    end = "finished" if data.summary.is_finished else "not finished"
    trials = count(data.summary.budget, "trial")
    return f"{end}; {', '.join(texts) or 'none started'} of a budget of {trials}"


def _reached(data: "SearchReport") -> tuple[Effect, Effect]:
    """What the winner reaches on the test part, as a mean over seeds, and the exported model."""
    summary, test = data.summary, data.summary.test
    exported = test.get("champion_scores", {"accuracy": test["champion_accuracy"]})
    return Effect(**summary.score(test)), Effect(**exported[summary.tested.name])


def _confirmed(data: "SearchReport") -> str:
    metric, test = data.summary.tested, data.summary.test
    mean, own = _reached(data)
    hidden = f" ({data.summary.imbalance})" if data.summary.imbalance else ""
    named = "" if metric.name == "accuracy" else f" {metric.label}"
    reached, low, high = f"{mean.mean:.3g}", f"{mean.low:.3g}", f"{mean.high:.3g}"
    if metric.is_share:
        reached = percent(mean.mean)
        low, high = f"{100 * mean.low:.1f}", f"{100 * mean.high:.1f}"
    won = data.summary.winning_baseline
    who = f"Trial {test['winner']}"
    if won is not None:
        recipe = _recipe(won.run.name, data)
        who = f"No trial did as well over the seeds as the baseline {recipe}, which"
    return (
        f"{who} reaches {reached}{named} on the test part{hidden}, the mean "
        f"over {count(mean.num_seeds, 'seed')} (95 % interval {low} to {high}; {basis(mean)}). "
        f"One of these models is exported, the first, and reaches {effect_text(own, metric)}."
    )


def _unconfirmed(data: "SearchReport") -> str:
    best, metric = data.summary.best, data.summary.metric
    assert best is not None
    if data.config.confirm.seeds == 0:
        why = "confirmation is turned off"
    elif data.summary.is_finished:
        why = "no trial completed its confirmation"
    else:
        why = "the study is not finished"
    found = f"{plain(metric)} {value_text(best.value, metric)} on one split"
    if data.summary.imbalance:
        found += f" ({data.summary.imbalance})"
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


def _gains(data: "SearchReport") -> tuple[Gain, ...]:
    summary = data.summary
    found = summary.test.get("baselines", {}) if summary.test else {}
    return tuple(
        Gain(
            _recipe(name, data),
            summary.tested,
            Effect(**summary.score(record)),
            Effect(**summary.gain(record)),
        )
        for name, record in found.items()
    )


def score_table(summary: Summary, *, brief: bool = False) -> Scores | None:
    """None where the test part was not scored, or by a version that knew accuracy alone; where it
    is to be `brief`, only the winner's figures have intervals.
    """
    test, classes = summary.test, summary.classes
    if "scores" not in test or classes is None:
        return None
    models = {"the winner": test} | {plain(n): found for n, found in test["baselines"].items()}
    trivial, rows = of_largest(classes), []
    for metric in METRICS.values():
        found = [Effect(**model["scores"][metric.name]) for model in models.values()]
        texts = [effect_text(effect, metric) for effect in found]
        if brief:
            texts[1:] = [text.partition(" (")[0] for text in texts[1:]]
        bar = trivial.get(metric.name)
        texts.insert(1, "∞" if bar is None else percent(bar))
        rows.append((metric.label, *texts))
    worst = [
        f"{percent(model['classes']['worst_recall'])} of “{model['classes']['worst']}”"
        for model in models.values()
    ]
    worst.insert(1, percent(0.0))
    winner, *baselines = models
    head = ("metric", winner, f"always “{classes.largest}”", *baselines)
    return Scores(head, [*rows, ("recall of the worst class", *worst)])


def _recipe(name: str, data: "SearchReport") -> str:
    """A baseline as what it is: trained with one fixed recipe, or tuned."""
    summary = data.summary
    if name == BEST_TRIAL:
        return f"the best trial ({summary.best.number})" if summary.best else "the best trial"
    # A baseline that was taken out of the study stands in the test's record.
    recipe = summary.recipes.get(name) or summary.test["baselines"][name]
    tuned = f"tuned, best of {count(recipe['trials'], 'trial')}"
    training = "training from scratch" if name == "from_scratch" else plain(name)
    return f"{training} ({tuned if recipe['recipe'] == 'tuned' else 'one fixed recipe'})"


def _warnings(data: "SearchReport") -> list[str]:
    test, by = data.summary.test, data.summary.tested.label
    texts = [data.summary.no_better] if data.summary.no_better else []
    if data.summary.negative_transfer and data.summary.winning_baseline:
        texts.append(
            "Negative transfer: training from scratch does better than the best trial. The "
            "pretrained weights hurt on these images; look for a closer source."
        )
    elif data.summary.negative_transfer:
        lost = Effect(**data.summary.gain(test["baselines"]["from_scratch"]))
        texts.append(
            f"Negative transfer: over {_recipe('from_scratch', data)} the winner gains "
            f"{difference_text(lost, data.summary.tested)}. The pretrained weights hurt on these "
            "images; train from scratch or look for a closer source."
        )
    texts += [
        f"The baseline {_recipe(name, data)} is better than the winner in {by}."
        for name, record in test.get("baselines", {}).items()
        if data.summary.gain(record)["high"] < 0 and name != "from_scratch"
    ]
    if test and test.get("scorings", 1) > 1:
        texts.append(
            f"The test part was scored {test['scorings']} times, each time for a new winner: its "
            "figure is no longer that of untouched data."
        )
    return texts


def _notes(data: "SearchReport", score: Effect | None) -> list[str]:
    names, metric = data.config.baselines, data.summary.metric
    if score is None:
        values = data.summary.baselines
        texts = [
            f"{plain(n)} {value_text(values[n], metric)}" for n in names if values[n] is not None
        ]
        if not texts:
            return ["No baseline has been completed: there is nothing to compare with yet."]
        return [f"Baselines on redrawn validation images, without an interval: {', '.join(texts)}."]
    measured = data.summary.test["baselines"]
    notes = [
        "Intervals cover both the draw of seeds and splits and the draw of test images; gains are "
        "paired by both. “No clear difference” means that the interval contains 0."
    ]
    if score.num_seeds == 1:
        notes[0] = (
            "With one seed the intervals cover the draw of test images alone; gains are paired by "
            "image. “No clear difference” means that the interval contains 0."
        )
    elif score.num_seeds == 2:
        notes.append(
            "Two seeds say little about how much seeds differ, so the intervals are wide; a larger "
            "confirm.seeds narrows them."
        )
    fewer = [
        (plain(name), found["accuracy"]["num_seeds"])
        for name, found in measured.items()
        if found["accuracy"]["num_seeds"] < score.num_seeds
    ]
    if fewer:
        named = joined([f"{name} on {count(seeds, 'seed')}" for name, seeds in fewer])
        notes.append(
            f"Baselines that fell behind were trained on fewer seeds: {named}; the gain "
            "over them is of these seeds."
        )
    won = data.summary.winning_baseline
    known = {*measured, *([won.run.name] if won else [])}
    absent = [plain(name) for name in names if name not in known]
    if absent:
        notes.append(f"Not compared, for lack of completed seeds: {', '.join(absent)}.")
    return notes


def _outlook(data: "SearchReport") -> Iterator[str]:
    """Whether and why the search ended early, and what more trials would probably gain."""
    for text in (data.summary.stopped, data.summary.outlook_text):
        if text:
            yield f"{text[0].upper()}{text[1:]}."


def _start(data: "SearchReport") -> Iterator[str]:
    """What the first trials were, where they were not sampled."""
    begun = {row.number for row in data.trials if row.start}
    tried = [one for one in data.start if one["trial"] in begun]
    earlier = [f"{one['from']} ({one['about']})" for one in tried if "about" in one]
    if earlier:
        yield f"The search began with what won in earlier studies: {'; '.join(earlier)}."
    if len(tried) > len(earlier):
        first = "Then it tried" if earlier else "The search began with"
        trials = count(len(tried) - len(earlier), "trial")
        yield f"{first} {trials} of the portfolio: strategies that did well on other tasks."


def _not_reused(data: "SearchReport") -> Iterator[str]:
    """What of frozen layers ran in every step though it was expected to run once."""
    for text in data.provenance.facts.get("networks", {}).get("uncut", {}).values():
        yield f"{text}."


# Of a study over several networks: scores, values reached, whether they agree.


def _networks(found: NetworkRanking | None, data: "SearchReport") -> Networks | None:
    if found is None:
        return None
    head = ("network", *SCORES.values(), "trials", "best value", "parameters")
    sign = -1 if data.maximise else 1
    ranked = sorted(found.networks, key=lambda n: math.inf if n.best is None else sign * n.best)
    rows = [
        (
            network.backbone,
            *(_known(network.scores.get(name), "{:.3f}") for name in SCORES),
            str(network.trials),
            value_text(network.best, data.summary.metric),
            _known(network.scores.get("parameters"), "{:.1f} M", unit=1e6),
            _known(network.scores.get("training_images_per_second"), "{:,.0f}"),
        )
        for network in ranked
    ]
    verdict = _agreement(found, plain(data.summary.metric))
    return Networks(verdict, (*head, "images/s in training"), rows)


def _known(value: float | None, form: str, *, unit: float = 1.0) -> str:
    return "–" if value is None else form.format(value / unit)


def _agreement(found: NetworkRanking, best: str) -> str:
    """Whether the scores predicted the order of the networks, in a sentence or two."""
    texts = {SCORES[name]: a for name, a in found.agreements.items() if a is not None}
    known = {name: a for name, a in texts.items() if not math.isnan(a.kendall)}
    if not known:
        return "Too few networks have a score and a complete trial to tell whether scores predict."
    parts = ", ".join(f"{name} τ = {agreement.kendall:+.2f}" for name, agreement in known.items())
    return (
        f"Order of the networks by score against that by best {best} of their trials: {parts} "
        f"(Kendall; +1 the same order, −1 the reverse; n = {_num(known)}). {_caution(found, known)}"
    )


def _num(known: dict[str, RankAgreement]) -> str:
    numbers = sorted({agreement.num for agreement in known.values()})
    return " to ".join(str(number) for number in dict.fromkeys((numbers[0], numbers[-1])))


def _caution(found: NetworkRanking, known: dict[str, RankAgreement]) -> str:
    most = max(agreement.num for agreement in known.values())
    orders = math.factorial(most)
    fewest = min(network.trials for network in found.networks)
    return (
        f"A hint, no comparison: {most} networks stand in the right order by chance once in "
        f"{orders:,}, and the sampler gave some networks more trials than others, "
        f"{count(fewest, 'complete one')} at the least."
    )


# How hard the images are, and how much the pretrained network brings along.


def _difficulty(data: "SearchReport") -> str:
    """A sentence; the baselines on their first split stand in for measures of their own."""
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
        return ""
    counts = validation_counts(data.provenance.facts)
    if sum(counts):
        found.append(f"always naming the commonest class in {percent(max(counts) / sum(counts))}")
    folds = data.config.data.split.folds
    mean = f", mean over {folds} folds" if folds else ""
    return f"How hard these images are, by the validation part{mean}: {joined(found)}."


def _accuracy(row: RunRow) -> float | None:
    """The validation accuracy of the weights that a finished run kept; over folds their mean."""
    if row.value is None:
        return None
    if row.folds:
        return row.folds[-1].mean_val_accuracy
    return row.epochs[-1].val_accuracy if row.epochs else None


def _similarity(data: "SearchReport") -> str:
    """How much the images look like those that the network was trained on, or why that is not
    known; "" for a network that has learnt nothing.
    """
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
