"""What `tlsearch check` finds in a study's images: their audit, their parts, networks' scores."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tlsearch.cli.console import progress
from tlsearch.config.cells import Cell, cell_config, compared, scenario_config
from tlsearch.config.paths import expanded, user_cache
from tlsearch.config.schema import DataConfig, StudyConfig, is_weights_file
from tlsearch.config.sources import EmbeddedSource, source_name
from tlsearch.data.records import (
    TITLES,
    Audit,
    AuditError,
    Finding,
    audit_of_counts,
    csv_text,
    effect,
    refuse_errors,
)
from tlsearch.errors import RequestError, TlsearchError, WorkError

if TYPE_CHECKING:
    from tlsearch.data.dataset import ImageSet
    from tlsearch.execution.network_scores import NetworkScores

SHOWN_FILES, SHOWN_CLASSES = 3, 30
"""Files of each finding and classes that a terminal is shown."""


class Checked(NamedTuple):
    """The audit, why the study cannot go on with it, images of each class in each part (None where
    nothing was read), notes on the split, and its folds: the parts are the first fold's.
    """

    audit: Audit
    refusal: RequestError | None
    parts: Mapping[str, tuple[int, ...]] | None
    notes: tuple[str, ...] = ()
    folds: int | None = None


def scenarios_of(config: StudyConfig) -> dict[str, StudyConfig]:
    """What the arms of each scenario share; a search is one scenario without a name."""
    if config.comparison is None:
        return {"": config}
    return {name: cell_config(config, Cell(name, "")) for name in compared(config).used}


def audit_scenarios(config: StudyConfig, *, label_errors: bool) -> dict[str, Checked]:
    """Audit the images of each scenario; scenarios that share all of `data` are read once. Of
    table B the split of every arm is drawn as well, before the future.

    Raises:
        RequestError: a source or a weights file is not there, weights do not fit, or the images
            cannot be divided.
        WorkError: a source cannot be fetched, or the cache folder cannot be written.
    """
    known: dict[str, Checked] = {}
    found = {}
    for scenario, ours in scenarios_of(config).items():
        # The search for label errors takes the backbone.
        same = ours.model_dump_json(include={"data", "backbone"} if label_errors else {"data"})
        arms = {}
        if config.comparison is not None and config.comparison.future is not None:
            names = config.comparison.arms_in(scenario)
            arms = {name: cell_config(config, Cell(scenario, name)).data for name in names}
            same += repr(names)
        if same not in known:
            try:
                known[same] = audit_images(ours, label_errors=label_errors, arms=arms)
            except TlsearchError as error:
                if not scenario:
                    raise
                kind = RequestError if isinstance(error, RequestError) else WorkError
                raise kind(f"scenario {scenario!r}: {error}") from None
        found[scenario] = known[same]
    return found


def audit_images(
    config: StudyConfig, *, label_errors: bool, arms: Mapping[str, DataConfig]
) -> Checked:
    """Audit a study's images, and read those of `backbone.source`. An embedded source is not made:
    its numbers are known, unless defects are planted into it or `arms` of table B divide it.

    Raises:
        As `audit_scenarios` does.
    """
    _require_weights(config)
    source = config.data.source
    try:
        if config.backbone.source is not None:
            from tlsearch.data.sources import read_source

            with progress() as on_progress:
                read_source(config, cache=user_cache() / "images", on_progress=on_progress)
        if not isinstance(source, EmbeddedSource) or config.data.planted is not None or arms:
            return _read(config, label_errors, arms)
        counts = [(f"class {i}", count) for i, count in enumerate(source.class_counts())]
        audit = audit_of_counts(counts, config.data.audit)
        if label_errors:
            why = f"Label errors were not looked for: {source_name(source)} is embedded."
            audit = replace(audit, unseen=(why,))
        refuse_errors(audit)
        return Checked(audit, None, None)
    except AuditError as error:
        return Checked(error.audit, error, None)


def _require_weights(config: StudyConfig) -> None:
    given = config.backbone.given_weights
    for weights in [given] if isinstance(given, str) else given.values():
        if is_weights_file(weights) and not expanded(weights).exists():
            from tlsearch.models.weights import no_such_file

            raise no_such_file(expanded(weights))


def _read(config: StudyConfig, label_errors: bool, arms: Mapping[str, DataConfig]) -> Checked:
    from tlsearch.data.sources import read_images
    from tlsearch.execution.prepare import audit_labels_alone, divide

    cache = user_cache()
    with progress() as on_progress, TemporaryDirectory() as folder:
        data, audit = read_images(config.data, cache=cache / "images", on_progress=on_progress)
        if label_errors:
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
            audit = replace(audit, unseen=(*audit.unseen, _label_errors_unseen(config)))
    if arms:
        _divide_as_arms_do(config, arms, data)
    facts, _ = divide(data, config)
    if arms:  # the parts of all images are none of table B's
        return Checked(audit, None, None, (), facts.split.folds)
    counts = (facts.train_counts, facts.validation_counts, facts.test_counts)
    parts = dict(zip(("train", "validation", "test"), counts, strict=True))
    return Checked(audit, None, parts, facts.split.notes, facts.split.folds)


def _label_errors_unseen(config: StudyConfig) -> str:
    if config.data.audit.label_errors == "off":
        return "Label errors are not looked for: label_errors is off."
    return (
        "Label errors were not looked for, which needs the backbone: `tlsearch run` does it, or "
        "add --label-errors here."
    )


def _divide_as_arms_do(
    config: StudyConfig, arms: Mapping[str, DataConfig], data: "ImageSet"
) -> None:
    """Draw what a run of table B does: the scenario's own split, by which its images are surveyed,
    and that of each arm with every seed.

    Raises:
        RequestError: the images cannot be divided so.
    """
    from tlsearch.data.splits import draw_past
    from tlsearch.execution.prepare import refuse_past

    share, split = compared(config).future, config.data.split
    assert share is not None
    labels = config.data.labels_per_class
    draw_past(data, split=split, labels_per_class=labels, share=share, seed=split.seed)
    for name, ours in arms.items():
        refuse_past(
            data,
            split=ours.split,
            labels_per_class=ours.labels_per_class,
            share=share,
            seeds=range(1, compared(config).confirm.seeds + 1),
            name=name,
        )


def write_listing(checked: Mapping[str, Checked], path: Path) -> None:
    """The files of all findings as CSV; of a comparison scenario by scenario.

    Raises:
        OSError: the place is read-only or full.
    """
    text = csv_text({scenario: found.audit for scenario, found in checked.items()})
    path.write_text(text, encoding="utf-8", newline="")


def show_audit(console: Console, audit: Audit) -> None:
    """The findings, and what happens to them."""
    used = "" if audit.num_used == audit.num_images else f", {audit.num_used:,} of them used"
    console.print(f"[bold]images[/bold]: {audit.num_images:,}{used}", soft_wrap=True)
    for finding in audit.findings:
        console.print(_finding_line(finding), soft_wrap=True)
        for row in finding.files[:SHOWN_FILES]:
            names = ", ".join(row.names[:SHOWN_FILES]) + (", …" * (len(row.names) > SHOWN_FILES))
            detail = f" ({row.detail})" if row.detail else ""
            console.print(f"    [dim]{escape(names + detail)}[/dim]", soft_wrap=True)
        if len(finding.files) > SHOWN_FILES:
            more = len(finding.files) - SHOWN_FILES
            console.print(f"    [dim]… and {more:,} more: --files FILE.csv[/dim]", soft_wrap=True)
    if audit.clean:
        names = ", ".join(TITLES[kind] for kind in audit.clean)
        console.print(f"  not found: {names}", soft_wrap=True)
    for sentence in audit.unseen:
        console.print(f"  {escape(sentence)}", soft_wrap=True)


def _finding_line(finding: Finding) -> str:
    style = {"error": "red", "drop": "yellow"}.get(finding.policy, "bold")
    title = f"[{style}]{TITLES[finding.kind]}[/{style}]"
    done = effect(finding)
    policy = "" if finding.policy == "note" else f" ({finding.kind}: {finding.policy})"
    return f"  {title}: {escape(finding.text)}" + (f" → {done}{policy}" if done else policy)


def show_parts(console: Console, checked: Checked) -> None:
    """Images of each class by part, and notes on the split, where images were read."""
    if checked.parts is None:
        return
    fold = f", first of {checked.folds} folds" if checked.folds else ""
    table = Table(title=f"images per class{fold}", **_PLAIN)
    table.add_column("class")
    for name in ("all", *checked.parts):
        table.add_column(name, justify="right")
    rows = list(zip(checked.audit.class_counts, *checked.parts.values(), strict=True))
    for (name, count), *each in rows[:SHOWN_CLASSES]:
        table.add_row(escape(name), f"{count:,}", *(f"{number:,}" for number in each))
    if len(rows) > SHOWN_CLASSES:
        table.add_row(f"… and {len(rows) - SHOWN_CLASSES:,} more")
    sums = [sum(n for _, n in checked.audit.class_counts), *map(sum, checked.parts.values())]
    table.add_row("[bold]all[/bold]", *(f"{number:,}" for number in sums))
    console.print()
    console.print(table)
    for note in checked.notes:
        console.print(f"note: {escape(note)}", soft_wrap=True)


_PLAIN: Any = {"title_justify": "left", "box": None, "header_style": "dim"}

Scores = Mapping[str, "Sequence[NetworkScores]"]
"""The scores of a study's networks, by scenario."""


def score_networks(config: StudyConfig) -> Scores:
    """Scenarios that share data and networks are scored once.

    Raises:
        RequestError: data or weights do not fit the study.
        WorkError: something cannot be read, written or fetched.
    """
    from tlsearch.execution.network_scores import score_study

    known: dict[str, Sequence[NetworkScores]] = {}
    found = {}
    with progress() as on_progress:
        for name in scenarios_of(config):
            ours = scenario_config(config, name) if name else config
            same = ours.model_dump_json(include={"data", "backbone", "device", "precision"})
            if same not in known:
                known[same] = score_study(ours, user_cache=user_cache(), on_progress=on_progress)
            found[name] = known[same]
    return found


def scores_json(scored: Scores) -> Any:
    """A list of the networks' figures; of a comparison one for each scenario."""
    found: dict[str, Any] = {
        name: [one.as_json() for one in networks] for name, networks in scored.items()
    }
    return found.get("", found)


def show_scores(console: Console, scored: Scores) -> None:
    """A table for each scenario whose networks or images differ, and how to read it."""
    # A pipe has no width, and rich would cut the table at 80 columns.
    wide = console if console.is_terminal else Console(highlight=False, width=120)
    for networks in {id(networks): networks for networks in scored.values()}.values():
        first = next(name for name, others in scored.items() if others is networks)
        where = f"scenario {first}, " if first else ""
        title = f"networks on {where}{networks[0].num_images:,} training images"
        table = Table(title=escape(title), padding=(0, 1, 0, 0), **_PLAIN)
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
        console.print()
        wide.print(table)
    console.print(
        "LogME, H-score, LEEP and NCE rise with the accuracy that is expected: compare networks "
        "within a column, on the same images. They are estimates; a study over several networks (a "
        "list in backbone.name) measures the accuracy itself. features: what the head sees. "
        "M: millions of parameters, and of multiply-adds of an image. /s: images a second forward "
        "and in training, of one thread in fp32.",
        soft_wrap=True,
    )
