"""What `tlsearch check` says of the images: reads them, once, and lists what is amiss."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tlsearch.data.audit.classes import audit_of_counts
from tlsearch.data.audit.findings import TITLES, Audit, Finding, csv_text, effect
from tlsearch.data.audit.refusal import AuditError, refuse_errors, refuse_what_is_left
from tlsearch.errors import RequestError
from tlsearch.study.config import StudyConfig
from tlsearch.study.layout import expanded, user_cache
from tlsearch.study.sources import EmbeddedSource, source_name
from tlsearch.transfer.at_hand import no_such_file

if TYPE_CHECKING:
    from tlsearch.data.images import ImageSet

SHOWN_FILES, SHOWN_CLASSES = 3, 30
"""Files of each finding and classes that a terminal is shown."""

_PARTS = ("train", "validation", "test")


class Checked(NamedTuple):
    """The audit, why the study cannot go on with it, images of each class in each part (None where
    nothing was read), what the split gives reason to say, and its folds: the parts are the first's.
    """

    audit: Audit
    refusal: RequestError | None
    parts: Mapping[str, tuple[int, ...]] | None
    notes: tuple[str, ...] = ()
    folds: int | None = None


def look(
    config: StudyConfig, *, label_errors: bool, divide: "Callable[[ImageSet], None] | None" = None
) -> Checked:
    """Audit a study's images, and read those of `backbone.source`. An embedded source is not made:
    its numbers are known, unless defects are planted into it or `divide` wants to see the images.

    Raises:
        RequestError: the source or a weights file is not there, weights do not fit, or the images
            cannot be divided.
        WorkError: it cannot be fetched, or the cache folder cannot be written.
    """
    _refuse_missing_weights(config)
    source = config.data.source
    try:
        if config.backbone.source is not None:
            _read_source(config)
        if divide is not None or config.data.planted is not None:
            return _read(config, label_errors, divide)
        if not isinstance(source, EmbeddedSource):
            return _read(config, label_errors, None)
        counts = [(f"class {i}", count) for i, count in enumerate(source.class_counts())]
        audit = audit_of_counts(counts, config.data.audit)
        if label_errors:
            why = f"Label errors were not looked for: {source_name(source)} is embedded."
            audit = replace(audit, unseen=(why,))
        refuse_errors(audit)
        refuse_what_is_left(audit)
        return Checked(audit, None, None)
    except AuditError as error:
        return Checked(error.audit, error, None)


def write_listing(audit: Audit, path: Path) -> None:
    """The files of all findings as CSV.

    Raises:
        OSError: the place is read-only or full.
    """
    path.write_text(csv_text(audit), encoding="utf-8")


def show_audit(console: Console, checked: Checked) -> None:
    """The findings, and what happens to them."""
    audit = checked.audit
    used = "" if audit.num_used == audit.num_images else f", {audit.num_used:,} of them used"
    console.print(f"[bold]images[/bold]: {audit.num_images:,}{used}", soft_wrap=True)
    for finding in audit.findings:
        console.print(_line(finding), soft_wrap=True)
        for row in finding.files[:SHOWN_FILES]:
            told = ", ".join(row.names[:SHOWN_FILES]) + (", …" * (len(row.names) > SHOWN_FILES))
            detail = f" ({row.detail})" if row.detail else ""
            console.print(f"    [dim]{escape(told + detail)}[/dim]", soft_wrap=True)
        if len(finding.files) > SHOWN_FILES:
            more = len(finding.files) - SHOWN_FILES
            console.print(f"    [dim]… and {more:,} more: --files FILE.csv[/dim]", soft_wrap=True)
    if audit.clean:
        names = ", ".join(TITLES[kind] for kind in audit.clean)
        console.print(f"  not found: {names}", soft_wrap=True)
    for sentence in audit.unseen:
        console.print(f"  {escape(sentence)}", soft_wrap=True)


def show_parts(console: Console, checked: Checked) -> None:
    """Classes by part, and what the split gives reason to say, where images were read."""
    if checked.parts is not None:
        console.print()
        console.print(_class_table(checked.audit, checked.parts, checked.folds))
        for note in checked.notes:
            console.print(f"note: {escape(note)}", soft_wrap=True)


def _line(finding: Finding) -> str:
    style = {"error": "red", "drop": "yellow"}.get(finding.policy, "bold")
    title = f"[{style}]{TITLES[finding.kind]}[/{style}]"
    done = effect(finding)
    policy = "" if finding.policy == "note" else f" ({finding.kind}: {finding.policy})"
    return f"  {title}: {escape(finding.text)}" + (f" → {done}{policy}" if done else policy)


def _class_table(audit: Audit, parts: Mapping[str, tuple[int, ...]], folds: int | None) -> Table:
    fold = f", first of {folds} folds" if folds else ""
    table = Table(
        title=f"images per class{fold}", title_justify="left", box=None, header_style="dim"
    )
    table.add_column("class")
    for name in ("all", *parts):
        table.add_column(name, justify="right")
    rows = list(zip(audit.class_counts, *parts.values(), strict=True))
    for (name, count), *each in rows[:SHOWN_CLASSES]:
        table.add_row(escape(name), f"{count:,}", *(f"{number:,}" for number in each))
    if len(rows) > SHOWN_CLASSES:
        table.add_row(f"… and {len(rows) - SHOWN_CLASSES:,} more")
    sums = [sum(count for _, count in audit.class_counts), *map(sum, parts.values())]
    table.add_row("[bold]all[/bold]", *(f"{number:,}" for number in sums))
    return table


def _refuse_missing_weights(config: StudyConfig) -> None:
    given = config.backbone.given_weights
    for weights in [given] if isinstance(given, str) else given.values():
        if weights.endswith(".safetensors") and not expanded(weights).exists():
            raise no_such_file(expanded(weights))


def _read(
    config: StudyConfig, label_errors: bool, divide: "Callable[[ImageSet], None] | None"
) -> Checked:
    from tlsearch.data.reading import read_images

    with reading_progress() as on_progress:
        cache = user_cache()
        data, audit = read_images(config.data, cache=cache / "images", on_progress=on_progress)
        if label_errors:
            from tlsearch.search.work.preparing import audit_labels_alone

            with TemporaryDirectory() as folder:
                audit = audit_labels_alone(
                    data,
                    audit,
                    config,
                    cache=Path(folder),
                    user_cache=cache,
                    threads=1,
                    on_progress=on_progress,
                )
        else:
            audit = replace(audit, unseen=(*audit.unseen, _unasked(config)))
    if divide is not None:
        divide(data)
    return _divided(audit, data, config)


def _read_source(config: StudyConfig) -> None:
    """Decode the images of `backbone.source`, so that a run finds no fault with them."""
    from tlsearch.data.source_images import read_source

    with reading_progress() as on_progress:
        read_source(config, cache=user_cache() / "images", on_progress=on_progress)


def _unasked(config: StudyConfig) -> str:
    if config.data.audit.label_errors == "off":
        return "Label errors are not looked for: label_errors is off."
    return (
        "Label errors were not looked for, which needs the backbone: `tlsearch run` does it, or "
        "add --label-errors here."
    )


def _divided(audit: Audit, data: "ImageSet", config: StudyConfig) -> Checked:
    """With the parts; of the first fold where there are several."""
    from tlsearch.search.work.dividing import divide

    facts, _ = divide(data, config)
    counts = (facts.train_counts, facts.validation_counts, facts.test_counts)
    parts, split = dict(zip(_PARTS, counts, strict=True)), facts.split
    return Checked(audit, None, parts, split.notes, split.folds)


@contextmanager
def reading_progress() -> Iterator[Callable[[float, str], None]]:
    """A bar on stderr while a terminal is there to see it."""
    console = Console(stderr=True)
    columns = (BarColumn(), TextColumn("{task.description}", markup=False), TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("reading the images", total=1.0)
        yield lambda share, text: bar.update(task, completed=share, description=text)
