"""`tlsearch check`: the resolved study, its space, images and cost, without torch or Optuna."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tlsearch.config.cells import compared, scenario_config
from tlsearch.config.cost import Estimate, estimate
from tlsearch.config.dimensions import Choice, Dimension, Range, raw
from tlsearch.config.paths import expanded, user_cache
from tlsearch.config.resolved import identity, redacted, schema_text, to_yaml
from tlsearch.config.schema import StudyConfig
from tlsearch.config.search_checks import notes
from tlsearch.config.sources import EmbeddedSource, source_name
from tlsearch.data.audit import audit_of_counts
from tlsearch.data.audit_findings import (
    TITLES,
    Audit,
    AuditError,
    Finding,
    csv_text,
    effect,
    refuse_errors,
    refuse_what_is_left,
)
from tlsearch.data.audit_findings import as_json as audit_json
from tlsearch.errors import RequestError
from tlsearch.models.weights import no_such_file

if TYPE_CHECKING:
    from tlsearch.data.dataset import ImageSet
    from tlsearch.execution.network_scores import NetworkScores


# What `tlsearch check` says of the images: reads them, once, and lists what is amiss.


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
    from tlsearch.data.readers import read_images

    with reading_progress() as on_progress:
        cache = user_cache()
        data, audit = read_images(config.data, cache=cache / "images", on_progress=on_progress)
        if label_errors:
            from tlsearch.execution.prepare import audit_labels_alone

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
    from tlsearch.data.readers import read_source

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
    from tlsearch.execution.prepare import divide

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


# What `tlsearch check --score` says of a study's networks.


HERE = ""
"""The place of a study that compares nothing."""


def score_networks(config: StudyConfig) -> Mapping[str, "Sequence[NetworkScores]"]:
    """The scores of a study's networks, by scenario; scenarios that share data and networks are
    scored once.

    Raises:
        RequestError: data or weights do not fit the study.
        WorkError: something cannot be read, written or fetched.
    """
    from tlsearch.execution.network_scores import score_study

    places = {HERE: config}
    if config.comparison is not None:
        places = {name: scenario_config(config, name) for name in compared(config).used}
    known: dict[str, Sequence[NetworkScores]] = {}
    found = {}
    with reading_progress() as on_progress:
        for name, ours in places.items():
            of = ours.model_dump_json(include={"data", "backbone", "device", "precision"})
            if of not in known:
                known[of] = score_study(ours, user_cache=user_cache(), on_progress=on_progress)
            found[name] = known[of]
    return found


def scores_json(scored: Mapping[str, "Sequence[NetworkScores]"]) -> Any:
    """A list of the networks' figures; of a comparison one for each scenario."""
    found: dict[str, Any] = {
        name: [one.as_json() for one in networks] for name, networks in scored.items()
    }
    return found.get(HERE, found)


def show_scores(console: Console, scored: Mapping[str, "Sequence[NetworkScores]"]) -> None:
    """A table for each place, and how to read it."""
    # A pipe has no width, and rich would cut the table at 80 columns.
    table_console = console if console.is_terminal else Console(highlight=False, width=120)
    shown: set[int] = set()
    for name, networks in scored.items():
        if id(networks) in shown:
            continue
        shown.add(id(networks))
        where = f"scenario {name}, " if name else ""
        images = f"{where}{networks[0].num_images:,} training images"
        console.print()
        table_console.print(_table(f"networks on {escape(images)}", networks))
    console.print(
        "LogME, H-score, LEEP and NCE rise with the accuracy that is expected: compare networks "
        "within a column, on the same images. They are hints; a study over several networks (a "
        "list in backbone.name) tells whether they came true. features: what the head sees. "
        "M: millions of parameters, and of multiply-adds of an image. /s: images a second forward "
        "and in training, of one thread in fp32.",
        soft_wrap=True,
    )


def _table(title: str, networks: Sequence["NetworkScores"]) -> Table:
    table = Table(
        title=title, title_justify="left", box=None, header_style="dim", padding=(0, 1, 0, 0)
    )
    table.add_column("backbone", no_wrap=True)
    columns = ("LogME", "H-score", "LEEP", "NCE", "features", "param. M", "mult. M")
    for name in (*columns, "images/s", "train/s"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in networks:
        scores = (one.log_me, one.h_score, one.leep, one.nce)
        table.add_row(
            one.backbone,
            *("–" if value is None else f"{value:.3f}" for value in scores),
            f"{one.features:,}",
            f"{one.parameters / 1e6:.1f}",
            f"{one.multiply_adds / 1e6:,.0f}",
            f"{one.inference_images_per_second:,.0f}",
            f"{one.training_images_per_second:,.0f}",
        )
    return table


# Source models that tlsearch would have to train before a study.


def to_be_trained(configs: Iterable[StudyConfig]) -> list[str]:
    """Those that are not in the user's cache, as `resnet10 at 32 px`; creates nothing."""
    from tlsearch.training.pretrain import cached_glyph_weights

    wanted = {
        (name, config.data.size): None
        for config in configs
        for name in config.backbone.names
        if config.backbone.weights_of(name) == "glyphs"
    }
    return [
        f"{name} at {size} px"
        for name, size in wanted
        if cached_glyph_weights(backbone=name, image_size=size, cache=user_cache()) is None
    ]


def training_needed_text(missing: list[str]) -> list[str]:
    """The same as a user reads it: one line, or none."""
    if not missing:
        return []
    count = "a source model has" if len(missing) == 1 else f"{len(missing)} source models have"
    return [
        f"before that, {count} to be trained, once for all studies: {', '.join(missing)} "
        "(minutes each, and more for large networks and images)"
    ]


def schema() -> str:
    """The JSON Schema of study files."""
    return schema_text().rstrip()


def check(
    config: StudyConfig, *, label_errors: bool, score: bool, files: Path | None, as_json: bool
) -> None:
    """Print a study as a user reads it, or as JSON.

    Raises:
        RequestError: the images are not as the study wants them; all is told before.
        WorkError: they cannot be fetched, or the cache folder cannot be written.
    """
    checked = look(config, label_errors=label_errors)
    if files is not None:
        write_listing(checked.audit, files)
    scored = score_networks(config) if score and checked.refusal is None else None
    if as_json:
        more = {} if scored is None else {"scores": scores_json(scored)}
        typer.echo(json.dumps({**_as_json(config, checked), **more}))
    else:
        console = Console(highlight=False)
        _show(config, checked, console)
        if scored is not None:
            show_scores(console, scored)
    if checked.refusal is not None:
        raise checked.refusal


def told(dimension: Dimension) -> str:
    """The values of a dimension as a user reads them."""
    match dimension:
        case Choice(values):
            return ", ".join("null" if v is None else str(v) for v in values)
        case Range(low, high, log, step):
            how = ", logarithmic" if log else f", step {step:g}" if step else ""
            whole = ", whole numbers" if dimension.whole else ""
            return f"{low:g} … {high:g}{how}{whole}"
        case _:
            return str(raw(dimension))


def told_time(seconds: float) -> str:
    """A guessed time of training, in the unit that a user would name."""
    minutes = seconds / 60
    if minutes < 1:
        return "less than a minute of training"
    return f"about {minutes:.0f} min" if minutes < 180 else f"about {minutes / 60:.0f} hours"


def _as_json(config: StudyConfig, checked: Checked) -> dict[str, Any]:
    """The resolved study, its searched dimensions, its audit and its estimated cost."""
    cost = _estimate(config, checked)
    return {
        "study": redacted(config).model_dump(mode="json"),
        "identity": identity(config),
        "searched": {name: raw(d) for name, d in config.searched().items()},
        "notes": [*notes(config), *checked.notes],
        "audit": {**audit_json(checked.audit), "parts": checked.parts},
        "estimate": cost and cost._asdict(),
        "source_models_to_train": to_be_trained([config]),
    }


def _show(config: StudyConfig, checked: Checked, console: Console) -> None:
    console.print(escape(to_yaml(redacted(config)).rstrip()), soft_wrap=True)
    console.print()
    table = Table(title="searched dimensions", title_justify="left", box=None, header_style="dim")
    for column in ("dimension", "values"):
        table.add_column(column)
    for name, dimension in config.searched().items():
        table.add_row(escape(name), escape(told(dimension)))
    console.print(table)
    console.print()
    show_audit(console, checked)
    show_parts(console, checked)
    cost = _estimate(config, checked)
    if cost is not None:
        console.print()
        for line in _cost_lines(config, cost):
            console.print(line, soft_wrap=True)
    for line in notes(config):
        console.print(f"note: {escape(line)}", soft_wrap=True)


def _estimate(config: StudyConfig, checked: Checked) -> Estimate | None:
    """None where the study cannot run with these images."""
    if checked.refusal is not None:
        return None
    classes = sum(count > 0 for _, count in checked.audit.class_counts)
    return estimate(config, num_images=checked.audit.num_used, num_classes=classes)


def _by_folds(config: StudyConfig) -> str:
    folds = config.data.split.folds
    return f" of {folds} folds" if folds else ""


def _cost_lines(config: StudyConfig, cost: Estimate) -> list[str]:
    return [
        f"at most {cost.trainings} trainings: {config.budget.trials} trials{_by_folds(config)}, "
        f"{cost.baseline_trainings} for baselines, {cost.confirm_trainings} for confirmation",
        f"at most {cost.train_images:,} images through training and {cost.eval_images:,} through "
        f"evaluation, {cost.giga_macs:,.0f} giga multiply-adds",
        f"{told_time(cost.seconds)} at the most (a guess from multiply-adds and steps; pruning and "
        "frozen layers make it less, the first run measures)",
        *training_needed_text(to_be_trained([config])),
    ]


# `tlsearch check --views`: what a study's augmentations do to its own images.


def write_augmentation_views(config: StudyConfig, path: Path) -> None:
    """Draw the views into a picture or a page.

    Raises:
        RequestError: the study augments nothing, or its images or weights do not fit it.
        WorkError: something cannot be read or fetched.
        OSError: the file cannot be written.
    """
    with reading_progress() as on_progress:
        from tlsearch.execution.examples import views_of
        from tlsearch.report.views import Block, write_views

        shown = views_of(config, cache=user_cache(), on_progress=on_progress)
    write_views(path, [Block(*one) for one in shown], name=config.name)
