"""How numbers and names are written for people, the same in every format."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tlsearch.comparison.variance import Effect
from tlsearch.config.augmentation import augmentations_of
from tlsearch.config.schema import BACKBONE
from tlsearch.config.search_options import METRICS, Metric
from tlsearch.config.strategy import ALL, NORMS

MINUS = "−"
_TIED = "\u00a0"
"""A space that no line is broken at."""
_UNSEEN = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2066-\\u2069\\ud800-\\udfff]"
)
_PLAIN = {
    "full_fine_tuning": "full fine-tuning",
    **{name: f"validation {metric.label}" for name, metric in METRICS.items()},
}


def value_text(value: float | None, metric: str) -> str:
    """A value of the study's metric: shares in per cent, losses with four digits."""
    if value is None:
        return "–"
    return percent(value) if METRICS[metric].is_share else f"{value:.4g}"


def percent(share: float) -> str:
    """A share in per cent: `96.4 %` with a space that ties."""
    return f"{100 * share:.1f}{_TIED}%"


def round_percent(share: float) -> str:
    """A share in as many digits as it has: `5 %`."""
    return f"{100 * share:g}{_TIED}%"


def points(share: float) -> str:
    """A signed difference of shares in percentage points: `+1.2`.

    `−0.0` is a difference below 0, and the end of an interval that leaves 0 out.
    """
    return f"{_without_dust(100 * share):+.1f}".replace("-", MINUS)


def _without_dust(value: float) -> float:
    """0 for what is left of sums that should be 0."""
    return 0.0 if abs(value) < 1e-9 else value


def accuracy_text(effect: Effect) -> str:
    """An accuracy with its interval."""
    low, high = f"{100 * effect.low:.1f}", f"{100 * effect.high:.1f}"
    return f"{percent(effect.mean)} ({low}{_TIED}to{_TIED}{high})"


def gain_text(effect: Effect) -> str:
    """A gain with its interval."""
    low, high = points(effect.low), points(effect.high)
    return f"{points(effect.mean)}{_TIED}points ({low}{_TIED}to{_TIED}{high})"


def effect_text(effect: Effect, metric: Metric) -> str:
    """What the test part says in a metric, with its interval."""
    if metric.is_share:
        return accuracy_text(effect)
    return f"{effect.mean:.3g} ({effect.low:.3g}{_TIED}to{_TIED}{effect.high:.3g})"


def difference_text(effect: Effect, metric: Metric) -> str:
    """A gain in a metric, above 0 where it is one, with its interval."""
    if metric.is_share:
        return gain_text(effect)
    mean, low, high = (f"{x:+.3g}".replace("-", MINUS) for x in effect[:3])
    return f"{mean} ({low}{_TIED}to{_TIED}{high})"


def basis(effect: Effect) -> str:
    """What an interval rests on."""
    return f"n = {effect.num_images:,} test images, {count(effect.num_seeds, 'seed')}"


def count(number: int, thing: str) -> str:
    """`1 trial`, `2 trials`."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def setting_text(value: Any) -> str:
    """A parameter's value: three digits where a search has drawn it, `none`, `yes`, `no`."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def joined(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def plain(name: str) -> str:
    """A name of code as words: `full_fine_tuning` → `full fine tuning`."""
    return _PLAIN.get(name, name.replace("_", " "))


def duration(seconds: float) -> str:
    """`48 s`, `12 min`, `3.4 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def printable(text: str) -> str:
    """The text with a mark in place of what would break a file or turn the text around it: control
    characters, halves of characters, and those that change the direction of writing.
    """
    return _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text)


def shortened(name: str, length: int) -> str:
    """A name cut to what an axis has room for."""
    return name if len(name) <= length else f"{name[: length - 1]}…"


# A strategy in a few sentences.


_CHANGES = {
    "basic": "flips, moves and changes of colour",
    "trivial": "TrivialAugment",
    "randaugment": "RandAugment",
    "erasing": "random erasing",
    "mixup": "mixup",
    "cutmix": "CutMix",
    "fgsm": "attacks (FGSM)",
    "pgd": "attacks (PGD)",
}
_OPTIMIZERS = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop"}


def recipe_text(params: Mapping[str, Any], groups: Sequence[str]) -> str:
    """What trains, with which optimizer and rate; then what else was done beyond plain training.

    `params` are flat and complete; `groups` the layer groups from input to head.
    """
    falls = ""
    for name, unit in (("lr_ratio", "layer group"), ("layer_decay", "layer")):
        if params[name] < 1:
            falls = f", times {setting_text(params[name])} per {unit} towards the input"
    optimizer, rate = _OPTIMIZERS[params["optimizer"]], setting_text(params["lr"])
    scope = _range(params, groups)
    if BACKBONE in params:
        scope = f"On {params[BACKBONE]}: {scope[0].lower()}{scope[1:]}"
    first = f"{scope}, with {optimizer} at a rate of {rate}{falls}."
    return " ".join([first, *(f"{phrase[0].upper()}{phrase[1:]}." for phrase in _more(params))])


def _range(params: Mapping[str, Any], groups: Sequence[str]) -> str:
    depth, trained = params["freeze_depth"], params["trained"]
    if trained == NORMS:
        return "Train the normalisation layers and the head"
    if trained != ALL:
        names = [group for group in groups[:-1] if group in trained.split("+")]
        return f"Train {joined([*names, 'the head'])}, freeze the rest"
    if depth == 0:
        return "Train all layers"
    if depth == len(groups) - 1:
        frozen = "Freeze all but the head"
    else:
        frozen = f"Freeze {joined(groups[:depth])}, train the rest"
    if params["unfreeze_every_epochs"]:
        span = count(params["unfreeze_every_epochs"], "epoch")
        return f"{frozen}, opening one more group every {span}"
    return frozen


def _more(params: Mapping[str, Any]) -> Iterator[str]:
    """A phrase for each way of fine-tuning that is on."""
    by = params["feature_selection"]
    if by != "none":
        test = {"chi2": "χ²", "anova": "an analysis of variance"}[by]
        kept = setting_text(params[f"feature_selection.{by}.k"])
        yield f"the head sees the {kept} features that {test} ranks highest"
    if params["head_init"] == "probe":
        yield "the head starts as a linear probe of the frozen features"
    if params["l2_sp"]:
        pull = setting_text(params["l2_sp"])
        yield f"the body is pulled towards its pretrained weights by {pull}"
    if params["class_balance"] == "loss":
        yield "classes are balanced by weights in the loss"
    if params["class_balance"] == "sampling":
        yield "classes are balanced by drawing them equally often"
    if params["ema_decay"] is not None:
        decay = setting_text(params["ema_decay"])
        yield f"the model is the moving average of the weights, of decay {decay}"
    if params.get("norm_momentum") is not None:
        share = setting_text(params["norm_momentum"])
        yield f"BatchNorm's running statistics take {share} of each batch"
    if params.get("norm_statistics") == "pretrained":
        yield "BatchNorm keeps its pretrained statistics"
    changes = [_CHANGES[name] for name in augmentations_of(params)]
    if changes:
        yield f"training images undergo {joined(changes)}"


# What a report cannot show, and why.


class Absent(NamedTuple):
    """Stands in the place of a finding; `reason` is a sentence for the reader."""

    reason: str
