"""What coordinator and workers say to each other: frozen, picklable, no torch in sight."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tlsearch.config.schema import SplitConfig, StudyConfig
from tlsearch.config.strategy import Strategy
from tlsearch.data.records import Audit, SplitFacts
from tlsearch.training.results import EpochResult, FoldResult, TrainResult

Decision = Literal["continue", "stop", "pause"]
"""Answer to an epoch: train on; end here (pruned); save and end here (to be resumed)."""


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """What is known of the data once they are read; counts are images per class, of the first
    fold where there are several.
    """

    num_images: int
    class_names: tuple[str, ...]
    fingerprint: str
    train_counts: tuple[int, ...]
    validation_counts: tuple[int, ...]
    test_counts: tuple[int, ...]
    split: SplitFacts

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """All that the trainings of one study share; made once by `PrepareJob`. Activations go by
    `activations_key`, the images as they were read: what the audit leaves out changes no pixel.
    `source` is where the images of `backbone.source` lie, None where the study names none.

    It is of a single network, as `config` says; `others` are the same for the study's further ones.
    """

    config: StudyConfig
    data: DataFacts
    groups: tuple[str, ...]
    store: Path
    activations: Path
    activations_key: str
    source: Path | None
    weights: str
    weights_fingerprint: str
    precision: Literal["fp32", "bf16"]
    device: str
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

    def with_precisions(self, precisions: Mapping[str, Literal["fp32", "bf16"]]) -> "Setting":
        """The same with another number format for some of the networks."""
        first, *others = (
            replace(one, precision=precisions.get(one.config.backbone.name, one.precision))
            for one in self.networks
        )
        return replace(first, others=tuple(others))

    @property
    def source_fingerprint(self) -> str | None:
        """What the images of `backbone.source` are, by content."""
        return None if self.source is None else self.source.name

    @property
    def split_file(self) -> Path:
        """Where `PrepareJob` lists the images of each part."""
        return self.store / f"split-{self.data.split.fingerprint}.json"


@dataclass(frozen=True, kw_only=True)
class PrepareJob:
    """Read the data, make or find the weights, choose the number format."""

    config: StudyConfig
    cache: Path
    user_cache: Path
    threads: int


@dataclass(frozen=True, kw_only=True)
class TrainJob:
    """Train one strategy on one network. `redraw` 0 is the study's own split, others redraw all but
    the test part. Of the split's `folds`, counted from 0, it trains those; several are a
    cross-validation. The weights are kept in `weights_to` if it is given.

    After a complete training the probabilities of the test part are written to the file `scores_to`
    if it is given, as `ScoreJob` writes them, and `measures` (of `metrics.registry`) are
    taken; both need a training of a single fold.

    With `split` and `future`, which go together, this split divides the images before the latest
    `future` share of all, with `redraw` as its seed, and every part is redrawn.
    """

    key: str
    strategy: Strategy
    seed: int
    redraw: int
    folds: tuple[int, ...]
    num_epochs: int
    checkpoint: Path
    weights_to: Path | None
    scores_to: Path | None
    measures: tuple[str, ...]
    split: SplitConfig | None
    future: float | None
    backbone: str


@dataclass(frozen=True, kw_only=True)
class ScoreJob:
    """Score trained weights of one network on the test part: probabilities of each model into
    `scores_to`.
    """

    weights: tuple[tuple[str, Path], ...]
    scores_to: Path
    backbone: str


@dataclass(frozen=True, kw_only=True)
class ExamplesJob:
    """Keep the pictures that the report shows of one scored model in the file `examples_to`:
    `scores` is what `ScoreJob` wrote of it, the rest tells the training that it is from.
    """

    strategy: Strategy
    seed: int
    redraw: int
    fold: int
    num_epochs: int
    scores: Path
    examples_to: Path
    backbone: str


@dataclass(frozen=True, kw_only=True)
class SurveyJob:
    """Measure what a scenario is. Nothing is seen of its test part, nor of the latest `future`
    share of all images where that is given.
    """

    future: float | None


@dataclass(frozen=True, kw_only=True)
class SharesJob:
    """Draw each of the named `splits` of the images before the latest `future` share: with `seeds`
    as trainings will, to refuse early what cannot be drawn, and `redraws` times to compare parts.
    """

    splits: tuple[tuple[str, SplitConfig], ...]
    future: float
    seeds: tuple[int, ...]
    redraws: int


@dataclass(frozen=True, kw_only=True)
class NetworkJob:
    """Score one network by its frozen features of the study's training part, and time it."""

    backbone: str


Job = PrepareJob | TrainJob | ScoreJob | ExamplesJob | SurveyJob | SharesJob | NetworkJob


@dataclass(frozen=True)
class Progress:
    """A long preparation: share done (0 to 1) and what it is doing."""

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
class Scored:
    """The answer to `ScoreJob`: share of right answers per model."""

    accuracies: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class ExamplesKept:
    """The answer to `ExamplesJob`: the file is there."""


@dataclass(frozen=True)
class Surveyed:
    """The answer to `SurveyJob`: the facts of `survey`, None where one was not measured."""

    facts: tuple[tuple[str, float | None], ...]


@dataclass(frozen=True)
class Shares:
    """The answer to `SharesJob`: of each split, the class-share distance of every redraw."""

    distances: tuple[tuple[str, tuple[float, ...]], ...]


@dataclass(frozen=True)
class NetworkScored:
    """The answer to `NetworkJob`: the figures of `search.scoring.NetworkScores` by name."""

    scores: Mapping[str, Any]


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


Event = (
    Progress
    | Prepared
    | EpochDone
    | TrainDone
    | Scored
    | ExamplesKept
    | Surveyed
    | Shares
    | NetworkScored
    | JobFailed
    | OutOfMemory
    | WorkerDied
)
