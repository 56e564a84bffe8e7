"""One invocation of a comparison: every scenario prepared, then run, then the tables."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

from tlsearch.config.cells import Cell, scenario_config
from tlsearch.config.cost import num_runs, num_tuning
from tlsearch.config.paths import Layout
from tlsearch.config.schema import StudyConfig
from tlsearch.config.sources import EmbeddedSource
from tlsearch.data.records import Audit
from tlsearch.errors import TlsearchError
from tlsearch.execution.interrupts import Interrupted, Interrupts
from tlsearch.execution.messages import (
    NetworkJob,
    NetworkScored,
    Setting,
    Shares,
    SharesJob,
    Surveyed,
    SurveyJob,
)
from tlsearch.execution.runs import Run
from tlsearch.search.board import Board
from tlsearch.search.cell_runs import choose, fixed_specs
from tlsearch.search.collect import write_tables
from tlsearch.search.events import Preparing, Remark, StageStarted, Watcher
from tlsearch.search.job_maker import asks_for_scores, comparison_job
from tlsearch.search.ledger import Ledger
from tlsearch.search.mirroring import begun, kept_evaluation, mirror_row, table_view, to_ms
from tlsearch.search.provenance import (
    by_network,
    dataset_facts,
    note_origin,
    study_texts,
    what_and_where,
)
from tlsearch.search.runner import agreed
from tlsearch.search.stage import Stage, begin, is_mirrored, occupied, staged
from tlsearch.search.summary import remarks
from tlsearch.tracking.reconcile import PARENT

# What is to be done next in a scenario, and how much there is in all.


_OPEN = ("running", "waiting")


class ScenarioWork:
    """Hands out the runs of a scenario's cells: those that wait, tuning, and what tuning leads to.

    What a run computes does not depend on the order in which runs are handed out.
    """

    def __init__(self, ledgers: Mapping[Cell, Ledger]) -> None:
        self._ledgers = ledgers
        self._led_on: set[Cell] = set()

    def next_run(self) -> Run | None:
        """The next run, or None while there is none."""
        for cell, ledger in self._ledgers.items():
            if cell not in self._led_on and tuning_left(ledger) == 0 and not ledger.num_running():
                chosen = choose(ledger.config, ledger.rows_of(ledger.search))
                ledger.enqueue(fixed_specs(ledger.config, chosen) if chosen else [])
                self._led_on.add(cell)
            waiting = ledger.ask_fixed()
            if waiting is not None:
                return waiting
        for ledger in self._ledgers.values():
            if tuning_left(ledger) > ledger.num_running():
                return ledger.ask()
        return None


def tuning_left(ledger: Ledger) -> int:
    """Tuning trials of a cell without an ending."""
    wanted = num_tuning(ledger.config)
    trials = ledger.search.get_trials(deepcopy=False)
    return wanted - sum(t.number < wanted and t.state.is_finished() for t in trials)


def is_done(ledger: Ledger) -> bool:
    """Whether a cell has nothing left to run."""
    if tuning_left(ledger):
        return False
    chosen = choose(ledger.config, ledger.rows_of(ledger.search))
    if chosen is None:
        return True
    ended = {r.run.key for r in ledger.rows_of(ledger.fixed) if r.state not in _OPEN}
    return all(spec.key in ended for spec in fixed_specs(ledger.config, chosen))


def num_done(ledger: Ledger) -> int:
    """Runs of a cell that have an ending, but for those of a choice that later trials changed."""
    tried = num_tuning(ledger.config) - tuning_left(ledger)
    chosen = choose(ledger.config, ledger.rows_of(ledger.search))
    if tuning_left(ledger) or chosen is None:
        return tried
    ended = {r.run.key for r in ledger.rows_of(ledger.fixed) if r.state not in _OPEN}
    return tried + sum(spec.key in ended for spec in fixed_specs(ledger.config, chosen))


REDRAWS = 100
"""Redraws of each split whose class shares are compared (claims.md, B1)."""


class Ready(NamedTuple):
    """A scenario that can be run."""

    config: StudyConfig
    setting: Setting
    audit: Audit


def run_comparison(config: StudyConfig, *, layout: Layout, fresh: bool, watch: Watcher) -> Board:
    """Carry a comparison on to its end; the board then holds all there is to say.

    Every scenario is read and divided before the first training.

    Raises:
        StoreError: a cell changed since it was begun, or another process runs the study.
        RequestError: data or weights of a scenario do not fit.
        WorkError: the work cannot go on.
        Interrupted: the user asked to leave; everything is kept.
    """
    folder, interrupts = layout.study(config.name), Interrupts()
    with occupied(config, layout, fresh=fresh, interrupts=interrupts) as storage:
        board = Board(config, storage)
        board.adopt()
        begin(folder, config, board.rows())
        has_work = not _is_finished(board, layout)
        note_origin(board, has_work=has_work)
        if has_work:
            _carry_on(board, layout=layout, interrupts=interrupts, watch=watch)
        return board


def _is_finished(board: Board, layout: Layout) -> bool:
    """Whether all is run, on data that cannot change, and MLflow was left whole."""
    configs = [ledger.config for ledger in board.cells.values()]
    sources = [s for c in configs for s in (c.data.source, c.backbone.source) if s is not None]
    return (
        all(isinstance(source, EmbeddedSource) for source in sources)
        and all(is_done(ledger) for ledger in board.cells.values())
        and is_mirrored(board.whole, layout)
    )


def _carry_on(board: Board, *, layout: Layout, interrupts: Interrupts, watch: Watcher) -> None:
    make_job = comparison_job(board.config)
    with staged(
        board.whole, board, make_job=make_job, layout=layout, interrupts=interrupts, watch=watch
    ) as stage:
        scenarios = {name: _prepared(board, name, stage) for name in board.comparison.used}
        stage.end_preparing()
        board.recover()
        _open_mirror(board, scenarios, stage)
        planned = sum(num_runs(led.config, cell) for cell, led in board.cells.items())
        done = sum(map(num_done, board.cells.values()))
        watch(StageStarted("comparison", done, planned, stage.workers))
        for name, ready in scenarios.items():
            ledgers = board.of_scenario(name)
            if not all(map(is_done, ledgers.values())):
                stage.coordinator.configure(ready.setting)
                stage.coordinator.carry_out(ScenarioWork(ledgers).next_run)
        files = write_tables(board, stage.folder)
        stage.mirror.annotate(PARENT, tags={}, artifacts=files)


def _prepared(board: Board, scenario: str, stage: Stage) -> Ready:
    """Read and divide a scenario's data, and measure what its traits are said to be."""
    config = scenario_config(board.config, scenario)
    try:
        prepared = stage.prepare(config)
    except Interrupted:
        raise
    except TlsearchError as error:
        raise type(error)(f"scenario {scenario!r}: {error}") from None
    setting = prepared.setting
    # Those that have begun decide on the number format of the others.
    ledgers = sorted(board.of_scenario(scenario).values(), key=lambda x: not x.has_begun())
    for ledger in ledgers:
        setting = agreed(ledger, setting)
    for remark in remarks(prepared.audit):
        stage.watch(Remark(f"{scenario}: {remark.text}"))
    for text in setting.data.split.notes:
        stage.watch(Remark(f"{scenario}: {text}"))
    of = _measured_of(board, scenario, setting)
    if (board.noted(f"facts:{scenario}") or {}).get("of") != of:
        _survey(board, scenario, setting, of, stage)
    if asks_for_scores(board.comparison):
        _score_networks(board, scenario, setting, of, stage)
    return Ready(config, setting, prepared.audit)


def _measured_of(board: Board, scenario: str, setting: Setting) -> dict[str, Any]:
    """What the scenario's figures are of: before its first run all of it may still change, and an
    arm may be added later.
    """
    ledgers = board.of_scenario(scenario)
    splits = {c.arm: led.config.data.split.model_dump(mode="json") for c, led in ledgers.items()}
    return {
        "data": setting.data.fingerprint,
        "split": setting.data.split.fingerprint,
        "weights": setting.weights_fingerprint,
        "future": board.comparison.future and [board.comparison.future, splits],
        **({"source": setting.source_fingerprint} if setting.source else {}),
    }


def _survey(
    board: Board, scenario: str, setting: Setting, of: dict[str, Any], stage: Stage
) -> None:
    """Measure what the scenario's traits are said to be, and how even its splits draw classes."""
    future = board.comparison.future
    stage.preparer.configure(setting)
    stage.watch(Preparing(1.0, f"{scenario}: measuring similarity and size"))
    surveyed = stage.errand(SurveyJob(future=future))
    assert isinstance(surveyed, Surveyed)
    if future is not None:
        ledgers = board.of_scenario(scenario)
        seeds = range(1, board.comparison.confirm.seeds + 1)
        shares = stage.errand(
            SharesJob(
                splits=tuple((cell.arm, led.config.data.split) for cell, led in ledgers.items()),
                future=future,
                seeds=tuple(seeds),
                redraws=REDRAWS,
            )
        )
        assert isinstance(shares, Shares)
        board.note(f"shares:{scenario}", dict(shares.distances))
    board.note(f"facts:{scenario}", {**dict(surveyed.facts), "data": of["data"], "of": of})


def _score_networks(
    board: Board, scenario: str, setting: Setting, of: dict[str, Any], stage: Stage
) -> None:
    """Score each network of the scenario on its training part, unless that was done before."""
    noted = board.noted(f"networks:{scenario}") or {}
    known = dict(noted.get("scores", {})) if noted.get("of") == of else {}
    stage.preparer.configure(setting)
    for network in setting.networks:
        name = network.config.backbone.name
        if name not in known:
            stage.watch(Preparing(1.0, f"{scenario}: scoring {name}"))
            answer = stage.errand(NetworkJob(backbone=name))
            assert isinstance(answer, NetworkScored)
            known[name] = dict(answer.scores)
    board.note(f"networks:{scenario}", {"scores": known, "of": of})


def _open_mirror(board: Board, scenarios: dict[str, Ready], stage: Stage) -> None:
    config, rows = board.config, begun(board.rows())
    stage.mirror.open_parent(
        run_name=config.name,
        tags=_parent_tags(board),
        params={
            "table": board.comparison.table,
            "arms": ", ".join(board.comparison.arms),
            "scenarios": ", ".join(scenarios),
            "trials": board.comparison.tuning.trials,
            "epochs": board.comparison.tuning.epochs,
            "seeds": board.comparison.confirm.seeds,
            "backbone": ", ".join(_networks(board)),
            "metric": config.search.metric,
            "seed": config.search.seed,
        },
        texts={
            **study_texts(config),
            "scenarios.json": {name: _told(ready) for name, ready in scenarios.items()},
        },
        datasets=[dataset_facts(ready.config, ready.setting) for ready in scenarios.values()],
        began_ms=to_ms(rows[0].started) if rows else None,
    )
    stage.mirror.tag_experiment(table_view(config))
    given_up = board.whole.given_up()
    if given_up is not None:
        stage.mirror.abandon(given_up)
    stage.mirror.reconcile(
        [
            mirror_row(
                row,
                scenarios[row.run.scenario].setting.of(row.run.backbone).groups,
                kept_evaluation(stage.folder, row.run.key),
            )
            for row in rows
        ]
    )


def _networks(board: Board) -> list[str]:
    """Every network that an arm takes."""
    found = [ledger.config.backbone.names for ledger in board.cells.values()]
    return list(dict.fromkeys(name for names in found for name in names))


def _parent_tags(board: Board) -> dict[str, Any]:
    tags = {
        "tlsearch.kind": "comparison",
        "tlsearch.table": board.comparison.table,
        "tlsearch.state": "running",
    }
    return tags | what_and_where(board.config)


def _told(ready: Ready) -> dict[str, Any]:
    """What is recorded of a scenario's data."""
    return {
        "weights": by_network(ready.setting.networks, lambda one: one.weights_fingerprint),
        "precision": by_network(ready.setting.networks, lambda one: one.precision),
        "device": ready.setting.device,
        "data": asdict(ready.setting.data),
        "parts": json.loads(ready.setting.split_file.read_text()),
    }
