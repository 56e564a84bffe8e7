"""What coordinator and workers say to each other, and the coordinator to whoever watches: frozen,
picklable, no torch in sight.

A job names what it reads and writes by the keys of runs. Where these files lie says the `Setting`
alone, so that a worker on another machine can have a folder of its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tlsearch.config.images import SplitConfig
from tlsearch.config.runtime import Precision
from tlsearch.config.schema import StudyConfig
from tlsearch.data.records import Audit, SplitFacts
from tlsearch.execution.runs import Ending, Run
from tlsearch.training.results import EpochResult, FoldResult, TrainResult

Decision = Literal["continue", "stop", "pause"]
"""Answer to an epoch: train on; end here (pruned); save and end here (to be resumed)."""

MOST_HEADS = 64
"""In one job, so that other workers have some as well and a kill costs little."""
HEADS_WORK = 1 << 25
"""Epochs × training images × classes that one job of heads comes to at the most: it is answered,
and can be stopped, at its end alone. Half a minute of a core, as a guess, with 1,000 features."""
LEAST_HEADS = 8
"""Fewer would share little; so large a training is better off with checkpoints."""


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """What is known of the data once they are read; counts are images per class, of the first
    fold where there are several; `white` is what stood for it in files of 16 bits.
    """

    num_images: int
    class_names: tuple[str, ...]
    fingerprint: str
    train_counts: tuple[int, ...]
    validation_counts: tuple[int, ...]
    test_counts: tuple[int, ...]
    split: SplitFacts
    white: int = 65535

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """All that the trainings of one study share; made once by `PrepareJob`. Activations go by
    `activations_key`, the images as they were read: what the audit leaves out changes no pixel.
    `folder` is the study's own (`config.paths`), `store` that of its images, `source` that of the
    images of `backbone.source`, None where the study names none.

    `origin` says what of a file of weights is used, left out and missing; "" of other weights.
    `uncut` says what is not reused of frozen layers though `check` said so; "" where all is.

    It is of a single network, as `config` says; `others` are the same for the study's further ones.
    """

    config: StudyConfig
    data: DataFacts
    groups: tuple[str, ...]
    folder: Path
    store: Path
    activations: Path
    activations_key: str
    source: Path | None
    weights: str
    weights_fingerprint: str
    precision: Precision
    device: str
    origin: str = ""
    uncut: str = ""
    others: "tuple[Setting, ...]" = ()

    @property
    def networks(self) -> "tuple[Setting, ...]":
        """A setting for each network, in the order of the study."""
        return (replace(self, others=()), *self.others)

    def of(self, backbone: str) -> "Setting":
        """The setting of one network; an empty name is that of a study with a single one."""
        if not backbone:
            return self
        return next(s for s in self.networks if s.config.backbone.name == backbone)

    def with_precisions(self, precisions: Mapping[str, Precision]) -> "Setting":
        """The same with another number format for some of the networks."""
        first, *others = (
            replace(one, precision=precisions.get(one.config.backbone.name, one.precision))
            for one in self.networks
        )
        return replace(first, others=tuple(others))

    def heads_at_once(self, job: "TrainJob") -> int:
        """How many trainings such as this one, of the same images and seed, a worker carries out at
        once, because they train the head alone: with one it does as with many. 0 where it trains
        each by itself, as it does what is to be measured, and what would take long without a
        checkpoint.
        """
        run, one = job.run, self.of(job.run.backbone)
        is_head = (
            (one.device, one.uncut) == ("cpu", "")
            and one.config.backbone.facts.cuts[-1:] == (len(one.groups) - 1,)
            and run.strategy.trains_head_alone(len(one.groups))
            and len(run.folds) == 1
            and not job.measures
            and job.future is None
        )
        work = run.num_epochs * sum(self.data.train_counts) * self.data.num_classes
        most = min(MOST_HEADS, HEADS_WORK // max(1, work))
        return most if is_head and most >= LEAST_HEADS else 0

    @property
    def source_fingerprint(self) -> str | None:
        """What the images of `backbone.source` are, by content."""
        return None if self.source is None else self.source.name

    @property
    def split_file(self) -> Path:
        """Where `PrepareJob` lists the images of each part."""
        return self.store / f"split-{self.data.split.fingerprint}.json"


class _Named:
    """A job that is no run goes by its kind."""

    @property
    def key(self) -> str:
        """What messages call the job."""
        return type(self).__name__


@dataclass(frozen=True, kw_only=True)
class PrepareJob(_Named):
    """Read the data, make or find the weights, choose the number format. Answered by `Prepared`;
    `folder` is the study's own.
    """

    config: StudyConfig
    folder: Path
    cache: Path
    user_cache: Path
    threads: int


@dataclass(frozen=True, kw_only=True)
class TrainJob:
    """Train a run, whose `redraw` 0 is the study's own split; others redraw all but the test part.

    After a complete training its weights are kept, and the probabilities of the test part, as
    `ScoreJob` writes them, where that is asked for; `measures` (of `metrics.registry`) are taken.
    All of this needs a training of a single fold.

    With `split` and `future`, which go together, this split divides the images before the latest
    `future` share of all, with `redraw` as its seed, and every part is redrawn.
    """

    run: Run
    keep_weights: bool = False
    keep_scores: bool = False
    measures: tuple[str, ...] = ()
    split: SplitConfig | None = None
    future: float | None = None

    @property
    def key(self) -> str:
        """That of its run."""
        return self.run.key


@dataclass(frozen=True, kw_only=True)
class HeadsJob(_Named):
    """Train runs that go together (`Setting.heads_at_once`) as one product, at a small part of the
    cost. Each is answered as if it came alone, one after another: by an `EpochDone` for every
    epoch, then its end. Only if all fail together, the answer bears this job's own key.
    """

    jobs: tuple[TrainJob, ...]


@dataclass(frozen=True, kw_only=True)
class ScoreJob(_Named):
    """Write what each model of one network, whose weights were kept by these run's `keys`, says of
    the test part: a file of probabilities each.
    """

    keys: tuple[str, ...]
    backbone: str


@dataclass(frozen=True, kw_only=True)
class ExamplesJob(_Named):
    """Keep the pictures that the report shows of a run that was scored."""

    run: Run


@dataclass(frozen=True, kw_only=True)
class SurveyJob(_Named):
    """Measure what a scenario is. Nothing is seen of its test part, nor of the latest `future`
    share of all images where that is given. Answered by the facts of `survey` by name.
    """

    future: float | None


@dataclass(frozen=True, kw_only=True)
class SharesJob(_Named):
    """Draw each of the named `splits` of the images before the latest `future` share: with `seeds`
    as trainings will, to refuse early what cannot be drawn, and `redraws` times to compare parts.
    Answered by the class-share distance of every redraw, by the split's name.
    """

    splits: Mapping[str, SplitConfig]
    future: float
    seeds: tuple[int, ...]
    redraws: int


@dataclass(frozen=True, kw_only=True)
class NetworkJob(_Named):
    """Score one network by its frozen features of the study's training part, and time it. Answered
    by the figures of `network_scores.NetworkScores` by name.
    """

    backbone: str


Job = PrepareJob | TrainJob | HeadsJob | ScoreJob | ExamplesJob | SurveyJob | SharesJob | NetworkJob


# What workers say.


@dataclass(frozen=True)
class Preparing:
    """Work before the first run: share done (0 to 1) and what it is."""

    share: float
    text: str


@dataclass(frozen=True)
class Prepared:
    """The answer to `PrepareJob`."""

    setting: Setting
    audit: Audit


@dataclass(frozen=True)
class EpochDone:
    """One epoch of a training; the worker waits for a `Decision`. `fold` is the fold that ended
    with it, if one did.
    """

    key: str
    result: EpochResult
    fold: FoldResult | None


@dataclass(frozen=True)
class TrainDone:
    """A training ended: `ending` says whether by itself, by diverging, or by a `Decision`."""

    key: str
    ending: Literal["complete", "diverged", "stopped", "paused"]
    result: TrainResult


@dataclass(frozen=True)
class JobDone:
    """A job that is no training ended; the job says what its answer is."""

    answer: Any


@dataclass(frozen=True)
class JobFailed:
    """A job ended in an error; `exit_code` is that of a `TlsearchError`, None for a fault of ours,
    whose `details` then hold the trace for the log.
    """

    key: str
    message: str
    exit_code: int | None
    details: str


@dataclass(frozen=True)
class OutOfMemory:
    """A job did not fit into memory; the worker has let go of all that it held and lives on."""

    key: str
    message: str


@dataclass(frozen=True)
class WorkerDied:
    """A worker process is gone, killed or crashed, with the job that it was doing; `key` is empty
    if it was idle.
    """

    exit_code: int | None
    key: str


Event = Preparing | EpochDone | TrainDone | JobDone | JobFailed | OutOfMemory | WorkerDied


# What the coordinator tells whoever watches it; the command line draws it.


@dataclass(frozen=True)
class StageStarted:
    """A stage of the study begins or goes on: `done` of `total` runs are already there. `best` is
    the search's best trial before it with its value; None in a comparison, which has no best.
    """

    name: str
    done: int
    total: int
    workers: int
    best: tuple[float, Run] | None = None


@dataclass(frozen=True)
class RunStarted:
    """A run is on a worker, at its start or from its checkpoint."""

    run: Run


@dataclass(frozen=True)
class EpochSeen:
    """A run finished an epoch."""

    run: Run
    result: EpochResult


@dataclass(frozen=True)
class RunEnded:
    """A run has an ending, or is paused and will go on."""

    run: Run
    ending: Ending | None
    value: float | None
    reason: str


@dataclass(frozen=True)
class Remark:
    """One line that a user should read."""

    text: str


@dataclass(frozen=True)
class Tick:
    """Nothing happened for a moment; time goes on."""


Notice = Preparing | StageStarted | RunStarted | EpochSeen | RunEnded | Remark | Tick
Watcher = Callable[[Notice], None]
"""Is called with everything, in order, from the coordinator's own thread; must not block."""
