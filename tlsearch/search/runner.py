"""One invocation of a study, from the lock to the result; a search is a comparison with one cell.

Every scenario is read and divided before the first training. Then, scenario by scenario, each
cell's trials are carried out and what they lead to: confirmations, baselines over seeds, sweeps.
A search ends with the test of its winner, a comparison with its tables.
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, NamedTuple

from tlsearch.config.cells import Cell, compared, scenario_config
from tlsearch.config.checks import few_configurations, knows_source
from tlsearch.config.cost import num_runs
from tlsearch.config.paths import Layout
from tlsearch.config.portfolio import start_note
from tlsearch.config.schema import BACKBONE, StudyConfig
from tlsearch.config.search_options import Racing
from tlsearch.config.sources import EmbeddedSource
from tlsearch.config.strategy import HEAD_FIELDS
from tlsearch.data.records import Audit
from tlsearch.errors import StoreError, TlsearchError
from tlsearch.execution.interrupts import Interrupted, Interrupts
from tlsearch.execution.messages import (
    NetworkJob,
    Preparing,
    Remark,
    Setting,
    SharesJob,
    StageStarted,
    SurveyJob,
    Watcher,
)
from tlsearch.execution.runs import Run
from tlsearch.search.champion import has_examples, test_and_log
from tlsearch.search.collect import write_tables
from tlsearch.search.confirm import (
    FREE,
    best_trial,
    cell_is_done,
    is_finished,
    num_trials,
    planned_runs,
    runs_after,
    sure_baselines,
    test_record,
    trials_left,
)
from tlsearch.search.coordinator import (
    Coordinator,
    begin,
    coordinating,
    is_mirrored,
    occupied,
    settled_in,
    start_over,
)
from tlsearch.search.history import settle_start, start_record
from tlsearch.search.jobs import asks_for_scores
from tlsearch.search.mirroring import begun, mirror_row, to_ms
from tlsearch.search.provenance import (
    comparison_params,
    dataset_facts,
    origin,
    parent_params,
    parent_tags,
    setting_facts,
    study_texts,
    what_and_where,
)
from tlsearch.search.racing import Generations
from tlsearch.search.stop import Decisions, outlook_text, stop_text
from tlsearch.search.store import (
    FACTS,
    NETWORKS,
    ORIGIN,
    SEARCH,
    SHARES,
    SIMILARITY,
    SURVEY,
    Store,
    cell_of_run,
    place_of,
)
from tlsearch.search.summary import SIMILARITY_FIGURES, audit_texts, record_audit, remarks
from tlsearch.tracking.reconcile import PARENT, wanted
from tlsearch.tracking.store import experiment_view

REDRAWS = 100
"""Redraws of each split whose class shares are compared (claims.md, B1)."""


class Ready(NamedTuple):
    """A scenario that can be run."""

    config: StudyConfig
    setting: Setting
    audit: Audit


def run_study(config: StudyConfig, *, layout: Layout, fresh: bool, watch: Watcher) -> Store:
    """Carry a study on to its end; the store then holds all there is to say.

    Raises:
        StoreError: the study changed since it was started, or another process runs it.
        RequestError: data or weights do not fit.
        WorkError: the work cannot go on.
        Interrupted: the user asked to leave; everything is kept.
    """
    folder, interrupts = layout.study(config.name), Interrupts()
    with occupied(config, layout, interrupts=interrupts) as storage:
        text = start_over(config, layout, storage) if fresh else None
        if text:
            watch(Remark(text))
        store = Store(config, storage)
        store.adopt()
        begin(folder, config, store.rows())
        for text in settled_in(layout):
            watch(Remark(text))
        has_work = not _is_whole(store, layout)
        if has_work or store.noted(ORIGIN) is None:
            store.note(ORIGIN, origin())
        if has_work:
            _carry_on(store, layout=layout, interrupts=interrupts, watch=watch)
        return store


def _is_whole(store: Store, layout: Layout) -> bool:
    """Whether all is run, on data that cannot change, and MLflow was left whole. What tlsearch
    carries cannot have changed; files are looked at again.
    """
    configs = store.cells.values()
    sources = [s for c in configs for s in (c.data.source, c.backbone.source) if s is not None]
    return (
        all(isinstance(source, EmbeddedSource) for source in sources)
        and is_finished(store)
        and is_mirrored(store, layout)
        and has_examples(test_record(store), layout.study(store.config.name))
    )


def _carry_on(store: Store, *, layout: Layout, interrupts: Interrupts, watch: Watcher) -> None:
    with coordinating(store, layout=layout, interrupts=interrupts, watch=watch) as work:
        names = dict.fromkeys(cell.scenario for cell in store.cells)
        scenarios = {name: _prepared(work, name) for name in names}
        work.preparer.shutdown(now=False)  # it takes its memory with it
        left_open = store.recover()
        if left_open:
            watch(Remark(f"carrying on {left_open} interrupted runs from their checkpoints"))
        if store.config.comparison is None:
            settle_start(work, scenarios[""].setting)
        _open_mirror(work, scenarios)
        queue = Queue(work)
        queue.announce()
        for name, ready in scenarios.items():
            cells = [cell for cell in store.cells if cell.scenario == name]
            if not all(cell_is_done(store, cell) for cell in cells):
                work.configure(ready.setting)
                work.carry_out(partial(queue.next_run, cells), queue.beside)
        if store.config.comparison is None:
            (ready,) = scenarios.values()
            work.configure(ready.setting)
            # A search that goes on after all takes back that it had stopped.
            tags = {"tlsearch.stopped": stop_text(store) or "no"}
            if outlook_text(store):
                tags["tlsearch.outlook"] = outlook_text(store)
            work.mirror.show(wanted(PARENT, tags=tags))
            test_and_log(work, ready.setting)
        else:
            files = write_tables(store, work.folder)
            work.mirror.show(wanted(PARENT, artifacts=files))


class Queue:
    """What is to be run next: fixed runs that wait, then trials, then what the trials lead to. What
    a run computes does not depend on the order in which runs are given out.
    """

    def __init__(self, work: Coordinator) -> None:
        self._work, self._store = work, work.store
        timeout = self._store.config.budget.timeout
        self._end = math.inf if timeout is None else time.monotonic() + timeout
        self._led_on: set[Cell] = set()
        self._decisions = Decisions(self._store) if SEARCH in self._store.cells else None
        self._races = {
            cell: Generations(self._store, cell, budget=partial(self._budget_of, cell))
            for cell, config in self._store.cells.items()
            if isinstance(config.search.pruner, Racing) and num_trials(self._store, cell)
        }
        self._sure = sure_baselines(self._store.config)
        self._store.enqueue([run for run in self._sure if run.name == FREE])

    @property
    def _is_over(self) -> bool:
        return time.monotonic() >= self._end

    def announce(self) -> None:
        """Say how much there is to do, and how much of it is done."""
        store = self._store
        if store.config.comparison is None:
            if store.config.num_trials() < store.config.budget.trials:
                self._work.watch(Remark(few_configurations(store.config)))
            # A search from history has said which trials these are.
            is_new = store.config.search.start == "portfolio" and not store.num_ended()
            if is_new and start_note(store.config):
                self._work.watch(Remark(start_note(store.config)))
            if stop_text(store):
                self._work.watch(Remark(stop_text(store)))
            done, total = store.num_ended(), store.num_ended() + trials_left(store)
            self._begins("search", done, total)
            return
        total = sum(num_runs(config, cell) for cell, config in store.cells.items())
        self._begins("comparison", sum(map(self._num_done, store.cells)), total)

    def _begins(self, name: str, done: int, total: int) -> None:
        best = best_trial(self._store) if SEARCH in self._store.cells else None
        self._work.watch(StageStarted(name, done, total, self._work.num_workers, best))

    def _num_done(self, cell: Cell) -> int:
        """Runs of a cell that have an ending, but for those of a choice that trials changed."""
        store = self._store
        ended = {row.run.key for row in store.fixed_rows(cell.scenario) if row.ended is not None}
        left = trials_left(store, cell)
        fixed = 0 if left else sum(run.key in ended for run in planned_runs(store, cell))
        return num_trials(store, cell) - left + fixed

    def next_run(self, cells: list[Cell]) -> Run | None:
        """The next run of one scenario's cells, or None while there is none."""
        store, scenario = self._store, cells[0].scenario
        if SEARCH in cells and SEARCH not in self._races:
            self._decide_on_stop()
        # An arm goes on alone; a search's best are confirmed beside those of tuned baselines.
        for together in [[cell] for cell in cells] if scenario else [cells]:
            self._lead_on(together)
        waiting = store.ask_fixed(scenario)
        if waiting is not None:
            return waiting
        for cell in cells:
            race = self._races.get(cell)
            if race is not None:
                trial = race.next_run(self._work.folder, is_over=self._is_over)
                if trial is None and self._end_race(race):
                    return self.next_run(cells)
                if trial is not None:
                    return trial
            # Those under way count: with one trial left, one worker gets it.
            elif trials_left(store, cell) > store.num_running(cell) and not self._is_over:
                return store.ask(cell)
        # Whatever the last trials come to: workers need not wait for them.
        store.enqueue(self._sure)
        return store.ask_fixed(scenario)

    def _budget_of(self, cell: Cell) -> int:
        """How many trials a race is to have, decided anew before each generation."""
        if cell == SEARCH:
            self._decide_on_stop()
        return num_trials(self._store, cell)

    def _decide_on_stop(self) -> None:
        if self._decisions is not None and self._decisions.look():
            self._work.watch(Remark(stop_text(self._store)))

    def beside(self, run: Run, heads_at_once: Callable[[Run], int]) -> Run | None:
        """Another trial that trains the head alone, as `run` does, and is drawn whatever that one
        comes to: of its generation in a race, or where the sampler does not learn, nothing stops
        the search early, and all trials are such.
        """
        store, cell = self._store, cell_of_run(run)
        if run.trial is None or run.redraw or self._is_over:
            return None
        if cell in self._races:
            return self._races[cell].beside(heads_at_once)
        config = store.cells[cell]
        are_alike = HEAD_FIELDS.isdisjoint(config.searched()) and BACKBONE not in config.searched()
        if config.search.sampler.learns or config.search.stop is not None or not are_alike:
            return None
        return store.ask(cell) if trials_left(store, cell) > store.num_running(cell) else None

    def _end_race(self, race: Generations) -> bool:
        """End what pauses once a race is over; whether there was any."""
        left = race.left()
        for run in left:
            self._work.give_up(run)
        return bool(left)

    def _lead_on(self, cells: list[Cell]) -> None:
        """Enqueue what the trials of these cells lead to, once all of them have ended."""
        store = self._store
        left = sum(trials_left(store, cell) for cell in cells)
        is_search, is_known = SEARCH in cells, self._led_on.issuperset(cells)
        if (
            (is_known and not is_search)  # a search's race goes on seed by seed
            or any(store.num_running(cell) for cell in cells)
            or (left and not self._is_over)
        ):
            return
        self._led_on.update(cells)
        if left and not is_known:
            self._work.watch(Remark(f"budget.timeout is over with {left} trials not started"))
        runs = [run for cell in cells for run in runs_after(store, cell)]
        added = store.enqueue([*self._sure, *runs])
        if is_search and (added or not is_known):
            rows = store.fixed_rows("")
            done = sum(row.ended is not None for row in rows)
            self._begins("confirmation", done, len(rows))


# A scenario before its first training: read, divided, measured, compared with what it was.


def _prepared(work: Coordinator, scenario: str) -> Ready:
    store, watch = work.store, work.watch
    config = scenario_config(store.config, scenario) if scenario else store.config
    place = f"{scenario}: " if scenario else ""
    try:
        prepared = work.prepare(config)
    except Interrupted:
        raise
    except TlsearchError as error:
        if not scenario:
            raise
        raise type(error)(f"scenario {scenario!r}: {error}") from None
    setting = agreed(store, prepared.setting, scenario)
    if scenario:
        _survey_scenario(work, setting, scenario)
    else:
        record_audit(store, prepared.audit, work.folder)
        _measure_similarity(work, setting)
    if len(config.backbone.names) > 1 and not scenario:
        _score_networks(work, setting, "")
    for network in setting.networks:
        watch(Remark(f"{place}{_number_format(network)}"))
        if network.origin:
            watch(Remark(f"{place}{network.origin}"))
        if network.uncut:
            watch(Remark(f"{place}{network.uncut}"))
    for remark in remarks(prepared.audit):
        watch(Remark(f"{place}{remark.text}"))
    for text in setting.data.split.notes:
        watch(Remark(f"{place}{text}"))
    return Ready(config, setting, prepared.audit)


def _number_format(network: Setting) -> str:
    """In which number format a network is computed, and by whose choice."""
    is_auto = network.config.precision == "auto"
    why = "precision: auto; what measured fastest here" if is_auto else "as the study says"
    return f"{network.config.backbone.name} computes in {network.precision} ({why})"


def agreed(store: Store, setting: Setting, scenario: str = "") -> Setting:
    """Compare what was found with what the scenario was started on, and keep its number formats.
    An arm that was added may bring networks of its own.

    Raises:
        StoreError: data, split, weights or source images changed.
    """
    known, found = store.noted(FACTS, scenario), setting_facts(setting)
    cells = [cell for cell in store.cells if cell.scenario == scenario]
    if known is not None and any(store.has_begun(cell) for cell in cells):
        _refuse_other_data(store, cells[0], known, found)
        setting = setting.with_precisions(known["networks"]["precision"])
        found = setting_facts(setting)
    store.note(FACTS, found, scenario)
    return setting


def _refuse_other_data(
    store: Store, cell: Cell, known: Mapping[str, Any], found: Mapping[str, Any]
) -> None:
    old, new = known["facts"]["num_images"], found["facts"]["num_images"]
    images = "" if old == new else f", {old:,} → {new:,} images"
    changed = [
        f"  the {name} (fingerprint {known.get(name)} → {found[name]}{more})"
        for name, more in (("data", images), ("split", ""), ("source images", ""))
        if known.get(name) != found[name]
    ]
    for name, now_is in found["networks"]["weights"].items():
        was = known["networks"]["weights"].get(name, now_is)
        if was != now_is:
            # `imagenet` may have stood for others.
            origin = known["networks"].get("origin", {}).get(name)
            before = f"; they were {origin}" if origin else ""
            changed.append(f"  the weights of {name} (fingerprint {was} → {now_is}{before})")
    if changed:
        place = f"scenario {cell.scenario!r}" if cell.scenario else place_of(store.config, cell)
        raise StoreError(
            f"{place}: what the study was started on has changed, and its trials cannot be mixed "
            "with new ones:\n" + "\n".join(changed) + "\nPut it back to carry on, give the study "
            "a new name, or start it over with --fresh"
        )


def _score_networks(work: Coordinator, setting: Setting, scenario: str, of: Any = None) -> None:
    """Score each network on the scenario's training part, unless that was done before; kept with
    what the scores are `of`.
    """
    noted = work.store.noted(NETWORKS, scenario) or {}
    known = dict(noted.get("scores", {})) if noted.get("of") == of else {}
    work.preparing.configure(setting)
    names = [network.config.backbone.name for network in setting.networks]
    for i, name in enumerate(name for name in names if name not in known):
        place = f"{scenario}: " if scenario else ""
        work.watch(Preparing(i / len(names), f"{place}scoring {name}"))
        known[name] = work.preparing.run_job(NetworkJob(backbone=name))
        work.store.note(NETWORKS, {"scores": known, "of": of}, scenario)


def _measure_similarity(work: Coordinator, setting: Setting) -> None:
    """How similar the study's images, but for the test part, are to the source's, by its first
    network; measured once. Nothing where no image of the source is known.
    """
    store = work.store
    if setting.config.backbone.weights == "none" or not knows_source(setting.config):
        return
    if store.noted(SIMILARITY) is None:
        work.preparing.configure(setting)
        work.watch(Preparing(1.0, "measuring how similar the images are to the source's"))
        facts = work.preparing.run_job(SurveyJob(future=None))
        store.note(SIMILARITY, {name: facts[name] for name in SIMILARITY_FIGURES})


def _survey_scenario(work: Coordinator, setting: Setting, scenario: str) -> None:
    """Measure what a scenario's traits are said to be, and how evenly its splits draw the classes,
    unless that was done for the same: before its first run all of it may still change, and an arm
    may be added later.
    """
    store, comparison = work.store, compared(work.store.config)
    future = comparison.future
    splits = {c.arm: its.data.split for c, its in store.cells.items() if c.scenario == scenario}
    of = {
        "data": setting.data.fingerprint,
        "split": setting.data.split.fingerprint,
        "weights": setting.weights_fingerprint,
        "future": future
        and [future, {arm: split.model_dump(mode="json") for arm, split in splits.items()}],
        **({"source": setting.source_fingerprint} if setting.source else {}),
    }
    if (store.noted(SURVEY, scenario) or {}).get("of") != of:
        work.preparing.configure(setting)
        work.watch(Preparing(1.0, f"{scenario}: measuring similarity and size"))
        facts = work.preparing.run_job(SurveyJob(future=future))
        if future is not None:
            job = SharesJob(
                splits=splits,
                future=future,
                seeds=tuple(range(1, comparison.confirm.seeds + 1)),
                redraws=REDRAWS,
            )
            store.note(SHARES, work.preparing.run_job(job), scenario)
        store.note(SURVEY, {**facts, "data": of["data"], "of": of}, scenario)
    if asks_for_scores(comparison):
        _score_networks(work, setting, scenario, of)


# MLflow's picture of the whole.


def _open_mirror(work: Coordinator, scenarios: Mapping[str, Ready]) -> None:
    store, mirror, config = work.store, work.mirror, work.store.config
    # An arm that was taken out of the study may have had a network of its own.
    rows = begun(row for row in store.rows() if cell_of_run(row.run) in store.cells)
    if config.comparison is None:
        (ready,) = scenarios.values()
        tags, params = parent_tags(ready.setting), parent_params(config, ready.setting)
        measured = {
            "networks.json": (store.noted(NETWORKS) or {}).get("scores"),
            "likeness.json": store.noted(SIMILARITY),
            "start.json": start_record(store),
        }
        texts = {
            "split.json": {
                "facts": asdict(ready.setting.data.split),
                "parts": json.loads(ready.setting.split_file.read_text()),
            },
            **audit_texts(ready.audit),
            **{name: found for name, found in measured.items() if found},
        }
    else:
        tags = {
            "tlsearch.kind": "comparison",
            "tlsearch.table": config.comparison.table,
            "tlsearch.state": "running",
        } | what_and_where(config)
        params = comparison_params(store)
        texts = {"scenarios.json": {name: _facts_of(one) for name, one in scenarios.items()}}
    mirror.open(
        wanted(
            PARENT,
            run_name=config.name,
            params=params,
            tags=tags,
            artifacts={**study_texts(config), **texts},
            start_ms=to_ms(rows[0].started) if rows else None,
        ),
        children=[
            mirror_row(
                row,
                scenarios[row.run.scenario].setting.of(row.run.backbone).groups,
                folder=work.folder,
                table=store.table,
            )
            for row in rows
        ],
        datasets=[dataset_facts(ready.config, ready.setting) for ready in scenarios.values()],
        experiment_tags=experiment_view(config),
        abandoned=store.given_up(),
    )


def _facts_of(ready: Ready) -> dict[str, Any]:
    """What is recorded of a scenario's data."""
    facts = setting_facts(ready.setting)
    return {
        **{name: facts[name] for name in ("weights", "precision", "device")},
        "data": facts["facts"],
        "parts": json.loads(ready.setting.split_file.read_text()),
    }
