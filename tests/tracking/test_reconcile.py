"""The comparison behind every write, by hand-made cases."""

from typing import Any

from tlsearch.tracking.reconcile import (
    KEY_TAG,
    EpochMetrics,
    Known,
    Point,
    Wanted,
    missing,
    one_run_per_key,
    wanted,
)

KNOWN = Known(
    run_id="r",
    status="RUNNING",
    start_ms=1,
    params={"lr": "0.1"},
    tags={KEY_TAG: "0", "state": "running"},
    steps={"loss": 2},
)


def trial(**changes: Any) -> Wanted:
    return Wanted("0", run_name="trial", start_ms=1, **changes)


def test_nothing_to_write() -> None:
    same = trial(
        params={"lr": "0.1"},
        tags={"state": "running"},
        points=[Point("loss", 2, 9, 7.0)],
        status="RUNNING",
    )
    assert missing(same, KNOWN, identity={KEY_TAG: "0"}) is None


def test_only_what_is_missing() -> None:
    points = [Point("loss", step, step, 1.0) for step in (1, 2, 3, 4, 4)] + [
        Point("acc", 1, 1, 0.5)
    ]
    change = missing(
        trial(params={"lr": "0.1", "new": "x"}, tags={"state": "done"}, points=points),
        KNOWN,
        identity={KEY_TAG: "0"},
    )
    assert change is not None
    assert change.params == {"new": "x"}
    assert change.tags == {"state": "done"}
    assert [(p.name, p.step) for p in change.points] == [("loss", 3), ("loss", 4), ("acc", 1)]
    after = KNOWN.after(change)
    assert after.steps == {"loss": 4, "acc": 1}
    assert after.status == "RUNNING"


def test_a_param_that_changed_becomes_a_tag() -> None:
    change = missing(trial(params={"lr": "0.2"}), KNOWN, identity={})
    assert change is not None
    assert change.params == {}
    assert change.tags == {"tlsearch.changed.lr": "0.1 → 0.2"}


def test_later_wishes_win() -> None:
    first = trial(tags={"state": "running", "a": "1"}, status="RUNNING")
    first.add(Wanted("0", tags={"state": "complete"}, status="FINISHED", end_ms=5))
    first.add(Wanted("0", tags={"b": "2"}))
    assert first.tags == {"state": "complete", "a": "1", "b": "2"}
    assert (first.status, first.end_ms, first.run_name) == ("FINISHED", 5, "trial")


def test_numbers_of_any_kind_are_metrics() -> None:
    import numpy as np

    found = EpochMetrics(1, 1, {"a": np.float32(0.5), "b": 3, "c": np.nan})
    one = wanted("0", metrics=[found])
    assert [(p.name, p.value) for p in one.points] == [("a", 0.5), ("b", 3.0)]
    assert one.not_finite == ["c@1=nan"]


def test_the_fullest_run_is_kept() -> None:
    fuller = KNOWN._replace(run_id="fuller", steps={"loss": 3})
    older = fuller._replace(run_id="older", start_ms=0)
    kept, deleted = one_run_per_key([KNOWN, fuller, older])
    assert kept["0"].run_id == "older"
    assert {run.run_id for run in deleted} == {"r", "fuller"}


def test_no_row_no_run() -> None:
    contradicting = {"0": Wanted("0", params={"lr": "7"})}
    for truth, is_kept in (
        ({}, False),
        ({"0": Wanted("0", params={"lr": "0.1"})}, True),
        (contradicting, False),
    ):
        kept, deleted = one_run_per_key([KNOWN], truth=truth)
        assert (kept, deleted) == (({"0": KNOWN}, []) if is_kept else ({}, [KNOWN]))
