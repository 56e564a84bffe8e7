"""What is mirrored: plain values, merged and compared without MLflow."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

Status = Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"]

CLOSED = ("FINISHED", "FAILED", "KILLED")
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


class Point(NamedTuple):
    """One finite value of one metric."""

    name: str
    step: int
    timestamp_ms: int
    value: float


class Known(NamedTuple):
    """What MLflow holds of one run; `steps` is the last step of each metric."""

    run_id: str
    status: str
    start_ms: int
    params: Mapping[str, str]
    tags: Mapping[str, str]
    steps: Mapping[str, int]

    @property
    def key(self) -> str:
        """The key that it mirrors; the parent's is empty."""
        return self.tags.get(KEY_TAG, PARENT)

    def after(self, written: "Wanted") -> "Known":
        """What MLflow holds once this is written."""
        return self._replace(
            status=written.status or self.status,
            params={**self.params, **written.params},
            tags={**self.tags, **written.tags},
            steps={**self.steps, **{p.name: p.step for p in written.points}},
        )


@dataclass
class Wanted:
    """What one run shall show and is not yet known to show, as `wanted` makes it; grows until it is
    written.
    """

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


def wanted(
    key: str,
    *,
    run_name: str | None = None,
    status: Status | None = None,
    params: Mapping[str, Any] = MappingProxyType({}),
    tags: Mapping[str, Any] = MappingProxyType({}),
    metrics: Sequence[EpochMetrics] = (),
    artifacts: Mapping[str, Any] = MappingProxyType({}),
    start_ms: int | None = None,
    end_ms: int | None = None,
) -> Wanted:
    """What a run shall show, within MLflow's limits: a long value is cut visibly and kept whole as
    an artifact, a metric that is not finite becomes a tag (SQL stores no infinity), and of the
    artifacts a text is written as it is, anything else as JSON.
    """
    files = {
        path: _encodable(found if isinstance(found, str) else json.dumps(found, indent=1))
        for path, found in artifacts.items()
    }
    made = Wanted(
        key,
        run_name and _encodable(run_name)[:_MAX_NAME_CHARS],
        start_ms,
        params=_cut(params, _MAX_PARAM_CHARS, files),
        tags=_cut(tags, MAX_TAG_CHARS, files),
        artifacts=files,
        status=status,
        end_ms=end_ms,
    )
    for step, timestamp_ms, values in sorted(metrics, key=lambda m: m.step):
        for name, value in values.items():
            number = float(value)
            if math.isfinite(number):
                made.points.append(Point(name, step, timestamp_ms, number))
            else:
                made.not_finite.append(f"{name}@{step}={number}")
    return made


def _cut(values: Mapping[str, Any], limit: int, files: dict[str, str]) -> dict[str, str]:
    short: dict[str, str] = {}
    for name, value in values.items():
        text = _encodable(str(value))
        if len(text) > limit:
            path = f"long_values/{name.replace('/', '_')}.txt"
            files[path] = text
            note = f" … [cut: {len(text)} characters, all in artifact {path}]"
            text = text[: limit - len(note)] + note
        short[name] = text
    return short


def missing(wanted: Wanted, known: Known, *, identity: Mapping[str, str]) -> Wanted | None:
    """What must be written so that the run shows what is wanted; None if it already does.

    Steps are written in ascending order, each batch whole or not at all, so a metric lacks exactly
    the steps beyond its last one: a trial that repeats epochs after a crash adds no point twice.
    MLflow's params cannot change, so a new value becomes a tag beside the old one.
    """
    tags = {**wanted.tags, **identity, **_not_finite_tag(wanted, known)}
    for name, value in wanted.params.items():
        if known.params.get(name, value) != value:
            tags[CHANGED_TAG + name] = f"{known.params[name]} → {value}"[:MAX_TAG_CHARS]
    lacks = replace(
        wanted,
        params={k: v for k, v in wanted.params.items() if k not in known.params},
        tags={k: v for k, v in tags.items() if known.tags.get(k) != v},
        points=_unseen(wanted.points, known.steps),
        not_finite=[],
        status=wanted.status if wanted.status != known.status else None,
    )
    is_new = bool(lacks.params or lacks.tags or lacks.points or lacks.status)
    if known.status in CLOSED and not is_new:
        return None  # a closing status is written last, so its artifacts are there
    return lacks if is_new or lacks.artifacts else None


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


def one_run_per_key(
    runs: Sequence[Known],
    *,
    truth: Mapping[str, Wanted] | None = None,
) -> tuple[dict[str, Known], list[Known]]:
    """The fullest run of each key, the oldest of equally full ones; and the runs to delete.

    With a `truth`, only the parent and its keys have a run. One whose params contradict the truth
    mirrors something else and goes as well: params cannot be changed.
    """

    def belongs(run: Known) -> bool:
        if truth is None or run.key == PARENT:
            return True
        found = truth.get(run.key)
        return found is not None and all(
            found.params.get(name, value) == value for name, value in run.params.items()
        )

    def emptiness(run: Known) -> tuple[int, int, bool, int]:
        steps = sum(run.steps.values())
        return -steps, -len(run.params), run.status not in CLOSED, run.start_ms

    kept: dict[str, Known] = {}
    deleted: list[Known] = []
    for run in sorted(runs, key=emptiness):
        if belongs(run) and run.key not in kept:
            kept[run.key] = run
        else:
            deleted.append(run)
    return kept, deleted
