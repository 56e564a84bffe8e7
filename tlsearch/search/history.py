"""What a search takes from the user's earlier ones, found in MLflow, and what it leaves to later
ones.

What it starts with is read once, before its first run, and kept: the same earlier studies give the
same trials, and a search that goes on reads nothing again. Only what validation chose is used.
"""

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tlsearch.config.history import (
    VERSION,
    Record,
    Task,
    distance,
    entry_of,
    read_record,
    unusable,
)
from tlsearch.config.portfolio import ORIGIN, Entry, Start, entries_for, starts
from tlsearch.config.schema import BACKBONE, StudyConfig
from tlsearch.config.sources import source_text
from tlsearch.errors import WorkError, hidden, shown
from tlsearch.execution.messages import Preparing, Remark, Setting
from tlsearch.execution.runs import BASELINE_LABELS
from tlsearch.search.confirm import Choice
from tlsearch.search.store import SIMILARITY, START, Store
from tlsearch.tracking.history import Earlier, earlier_searches

if TYPE_CHECKING:
    from tlsearch.search.coordinator import Coordinator

TAG = "tlsearch.history"
"""Of a parent run: what won in its search, and on what."""
FIRST = 4
"""Of the nearest studies' winners those that come before the portfolio, the others after it: a
guess."""
SHOWN = 3
"""Studies that are named of those that were left out for one reason."""


def tasks_of(store: Store, setting: Setting) -> list[Task]:
    """What a search is about, once for each of its networks."""
    config, data = store.config, setting.data
    measured = (store.noted(SIMILARITY) or {}).get("similarity")
    known = isinstance(measured, float) and math.isfinite(measured)
    tested = json.loads(setting.split_file.read_text(encoding="utf-8"))["test"]
    return [
        Task(
            network=name,
            weights=config.backbone.weights_of(name),
            depth=len(setting.of(name).groups) - 1,
            classes=data.num_classes,
            train_images=max(1, sum(data.train_counts)),
            size=config.data.size,
            epochs=config.budget.epochs,
            metric=config.search.metric,
            similarity=measured if known else None,
            source=source_text(config.data.source),
            data=data.fingerprint,
            test=hashlib.sha256(json.dumps(tested).encode()).hexdigest()[:16],
        )
        for name in config.backbone.names
    ]


# What a search leaves.


def record_tags(store: Store, setting: Setting, choice: Choice) -> dict[str, str]:
    """The tag of a parent run that tells later searches what won."""
    run = next(row.run for row in store.fixed_rows() if row.run.key == choice.champion)
    its = next(t for t in tasks_of(store, setting) if t.network == run.backbone)
    won = f"trial {choice.number}"
    found = {
        "version": VERSION,
        "study": store.config.name,
        "won": f"the {BASELINE_LABELS[choice.baseline]}" if choice.baseline else won,
        "run": run.key,
        "baseline": choice.baseline,
        "init": run.init,
        "trained": run.num_epochs,
        "params": {name: value for name, value in run.params.items() if name != BACKBONE},
    }
    return {TAG: json.dumps({**its.model_dump(), **found})}


# What a search takes.


class Found(NamedTuple):
    """A record that a search can use, and the run that holds it."""

    record: Record
    run: Earlier


def settle_start(work: "Coordinator", setting: Setting) -> None:
    """Find what a search from history starts with, keep it and say it; nothing for any other, nor
    once a search has begun.
    """
    store, config = work.store, work.store.config
    if config.search.start != "history" or store.has_begun():
        return
    work.watch(Preparing(1.0, "reading earlier studies in MLflow"))
    address, here = work.mirror.tracking_uri, tasks_of(store, setting)
    texts, runs = [], list[Earlier]()
    try:
        runs = earlier_searches(address)
    except WorkError as error:
        texts.append(f"search.start: history: {error}")
    usable, left = sorted_out(config, here, [r for r in runs if r.study_key != store.key])
    own = [_entry(config, here, one) for one in nearest(here, usable)]
    # The portfolio is made of trainings that began at pretrained weights.
    others = entries_for(config) if any(one.weights != "none" for one in here) else []
    found = starts(config, [*own[:FIRST], *others, *own[FIRST:]])
    store.note(START, [dict(start.entry) for start in found])
    for text in (*texts, *_texts(found, left, where=str(hidden(address)))):
        work.watch(Remark(text))


def sorted_out(
    config: StudyConfig, here: Sequence[Task], runs: Sequence[Earlier]
) -> tuple[list[Found], dict[str, list[str]]]:
    """The records that a study can use, and the names of the studies that have none, by reason."""
    usable: list[Found] = []
    left: dict[str, list[str]] = defaultdict(list)
    for run in runs:
        text = run.tags.get(TAG)
        record = None if text is None else read_record(text)
        if record is None:
            is_old = "tlsearch.winner" in run.tags
            why = "of a version that kept no history" if is_old else "without a confirmed winner"
            left[why].append(run.experiment)
        elif isinstance(record, str):
            left[f"whose tag {TAG} cannot be read ({shown(record)})"].append(run.experiment)
        elif why := unusable(config, here, record):
            left[why].append(run.experiment)
        else:
            usable.append(Found(record, run))
    return usable, left


def nearest(here: Sequence[Task], usable: Sequence[Found]) -> list[Found]:
    """The nearest first, of those alike the latest; of studies of the same images with the same
    network the first alone.
    """
    ranked = sorted(
        usable,
        key=lambda one: (
            round(min(distance(task, one.record) for task in here), 9),
            -one.run.start_ms,
            one.run.run_id,
        ),
    )
    kept: dict[tuple[str, str], Found] = {}
    for one in ranked:
        kept.setdefault((one.record.data, one.record.network), one)
    return list(kept.values())


def _entry(config: StudyConfig, here: Sequence[Task], one: Found) -> Entry:
    record = one.record
    origin = f"{record.won} of study {record.study}, MLflow run {one.run.run_id}"
    return {
        **entry_of(record, here),
        ORIGIN: origin,
        "about": "; ".join(_about(config, here[0], record)),
    }


def _about(config: StudyConfig, here: Task, record: Record) -> Iterator[str]:
    """What is good to know of a record before trusting it, and what it may have seen."""
    similar = "" if record.similarity is None else f", similarity {record.similarity:.2f}"
    yield (
        f"{record.network} on {record.train_images:,} images of {record.classes} classes at "
        f"{record.size} px{similar}"
    )
    if record.metric != here.metric:
        yield f"chosen by {record.metric}"
    if record.depth != here.depth:
        yield f"depths of {record.depth} layer groups as shares of {here.depth}"
    if record.data == here.data:
        yield "the same images and the same test part, which chose nothing there"
    elif record.source == here.source:
        yield "the same source: images that are tested here may have been trained on there"
    if record.study == config.name:
        yield "an earlier beginning of this study"


def _texts(
    found: Sequence[Start], left: Mapping[str, Sequence[str]], *, where: str
) -> Iterator[str]:
    """How a search starts, in a sentence for each strategy of an earlier study."""
    earlier = {n: start for n, start in enumerate(found) if "about" in start.entry}
    own, others = len(earlier), len(found) - len(earlier)
    portfolio = f"{others} of the portfolio" if others else ""
    if earlier:
        more = f" and {portfolio}" if portfolio else ""
        yield f"search.start: the first {len(found)} trials are {own} of earlier studies{more}"
    else:
        then = f"the first trials are {portfolio}" if portfolio else "the sampler begins"
        yield f"search.start: no earlier study found in MLflow at {where}; {then}"
    for number, start in earlier.items():
        yield f"trial {number}: {start.origin} ({start.entry['about']}){_changes(start)}"
    for why, names in left.items():
        distinct = list(dict.fromkeys(names))
        more = ", …" if len(distinct) > SHOWN else ""
        yield f"left out: {', '.join(map(shown, distinct[:SHOWN]))}{more}: {why}"


def _changes(start: Start) -> str:
    clipped = f"; clipped into this space: {', '.join(start.clipped)}" if start.clipped else ""
    left = f"; left to the sampler: {', '.join(start.left)}" if start.left else ""
    return clipped + left


def start_record(store: Store) -> list[dict[str, Any]]:
    """The first trials of a search with where they are from, as JSON; empty where it starts with
    nothing.
    """
    return [
        {
            "trial": number,
            "from": start.origin,
            **({"about": start.entry["about"]} if "about" in start.entry else {}),
            "values": dict(start.values),
            "clipped": list(start.clipped),
            "left": list(start.left),
        }
        for number, start in enumerate(store.starts)
    ]
