"""A proposal as the text of a study file, with a comment for each choice."""

import re
import textwrap
from typing import Any

import yaml

from tlsearch.cli.proposal import BACKBONE, CONFIRM, Proposal
from tlsearch.data.survey import Survey
from tlsearch.study.document import scalar
from tlsearch.study.sources import Folder, Manifest

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
