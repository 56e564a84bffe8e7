"""`tlsearch check`: the resolved study, its space, images and cost, without torch or Optuna."""

import json
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tlsearch.cli import scores, source_models
from tlsearch.cli.auditing import Checked, look, show_audit, show_parts, write_listing
from tlsearch.data.audit.findings import as_json as audit_json
from tlsearch.study.config import StudyConfig
from tlsearch.study.cost import Estimate, estimate
from tlsearch.study.dimensions import Choice, Dimension, Range, raw
from tlsearch.study.identity import identity
from tlsearch.study.resolved import redacted, schema_text, to_yaml
from tlsearch.study.search_checks import notes


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
    scored = scores.score(config) if score and checked.refusal is None else None
    if as_json:
        more = {} if scored is None else {"scores": scores.as_json(scored)}
        typer.echo(json.dumps({**_as_json(config, checked), **more}))
    else:
        console = Console(highlight=False)
        _show(config, checked, console)
        if scored is not None:
            scores.show(console, scored)
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
        "source_models_to_train": source_models.to_be_trained([config]),
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
        *source_models.told(source_models.to_be_trained([config])),
    ]
