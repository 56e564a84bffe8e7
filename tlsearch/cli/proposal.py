"""From what lies there to the settings of a first study, each with its reason."""

import re
import unicodedata
from typing import Any, NamedTuple

from tlsearch.data.images import TEST, TRAIN, VALIDATION
from tlsearch.data.survey import Survey
from tlsearch.errors import RequestError
from tlsearch.study.config import StudyConfig
from tlsearch.study.cost import ASSUMED_GIGA_MACS_PER_SECOND, Estimate, estimate
from tlsearch.transfer.at_hand import weights_at_hand

BACKBONE, PUBLISHED = "resnet18", "IMAGENET1K_V1"
_WEIGHTS_HOST_SECONDS = 2.0
_SIZES_CPU, _SIZES_GPU = (32, 48, 64), (32, 48, 64, 96, 128, 160, 224)  # pixels
_GPU_GIGA_MACS_PER_SECOND = 1000.0  # a guess, far below any current one's peak
_TARGET_SECONDS, _LIMIT_SECONDS = 45 * 60, 75 * 60
_FEWEST_TRIALS, _FEWEST_EPOCHS = 12, 4
_PARTS = 3


class Proposal(NamedTuple):
    """Fields of the study below their sections, why they are so, and what they may cost."""

    fields: dict[str, Any]
    reasons: dict[str, str]
    cost: Estimate


def valid_name(text: str) -> str:
    """A study's name made of `text`: accents are dropped, what is not allowed becomes a dash."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9._]+", "-", plain).strip("-._")[:48]
    return name or "my-study"


def propose(
    found: Survey, *, name: str, weights: str | None, size: int | None, gpus: int
) -> Proposal:
    """Settings that suit the images and this machine.

    Raises:
        RequestError: there are too few images of the classes for three parts.
    """
    reasons: dict[str, str] = {}
    split = _split(found, reasons)
    source = weights or _weights(reasons)
    fields: dict[str, Any] = {
        "name": name,
        "size": _size(found, size, gpus, source, reasons),
        "split": split,
        "audit": _audit(found, reasons),
        "weights": source,
    }
    train = _train_images(found, fields["split"])
    fields["batch_size"] = _batch_sizes(train)
    reasons["batch_size"] = f"about {train:,} images train"
    cost = _budget(found, fields, reasons, gpus)
    return Proposal(fields, reasons, cost)


def _size(
    found: Survey, asked: int | None, gpus: int, weights: str, reasons: dict[str, str]
) -> int:
    seen = f"the images' shorter sides: {found.side} pixels in the middle" if found.side else ""
    if asked is not None:
        reasons["size"] = f"as asked; {seen}" if seen else "as asked"
        return asked
    if weights == "glyphs":
        size = _SIZES_CPU[0]
        reasons["size"] = (
            f"{seen or 'small'}; the glyph model is first trained at the study's size, which takes "
            f"minutes at {size} and four times as long at {2 * size}"
        )
        return size
    sizes = _SIZES_GPU if gpus else _SIZES_CPU
    side = found.side or sizes[-1]
    size = max([s for s in sizes if s <= side], default=sizes[0])
    machine = "on a GPU" if gpus else "without a GPU; larger is slower, by the square, and better"
    reasons["size"] = f"{seen}, {machine}" if seen else machine
    return size


def _split(found: Survey, reasons: dict[str, str]) -> dict[str, Any]:
    parts: dict[str, Any] = _fractions(found.total)
    if found.parts & {VALIDATION, TEST} and TRAIN in found.parts:
        missing = [
            n for n, p in (("validation", VALIDATION), ("test", TEST)) if p not in found.parts
        ]
        reasons["split"] = "by the parts that are there"
        if missing:
            reasons["split"] += f"; {missing[0]} is drawn from what trains"
        return {"strategy": "given", **parts, "seed": 0}
    if found.num_groups is not None and found.num_groups >= _PARTS:
        reasons["split"] = f"{found.num_groups:,} groups, none of them in two parts"
        return {"strategy": "stratified_group", **parts, "seed": 0}
    if found.has_times:
        reasons["split"] = "the latest are tested, as a model in use meets what comes later"
        return {"strategy": "time", **parts, "seed": 0}
    if len([n for n in found.images.values() if n >= _PARTS]) < 2:
        most = max(found.images.values())
        raise RequestError(
            f"{found.source.path}: holds {found.total} images, {most} of a class at the most, and "
            "a study needs two classes with 3 at the very least: one to train on, one to choose "
            "by, one to test — add images"
        )
    reasons["split"] = "each part has the same shares of the classes"
    return {"strategy": "stratified", **parts, "seed": 0}


def _fractions(total: int) -> dict[str, Any]:
    """More to judge by where there is little, less where a tenth is plenty."""
    share = 0.25 if total < 200 else 0.2 if total < 20_000 else 0.1
    return {"validation": share, "test": share}


def _audit(found: Survey, reasons: dict[str, str]) -> dict[str, Any]:
    """Only what the defaults would stop at, so that the study runs as it is written."""
    chosen: dict[str, Any] = {}
    why: list[str] = []
    if found.unlabelled:
        chosen["missing_labels"] = "drop"
        why.append(f"what has no label is left out ({found.unlabelled:,})")
    if found.smallest < 5:
        large = [n for n in found.images.values() if n >= _PARTS]
        if found.smallest >= _PARTS or len(large) < 2:
            chosen["min_class_images"] = found.smallest
            why.append(f"the smallest class has {found.smallest} images, which is few")
        else:
            small = len(found.images) - len(large)
            chosen["min_class_images"], chosen["small_classes"] = _PARTS, "drop"
            why.append(
                f"{small} of {len(found.images)} classes have fewer than {_PARTS} images, one for "
                "each part, and are left out"
            )
    reasons["audit"] = "; ".join(why)
    return chosen


def _weights(reasons: dict[str, str]) -> str:
    if weights_at_hand(
        backbone=BACKBONE, weights=PUBLISHED, patience_seconds=_WEIGHTS_HOST_SECONDS
    ):
        reasons["weights"] = (
            "trained on photographs by torchvision; glyphs and none need no download"
        )
        return PUBLISHED
    reasons["weights"] = (
        f"{PUBLISHED}, trained on photographs, is not here and there was no network; with one, "
        "write that: it suits photographs far better"
    )
    return "glyphs"


def _train_images(found: Survey, split: dict[str, Any]) -> int:
    if split["strategy"] == "given":
        drawn = sum(split[n] for n, p in (("validation", 1), ("test", 2)) if p not in found.parts)
        share = sum(found.trained.values()) / found.total - drawn
    else:
        share = 1 - split["validation"] - split["test"]
    return max(1, int(found.total * share))


def _batch_sizes(train: int) -> list[int]:
    for most, sizes in ((60, [4, 8]), (300, [8, 16]), (3000, [16, 32]), (30_000, [32, 64])):
        if train < most:
            return sizes
    return [64, 128]


def _budget(found: Survey, fields: dict[str, Any], reasons: dict[str, str], gpus: int) -> Estimate:
    """The most trials and epochs that take no longer than the target, within reason."""
    epochs = 12 if found.total < 3000 else 8
    tried = [(30, epochs), (24, epochs), (20, epochs), (16, epochs), (_FEWEST_TRIALS, epochs)]
    tried += [(_FEWEST_TRIALS, fewer) for fewer in range(epochs - 1, _FEWEST_EPOCHS - 1, -1)]
    for trials, length in tried:
        fields.update(trials=trials, epochs=length, timeout=None)
        cost = _cost(found, fields, gpus)
        if cost.seconds <= _TARGET_SECONDS:
            break
    minutes = max(1, round(cost.seconds / 60))
    reasons["budget"] = f"a guess: {minutes:,} min at the most; pruning and freezing make it less"
    if cost.seconds > _LIMIT_SECONDS:
        fields["timeout"] = "1h"
        reasons["budget"] += ". The search ends after an hour; smaller images make it faster"
    return cost


def _cost(found: Survey, fields: dict[str, Any], gpus: int) -> Estimate:
    config = StudyConfig.model_validate(
        {
            "name": "any",  # a wrong one is told when the study is read back
            "data": {
                "source": {"folder": "images"},
                "size": fields["size"],
                "split": {key: fields["split"][key] for key in ("validation", "test")},
            },
            "backbone": {"name": BACKBONE, "weights": "none"},
            "budget": {"trials": fields["trials"], "epochs": fields["epochs"]},
            "confirm": CONFIRM,
        }
    )
    speed = _GPU_GIGA_MACS_PER_SECOND if gpus else ASSUMED_GIGA_MACS_PER_SECOND
    return estimate(
        config,
        num_images=found.total,
        num_classes=len(found.images),
        giga_macs_per_second=speed,
    )


CONFIRM = {"top": 2, "seeds": 3}
