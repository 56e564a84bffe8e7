"""What is mirrored: plain values, merged and compared without MLflow."""

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Status = Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"]

PARENT = ""  # the parent's key; every child's key is longer
STUDY_TAG = "tlsearch.study_key"
KEY_TAG = "tlsearch.key"
PARENT_TAG = "mlflow.parentRunId"
NOT_FINITE_TAG = "tlsearch.not_finite"
CHANGED_TAG = "tlsearch.changed."

_MAX_PARAM_CHARS = 6000  # MLflow cuts beyond these without a word
MAX_TAG_CHARS = 8000
_MAX_NAME_CHARS = 250


class DatasetFacts(NamedTuple):
    """What the parent records as its dataset input; `class_counts` is part → class → images."""

    name: str
    source: str
    digest: str
    num_images: int
    num_classes: int
    class_counts: Mapping[str, Mapping[str, int]]


class EpochMetrics(NamedTuple):
    """The values measured at one step."""

    step: int
    timestamp_ms: int
    values: Mapping[str, float]


class MirrorRow(NamedTuple):
    """One trial as the truth knows it; what MLflow must show after a reconciling pass."""

    key: str
    run_name: str
    params: Mapping[str, Any]
    tags: Mapping[str, Any]
    metrics: Sequence[EpochMetrics]
    artifacts: Mapping[str, Any]
    status: Status
    start_ms: int
    end_ms: int | None


class Point(NamedTuple):
    """One finite value of one metric."""

    name: str
    step: int
    timestamp_ms: int
    value: float


class Known(NamedTuple):
    """What MLflow holds of one run; `steps` is the last step of each metric."""

    run_id: str
    artifact_uri: str
    status: str
    start_ms: int
    params: Mapping[str, str]
    tags: Mapping[str, str]
    steps: Mapping[str, int]


class Change(NamedTuple):
    """What one run lacks in MLflow; `known` is None for a run to be created."""

    key: str
    known: Known | None
    run_name: str
    start_ms: int
    params: Mapping[str, str]
    tags: Mapping[str, str]
    points: Sequence[Point]
    artifacts: Mapping[str, str]
    status: Status | None
    end_ms: int | None

    def applied(self, *, run_id: str, artifact_uri: str) -> Known:
        """What MLflow holds once this change is written."""
        before = self.known or Known(run_id, artifact_uri, "RUNNING", self.start_ms, {}, {}, {})
        return before._replace(
            status=self.status or before.status,
            params={**before.params, **self.params},
            tags={**before.tags, **self.tags},
            steps={**before.steps, **{p.name: p.step for p in self.points}},
        )


@dataclass
class Wanted:
    """What one run shall show and is not yet known to show; grows until it is written."""

    key: str
    run_name: str | None = None
    start_ms: int | None = None
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    not_finite: list[str] = field(default_factory=list)
    artifacts: dict[str, str] = field(default_factory=dict)
    status: Status | None = None
    end_ms: int | None = None

    def add_params(self, params: Mapping[str, Any]) -> None:
        """Add params; what exceeds MLflow's limit is cut visibly and kept whole as an artifact."""
        self.params |= self._cut(params, _MAX_PARAM_CHARS)

    def add_tags(self, tags: Mapping[str, Any]) -> None:
        """Add tags; what exceeds MLflow's limit is cut visibly and kept whole as an artifact."""
        self.tags |= self._cut(tags, MAX_TAG_CHARS)

    def add_metrics(self, metrics: EpochMetrics) -> None:
        """Add one step; a value that is not finite becomes a tag (SQL stores no infinity)."""
        for name, value in metrics.values.items():
            number = float(value)
            if math.isfinite(number):
                self.points.append(Point(name, metrics.step, metrics.timestamp_ms, number))
            else:
                self.not_finite.append(f"{name}@{metrics.step}={number}")

    def add_artifacts(self, artifacts: Mapping[str, Any]) -> None:
        """Add files: a text as it is, anything else as JSON."""
        for path, content in artifacts.items():
            text = content if isinstance(content, str) else json.dumps(content, indent=1)
            self.artifacts[path] = _encodable(text)

    def add(self, later: "Wanted") -> None:
        """Add what was wanted later; the later value wins."""
        self.run_name = later.run_name or self.run_name
        self.start_ms = self.start_ms or later.start_ms
        self.params |= later.params
        self.tags |= later.tags
        self.points += later.points
        self.not_finite += later.not_finite
        self.artifacts |= later.artifacts
        if later.status is not None:
            self.status, self.end_ms = later.status, later.end_ms

    def _cut(self, values: Mapping[str, Any], limit: int) -> dict[str, str]:
        short: dict[str, str] = {}
        for name, value in values.items():
            text = _encodable(str(value))
            if len(text) > limit:
                path = f"long_values/{name.replace('/', '_')}.txt"
                self.artifacts[path] = text
                note = f" … [cut: {len(text)} characters, all in artifact {path}]"
                text = text[: limit - len(note)] + note
            short[name] = text
        return short


def wanted_from(row: MirrorRow) -> Wanted:
    """All that a row of the truth wants MLflow to show."""
    wanted = Wanted(row.key, row.run_name, row.start_ms, status=row.status, end_ms=row.end_ms)
    wanted.add_params(row.params)
    wanted.add_tags(row.tags)
    wanted.add_artifacts(row.artifacts)
    for epoch in sorted(row.metrics, key=lambda m: m.step):
        wanted.add_metrics(epoch)
    return wanted


def difference(
    wanted: Wanted, known: Known | None, *, identity: Mapping[str, str]
) -> Change | None:
    """What must be written so that the run shows what is wanted; None if it already does.

    Steps are written in ascending order, each batch whole or not at all, so a metric lacks
    exactly the steps beyond its last one: a trial that repeats epochs after a crash adds no point
    twice. MLflow's params cannot change, so a new value becomes a tag beside the old one.
    """
    has = known or Known("", "", "", 0, {}, {}, {})
    tags = {**wanted.tags, **identity, **_not_finite_tag(wanted, has)}
    for name, value in wanted.params.items():
        if name in has.params and has.params[name] != value:
            tags[CHANGED_TAG + name] = f"{has.params[name]} → {value}"[:MAX_TAG_CHARS]
    tags = {name: value for name, value in tags.items() if has.tags.get(name) != value}
    params = {name: value for name, value in wanted.params.items() if name not in has.params}
    points = _unseen(wanted.points, has.steps)
    status = wanted.status if wanted.status != has.status else None
    artifacts = wanted.artifacts
    if known and status is None and known.status in ("FINISHED", "FAILED", "KILLED"):
        # A closing status is written last, so its artifacts are there.
        artifacts = {} if not (points or params or tags) else artifacts
    if known and not (params or tags or points or artifacts or status):
        return None
    run_name = _encodable(wanted.run_name or wanted.key)[:_MAX_NAME_CHARS]
    return Change(
        key=wanted.key,
        known=known,
        run_name=run_name,
        start_ms=wanted.start_ms or 0,
        params=params,
        tags=tags,
        points=points,
        artifacts=artifacts,
        status=status,
        end_ms=wanted.end_ms,
    )


def _unseen(points: Iterable[Point], steps: Mapping[str, int]) -> list[Point]:
    """The points beyond the last step of their metric, each step once."""
    last = dict(steps)
    unseen: list[Point] = []
    for point in points:
        if point.name not in last or point.step > last[point.name]:
            last[point.name] = point.step
            unseen.append(point)
    return unseen


def _not_finite_tag(wanted: Wanted, known: Known) -> dict[str, str]:
    if not wanted.not_finite:
        return {}
    before = [entry for entry in known.tags.get(NOT_FINITE_TAG, "").split("; ") if entry]
    return {NOT_FINITE_TAG: "; ".join(dict.fromkeys(before + wanted.not_finite))[:MAX_TAG_CHARS]}


def _encodable(text: str) -> str:
    """The text, with what UTF-8 cannot hold (a file's name in a strange encoding) escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


# One pass after a crash: which runs mirror which trial, and which mirror none.


_CLOSED = ("FINISHED", "FAILED", "KILLED")


class Plan(NamedTuple):
    """The one run of each key, and the runs to delete."""

    kept: dict[str, Known]
    deleted: tuple[Known, ...]


def key_of(run: Known) -> str:
    """The key that a run mirrors; the parent's is empty."""
    return run.tags.get(KEY_TAG, PARENT)


def one_run_per_key(runs: Sequence[Known]) -> Plan:
    """Keep the fullest run of each key, the oldest of equally full ones."""
    kept: dict[str, Known] = {}
    deleted: list[Known] = []
    for run in sorted(runs, key=_emptiness):
        if key_of(run) in kept:
            deleted.append(run)
        else:
            kept[key_of(run)] = run
    return Plan(kept, tuple(deleted))


def agree(
    runs: Sequence[Known], *, truth: Mapping[str, Mapping[str, str]], protected: Collection[str]
) -> Plan:
    """Keep one run for the parent, for each key of the truth (key → params) and each protected key.

    A run whose params contradict the truth mirrors something else and goes as well: params cannot
    be changed in MLflow.
    """
    fitting = [run for run in runs if _fits(run, truth, protected)]
    plan = one_run_per_key(fitting)
    strays = tuple(run for run in runs if run not in fitting)
    return Plan(plan.kept, plan.deleted + strays)


def _fits(run: Known, truth: Mapping[str, Mapping[str, str]], protected: Collection[str]) -> bool:
    key = key_of(run)
    if key == PARENT or key in protected:
        return True
    params = truth.get(key)
    return params is not None and all(params.get(k, v) == v for k, v in run.params.items())


def _emptiness(run: Known) -> tuple[int, int, bool, int]:
    """Sorts the fullest run first: most steps, most params, closed, oldest."""
    return (
        -sum(run.steps.values()),
        -len(run.params),
        run.status not in _CLOSED,
        run.start_ms,
    )
