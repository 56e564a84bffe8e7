"""What is told of a study over several networks: scores, accuracy reached, whether they agree."""

import math

from tlsearch.metrics.transferability import RankAgreement
from tlsearch.report.context import ReportData
from tlsearch.report.wording import count, plain, value_text
from tlsearch.search.summary import SCORES, Foretold

HEAD = ("network", *SCORES.values(), "trials", "best value", "parameters", "images/s in training")


def table(data: ReportData) -> list[tuple[str, ...]]:
    """A row for each network under `HEAD`, best first; empty for a study on a single one."""
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


def verdict(data: ReportData) -> str:
    """Whether the scores foretold the order of the networks, in a sentence or two."""
    found = data.networks
    if found is None:
        return ""
    told = {SCORES[name]: a for name, a in found.agreements.items() if a is not None}
    known = {name: a for name, a in told.items() if not math.isnan(a.kendall)}
    if not known:
        return "Too few networks have a score and a complete trial to tell whether scores foretell."
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
