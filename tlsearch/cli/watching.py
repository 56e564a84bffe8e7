"""Watching a run: a live view in a terminal, plain lines elsewhere."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tlsearch.config.augmentation import augmentations_of
from tlsearch.config.schema import StudyConfig
from tlsearch.execution.events import (
    EpochSeen,
    Notice,
    Preparing,
    Remark,
    RunEnded,
    RunStarted,
    StageStarted,
    Tick,
    Watcher,
)
from tlsearch.execution.runs import Run
from tlsearch.training.results import EpochResult

# What a run looks like at this moment, kept up to date from the coordinator's notices.


@dataclass
class Running:
    """A run on a worker."""

    run: Run
    since: float
    last: EpochResult | None = None


@dataclass
class Board:
    """The state behind the live view and the plain lines."""

    metric: str
    preparing: Preparing | None = None
    stage: StageStarted | None = None
    done: int = 0
    running: dict[str, Running] = field(default_factory=dict)
    endings: Counter[str] = field(default_factory=Counter)
    best: tuple[float, Run] | None = None
    baselines: dict[str, float | None] = field(default_factory=dict)
    stage_since: float = 0.0
    spent: list[float] = field(default_factory=list)

    def note(self, notice: Notice) -> None:
        """Take in what happened."""
        match notice:
            case Preparing():
                self.preparing = notice
            case StageStarted():
                self.preparing, self.stage, self.done = None, notice, notice.done
                self.stage_since, self.spent = time.monotonic(), []
                self.best = notice.best
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
        if notice.ending is None:
            return
        if self._counts(notice.run):
            self.done += 1
            if run is not None:
                self.spent.append(time.monotonic() - run.since)
        if notice.run.role == "baseline":
            name = notice.run.name
            self.baselines.setdefault(name, notice.value)
        if notice.run.role == "trial":
            self.endings[notice.ending] += 1
            if notice.value is not None and self._is_better(notice.value):
                self.best = (notice.value, notice.run)

    def _counts(self, spec: Run) -> bool:
        """Baselines that come before the search are not part of its total."""
        return self.stage is not None and (self.stage.name != "search" or spec.role == "trial")

    def _is_better(self, value: float) -> bool:
        if self.best is None:
            return True
        return value < self.best[0] if self.metric == "val_loss" else value > self.best[0]

    def seconds_left(self) -> float | None:
        """A guess from the runs of this stage; None before the first has ended."""
        if self.stage is None or not self.spent:
            return None
        left = max(self.stage.total - self.done, 0)
        return left * sum(self.spent) / len(self.spent) / self.stage.workers


PREPARING_LINE_SECONDS = 10.0
"""How often plain lines tell that a preparation goes on."""


@contextmanager
def watching(config: StudyConfig, *, to_stderr: bool) -> Iterator[Watcher]:
    """The watcher for this terminal, pipe or file."""
    # What is told holds paths and other people's words: brackets and colons mean themselves.
    console = Console(stderr=to_stderr, highlight=False, markup=False, emoji=False)
    board = Board(metric=config.search.metric)
    if not console.is_terminal:
        yield PlainView(console, board)
        return
    view = LiveView(config.name, board)
    with Live(
        get_renderable=view.render, console=console, refresh_per_second=4, transient=True
    ) as live:

        def watch(notice: Notice) -> None:
            board.note(notice)
            line = line_of(notice, board)
            if line and isinstance(notice, Remark | RunEnded):
                live.console.print(line)

        yield watch


class PlainView:
    """One line for each thing worth a line, at once, for logs and pipes."""

    def __init__(self, console: Console, board: Board) -> None:
        self._console, self._board = console, board
        self._text, self._told = "", 0.0

    def __call__(self, notice: Notice) -> None:
        """Take note and perhaps print."""
        self._board.note(notice)
        if isinstance(notice, Preparing):
            # A text that only counts on is told now and then, a new subject at once.
            subject, now = notice.text.partition(":")[0], time.monotonic()
            if subject == self._text and now - self._told < PREPARING_LINE_SECONDS:
                return
            self._text, self._told = subject, now
        line = line_of(notice, self._board)
        if line:
            self._console.print(line, soft_wrap=True)


class LiveView:
    """Progress, best so far, and the running trials, redrawn in place."""

    def __init__(self, name: str, board: Board) -> None:
        self._name, self._board = name, board

    def render(self) -> RenderableType:
        """The picture of this moment."""
        board = self._board
        if board.preparing is not None or board.stage is None:
            share = board.preparing.share if board.preparing else 0.0
            text = board.preparing.text if board.preparing else "starting workers"
            return self._bar(f"{self._name} · {text}", share)
        stage = board.stage
        share = board.done / stage.total if stage.total else 1.0
        head = f"{self._name} · {stage.name} {board.done}/{stage.total} · {time_left(board)}"
        # In a comparison a best would be of the easiest scenario.
        best = [] if stage.name == "comparison" else [self._best()]
        return Group(self._bar(head, share), *best, self._running())

    def _bar(self, text: str, share: float) -> RenderableType:
        grid = Table.grid(padding=(0, 1))
        grid.add_row(ProgressBar(total=1.0, completed=share, width=24), Text(text))
        return grid

    def _best(self) -> RenderableType:
        board = self._board
        if board.best is None:
            return Text("best so far: none yet", style="dim")
        value, spec = board.best
        return Text(f"best so far: {shown(board.metric, value)} · {spec.label} · {recipe(spec)}")

    def _running(self) -> RenderableType:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for column in ("running", "epoch", self._board.metric, "recipe"):
            table.add_column(column, no_wrap=True)
        for run in list(self._board.running.values()):
            epoch = run.last.epoch if run.last else 0
            value = getattr(run.last, self._board.metric) if run.last else None
            table.add_row(
                run.run.label,
                f"{epoch}/{run.run.total_epochs}",
                "–" if value is None else shown(self._board.metric, value),
                recipe(run.run),
            )
        return table


def line_of(notice: Notice, board: Board) -> str:
    """A notice as one line; empty for those that are not worth one."""
    match notice:
        case Remark(text):
            return f"note: {text}"
        case Preparing(share, text):
            return f"{share:4.0%}  {text}"
        case StageStarted(name, done, total, workers, _):
            count = f"{workers} worker{'s' if workers != 1 else ''}"
            return f"{name}: {done} of {total} done, {count}"
        case RunEnded(spec, None, _, _):
            return f"{spec.label}: saved, goes on with the next run"
        case RunEnded(spec, ending, value, reason):
            found = f" {shown(board.metric, value)}" if value is not None else ""
            why = f" ({reason})" if reason else ""
            total = board.stage.total if board.stage else 0
            left = f"{board.done}/{total} · {time_left(board)}"
            return f"{spec.label}: {ending}{found}{why} · {recipe(spec)} · {left}"
        case Tick():
            return ""
        case _:
            return ""


def recipe(spec: Run) -> str:
    """The gist of a strategy."""
    p = spec.params
    falls = f"{p['lr_ratio']:.2g}" if p["layer_decay"] == 1 else f"{p['layer_decay']:.2g} a layer"
    words = [spec.scope, f"lr {p['lr']:.2g} × {falls}", p["optimizer"], *augmentations_of(p)]
    return ", ".join(words)


def shown(metric: str, value: float) -> str:
    """A metric with its name and sensible digits."""
    return f"{metric} {value:.4f}"


def time_left(board: Board) -> str:
    """`about 2 min left`, or that nothing is known yet."""
    seconds = board.seconds_left()
    if seconds is None:
        return "time left unknown"
    if seconds < 90:
        return f"about {seconds:.0f} s left"
    return f"about {seconds / 60:.0f} min left"
