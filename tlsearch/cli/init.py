"""`tlsearch init`: look at a folder or a table, and write a study for it, with a comment for each
choice.
"""

import json
import os
import re
import shlex
import textwrap
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape

from tlsearch.config.catalog import CATALOGUE, groups
from tlsearch.config.cost import Estimate, estimate
from tlsearch.config.loader import parse, read_study
from tlsearch.config.packaged import PACKAGED
from tlsearch.config.paths import atomic_write
from tlsearch.config.runtime import visible_gpus
from tlsearch.config.schema import StudyConfig
from tlsearch.config.sources import Folder, Manifest, NamePattern
from tlsearch.data.dataset import TEST, TRAIN, VALIDATION
from tlsearch.data.records import one_line
from tlsearch.data.survey import Survey, survey
from tlsearch.errors import RequestError, WorkError
from tlsearch.models.weights import weights_at_hand

BACKBONE, PUBLISHED = "resnet18", "IMAGENET1K_V1"
CONFIRM = {"top": 2, "seeds": 3}
_WEIGHTS_HOST_SECONDS = 2.0
_SIZES_CPU, _SIZES_GPU = (32, 48, 64), (32, 48, 64, 96, 128, 160, 224)  # pixels
# Below 64 px a single vector is left before the head of a network that halves five times.
_PACKAGED_SIZES_CPU, _PACKAGED_SIZES_GPU = (64, 96), _SIZES_GPU[2:]
_GPU_SPEED = 20.0  # times a core: a guess, far below any current one's peak
_TARGET_SECONDS, _LIMIT_SECONDS = 45 * 60, 75 * 60
_FEWEST_TRIALS, _FEWEST_EPOCHS = 12, 4
_BATCH_SIZES = ((60, [4, 8]), (300, [8, 16]), (3000, [16, 32]), (30_000, [32, 64]))
_PARTS = 3
_UNEVEN = 5
_CLASSES_SHOWN = 12
_WIDTH = 96


class Proposal(NamedTuple):
    """Fields of the study below their sections, why they are so, and what they may cost."""

    fields: dict[str, Any]
    reasons: dict[str, str]
    cost: Estimate


class Started(NamedTuple):
    """The study that was written, and what it is made of."""

    study: Path
    found: Survey
    proposal: Proposal


def start(
    path: Path,
    *,
    output: Path,
    weights: str | None,
    size: int | None,
    name: str | None,
    force: bool,
) -> Started:
    """Write a study for what lies at `path`.

    Raises:
        RequestError: there are no images of two classes, or the file exists and may not be
            replaced.
        WorkError: the file cannot be written.
    """
    if output.exists() and not force:
        raise RequestError(f"{output}: exists — name another with -o, or replace it with --force")
    for place in (path, output):
        try:
            str(place).encode()
        except UnicodeEncodeError:
            shown = os.fsencode(place).decode("utf-8", "backslashreplace")
            rule = "is not UTF-8, which a study file must be"
            raise RequestError(f"{shown}: {rule} — rename it") from None
    found = survey(path)
    named = name or valid_name(path.resolve().stem if path.is_file() else path.resolve().name)
    proposal = propose(found, name=named, weights=weights, size=size, gpus=visible_gpus())
    draft = output
    try:
        output.parent.stat()  # a folder that is not there is a slip, and is not made
        with atomic_write(output) as draft:
            draft.write_text(_study_text(found, proposal, shlex.quote(str(output))), "utf-8")
            read_study(draft, overrides=[], preset=None)  # as a run will
    except OSError as error:
        raise WorkError(f"{output}: cannot be written: {error.strerror or error}") from None
    except RequestError as error:
        message = str(error).replace(str(draft), str(output))
        raise RequestError(f"{message}\n  nothing was written; change the option") from None
    return Started(output, found, proposal)


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
    why: dict[str, str] = {}
    split = _split(found, why)
    backbone, source = _network(weights, why)
    fields: dict[str, Any] = {
        "name": name,
        "backbone": backbone,
        "size": _size(found, size, gpus, backbone, source, why),
        "split": split,
        "audit": _audit(found, why),
        "weights": source,
    }
    fields["metric"] = _metric(found, fields["audit"], why)
    train = _train_images(found, split)
    fields["batch_size"] = next((sizes for most, sizes in _BATCH_SIZES if train < most), [64, 128])
    why["batch_size"] = f"about {train:,} images train"
    return Proposal(fields, why, _budget(found, fields, why, gpus))


def _size(
    found: Survey, given: int | None, gpus: int, backbone: str, weights: str, why: dict[str, str]
) -> int:
    seen = f"the images' shorter sides: {found.side} pixels in the middle" if found.side else ""
    if given is not None:
        why["size"] = f"as given; {seen}" if seen else "as given"
        return given
    if weights == "glyphs":
        size = _SIZES_CPU[0]
        why["size"] = (
            f"{seen or 'small'}; the glyph model is first trained at the study's size, which takes "
            f"minutes at {size} and four times as long at {2 * size}"
        )
        return size
    sizes: tuple[int, ...] = _SIZES_GPU if gpus else _SIZES_CPU
    if backbone != BACKBONE:
        sizes = _PACKAGED_SIZES_GPU if gpus else _PACKAGED_SIZES_CPU
    machine = "on a GPU" if gpus else "without a GPU; larger is slower, by the square, and better"
    why["size"] = f"{seen}, {machine}" if seen else machine
    size = max([s for s in sizes if s <= (found.side or sizes[-1])], default=sizes[0])
    if found.side and size > found.side:
        why["size"] += "; they are enlarged, or too little would be left at the network's end"
    return size


def _split(found: Survey, why: dict[str, str]) -> dict[str, Any]:
    # More to judge by where there is little, less where a tenth is plenty.
    share = 0.25 if found.total < 200 else 0.2 if found.total < 20_000 else 0.1
    if found.parts & {VALIDATION, TEST} and TRAIN in found.parts:
        strategy, why["split"] = "given", "by the parts that are there"
        for name, part in (("validation", VALIDATION), ("test", TEST)):
            if part not in found.parts:
                why["split"] += f"; {name} is drawn from what trains"
    elif found.num_groups is not None and found.num_groups >= _PARTS:
        strategy = "stratified_group"
        why["split"] = f"{found.num_groups:,} groups, none of them in two parts"
        if isinstance(found.source.group, NamePattern):
            why["split"] += "; names that differ only by an augmentation's suffix are one group"
    elif found.has_times:
        strategy = "time"
        why["split"] = "the latest are tested, as a model in use meets what comes later"
    elif len([n for n in found.images.values() if n >= _PARTS]) < 2:
        most = max(found.images.values())
        raise RequestError(
            f"{found.source.path}: holds {found.total} images, {most} of a class at the most, and "
            "a study needs two classes with 3 at the very least: one to train on, one to choose "
            "by, one to test — add images"
        )
    else:
        strategy, why["split"] = "stratified", "each part has the same shares of the classes"
    return {"strategy": strategy, "validation": share, "test": share, "seed": 0}


def _audit(found: Survey, why: dict[str, str]) -> dict[str, Any]:
    """Only what the defaults would stop at, so that the study runs as it is written."""
    chosen: dict[str, Any] = {}
    reasons: list[str] = []
    if found.unlabelled:
        chosen["missing_labels"] = "drop"
        reasons.append(f"what has no label is left out ({found.unlabelled:,})")
    large = sum(n >= _PARTS for n in found.images.values())
    if found.smallest < 5 and (found.smallest >= _PARTS or large < 2):
        chosen["min_class_images"] = found.smallest
        reasons.append(f"the smallest class has {found.smallest} images, which is few")
    elif found.smallest < 5:
        chosen |= {"min_class_images": _PARTS, "small_classes": "drop"}
        reasons.append(
            f"{len(found.images) - large} of {len(found.images)} classes have fewer than {_PARTS} "
            "images, one for each part, and are left out"
        )
    why["audit"] = "; ".join(reasons)
    return chosen


def _metric(found: Survey, audit: dict[str, Any], why: dict[str, str]) -> str:
    """Accuracy, unless it would be that of the largest classes."""
    least = _PARTS if "small_classes" in audit else 1
    kept = [n for n in found.images.values() if n >= least]
    ratio = max(kept) / min(kept)
    if ratio < _UNEVEN:
        return "val_accuracy"
    why["metric"] = (
        "Balanced accuracy, the mean of the classes' recalls: the largest class has "
        f"{ratio:.3g} times the images of the smallest, so that accuracy would be mostly that of "
        "large classes"
    )
    return "val_balanced_accuracy"


def _network(given: str | None, why: dict[str, str]) -> tuple[str, str]:
    """The network, and its weights: ResNet-18's where they can be had, or those of a package."""
    if given is not None and given != "imagenet":
        return PACKAGED[given].network if given in PACKAGED else BACKBONE, given
    at_hand = weights_at_hand(
        backbone=BACKBONE, weights=PUBLISHED, patience_seconds=_WEIGHTS_HOST_SECONDS
    )
    if at_hand:
        why["weights"] = "trained on photographs by torchvision; none starts at random"
        return BACKBONE, given or PUBLISHED
    row = next(iter(PACKAGED.values()))
    why["weights"] = (
        f"trained on photographs, {row.data}, and carried by a package that is here, "
        f"{row.package} ({row.licence}); {PUBLISHED} of {BACKBONE} is not here and there was no "
        "network. With one, tlsearch's other networks have weights too"
    )
    return row.network, "imagenet"


def _train_images(found: Survey, split: dict[str, Any]) -> int:
    share = 1 - split["validation"] - split["test"]
    if split["strategy"] == "given":
        drawn = sum(split[n] for n, p in (("validation", 1), ("test", 2)) if p not in found.parts)
        share = sum(found.trained.values()) / found.total - drawn
    return max(1, int(found.total * share))


def _budget(found: Survey, fields: dict[str, Any], why: dict[str, str], gpus: int) -> Estimate:
    """The most trials and epochs that take no longer than the target, within reason."""
    epochs = 12 if found.total < 3000 else 8
    tried = [(trials, epochs) for trials in (30, 24, 20, 16, _FEWEST_TRIALS)]
    tried += [(_FEWEST_TRIALS, fewer) for fewer in range(epochs - 1, _FEWEST_EPOCHS - 1, -1)]
    for trials, length in tried:
        fields.update(trials=trials, epochs=length, timeout=None)
        cost = _cost(found, fields, gpus)
        if cost.seconds <= _TARGET_SECONDS:
            break
    minutes = max(1, round(cost.seconds / 60))
    why["budget"] = f"a guess: {minutes:,} min at the most; pruning and freezing make it less"
    if cost.seconds > _LIMIT_SECONDS:
        fields["timeout"] = "1h"
        why["budget"] += ". The search ends after an hour; smaller images make it faster"
    return cost


def _cost(found: Survey, fields: dict[str, Any], gpus: int) -> Estimate:
    config = StudyConfig.model_validate(
        {
            "name": "any",  # a wrong one is refused when the study is read back
            "data": {
                "source": {"folder": "images"},
                "size": fields["size"],
                "split": {key: fields["split"][key] for key in ("validation", "test")},
            },
            "backbone": {"name": fields["backbone"], "weights": "none"},
            "budget": {"trials": fields["trials"], "epochs": fields["epochs"]},
            # A range has as many configurations as there are trials.
            "space": {"lr": {"low": 1e-4, "high": 0.1}, "batch_size": fields["batch_size"]},
            "confirm": CONFIRM,
        }
    )
    return estimate(
        config,
        num_images=found.total,
        num_classes=len(found.images),
        speed=_GPU_SPEED if gpus else 1.0,
    )


_OF_WEIGHTS = (
    "  # What the head starts from: chance, or a linear probe of the frozen features.",
    "  head_init: [random, probe]",
    "  # BatchNorm normalises in training by each batch's statistics, or by the pretrained ones.",
    "  norm_statistics: [batch, pretrained]",
)


def _study_text(found: Survey, proposal: Proposal, file: str) -> str:
    """The study file; its comments are of one line each, whatever the names in the data are."""
    fields, why = proposal.fields, proposal.reasons
    epochs, depth = fields["epochs"], len(groups(CATALOGUE[fields["backbone"]])) - 1
    # The first group's rate is a hundred-thousandth of the head's at the least, for any depth.
    ratio = round(0.1 ** min(1.0, 5 / depth), 1)
    audit = [*_why(why["audit"]), f"  audit: {_flow(fields['audit'])}"] if fields["audit"] else []
    lines = [
        _comment(f"tlsearch run {one_line(file)}"),
        _comment(
            f"Written by tlsearch init: {found.total:,} images in {len(found.images):,} classes of "
            f"{found.smallest:,} to {max(found.images.values()):,}. Change what you like; tlsearch "
            "check says what it means and costs."
        ),
        "",
        f"name: {_text(fields['name'])}",
        "data:",
        *_source(found.source, found.notes),
        *_why(why["size"]),
        f"  size: {fields['size']}",
        "  fit: crop                       # or pad (nothing is cut off), stretch",
        *_why(why["split"]),
        f"  split: {_flow(fields['split'])}",
        *audit,
        "  labels_per_class: null          # all; a number shows how few would do",
        *_why(why.get("weights", "as given"), margin=""),
        f"backbone: {{name: {fields['backbone']}, weights: {_text(fields['weights'])}}}",
        *_why(why["budget"], margin=""),
        f"budget: {_flow({k: fields[k] for k in ('trials', 'epochs', 'timeout')})}",
        "workers: auto                     # one for each core or GPU",
        *_why(why.get("metric", ""), margin=""),
        "# start: first come strategies that did well on other tasks; none leaves them out.",
        f"search: {{sampler: tpe, pruner: hyperband, seed: 0, metric: {fields['metric']}, "
        f"start: {'none' if fields['weights'] == 'none' else 'portfolio'}}}",
        "# A value fixes a dimension; a range or a list searches it.",
        "space:",
        f"  freeze_depth: {{low: 0, high: {depth}}} # layer groups left as they are; "
        f"{depth} leaves but the head",
        "  lr: {low: 1.0e-4, high: 1.0e-1, log: true}",
        f"  lr_ratio: {{low: {ratio}, high: 1.0, log: true}}  # of the rate, per group towards the "
        "input",
        *([] if fields["weights"] == "none" else _OF_WEIGHTS),
        "  warmup_fraction: {low: 0.0, high: 0.3}  # of the training",
        "  weight_decay: {low: 1.0e-6, high: 1.0e-2, log: true}",
        "  dropout: {low: 0.0, high: 0.5}",
        *_why(why["batch_size"]),
        f"  batch_size: {_value(fields['batch_size'])}",
        "  optimizer:",
        "    sgd: {momentum: {low: 0.8, high: 0.99}}",
        "    adam: {}",
        "# The best few are trained again; the test part is scored here, once.",
        f"confirm: {_flow(CONFIRM)}",
        "presets:                          # a first try: tlsearch run with --preset small",
        f"  small: {{name: {_text(fields['name'] + '-small')}, budget.trials: 4, "
        f"budget.epochs: {min(epochs, 4)}, confirm.top: 1, confirm.seeds: 1}}",
    ]
    return "\n".join(lines) + "\n"


def _source(source: Folder | Manifest, notes: Sequence[str]) -> list[str]:
    if isinstance(source, Folder):
        found = [one_line(note).removesuffix(".") for note in notes] or ["A folder for each class"]
        comment = _why(f"{'. '.join(found)}. Paths start where the command runs")
        if source.group is None:
            return [*comment, f"  source: {{folder: {_text(source.path)}}}"]
        return [
            *comment,
            "  source:",
            "    folder:",
            f"      path: {_text(source.path)}",
            f"      group: {_flow(source.group.model_dump())}",
        ]
    lines = ["  # Columns of the table, as init guessed them. Paths of images start at its folder."]
    lines += ["  source:", "    manifest:", f"      path: {_text(source.path)}"]
    meant = {
        "image": "path of the image",
        "label": "name of the class",
        "time": "when it was taken",
        "group": "what must stay on one side of a split",
        "part": "train, validation or test",
    }
    for field, meaning in meant.items():
        if field in source.model_fields_set:
            column = getattr(source, field)
            if isinstance(column, NamePattern):
                lines.append(f"      group: {_flow(column.model_dump())}  # in the image's path")
                continue
            remark = meaning if column else f"{meaning}; none is read"
            if isinstance(column, list):
                remark = "the classes: a row has a 1 in one of these columns"
            lines.append(f"      {field}: {_value(column)}  # {remark}")
    return lines


def _why(reason: str, *, margin: str = "  ") -> list[str]:
    first = reason[:1].upper() + reason[1:]
    return [margin + line for line in _comment(f"{first}.").splitlines()] if reason else []


def _comment(text: str) -> str:
    marks: dict[str, Any] = {"initial_indent": "# ", "subsequent_indent": "# "}
    return textwrap.fill(text, _WIDTH, **marks, break_long_words=False, break_on_hyphens=False)


def _flow(value: dict[str, Any]) -> str:
    return f"{{{', '.join(f'{key}: {_value(v)}' for key, v in value.items())}}}"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if value is None:
        return "null"
    return _text(value) if isinstance(value, str) else str(value)


def _text(value: str) -> str:
    """Text that YAML 1.2 and 1.1 read as this text, quoted unless it is plain everywhere."""
    plain = re.fullmatch(r"([A-Za-z_]|\.{0,2}/)[\w./-]*", value, re.ASCII) is not None
    is_word = value.lower() in {"y", "n", "yes", "no", "on", "off"}  # YAML 1.1's truth values
    if plain and not is_word and parse(value, origin="").data == value:
        return value
    quoted = json.dumps(value, ensure_ascii=False)
    # Line separators and control characters would end or spoil the line.
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in quoted)


def as_json(started: Started) -> dict[str, Any]:
    """Everything that `show` prints."""
    found, proposal = started.found, started.proposal
    return {
        "study": str(started.study),
        "found": {
            "source": "folder" if isinstance(found.source, Folder) else "manifest",
            "columns": found.source.model_dump(mode="json", exclude_unset=True),
            "images": found.total,
            "classes": found.images,
            "imbalance": found.imbalance,
            "unlabelled": found.unlabelled,
            "left_out": found.left_out,
            "sizes": found.sizes,
            "notes": found.notes,
        },
        "chosen": proposal.fields,
        "reasons": proposal.reasons,
        "estimate": proposal.cost._asdict(),
    }


def show(started: Started) -> None:
    """Print what was found and what to do next."""
    console = Console(highlight=False)
    found, fields = started.found, started.proposal.fields
    lines = [f"{found.total:,} images in {len(found.images):,} classes"]
    by_size = sorted(found.images.items(), key=lambda item: -item[1])
    lines += [f"  {count:>8,}  {one_line(name)}" for name, count in by_size[:_CLASSES_SHOWN]]
    if rest := by_size[_CLASSES_SHOWN:]:
        lines.append(f"  and {len(rest):,} more, the smallest with {rest[-1][1]:,}")
    if found.imbalance > 1:
        lines.append(f"largest / smallest class: {found.imbalance:.3g}")
    if found.sizes:
        low, high = min(map(min, found.sizes)), max(map(max, found.sizes))
        span = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        lines.append(f"sides of {span} pixels among {len(found.sizes)} images looked at")
    if found.unlabelled:
        lines.append(f"without a label: {found.unlabelled:,}")
    if found.left_out:
        lines.append(f"other files or rows, left out: {found.left_out:,}")
    lines += [f"note: {one_line(note)}" for note in found.notes]
    if metric := started.proposal.reasons.get("metric"):
        lines.append(f"note: searched by {metric[0].lower()}{metric[1:]}")
    split, minutes = fields["split"]["strategy"], max(1, round(started.proposal.cost.seconds / 60))
    file = shlex.quote(str(started.study))
    lines += [
        f"split {split}, {fields['size']} pixels, {fields['backbone']} from {fields['weights']}",
        f"about {minutes:,} min at the most on this machine (a guess)",
        "",
        f"wrote {started.study}; next:",
        f"  tlsearch check {file}",
        f"  tlsearch run {file} --preset small",
        f"  tlsearch run {file}",
    ]
    for line in lines:
        console.print(escape(line), soft_wrap=True)
