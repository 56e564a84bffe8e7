"""A strategy in a few sentences."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tlsearch.report.wording import count, joined, setting_text
from tlsearch.study.augmentation import augmentations_of
from tlsearch.study.config import BACKBONE
from tlsearch.study.text_dimension import ALL, NORMS

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
    changes = [_CHANGES[name] for name in augmentations_of(params)]
    if changes:
        yield f"training images undergo {joined(changes)}"
