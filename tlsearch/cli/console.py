"""What a terminal is shown: progress, what a study found, and where to look next."""

import importlib.util
import shlex
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tlsearch.config.augmentation import augmentations_of
from tlsearch.config.cells import cell_config, cells
from tlsearch.config.runtime import OnProgress
from tlsearch.config.schema import StudyConfig
from tlsearch.config.search_options import METRICS, Metric
from tlsearch.execution.messages import (
    EpochSeen,
    Notice,
    Preparing,
    Remark,
    RunEnded,
    RunStarted,
    StageStarted,
    Watcher,
)
from tlsearch.execution.runs import BASELINE_LABELS, Run
from tlsearch.training.results import EpochResult

if TYPE_CHECKING:
    from tlsearch.report.comparison import ComparisonReport
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


# The state of a run that goes on, kept from the coordinator's notices, and its two views.


@dataclass
class Running:
    """A run on a worker."""

    run: Run
    since: float
    last: EpochResult | None = None


@dataclass
class StudyProgress:
    """The state behind the live view and the plain lines."""

    metric: str
    searched: Collection[str] = ()
    preparing: Preparing | None = None
    stage: StageStarted | None = None
    done: int = 0
    running: dict[str, Running] = field(default_factory=dict)
    best: tuple[float, Run] | None = None
    spent: list[float] = field(default_factory=list)
    raced: set[str] = field(default_factory=set)

    def note(self, notice: Notice) -> None:
        """Take in what happened."""
        match notice:
            case Preparing():
                self.preparing = notice
            case StageStarted():
                self.preparing, self.stage, self.spent = None, notice, []
                self.done, self.best = notice.done, notice.best
            case RunStarted(spec):
                self.running.setdefault(spec.key, Running(spec, time.monotonic()))
            case EpochSeen(spec, result):
                if spec.key in self.running:
                    self.running[spec.key].last = result
            case RunEnded():
                self._ended(notice)
            case _:
                pass

    def _ended(self, notice: RunEnded) -> None:
        run = self.running.pop(notice.run.key, None)
        is_open, is_first = notice.ending is None, notice.run.key not in self.raced
        if is_open and not notice.reason:  # interrupted
            return
        if is_open:
            self.raced.add(notice.run.key)
        if self._counts(notice.run) and is_first:
            self.done += 1
            if run is not None:
                self.spent.append(time.monotonic() - run.since)
        is_trial = notice.run.role == "trial"
        if is_trial and notice.value is not None and self._is_better(notice.value):
            self.best = (notice.value, notice.run)

    def _counts(self, spec: Run) -> bool:
        """Baselines that come before the search are not part of its total."""
        return self.stage is not None and (self.stage.name != "search" or spec.role == "trial")

    def _is_better(self, value: float) -> bool:
        if self.best is None:
            return True
        return value > self.best[0] if METRICS[self.metric].maximise else value < self.best[0]

    def seconds_left(self) -> float | None:
        """An estimate from the runs of this stage; None before the first has ended."""
        if self.stage is None or not self.spent:
            return None
        left = max(self.stage.total - self.done, 0)
        return left * sum(self.spent) / len(self.spent) / self.stage.workers


PREPARING_LINE_SECONDS = 10.0
"""How often plain lines report that a preparation goes on."""


@contextmanager
def watch_run(config: StudyConfig, *, to_stderr: bool) -> Iterator[Watcher]:
    """The watcher for this terminal, pipe or file."""
    # Messages hold paths and other people's words: brackets and colons are no markup.
    console = Console(stderr=to_stderr, highlight=False, markup=False, emoji=False)
    state = StudyProgress(metric=config.search.metric, searched=_searched(config))
    if not console.is_terminal:
        yield PlainView(console, state)
        return
    view = LiveView(config.name, state)
    with Live(
        get_renderable=view.render, console=console, refresh_per_second=4, transient=True
    ) as live:

        def watch(notice: Notice) -> None:
            state.note(notice)
            line = line_of(notice, state)
            if line and isinstance(notice, Remark | RunEnded):
                live.console.print(line)

        yield watch


def _searched(config: StudyConfig) -> set[str]:
    """The dimensions that a search, or any arm of a comparison, leaves to tuning."""
    if config.comparison is None:
        return set(config.searched())
    arms = (cell_config(config, cell) for cell in cells(config.comparison))
    return {name for arm in arms for name in arm.searched()}


class PlainView:
    """One line for each thing worth a line, at once, for logs and pipes."""

    def __init__(self, console: Console, state: StudyProgress) -> None:
        self._console, self._state = console, state
        self._text, self._printed = "", 0.0

    def __call__(self, notice: Notice) -> None:
        """Take note and perhaps print."""
        self._state.note(notice)
        if isinstance(notice, Preparing):
            # A text that only counts on is printed now and then, a new subject at once.
            subject, now = notice.text.partition(":")[0], time.monotonic()
            if subject == self._text and now - self._printed < PREPARING_LINE_SECONDS:
                return
            self._text, self._printed = subject, now
        line = line_of(notice, self._state)
        if line:
            self._console.print(line, soft_wrap=True)


class LiveView:
    """Progress, best so far, and the running trials, redrawn in place."""

    def __init__(self, name: str, state: StudyProgress) -> None:
        self._name, self._state = name, state

    def render(self) -> RenderableType:
        """The picture of this moment."""
        state, stage = self._state, self._state.stage
        if state.preparing is not None or stage is None:
            preparing = state.preparing or Preparing(0.0, "starting workers")
            return self._bar(f"{self._name} · {preparing.text}", preparing.share)
        share = state.done / stage.total if stage.total else 1.0
        head = f"{self._name} · {stage.name} {state.done}/{stage.total} · {time_left(state)}"
        # In a comparison a best would be of the easiest scenario.
        best = [] if stage.name == "comparison" else [self._best()]
        return Group(self._bar(head, share), *best, self._running())

    def _bar(self, text: str, share: float) -> RenderableType:
        grid = Table.grid(padding=(0, 1))
        grid.add_row(ProgressBar(total=1.0, completed=share, width=24), Text(text))
        return grid

    def _best(self) -> RenderableType:
        state = self._state
        if state.best is None:
            return Text("best so far: none yet", style="dim")
        value, spec = state.best
        found = f"{state.metric} {value:.4f} · {spec.label} · {self._recipe(spec)}"
        return Text(f"best so far: {found}")

    def _running(self) -> RenderableType:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for column in ("running", "epoch", self._state.metric, "recipe"):
            table.add_column(column, no_wrap=True)
        for run in list(self._state.running.values()):
            epoch = run.last.epoch if run.last else 0
            value = getattr(run.last, self._state.metric) if run.last else None
            table.add_row(
                run.run.label,
                f"{epoch}/{run.run.total_epochs}",
                "–" if value is None else f"{self._state.metric} {value:.4f}",
                self._recipe(run.run),
            )
        return table

    def _recipe(self, spec: Run) -> str:
        return recipe(spec, self._state.searched)


def line_of(notice: Notice, state: StudyProgress) -> str:
    """A notice as one line; empty for those that are not worth one."""
    match notice:
        case Remark(text):
            return f"note: {text}"
        case Preparing(share, text):
            return f"{share:4.0%}  {text}"
        case StageStarted(name, done, total, workers, _):
            count = f"{workers} worker{'s' if workers != 1 else ''}"
            return f"{name}: {done} of {total} done, {count}"
        case RunEnded(spec, None, _, reason) if reason:
            total = state.stage.total if state.stage else 0
            return f"{spec.label}: {reason} · {recipe(spec, state.searched)} · {state.done}/{total}"
        case RunEnded(spec, None, _, _):
            return f"{spec.label}: saved, goes on with the next run"
        case RunEnded(spec, ending, value, reason):
            found = f" {state.metric} {value:.4f}" if value is not None else ""
            why = f" ({reason})" if reason else ""
            total = state.stage.total if state.stage else 0
            left = f"{state.done}/{total} · {time_left(state)}"
            return f"{spec.label}: {ending}{found}{why} · {recipe(spec, state.searched)} · {left}"
        case _:
            return ""


def recipe(spec: Run, searched: Collection[str]) -> str:
    """What the search chose of a strategy; the gist of one that was not searched."""
    p = spec.params
    chosen = [name for name in p if name in searched and spec.trial is not None]
    if chosen:
        return ", ".join(f"{name.rpartition('.')[2]} {_short(p[name])}" for name in chosen)
    falls = f"{p['lr_ratio']:.2g}" if p["layer_decay"] == 1 else f"{p['layer_decay']:.2g} a layer"
    words = [spec.scope, f"lr {p['lr']:.2g} × {falls}", p["optimizer"], *augmentations_of(p)]
    return ", ".join(words)


def _short(value: Any) -> str:
    if value is None:
        return "null"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def time_left(state: StudyProgress) -> str:
    """`about 2 min left`, or that nothing is known yet."""
    seconds = state.seconds_left()
    if seconds is None:
        return "time left unknown"
    if seconds < 90:
        return f"about {seconds:.0f} s left"
    return f"about {seconds / 60:.0f} min left"


# What a study found.


def show_outcome(
    summary: "Summary",
    *,
    arguments: str,
    report: Path,
    seconds: float,
    planned: int | None = None,
    comparison: "ComparisonReport | None" = None,
    files: str = "",
) -> None:
    """The result, what it gained over each baseline, and where to look next; `arguments` are the
    study with its options, as a shell takes them. Of a comparison its tables and their `files`, and
    how many trainings were `planned`.
    """
    console = Console(highlight=False)
    if comparison is not None:
        show_tables(comparison, console)
    else:
        for line in _answer(summary):
            console.print(line, soft_wrap=True)
    console.print()
    model = summary.test.get("model")
    steps = {
        "report": str(report),
        "tables": files,
        "model": model,
        "model as a file": model and f"tlsearch export {arguments}",
        "in the registry": summary.test.get("registered"),
        "dashboards": f"tlsearch ui {arguments}",
        **_user_interfaces(summary),
        "report again": f"tlsearch report {arguments}",
    }
    for name, text in steps.items():
        if text:
            console.print(f"{name:<17} {escape(text)}", soft_wrap=True)
    computed = f"; computed in {summary.precision}" if summary.precision else ""
    console.print(f"\n{_counts(summary, planned)}; {seconds:.0f} s{computed}", soft_wrap=True)


def show_status(
    summary: "Summary",
    *,
    arguments: str,
    running: bool,
    planned: int | None = None,
    scenarios: Mapping[str, str] | None = None,
) -> None:
    """Where a study stands; of a comparison where each of its scenarios does."""
    console = Console(highlight=False)
    state = "running" if running else "finished" if summary.is_finished else "not finished"
    console.print(f"[bold]{escape(summary.name)}[/bold]: {state}; {_counts(summary, planned)}")
    if scenarios is not None:
        lines = [f"  {escape(name)}: {text}" for name, text in scenarios.items()]
    else:
        lines = [
            f"  {row.run.label}: {row.state if running else 'interrupted'}"
            for row in summary.rows
            if row.state in ("running", "waiting")
        ]
        lines += _answer(summary)
    if not running and not summary.is_finished:
        lines.append(f"carry on with: tlsearch run {escape(arguments)}")
    for line in lines:
        console.print(line, soft_wrap=True)


def _answer(summary: "Summary") -> list[str]:
    best, test = summary.best, summary.test
    if best is None:
        return [summary.nothing]
    confirmed = "confirmed winner" if test else "best trial so far, not confirmed"
    value = f"{summary.metric} {best.value:.4f}"
    if test:  # the search's own value is the best of many, so it flatters
        value += f" in the search, {test['mean_validation']:.4f} confirmed"
    hidden = f"; {escape(summary.imbalance)}" if summary.imbalance else ""
    named = f"trial {best.number}"
    won = summary.winning_baseline
    if won is not None:
        named = f"the baseline {BASELINE_LABELS[won.run.name]}"
        value = f"{summary.metric} {test['mean_validation']:.4f} confirmed; no trial did as well"
    lines = [f"[bold]{confirmed}: {named}[/bold], {value}{'' if test else hidden}"]
    for name, value in best.run.params.items():
        if name in best.sampled and won is None:
            lines.append(f"  {name} = {f'{value:.4g}' if isinstance(value, float) else value}")
    outlook = [escape(text) for text in (summary.stopped, summary.outlook_text) if text]
    if test:
        return [*lines, "", *_test(summary, hidden), *([""] if outlook else []), *outlook]
    baselines = {name: value for name, value in summary.baselines.items() if value is not None}
    lines += [
        f"  {BASELINE_LABELS[name]}: {summary.metric} {value:.4f}"
        for name, value in baselines.items()
    ]
    return lines + outlook


def _test(summary: "Summary", hidden: str) -> list[str]:
    test, metric = summary.test, summary.tested
    found = summary.score(test)
    own_model = test.get("champion_scores", {"accuracy": test["champion_accuracy"]})[metric.name]
    plural = "s" if found["num_seeds"] != 1 else ""
    seeds = f"{found['num_seeds']} seed{plural}, {found['num_images']} images"
    lines = [
        f"[bold]test {metric.label} {found['mean']:.4f}[/bold] {_interval(found)} "
        f"over {seeds}{hidden}",
        f"  of the exported model, seed 1 alone: {own_model['mean']:.4f} {_interval(own_model)}",
    ]
    for name, entry in test["baselines"].items():
        # What the baseline had to choose from: the winner is the best of many trials.
        is_tuned = entry.get("recipe") == "tuned"
        recipe_text = f"tuned with {entry['trials']} trials" if is_tuned else "one fixed recipe"
        gain, own = summary.gain(entry), summary.score(entry)["mean"]
        words = (
            "better" if gain["low"] > 0 else "worse" if gain["high"] < 0 else "no clear difference"
        )
        mean, low, high = (_difference(gain[end], metric) for end in ("mean", "low", "high"))
        unit = " points" if metric.is_share else ""
        lines.append(
            f"  against {BASELINE_LABELS[name]}, {recipe_text} ({own:.4f}): "
            f"{mean}{unit} (95 % interval {low} … {high}) {words}"
        )
    if summary.no_better:
        lines.append(f"[bold]{escape(summary.no_better)}[/bold]")
    if found["num_seeds"] == 2:
        lines.append("  two seeds make wide intervals; a larger confirm.seeds narrows them")
    if test["scorings"] > 1:
        lines.append(f"  the test part has been scored {test['scorings']} times")
    if summary.negative_transfer:
        lines.append(escape(summary.negative_transfer_text))
    return [*lines, *_scores(summary)]


def _scores(summary: "Summary") -> Iterator[str]:
    """Every metric of the test part in columns, with the winner's intervals."""
    from tlsearch.report.answer import score_table

    table = score_table(summary, brief=True)
    if table is None:
        return
    rows = [[cell.replace("\u00a0", " ") for cell in row] for row in (table.head, *table.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    yield ""
    for row in rows:
        cells = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield escape(cells.rstrip())


def _difference(value: float, metric: Metric) -> str:
    return f"{100 * value:+.1f}" if metric.is_share else f"{value:+.4f}"


def _interval(found: Mapping[str, Any]) -> str:
    return f"(95 % interval {found['low']:.4f} … {found['high']:.4f})"


def _user_interfaces(summary: "Summary") -> dict[str, str]:
    """Where MLflow's and Optuna's find the study."""
    found = {}
    if summary.mlflow:
        address = summary.mlflow["tracking_uri"]
        if address.startswith("http"):
            number = summary.mlflow["experiment_id"]
            found["MLflow"] = f"{address.rstrip('/')}/#/experiments/{number}"
        else:
            found["MLflow UI"] = f"mlflow ui --backend-store-uri {shlex.quote(address)}"
    known = importlib.util.find_spec("optuna_dashboard") is not None
    hint = "" if known else "   (after: pip install optuna-dashboard)"
    found["Optuna Dashboard"] = f"optuna-dashboard {shlex.quote(summary.storage)}{hint}"
    return found


def _counts(summary: "Summary", planned: int | None) -> str:
    states = ("complete", "pruned", "diverged", "failed", "paused")
    found = [f"{summary.counts[s]} {s}" for s in states if summary.counts.get(s)]
    done = sum(summary.counts.values())
    total = f"{done} of {summary.budget} trials"
    if done > summary.budget:  # it was run with another budget than it is asked about
        total = f"{done} trials, more than the budget of {summary.budget} given here"
    if planned is not None:
        total = f"at most {planned} trainings"
    return f"{total}: {', '.join(found) or 'none yet'}"


# The tables of a comparison in a terminal.


_STYLES = {
    "supported": "green",
    "contradicted": "red",
    "no material effect": "blue",
    "inconclusive": "yellow",
}


def show_tables(report: "ComparisonReport", console: Console) -> None:
    """The pooled verdicts, then each scenario's arms; verdicts are worded, colours only help."""
    console.print(f"[bold]{escape(report.name)}[/bold]: {escape(report.title)}")
    console.print(escape(report.summary), soft_wrap=True)
    for warning in report.warnings:
        console.print(f"[bold]{escape(warning)}[/bold]", soft_wrap=True)
    console.print(_verdicts(report))
    for place in report.scenarios:
        console.print(f"\n[bold]{escape(place.name)}[/bold]")
        for text in (place.said, place.measured, place.finding):
            if text:
                console.print(escape(text), soft_wrap=True)
        for warning in place.warnings:
            console.print(f"[bold]{escape(warning)}[/bold]", soft_wrap=True)
        # There is no room for the parameters; a report has them.
        kept = [i for i in range(len(place.head)) if i not in place.texts]
        shown = _plain(*(place.head[i] for i in kept))
        for line in place.arms:
            shown.add_row(*(escape(line[i]) for i in kept))
        console.print(shown)


def _verdicts(report: "ComparisonReport") -> Table:
    first = ("arm",) if report.is_own else ("", "claim")
    shown = _plain(*first, "verdict", "measured")
    for row in report.rows:
        if not report.is_own:
            shown.add_row(f"[bold]{row.id}[/bold]", f"[bold]{escape(row.strategy)}[/bold]", "", "")
        for side, answers in row.cells.items():
            for one in answers:
                style = _STYLES.get(one.kind, "dim")
                verdict = f"[{style}]{one.verdict}[/{style}]"
                parts = [part for part in (one.effect, one.settled_by) if part]
                measured = escape("; ".join(parts) or one.sides)
                claim = escape(f"{side}: {one.says}")
                named = (escape(row.strategy),) if report.is_own else ("", claim)
                shown.add_row(*named, verdict, measured)
    return shown


def _plain(*columns: str) -> Table:
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        shown.add_column(escape(name), no_wrap=name == "verdict")
    return shown
