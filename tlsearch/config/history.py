"""What a finished search leaves to later ones: what won in it, and on what; how near that is to
another study's task, and what it comes to in that study's units.

A record is the JSON of a tag of the study's run in MLflow, where anybody may write.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from tlsearch.config.catalog import CATALOGUE
from tlsearch.config.space import Space, values
from tlsearch.config.strategy import ALL, CHOICES
from tlsearch.config.validation import AtLeast1, wrong

if TYPE_CHECKING:
    from tlsearch.config.schema import StudyConfig

VERSION = 1
Text = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
"""What a terminal may be shown."""


class Task(BaseModel):
    """What a search is about, as far as it decides which strategy wins.

    `depth` counts the network's layer groups before the head, `size` pixels. `similarity` to the
    source's images is 1 where they are alike, None where it was not measured. `data` and `test`
    are fingerprints of the images and of which of them are tested.
    """

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False, extra="ignore")

    network: Text
    weights: Text
    depth: AtLeast1
    classes: AtLeast1
    train_images: AtLeast1
    size: AtLeast1
    epochs: AtLeast1
    metric: Text
    similarity: float | None
    source: Text
    data: str
    test: str


def _whole(params: dict[str, Any]) -> dict[str, Any]:
    """Flat parameters of a strategy, complete and within the ranges of their values."""
    tree: dict[str, Any] = {name: value for name, value in params.items() if "." not in name}
    for field in CHOICES.keys() & tree.keys():
        tree[field] = {str(tree[field]): {}}
    for name in params.keys() - tree.keys():
        field, option, inner = (*name.split(".", 2), "")[:3]
        if option not in tree.get(field, ()) or field not in CHOICES:
            raise wrong(f"{name} belongs to no choice that was made")
        tree[field][option][inner] = params[name]
    try:
        space = Space.model_validate(tree)
    except ValidationError as error:
        raise wrong(_first_of(error)) from None
    if space.searched():
        raise wrong(f"{next(iter(space.searched()))} has several values")
    assigned: dict[str, Any] = space.assign(lambda name, _dimension: params[name])
    return assigned


def _first_of(error: ValidationError) -> str:
    found = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in found["loc"] if not str(part).startswith("<"))
    return f"{place}: {found['msg']}" if place else found["msg"]


class Record(Task):
    """What won in a search on a task: `won` in words, `run` the key of its training. `baseline` is
    empty where a trial won; `trained` are the epochs of the training.
    """

    version: Literal[1]
    study: Text
    won: Text
    run: Text
    baseline: str
    init: Literal["pretrained", "random"]
    trained: AtLeast1
    params: Annotated[dict[str, Any], Field(min_length=1), AfterValidator(_whole)]


def read_record(text: str) -> Record | str:
    """The record that a tag holds, or what is wrong with it."""
    try:
        found = Record.model_validate_json(text)
    except ValidationError as error:
        return _first_of(error)
    if found.params["freeze_depth"] > found.depth:
        return f"params.freeze_depth: {found.params['freeze_depth']} of {found.depth} layer groups"
    return found


# How near a record is.


OTHER_NETWORK, OTHER_FAMILY, OTHER_WEIGHTS, OTHER_METRIC, NOT_MEASURED = 0.5, 1.5, 0.5, 0.5, 0.25
CLASSES, SIZE, SIMILARITY = 0.5, 0.5, 4.0
"""What differences count beside twice the training images, which count 1: guesses."""


def distance(here: Task, there: Task) -> float:
    """How far apart two tasks are; 0 for tasks alike."""
    network = OTHER_FAMILY
    if here.network == there.network:
        network = 0.0
    elif {here.network, there.network} <= CATALOGUE.keys():
        families = {CATALOGUE[name].family for name in (here.network, there.network)}
        network = OTHER_NETWORK if len(families) == 1 else OTHER_FAMILY
    similarity = NOT_MEASURED
    if here.similarity is not None and there.similarity is not None:
        similarity = abs(here.similarity - there.similarity)
    return (
        network
        + OTHER_WEIGHTS * (here.weights != there.weights)
        + _doublings(here.train_images, there.train_images)
        + CLASSES * _doublings(here.classes, there.classes)
        + SIZE * _doublings(here.size, there.size)
        + SIMILARITY * similarity
        + OTHER_METRIC * (here.metric != there.metric)
    )


def _doublings(one: int, other: int) -> float:
    return abs(math.log2(one / other))


def unusable(config: "StudyConfig", here: Sequence[Task], record: Record) -> str:
    """Why a record has nothing to say to a study, whose tasks are `here`, one for each network; ""
    where it has.
    """
    if any(one.data == record.data and one.test != record.test for one in here):
        return "on the same images with another test part: it was chosen on images tested here"
    if record.init == "random" and all(one.weights != "none" for one in here):
        return "training from scratch won, which no trial of this study is"
    if record.init == "pretrained" and all(one.weights == "none" for one in here):
        return "pretrained weights won, and this study has none"
    if record.baseline == "linear_probe" and "probe" not in values(config.space.head_init):
        return "the linear probe won, and space.head_init has no probe"
    return ""


# In another study's units.


_OF_A_NETWORK = ("layer_decay", "feature_selection", "adaptation.style.layers")
_IN_EPOCHS = (
    "unfreeze_every_epochs",
    "patience_epochs",
    "schedule.step.every_epochs",
    "schedule.plateau.patience_epochs",
)


def entry_of(record: Record, here: Sequence[Task]) -> dict[str, Any]:
    """A record as an entry of a portfolio, for a study whose tasks are `here`: depths and rates by
    shares of the network's depth, times by shares of the training. What counts single layers or
    features of a network is left out for another one.
    """
    params, ours = record.params, any(record.network == one.network for one in here)
    found = params | dict(_scaled(params, here[0].epochs / record.trained))
    for name in [n for n in found if not ours and n.startswith(_OF_A_NETWORK)]:
        del found[name]
    depth = found.pop("freeze_depth")
    if params["trained"] == ALL:
        found["frozen_share"] = depth / record.depth
        if depth:  # which `trained` would say by names
            del found["trained"]
    found["input_lr_fraction"] = found.pop("lr_ratio") ** record.depth
    found["warmup_fraction"] = _warmup(record)
    for name in ("warmup_epochs", "warmup_steps"):
        del found[name]
    return {**found, "backbone": record.network}


def _scaled(params: Mapping[str, Any], factor: float) -> Iterator[tuple[str, int]]:
    for name in _IN_EPOCHS:
        if params.get(name):
            yield name, max(1, round(params[name] * factor))


def _warmup(record: Record) -> float:
    """As a share of all steps, whichever way it was given."""
    params = record.params
    steps = record.trained * math.ceil(record.train_images / params["batch_size"])
    share = params["warmup_fraction"] + params["warmup_epochs"] / record.trained
    return float(min(1.0, share + params["warmup_steps"] / steps))
