"""`tlsearch init`: look at a folder or a table, and write a study for it."""

import os
import re
import shlex
import textwrap
import unicodedata
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from rich.console import Console
from rich.markup import escape

from tlsearch.config.cost import ASSUMED_GIGA_MACS_PER_SECOND, Estimate, estimate, visible_gpus
from tlsearch.config.document import scalar
from tlsearch.config.loader import read_study
from tlsearch.config.paths import atomic_write
from tlsearch.config.schema import StudyConfig
from tlsearch.config.sources import Folder, Manifest
from tlsearch.data.dataset import TEST, TRAIN, VALIDATION
from tlsearch.data.survey import Survey, survey
from tlsearch.errors import RequestError, WorkError
from tlsearch.models.weights import weights_at_hand

# From what lies there to the settings of a first study, each with its reason.


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


# A proposal as the text of a study file, with a comment for each choice.


_WIDTH = 96


def study_text(found: Survey, proposal: Proposal, *, file: str) -> str:
    """The study file; its comments are of one line each, whatever the names in the data are."""
    fields, why = proposal.fields, proposal.reasons
    epochs = fields["epochs"]
    lines = [
        _comment(f"tlsearch run {_one_line(file)}"),
        _comment(
            f"Written by tlsearch init: {found.total:,} images in {len(found.images):,} classes of "
            f"{found.smallest:,} to {max(found.images.values()):,}. Change what you like; tlsearch "
            "check tells what it means and costs."
        ),
        "",
        f"name: {_text(fields['name'])}",
        "data:",
        *_source(found.source),
        *_why(why["size"]),
        f"  size: {fields['size']}",
        "  fit: crop                       # or pad (nothing is cut off), stretch",
        *_why(why["split"]),
        f"  split: {_flow(fields['split'])}",
    ]
    if fields["audit"]:
        lines += [*_why(why["audit"]), f"  audit: {_flow(fields['audit'])}"]
    lines += [
        "  labels_per_class: null          # all; a number shows how few would do",
        *_why(why.get("weights", "as asked"), indent=0),
        f"backbone: {{name: {BACKBONE}, weights: {_text(fields['weights'])}}}",
        *_why(why["budget"], indent=0),
        f"budget: {_flow({k: fields[k] for k in ('trials', 'epochs', 'timeout')})}",
        "workers: auto                     # one for each core or GPU",
        "search: {sampler: tpe, pruner: hyperband, seed: 0, metric: val_accuracy}",
        "# A value fixes a dimension; a range or a list searches it.",
        "space:",
        "  freeze_depth: {low: 0, high: 5} # layer groups left as they are; 5 leaves but the head",
        "  lr: {low: 1.0e-4, high: 1.0e-1, log: true}",
        "  lr_ratio: {low: 0.1, high: 1.0, log: true}  # of the rate, per group towards the input",
        f"  warmup_epochs: {{low: 0, high: {min(3, epochs - 1)}}}",
        "  weight_decay: {low: 1.0e-6, high: 1.0e-2, log: true}",
        "  dropout: {low: 0.0, high: 0.5}",
        *_why(why["batch_size"]),
        f"  batch_size: {_flow(fields['batch_size'])}",
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


def _source(source: Folder | Manifest) -> list[str]:
    if isinstance(source, Folder):
        return ["  # A folder for each class. Paths start where the command runs.", _folder(source)]
    lines = ["  # Columns of the table, as init guessed them. Paths of images start at its folder."]
    lines += ["  source:", "    manifest:", f"      path: {_text(source.path)}"]
    meant = {
        "image": "path of the image",
        "label": "name of the class",
        "time": "when it was taken",
        "group": "what must stay on one side of a split",
        "part": "train, validation or test",
        "weight": "weight in the training loss",
    }
    for field, meaning in meant.items():
        if field in source.model_fields_set:
            column = getattr(source, field)
            told = "null" if column is None else _text(column)
            lines.append(f"      {field}: {told}  # {meaning}{'' if column else '; none is read'}")
    return lines


def _folder(source: Folder) -> str:
    return f"  source: {{folder: {_text(source.path)}}}"


def _why(reason: str, *, indent: int = 2) -> list[str]:
    margin = " " * indent
    first = reason[:1].upper() + reason[1:]
    return [margin + line for line in _comment(f"{first}.").splitlines()]


def _comment(text: str) -> str:
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent="# ",
        subsequent_indent="# ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _one_line(text: str) -> str:
    """Text within a comment: what would end the line or cannot be read is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _flow(value: dict[str, Any] | list[Any]) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return f"{{{', '.join(f'{key}: {_value(v)}' for key, v in value.items())}}}"


def _value(value: Any) -> str:
    if value is None:
        return "null"
    return _text(value) if isinstance(value, str) else str(value)


def _text(value: str) -> str:
    """Text that YAML reads as this text, quoted unless it is plain in every position."""
    plain = re.fullmatch(r"[A-Za-z_./][\w./-]*", value, re.ASCII) is not None
    if plain and scalar(value) == value == yaml.safe_load(value):  # by YAML 1.2 and 1.1
        return value
    quoted: str = yaml.safe_dump(value, default_style='"', allow_unicode=True, width=10**9)
    return quoted.strip()


_CLASSES_SHOWN = 12


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
        RequestError: there is nothing to learn from, or the file exists and may not be replaced.
        WorkError: the file cannot be written.
    """
    if output.exists() and not force:
        raise RequestError(f"{output}: exists — name another with -o, or replace it with --force")
    for place in (path, output):
        _check_text(place)
    found = survey(path)
    named = name or valid_name(path.resolve().stem if path.is_file() else path.resolve().name)
    proposal = propose(found, name=named, weights=weights, size=size, gpus=visible_gpus())
    text = study_text(found, proposal, file=shlex.quote(str(output)))
    _write(output, text)
    return Started(output, found, proposal)


def _check_text(place: Path) -> None:
    try:
        str(place).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(place).decode("utf-8", "backslashreplace")
        raise RequestError(
            f"{shown}: is not UTF-8, which a study file must be — rename it"
        ) from None


def _write(output: Path, text: str) -> None:
    """The study, after it was read back as a run will: what is wrong is told, nothing written."""
    if not output.parent.is_dir():
        raise WorkError(f"{output}: cannot be written: there is no folder {output.parent}")
    try:
        with atomic_write(output) as draft:
            draft.write_text(text, encoding="utf-8")
            read_study(draft, overrides=[], preset=None)
    except OSError as error:
        raise WorkError(f"{output}: cannot be written: {error.strerror or error}") from None
    except RequestError as error:
        told = str(error).replace(str(draft), str(output))
        raise RequestError(f"{told}\n  nothing was written; change the option") from None


def as_json(started: Started) -> dict[str, Any]:
    """Everything that `show` tells."""
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
        },
        "chosen": proposal.fields,
        "reasons": proposal.reasons,
        "estimate": proposal.cost._asdict(),
    }


def show(started: Started) -> None:
    """Print what was found and what to do next."""
    console = Console(highlight=False)

    def say(line: str) -> None:
        console.print(escape(line), soft_wrap=True)

    found, fields = started.found, started.proposal.fields
    say(f"{found.total:,} images in {len(found.images):,} classes")
    by_size = sorted(found.images.items(), key=lambda item: -item[1])
    for name, count in by_size[:_CLASSES_SHOWN]:
        say(f"  {count:>8,}  {_printable(name)}")
    if len(by_size) > _CLASSES_SHOWN:
        rest = by_size[_CLASSES_SHOWN:]
        say(f"  and {len(rest):,} more, the smallest with {rest[-1][1]:,}")
    if found.imbalance > 1:
        say(f"largest / smallest class: {found.imbalance:.3g}")
    if found.sizes:
        low, high = min(map(min, found.sizes)), max(map(max, found.sizes))
        span = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        say(f"sides of {span} pixels among {len(found.sizes)} images looked at")
    if found.unlabelled:
        say(f"without a label: {found.unlabelled:,}")
    if found.left_out:
        say(f"other files or rows, left out: {found.left_out:,}")
    split, size = fields["split"]["strategy"], fields["size"]
    say(f"split {split}, {size} pixels, {BACKBONE} from {fields['weights']}")
    minutes = max(1, round(started.proposal.cost.seconds / 60))
    say(f"about {minutes:,} min at the most on this machine (a guess)")
    file = shlex.quote(str(started.study))
    say("")
    say(f"wrote {started.study}; next:")
    say(f"  tlsearch check {file}")
    say(f"  tlsearch run {file} --preset small")
    say(f"  tlsearch run {file}")


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
