"""`tlsearch init`: look at a folder or a table, and write a study for it."""

import os
import shlex
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape

from tlsearch.cli.commented import study_text
from tlsearch.cli.proposal import BACKBONE, Proposal, propose, valid_name
from tlsearch.data.survey import Survey, survey
from tlsearch.errors import RequestError, WorkError
from tlsearch.study.machine import visible_gpus
from tlsearch.study.reading import read_study
from tlsearch.study.sources import Folder

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
    partial = output.with_name(f".{output.name}.part")
    try:
        partial.write_text(text, encoding="utf-8")
        read_study(partial, overrides=[], preset=None)
        partial.replace(output)
    except OSError as error:
        raise WorkError(f"{output}: cannot be written: {error.strerror or error}") from None
    except RequestError as error:
        told = str(error).replace(str(partial), str(output))
        raise RequestError(f"{told}\n  nothing was written; change the option") from None
    finally:
        partial.unlink(missing_ok=True)


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
