"""One invocation of a study, from the lock to the result."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tlsearch.config.paths import Layout
from tlsearch.config.schema import StudyConfig
from tlsearch.config.sources import EmbeddedSource
from tlsearch.data.records import Audit
from tlsearch.errors import StoreError
from tlsearch.execution.interrupts import Deadline, Interrupts
from tlsearch.execution.messages import Setting
from tlsearch.execution.runs import Run
from tlsearch.search.baselines import baseline_spec
from tlsearch.search.confirm import (
    best_trial,
    confirm_and_test,
    has_examples,
    is_finished,
    search_left,
    test_record,
)
from tlsearch.search.events import Remark, StageStarted, Watcher
from tlsearch.search.job_maker import train_job
from tlsearch.search.ledger import FACTS, ORIGIN, Ledger
from tlsearch.search.mirroring import begun, kept_evaluation, mirror_row, table_view, to_ms
from tlsearch.search.provenance import (
    by_network,
    dataset_facts,
    origin,
    parent_params,
    parent_tags,
    parent_texts,
)
from tlsearch.search.scheduler import Coordinator
from tlsearch.search.stage import begin, is_mirrored, occupied, staged
from tlsearch.search.storage import told
from tlsearch.search.summary import (
    audit_texts,
    measure_likeness,
    record_audit,
    remarks,
    score_networks,
)
from tlsearch.tracking.mlflow_logger import Mirror


def run_study(config: StudyConfig, *, layout: Layout, fresh: bool, watch: Watcher) -> Ledger:
    """Carry a study on to its end; the ledger then holds all there is to say.

    Raises:
        StoreError: the study changed since it was started, or another process runs it.
        RequestError: data or weights do not fit.
        WorkError: the work cannot go on.
        Interrupted: the user asked to leave; everything is kept.
    """
    folder, interrupts = layout.study(config.name), Interrupts()
    with occupied(config, layout, fresh=fresh, interrupts=interrupts) as storage:
        ledger = Ledger(config, storage)
        ledger.adopt()
        begin(folder, config, ledger.rows())
        # What tlsearch carries cannot have changed; files are looked at again.
        sources = (config.data.source, config.backbone.source)
        is_embedded = all(s is None or isinstance(s, EmbeddedSource) for s in sources)
        is_whole = is_mirrored(ledger, layout) and has_examples(test_record(ledger), folder)
        if not (is_embedded and is_finished(ledger) and is_whole):
            _carry_on(ledger, layout=layout, interrupts=interrupts, watch=watch)
        return ledger


def _carry_on(ledger: Ledger, *, layout: Layout, interrupts: Interrupts, watch: Watcher) -> None:
    with staged(
        ledger, ledger, make_job=train_job, layout=layout, interrupts=interrupts, watch=watch
    ) as stage:
        prepared = stage.prepare(ledger.config)
        setting = agreed(ledger, prepared.setting)
        if not is_finished(ledger):
            ledger.search.set_user_attr(ORIGIN, origin())
        measured = {
            "networks.json": score_networks(ledger, setting, stage),
            "likeness.json": measure_likeness(ledger, setting, stage),
        }
        stage.end_preparing()
        record_audit(ledger, prepared.audit, stage.folder)
        for remark in remarks(prepared.audit):
            watch(remark)
        stage.coordinator.configure(setting)
        ledger.recover()
        left_open = sum(r.state == "waiting" and r.started is not None for r in ledger.rows())
        if left_open:
            watch(Remark(f"carrying on {left_open} interrupted runs from their checkpoints"))
        for text in setting.data.split.notes:
            watch(Remark(text))
        _open_mirror(stage.mirror, ledger, prepared.audit, setting, measured, stage.folder)
        _search(ledger, stage.coordinator, watch, stage.workers)
        confirm_and_test(
            ledger,
            stage.coordinator,
            stage.mirror,
            setting,
            folder=stage.folder,
            interrupts=interrupts,
            watch=watch,
            workers=stage.workers,
        )


def _search(ledger: Ledger, coordinator: Coordinator, watch: Watcher, workers: int) -> None:
    """Baselines first, then trials; workers that finish early are given the next at once."""
    config = ledger.config
    ledger.enqueue([baseline_spec(config, name, seed=0) for name in config.baselines])
    deadline = Deadline(config.budget.timeout)
    total = search_left(ledger) + ledger.num_ended()
    best = best_trial(config, ledger.rows())
    watch(StageStarted("search", ledger.num_ended(), total, workers, best))

    def next_run() -> Run | None:
        fixed = ledger.ask_fixed()
        if fixed is not None:
            return fixed
        # Those under way count: with one trial left, one worker gets it.
        if search_left(ledger) <= ledger.num_running():
            return None
        if deadline.passed:
            return None
        return ledger.ask()

    coordinator.carry_out(next_run)
    if deadline.passed and search_left(ledger):
        watch(Remark(f"budget.timeout is over with {search_left(ledger)} trials not started"))


def agreed(ledger: Ledger, setting: Setting) -> Setting:
    """Compare what was found with what the study was started on, and keep its number formats.

    Raises:
        StoreError: data, split, weights or source images changed.
    """
    ours = [setting.of(name) for name in ledger.config.backbone.names]
    found = {
        "data": setting.data.fingerprint,
        "split": setting.data.split.fingerprint,
        "weights": by_network(ours, lambda one: one.weights_fingerprint),
        "source images": setting.source_fingerprint,
        "precision": by_network(ours, lambda one: one.precision),
        "device": setting.device,
        "groups": list(ours[0].groups),
        "facts": asdict(setting.data),
    }
    known = ledger.search.user_attrs.get(FACTS)
    if known is None or not ledger.has_begun():
        ledger.search.set_user_attr(FACTS, json.loads(json.dumps(found)))
        return setting
    before, now = known["facts"]["num_images"], setting.data.num_images
    images = "" if before == now else f", {before:,} → {now:,} images"
    changed = [
        f"  the {name} (fingerprint {known.get(name)} → {found[name]}"
        f"{images if name == 'data' else ''})"
        for name in ("data", "split", "weights", "source images")
        if known.get(name) != found[name]
    ]
    if changed:
        raise StoreError(
            f"{told(ledger.config.name)}: what the study was started on has changed, and its "
            "trials cannot be mixed with new ones:\n" + "\n".join(changed) + "\nPut it back to "
            "carry on, give the study a new name, or start it over with --fresh"
        )
    formats = dict(zip(ledger.config.backbone.names, known["precision"].split(", "), strict=True))
    return setting.with_precisions(
        {name: told.rpartition(" ")[2] for name, told in formats.items()}
    )


def _open_mirror(
    mirror: Mirror,
    ledger: Ledger,
    audit: Audit,
    setting: Setting,
    measured: Mapping[str, Mapping[str, Any]],
    folder: Path,
) -> None:
    config, rows = ledger.config, begun(ledger.rows())
    kept = {name: dict(figures) for name, figures in measured.items() if figures}
    mirror.open_parent(
        run_name=config.name,
        tags=parent_tags(setting),
        params=parent_params(config, setting),
        texts={**parent_texts(config, setting), **audit_texts(audit), **kept},
        datasets=[dataset_facts(config, setting)],
        began_ms=to_ms(rows[0].started) if rows else None,
    )
    mirror.tag_experiment(table_view(config))
    given_up = ledger.given_up()
    if given_up is not None:
        mirror.abandon(given_up)
    mirror.reconcile(
        [
            mirror_row(
                row, setting.of(row.run.backbone).groups, kept_evaluation(folder, row.run.key)
            )
            for row in rows
        ]
    )
