"""`tlsearch check`: a study, its space, images, claims and cost, as a terminal shows them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tlsearch import api
from tlsearch.cli.console import progress
from tlsearch.config.cells import cells, compared
from tlsearch.config.paths import user_cache
from tlsearch.config.resolved import redacted, schema_text, to_yaml
from tlsearch.config.runtime import OnProgress
from tlsearch.config.schema import StudyConfig
from tlsearch.config.space import Fixed, in_words
from tlsearch.data.records import TITLES, Audit, Finding, effect
from tlsearch.errors import shown
from tlsearch.execution.messages import Notice, Preparing
from tlsearch.search.preview import (
    Checked,
    Preview,
    Scores,
    arms_of,
    claims_of,
    cost_of,
    outlook,
    scenarios_of,
    sizes_of,
    source_models_to_train,
    study_notes,
    write_listing,
)

SHOWN_FILES, SHOWN_CLASSES = 3, 30
"""Files of each finding and classes that a terminal is shown."""


def schema() -> str:
    """The JSON Schema of study files."""
    return schema_text().rstrip()


def check(
    config: StudyConfig, *, label_errors: bool, score: bool, files: Path | None, as_json: bool
) -> None:
    """Print a study as a user reads it, or as JSON.

    Raises:
        RequestError: no claim is about the arms, or the images are not as the study wants them;
            all findings are printed before.
        WorkError: images cannot be fetched, or the cache folder cannot be written.
    """
    with progress() as on_progress:
        found = api.check(
            config,
            label_errors=label_errors,
            scores=score,
            progress=lambda event: _draw(event, on_progress),
        )
    if files is not None:
        write_listing(found.checked, files)
    if as_json:
        typer.echo(json.dumps(found.as_json()))
    else:
        console = Console(highlight=False)
        _show(found, console)
        if found.scored is not None:
            show_scores(console, found.scored)
    for problem in found.problems:
        raise problem


def _draw(event: Notice, on_progress: OnProgress) -> None:
    if isinstance(event, Preparing):
        on_progress(event.share, event.text)


def _show(seen: Preview, console: Console) -> None:
    """The same for a terminal."""
    config, checked = seen.config, seen.checked
    console.print(escape(to_yaml(redacted(config)).rstrip()), soft_wrap=True)
    console.print()
    if config.comparison is None:
        console.print(_dimensions(config))
    else:
        for line in (*_arm_lines(config), *_claim_lines(config)):
            console.print(line, soft_wrap=True)
    before: list[str] = []
    sources = {name: ours.data.source for name, ours in scenarios_of(config).items()}
    for scenario, found in checked.items():
        console.print()
        if scenario:
            traits = compared(config).scenarios[scenario].traits.in_words()
            text = f"[bold]scenario {escape(scenario)}[/bold]"
            console.print(f"{text}: {traits}" if traits else text, soft_wrap=True)
        # Scenarios that differ at most in how the same images are divided.
        same = [
            name
            for name in before
            if sources[name] == sources[scenario] and checked[name].audit == found.audit
        ]
        if same:
            console.print(f"the images of {escape(same[0])}", soft_wrap=True)
        else:
            show_audit(console, found.audit)
        if all(checked[name].parts != found.parts for name in same):
            show_parts(console, found)
        before.append(scenario)
        if scenario and found.refusal is None:
            sizes = sizes_of(config, scenario, found)
            parts = f"{sizes.train:,} to train on, {sizes.validation:,} to validate, "
            console.print(f"{parts}{sizes.test:,} to test", soft_wrap=True)
    if not any(found.refusal for found in checked.values()):
        console.print()
        for line in _cost_lines(config, checked):
            console.print(line, soft_wrap=True)
    for name, text in seen.networks.items():
        console.print(f"{escape(name)}: {escape(text)}", soft_wrap=True)
    for note in (*study_notes(config), *seen.here):
        console.print(f"note: {escape(note)}", soft_wrap=True)


def _dimensions(config: StudyConfig) -> Table:
    table = Table(title="searched dimensions", title_justify="left", box=None, header_style="dim")
    for column in ("dimension", "values"):
        table.add_column(column)
    for name, dimension in config.searched().items():
        table.add_row(escape(name), escape(in_words(dimension)))
    return table


def _arm_lines(config: StudyConfig) -> Iterator[str]:
    """What each arm fixes, and what it leaves to tuning."""
    for arm, ours in arms_of(config).items():
        fields = compared(config).arms[arm]
        roots = {name.split(".")[1] for name in fields if name.startswith("space.")}
        fixes = [f"{n}: {shown(v)}" for n, v in fields.items() if not n.startswith("space.")]
        fixes += [
            f"{name}: {in_words(dimension)}"
            for name, dimension in ours.space.dimensions().items()
            if isinstance(dimension, Fixed) and name.split(".")[0] in roots
        ]
        tunes = [f"{name}: {in_words(found)}" for name, found in ours.searched().items()]
        yield f"[bold]arm {escape(arm)}[/bold]"
        yield f"  fixes {escape('; '.join(fixes) or 'nothing')}"
        size = ours.num_configurations()
        few = f" ({size} different configurations)" if tunes and size == ours.num_trials() else ""
        yield f"  tunes {escape('; '.join(tunes) or 'nothing')}{few}"


def _claim_lines(config: StudyConfig) -> Iterator[str]:
    """The claims by the documents' ids."""
    says: dict[str, list[str]] = {}
    for claim in claims_of(config):
        says.setdefault(claim.id, []).append(claim.says)
    yield "[bold]claims to be answered[/bold]"
    for name, texts in says.items():
        yield f"  {escape(name)}: {escape('; '.join(texts))}"


def _cost_lines(config: StudyConfig, checked: Mapping[str, Checked]) -> Iterator[str]:
    """What the study takes and can show, where its images are as it wants them."""
    if config.comparison is not None:
        sizes = {name: sizes_of(config, name, found) for name, found in checked.items()}
        yield from _outlook_lines(config, outlook(config, sizes))
        return
    cost = cost_of(config, checked[""])
    assert cost is not None
    folds = config.data.split.folds
    by_folds = f" of {folds} folds" if folds else ""
    yield (
        f"at most {cost.trainings} trainings: {config.num_trials()} trials{by_folds}, "
        f"{cost.baseline_trainings + cost.confirm_trainings} for confirmation and baselines"
    )
    yield (
        f"at most {cost.train_images:,} images through training and {cost.eval_images:,} through "
        f"evaluation, {cost.giga_macs:,.0f} giga multiply-adds"
    )
    yield (
        f"{duration_text(cost.seconds)} at the most (estimated from multiply-adds, activations and "
        "steps; pruning and frozen layers make it less, the first run measures)"
    )
    yield from _training_needed(source_models_to_train([config]))


def _outlook_lines(config: StudyConfig, outlook: Mapping[str, Any]) -> Iterator[str]:
    comparison = compared(config)
    yield (
        f"at most {outlook['trainings']:,} trainings: {outlook['tuning']:,} to tune "
        f"{len(cells(comparison))} cells, {outlook['confirmations']:,} to confirm each on "
        f"{comparison.confirm.seeds} seeds, {outlook['swept']:,} for sweeps"
    )
    yield (
        f"{duration_text(outlook['seconds'])} (estimated from multiply-adds, activations and "
        "steps, good to a factor of 2 or 3 on a machine that does nothing else)"
    )
    yield from _training_needed(outlook["source_models_to_train"])
    one, pooled = outlook["smallest_effect"], outlook["smallest_effect_pooled"]
    if one is not None:
        over = f", of {100 * pooled:.1f} over all" if pooled < one else ""
        yield (
            f"a difference of {100 * one:.1f} points of test accuracy should show in one scenario"
            f"{over} (in 8 of 10 such comparisons; estimated from typical noise)"
        )


def _training_needed(missing: Sequence[str]) -> Iterator[str]:
    if missing:
        count = "a source model has" if len(missing) == 1 else f"{len(missing)} source models have"
        yield (
            f"before that, {count} to be trained, once for all studies: {', '.join(missing)} "
            "(minutes each, and more for large networks and images)"
        )


def duration_text(seconds: float) -> str:
    """An estimated time of training, in the unit that a user would name."""
    minutes = seconds / 60
    if minutes < 1:
        return "less than a minute of training"
    return f"about {minutes:.0f} min" if minutes < 180 else f"about {minutes / 60:.0f} hours"


def write_augmentation_views(config: StudyConfig, path: Path) -> None:
    """Draw what a study's augmentations do to its own images, or without any the images as they
    are decoded, into a picture or a page.

    Raises:
        RequestError: its images or weights do not fit it.
        WorkError: something cannot be read or fetched.
        OSError: the file cannot be written.
    """
    with progress() as on_progress:
        from tlsearch.execution.examples import views_of
        from tlsearch.report.views import Block, write_views

        views = views_of(config, cache=user_cache(), on_progress=on_progress)
    write_views(path, [Block(*one) for one in views], name=config.name)


# Findings, parts and scores.


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
        names = ", ".join(TITLES[kind].lower() for kind in audit.clean)
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
