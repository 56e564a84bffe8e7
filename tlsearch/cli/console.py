"""What a terminal is shown: progress, what a study found, and where to look next."""

import importlib.util
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tlsearch.config.runtime import OnProgress

if TYPE_CHECKING:
    from tlsearch.comparison.answers import Tables
    from tlsearch.search.summary import Summary


@contextmanager
def progress(*, total: float | None = 1.0) -> Iterator[OnProgress]:
    """A bar on stderr while a terminal is there to see it; without a total it only moves."""
    console = Console(stderr=True)
    columns = (BarColumn(), TextColumn("{task.description}", markup=False), TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("reading the images", total=total)
        yield lambda share, text: bar.update(task, completed=share, description=text)


def show_outcome(summary: "Summary", *, asked: str, report: Path, seconds: float) -> None:
    """The result, what it gained over each baseline, and where to look next; `asked` is the study
    with its options, as the shell takes them.
    """
    console = Console(highlight=False)
    for line in [*_answer(summary), "", *_next_steps(summary, asked, report)]:
        console.print(line, soft_wrap=True)
    console.print(f"\n{_counts(summary)}; {seconds:.0f} s", soft_wrap=True)


def show_status(summary: "Summary", *, asked: str, running: bool) -> None:
    """Where a study stands."""
    console = Console(highlight=False)
    state = "running" if running else "finished" if summary.is_finished else "not finished"
    console.print(f"[bold]{escape(summary.name)}[/bold]: {state}; {_counts(summary)}")
    for row in summary.rows:
        if row.state in ("running", "waiting"):
            word = row.state if running else "interrupted"
            console.print(f"  {row.run.label}: {word}")
    for line in _answer(summary):
        console.print(line, soft_wrap=True)
    if not running and not summary.is_finished:
        console.print(f"carry on with: tlsearch run {escape(asked)}", soft_wrap=True)


def _answer(summary: "Summary") -> list[str]:
    from tlsearch.execution.runs import BASELINE_LABELS

    best = summary.best
    if best is None:
        return ["no trial has been completed yet"]
    confirmed = "confirmed winner" if summary.test else "best trial so far, not confirmed"
    value = f"{summary.metric} {best.value:.4f}"
    if summary.test:  # the search's own value is the best of many, so it flatters
        value += f" in the search, {summary.test['mean_validation']:.4f} confirmed"
    lines = [f"[bold]{confirmed}: trial {best.number}[/bold], {value}"]
    searched = {k: v for k, v in best.run.params.items() if k in best.sampled}
    lines += [f"  {name} = {_number(value)}" for name, value in searched.items()]
    if summary.test:
        lines += ["", *_test(summary)]
    else:
        lines += [
            f"  {BASELINE_LABELS[name]}: {summary.metric} {value:.4f}"
            for name, value in summary.baselines.items()
            if value is not None
        ]
    return lines


def _test(summary: "Summary") -> list[str]:
    from tlsearch.execution.runs import BASELINE_LABELS

    test = summary.test
    found = test["accuracy"]
    plural = "s" if found["num_seeds"] != 1 else ""
    seeds = f"{found['num_seeds']} seed{plural}, {found['num_images']} images"
    lines = [f"[bold]test accuracy {found['mean']:.4f}[/bold] {_interval(found)} over {seeds}"]
    own_model = test["champion_accuracy"]
    lines.append(
        f"  of the exported model, seed 1 alone: {own_model['mean']:.4f} {_interval(own_model)}"
    )
    for name, entry in test["baselines"].items():
        gain, own = entry["gain"], entry["accuracy"]["mean"]
        words = _words(gain)
        lines.append(
            f"  against {BASELINE_LABELS[name]}, {_recipe(entry)} ({own:.4f}): "
            f"{100 * gain['mean']:+.1f} points {_interval(gain, points=True)} {words}"
        )
    if found["num_seeds"] == 2:
        lines.append("  two seeds make wide intervals; a larger confirm.seeds narrows them")
    if test["scorings"] > 1:
        lines.append(f"  the test part has been scored {test['scorings']} times")
    if summary.negative_transfer:
        lines.append(escape(summary.negative_transfer_text))
    return lines


def _recipe(entry: Mapping[str, Any]) -> str:
    """What a baseline had to choose from: the winner is the best of many trials."""
    if entry.get("recipe") == "tuned":
        return f"tuned with {entry['trials']} trials"
    return "one fixed recipe"


def _words(gain: Mapping[str, Any]) -> str:
    if gain["low"] > 0:
        return "better"
    return "worse" if gain["high"] < 0 else "no clear difference"


def _interval(found: Mapping[str, Any], *, points: bool = False) -> str:
    low, high = found["low"], found["high"]
    if points:
        return f"(95 % interval {100 * low:+.1f} … {100 * high:+.1f})"
    return f"(95 % interval {low:.4f} … {high:.4f})"


def _next_steps(summary: "Summary", asked: str, report: Path) -> list[str]:
    lines = [f"report            {escape(str(report))}"]
    if summary.test.get("model"):
        lines.append(f"model             {escape(summary.test['model'])}")
        lines.append(f"model as a file   tlsearch export {escape(asked)}")
    if summary.test.get("registered"):
        lines.append(f"in the registry   {escape(summary.test['registered'])}")
    lines.append(f"dashboards        tlsearch ui {escape(asked)}")
    lines += places(summary.mlflow, summary.storage)
    lines.append(f"report again      tlsearch report {escape(asked)}")
    return lines


def places(mlflow: Mapping[str, str] | None, storage: str) -> list[str]:
    """Where the two user interfaces find the study."""
    lines = []
    if mlflow:
        address = mlflow["tracking_uri"]
        if address.startswith("http"):
            where = f"{address.rstrip('/')}/#/experiments/{mlflow['experiment_id']}"
            lines.append(f"MLflow            {escape(where)}")
        else:
            lines.append(f"MLflow UI         mlflow ui --backend-store-uri {_quoted(address)}")
    known = importlib.util.find_spec("optuna_dashboard") is not None
    hint = "" if known else "   (after: pip install optuna-dashboard)"
    lines.append(f"Optuna Dashboard  optuna-dashboard {_quoted(storage)}{hint}")
    return lines


def _counts(summary: "Summary") -> str:
    states = ("complete", "pruned", "diverged", "failed")
    told = [f"{summary.counts[s]} {s}" for s in states if summary.counts.get(s)]
    return f"{sum(summary.counts.values())} of {summary.budget} trials: {', '.join(told) or 'none'}"


def _quoted(word: object) -> str:
    """A word of a command that a shell takes as it is."""
    return escape(shlex.quote(str(word)))


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


# The tables of a comparison in a terminal.


_STYLES = {
    "supported": "green",
    "contradicted": "red",
    "no material effect": "blue",
    "inconclusive": "yellow",
}


def show_tables(tables: "Tables", console: Console) -> None:
    """The pooled verdicts, then each scenario's arms; verdicts are worded, colours only help."""
    from tlsearch.report.comparison_text import scenarios_of, summary, warnings

    protocol = tables.protocol
    pooled = tables.tables[0]
    console.print(f"[bold]{escape(protocol.comparison)}[/bold]: {escape(pooled.title)}")
    console.print(escape(summary(tables)), soft_wrap=True)
    for warning in warnings(tables):
        console.print(f"[bold]{escape(warning)}[/bold]", soft_wrap=True)
    console.print(_verdicts(tables))
    for place in scenarios_of(tables):
        console.print(f"\n[bold]{escape(place.name)}[/bold]")
        for text in (place.said, place.measured, place.finding):
            if text:
                console.print(escape(text), soft_wrap=True)
        for warning in place.warnings:
            console.print(f"[bold]{escape(warning)}[/bold]", soft_wrap=True)
        # Of the parameters there is no room to tell: a report has them.
        kept = [i for i, column in enumerate(place.columns) if i == 0 or column.is_number]
        shown = _plain(*(place.columns[i].title for i in kept))
        for line in place.arms:
            shown.add_row(*(escape(line[i]) for i in kept))
        console.print(shown)


def _verdicts(tables: "Tables") -> Table:
    from tlsearch.report.comparison_text import SIDES, rows_of

    is_own = tables.protocol.table == "own"
    names = ("arm", "verdict", "measured") if is_own else ("", "claim", "verdict", "measured")
    shown = _plain(*names)
    for row in rows_of(tables, tables.tables[0]):
        if not is_own:
            shown.add_row(f"[bold]{row.id}[/bold]", f"[bold]{escape(row.strategy)}[/bold]", "", "")
        for side, answers in row.cells.items():
            for one in answers:
                style = _STYLES.get(one.kind, "dim")
                verdict = f"[{style}]{one.verdict}[/{style}]"
                told = "; ".join(part for part in (one.effect, one.settled_by) if part)
                measured = escape(told or one.sides)
                claim = escape(f"{SIDES[side]}: {one.says}")
                first = (escape(row.strategy),) if is_own else ("", claim)
                shown.add_row(*first, verdict, measured)
    return shown


def _plain(*columns: str) -> Table:
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        shown.add_column(escape(name), no_wrap=name == "verdict")
    return shown
