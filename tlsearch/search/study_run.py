"""One invocation of a study, from the lock to the result."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from errno import EACCES, EEXIST, ENOTDIR, EPERM, EROFS
from pathlib import Path
from typing import Any

from optuna.exceptions import StorageInternalError

from tlsearch.data.audit.findings import Audit
from tlsearch.errors import RequestError, StoreError, WorkError
from tlsearch.search.auditing import audit_texts, record_audit, remarks
from tlsearch.search.baselines import baseline_spec
from tlsearch.search.coordinator import Coordinator
from tlsearch.search.deadline import Deadline
from tlsearch.search.errand import run_errand
from tlsearch.search.executor import LocalExecutor
from tlsearch.search.final import confirm_and_test, is_finished, search_left
from tlsearch.search.folder import evaluation_path, sweep, write_whole
from tlsearch.search.fresh import set_aside
from tlsearch.search.interrupts import Interrupted, Interrupts
from tlsearch.search.jobs import Prepared, PrepareJob, Setting
from tlsearch.search.ledger import FACTS, MIRRORED, MLFLOW, Ledger, Run
from tlsearch.search.mirroring import mirror_row
from tlsearch.search.provenance import parent_params, parent_tags, parent_texts
from tlsearch.search.storage import open_storage, study_lock
from tlsearch.search.watching import Remark, StageStarted, Watcher
from tlsearch.study.config import StudyConfig
from tlsearch.study.layout import Layout, user_cache
from tlsearch.study.machine import usable_cores, visible_gpus
from tlsearch.study.resolved import redacted, to_yaml
from tlsearch.study.sources import EmbeddedSource, source_name, source_text
from tlsearch.study.values import hidden
from tlsearch.tracking.address import sqlite_path
from tlsearch.tracking.mirror import Mirror
from tlsearch.tracking.records import DatasetFacts

FLUSH_SECONDS = 2.0
PATIENCE_SECONDS = 10.0
SOURCE_THREADS = 1
"""Threads that train the source model. Two give 1.7 times the speed on two idle cores and a tenth
of it on busy ones, and the weights would depend on the number of cores.
"""


def tracking_address(config: StudyConfig, layout: Layout) -> str:
    """MLflow's address: the study's, or a database under mlruns/."""
    return config.tracking_uri or f"sqlite:///{layout.mlflow_db}"


def run_study(config: StudyConfig, *, layout: Layout, fresh: bool, watch: Watcher) -> Ledger:
    """Carry a study on to its end; the ledger then holds all there is to say.

    Raises:
        StoreError: the study changed since it was started, or another process runs it.
        RequestError: data or weights do not fit.
        WorkError: the work cannot go on.
        Interrupted: the user asked to leave; everything is kept.
    """
    folder, interrupts = layout.study(config.name), Interrupts()
    with _disk_errors(layout), interrupts.listening():
        layout.create()
        folder.mkdir(parents=True, exist_ok=True)
        with study_lock(folder, config.name):
            storage = open_storage(config, layout, create=True)
            assert storage is not None
            if fresh:
                set_aside(config.name, storage=storage, folder=folder)
            ledger = Ledger(config, storage)
            ledger.adopt()
            write_whole(folder / "study.yaml", to_yaml(redacted(config)))
            open_keys = {r.spec.key for r in ledger.rows() if r.state in ("running", "waiting")}
            sweep(folder, open_keys=open_keys)
            # What tlsearch carries cannot have changed; files are looked at again.
            is_embedded = isinstance(config.data.source, EmbeddedSource)
            if not (is_embedded and is_finished(ledger) and _is_mirrored(ledger, layout)):
                _carry_on(ledger, layout=layout, interrupts=interrupts, watch=watch)
            return ledger


def _is_mirrored(ledger: Ledger, layout: Layout) -> bool:
    """Whether MLflow was left whole, and its database is still there."""
    file = sqlite_path(tracking_address(ledger.config, layout))
    return bool(ledger.search.user_attrs.get(MIRRORED)) and (file is None or file.exists())


def _carry_on(ledger: Ledger, *, layout: Layout, interrupts: Interrupts, watch: Watcher) -> None:
    config, folder = ledger.config, layout.study(ledger.config.name)
    gpus = 0 if config.device == "cpu" else visible_gpus()
    workers = config.workers if config.workers != "auto" else gpus or usable_cores()
    mirror = Mirror(  # checks the address, so it comes before there are processes to end
        tracking_uri=tracking_address(config, layout),
        artifact_root=layout.artifacts,
        experiment=config.name,
        study_key=ledger.key,
        flush_seconds=FLUSH_SECONDS,
        patience_seconds=PATIENCE_SECONDS,
    )
    # What prepares has a process of its own, which takes its memory with it; meanwhile the workers
    # import torch and the mirror's thread imports mlflow, seconds each.
    preparer = LocalExecutor(num_workers=1, num_devices=gpus)
    executor = LocalExecutor(num_workers=workers, num_devices=gpus)
    coordinator = Coordinator(
        ledger=ledger,
        executor=executor,
        mirror=mirror,
        watch=watch,
        interrupts=interrupts,
        folder=folder,
    )
    status: Any = "FAILED"
    mirror.give_up_when(lambda: interrupts.at_once)
    try:
        ledger.search.set_user_attr(MIRRORED, False)
        job = PrepareJob(
            config=config, cache=layout.cache, user_cache=user_cache(), threads=SOURCE_THREADS
        )
        prepared = run_errand(preparer, job, watch=watch, interrupts=interrupts, folder=folder)
        assert isinstance(prepared, Prepared)
        preparer.shutdown(now=False)
        setting = _agreed(ledger, prepared.setting)
        record_audit(ledger, prepared.audit, folder)
        for remark in remarks(prepared.audit):
            watch(remark)
        coordinator.configure(setting)
        ledger.recover()
        left_open = sum(r.state == "waiting" and r.started is not None for r in ledger.rows())
        if left_open:
            watch(Remark(f"carrying on {left_open} interrupted runs from their checkpoints"))
        for text in setting.data.split.notes:
            watch(Remark(text))
        _open_mirror(mirror, ledger, prepared.audit, setting, folder)
        _search(ledger, coordinator, watch, workers)
        confirm_and_test(
            ledger,
            coordinator,
            mirror,
            setting,
            folder=folder,
            interrupts=interrupts,
            watch=watch,
            workers=workers,
        )
        status = "FINISHED"
    except Interrupted:
        status = "KILLED"
        raise
    finally:
        preparer.shutdown(now=True)
        executor.shutdown(now=status != "FINISHED")
        whole = mirror.close(status=status, tags={"tlsearch.state": status.lower()})
        if mirror.experiment_id is not None:
            address = hidden(mirror.tracking_uri)
            where = {"tracking_uri": address, "experiment_id": mirror.experiment_id}
            ledger.search.set_user_attr(MLFLOW, where)
            ledger.search.set_user_attr(MIRRORED, whole)
        for text in mirror.take_notices():
            watch(Remark(text))


def _search(ledger: Ledger, coordinator: Coordinator, watch: Watcher, workers: int) -> None:
    """Baselines first, then trials; workers that finish early are given the next at once."""
    config = ledger.config
    ledger.enqueue([baseline_spec(config, name, seed=0) for name in config.baselines])
    deadline = Deadline(config.budget.timeout)
    total = search_left(ledger) + ledger.num_ended()
    watch(StageStarted("search", ledger.num_ended(), total, workers))

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


def _agreed(ledger: Ledger, setting: Setting) -> Setting:
    """Compare what was found with what the study was started on, and keep its number format.

    Raises:
        StoreError: data, split or weights changed.
    """
    found = {
        "data": setting.data.fingerprint,
        "split": setting.data.split.fingerprint,
        "weights": setting.weights_fingerprint,
        "precision": setting.precision,
        "groups": list(setting.groups),
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
        for name in ("data", "split", "weights")
        if known.get(name) != found[name]
    ]
    if changed:
        raise StoreError(
            f"name = {ledger.config.name!r}: what the study was started on has changed, and its "
            "trials cannot be mixed with new ones:\n" + "\n".join(changed) + "\nPut it back to "
            "carry on, give the study a new name, or start it over with --fresh"
        )
    return replace(setting, precision=known["precision"])


def _open_mirror(
    mirror: Mirror, ledger: Ledger, audit: Audit, setting: Setting, folder: Path
) -> None:
    config, data = ledger.config, setting.data
    counts = {
        "train": data.train_counts,
        "validation": data.validation_counts,
        "test": data.test_counts,
    }
    mirror.open_parent(
        run_name=config.name,
        tags=parent_tags(setting),
        params=parent_params(config, setting),
        texts={**parent_texts(config, setting), **audit_texts(audit)},
        dataset=DatasetFacts(
            name=source_name(config.data.source),
            source=f"{source_text(config.data.source)} at {config.data.size} px",
            digest=data.fingerprint,
            num_images=data.num_images,
            num_classes=data.num_classes,
            class_counts={
                part: dict(zip(data.class_names, found, strict=True))
                for part, found in counts.items()
            },
        ),
    )
    given_up = ledger.given_up()
    if given_up is not None:
        mirror.abandon(given_up)
    rows = ledger.rows()
    mirror.reconcile([mirror_row(row, setting.groups, _artifacts(folder, row)) for row in rows])


def _artifacts(folder: Path, row: Any) -> dict[str, Any]:
    path = evaluation_path(folder, row.spec.key)
    return {"evaluation.json": json.loads(path.read_text())} if path.exists() else {}


@contextmanager
def _disk_errors(layout: Layout) -> Iterator[None]:
    """Word what the operating system says about the state folder."""
    try:
        yield
    except StorageInternalError as error:
        raise WorkError(
            f"Optuna's storage cannot be used ({str(error).splitlines()[0]}) — start its server or "
            "free some disk space, then run again; what is stored is kept"
        ) from error
    except OSError as error:
        place = error.filename or layout.root
        if error.errno in (EEXIST, ENOTDIR):
            raise RequestError(
                f"{place}: is no folder, and tlsearch keeps its state in {layout.root} — move it "
                "away, or run in another folder"
            ) from error
        if error.errno in (EACCES, EPERM, EROFS):
            raise RequestError(
                f"{place}: {error.strerror} — tlsearch keeps its state in {layout.root}: make it "
                "writable, or run in another folder"
            ) from error
        raise WorkError(
            f"{place}: {error.strerror or error} — tlsearch keeps its state in {layout.root}: free "
            "some space there, or run in another folder; what is stored is kept"
        ) from error
