"""`tlsearch check`: the resolved study, its space and its cost, without torch or Optuna."""

from dataclasses import asdict, is_dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tlsearch.study.config import StudyConfig
from tlsearch.study.cost import Estimate, estimate
from tlsearch.study.dimensions import Choice, Dimension, Range, raw
from tlsearch.study.identity import identity
from tlsearch.study.resolved import redacted, schema_text, to_yaml
from tlsearch.study.search_checks import notes
from tlsearch.study.sources import known_facts


def schema() -> str:
    """The JSON Schema of study files."""
    return schema_text().rstrip()


def as_json(config: StudyConfig) -> dict[str, Any]:
    """The resolved study, its searched dimensions and its estimated cost."""
    cost = _estimate(config)
    return {
        "study": redacted(config).model_dump(mode="json"),
        "identity": identity(config),
        "searched": {name: raw(d) for name, d in config.space.searched().items()},
        "notes": notes(config),
        "estimate": asdict(cost) if is_dataclass(cost) else cost._asdict(),
    }


def show(config: StudyConfig) -> None:
    """Print the study as a user reads it."""
    console = Console(highlight=False)
    console.print(escape(to_yaml(redacted(config)).rstrip()), soft_wrap=True)
    console.print()
    table = Table(title="searched dimensions", title_justify="left", box=None, header_style="dim")
    for column in ("dimension", "values"):
        table.add_column(column)
    for name, dimension in config.space.searched().items():
        table.add_row(escape(name), escape(_told(dimension)))
    console.print(table)
    console.print()
    for line in _cost_lines(config, _estimate(config)):
        console.print(line, soft_wrap=True)
    for line in notes(config):
        console.print(f"note: {escape(line)}", soft_wrap=True)


def _estimate(config: StudyConfig) -> Estimate:
    source = known_facts(config.data.source)
    assert source is not None
    return estimate(config, num_images=source.images, num_classes=source.classes)


def _told(dimension: Dimension) -> str:
    match dimension:
        case Choice(values):
            return ", ".join("null" if v is None else str(v) for v in values)
        case Range(low, high, log, step):
            how = ", logarithmic" if log else f", step {step:g}" if step else ""
            whole = ", whole numbers" if dimension.whole else ""
            return f"{low:g} … {high:g}{how}{whole}"
        case _:
            return str(raw(dimension))


def _by_folds(config: StudyConfig) -> str:
    folds = config.data.split.folds
    return f" of {folds} folds" if folds else ""


def _cost_lines(config: StudyConfig, cost: Estimate) -> list[str]:
    minutes = cost.seconds / 60
    return [
        f"at most {cost.trainings} trainings: {config.budget.trials} trials{_by_folds(config)}, "
        f"{cost.baseline_trainings} for baselines, {cost.confirm_trainings} for confirmation",
        f"at most {cost.train_images:,} images through training and {cost.eval_images:,} through "
        f"evaluation, {cost.giga_macs:,.0f} giga multiply-adds",
        f"about {minutes:.0f} min at the most (a guess from multiply-adds; pruning and frozen "
        "layers make it less, the first run measures)",
    ]
