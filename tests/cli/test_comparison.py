"""`tlsearch run` of a comparison as a user runs it: to the end, again, disturbed, further."""

import json
import signal
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from tests.faults.running import Place
from tests.search.comparison.places import (
    content,
    make_place,
    mirrored,
    relabelled,
    runs,
    scores,
    studies,
    tables,
)
from tlsearch.comparison.answers import tables_schema_text

pytestmark = pytest.mark.slow

CELLS = [("photos", "fixed"), ("photos", "decay"), ("photos", "given")]
CELLS += [("digits few", "fixed"), ("digits few", "decay")]
SWEPT = 4
"""Two rates by two seeds, neither of which is the rate that tuning chose."""


class Ran:
    """A place where the comparison was run, and what the run ended with."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.result = self.run()

    def run(self, *options: str) -> dict[str, Any]:
        done = self.place.finish("--json", *options)
        # Its progress goes to stderr, which is watched together with stdout.
        result: dict[str, Any] = json.loads(done.said.splitlines()[-1])
        return result


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Ran:
    """Undisturbed, with one worker."""
    return Ran(make_place(tmp_path_factory.mktemp("ran"), cache=cache))


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Place:
    """From the beginning in another folder, with two workers, killed once and stopped once."""
    place = make_place(tmp_path_factory.mktemp("disturbed"), cache=cache)
    two = ("--set", "workers=2")
    run = place.start(*two)
    run.wait_for("fixed in photos, trial 0: complete")
    run.kill()
    run = place.start(*two)
    run.wait_for("decay in photos, trial 1: complete")
    run.signal_group(signal.SIGINT)
    run.wait()
    assert run.code == 130
    assert run.message.startswith("tlsearch: stopped as asked")
    assert {tags["status"] for tags in mirrored(place)} <= {"KILLED", "SCHEDULED", "FINISHED"}
    place.finish(*two)
    return place


def test_every_arm_has_the_same_trials_and_seeds(ran: Ran) -> None:
    by_cell: dict[tuple[str, str], list[dict[str, Any]]] = {cell: [] for cell in CELLS}
    for key, run in runs(ran.place).items():
        arm, _, rest = key.partition("@")
        by_cell[rest.partition(".")[0].replace("_", " "), arm].append(run)
    for (scenario, arm), found in by_cell.items():
        kinds = [run["kind"] for run in found]
        assert kinds.count("search") == (0 if arm == "given" else 2)
        assert kinds.count("confirm") == 2
        assert kinds.count("sweep") == (SWEPT if (scenario, arm) == ("photos", "fixed") else 0)
        assert {run["state"] for run in found} == {"COMPLETE"}
        redraws = [run["run"]["redraw"] for run in found if run["kind"] == "confirm"]
        assert redraws == [1, 2]
    # The arms draw the same rates where they tune the same range.
    rates = [
        [run["params"] for run in by_cell["photos", arm] if run["kind"] == "search"]
        for arm in ("fixed", "decay")
    ]
    assert rates[0] == rates[1]


def test_the_test_part_is_scored_by_confirmations_and_sweeps_alone(ran: Ran) -> None:
    found, scored = runs(ran.place), scores(ran.place)
    assert set(scored) == {key for key, run in found.items() if run["kind"] != "search"}
    photos = [one["rows"] for key, one in scored.items() if "@photos" in key]
    assert all((rows == photos[0]).all() for rows in photos)
    assert len(photos[0]) == 60
    for key, run in found.items():
        # A gap is between training and validation; nothing of the test part is in the stores.
        assert ("generalisation_gap" in run["result"]["measures"]) == (run["kind"] == "confirm"), (
            key
        )
        assert not any("test" in name for name in run["result"]["measures"])


def test_mlflow_mirrors_every_run_once(ran: Ran) -> None:
    parent, *children = mirrored(ran.place)
    assert "tlsearch.key" not in parent
    assert (parent["status"], parent["tlsearch.kind"]) == ("FINISHED", "comparison")
    found = runs(ran.place)
    assert sorted(tags["tlsearch.key"] for tags in children) == sorted(found)
    for tags in children:
        run = found[tags["tlsearch.key"]]
        assert tags["mlflow.parentRunId"] == parent["id"]
        assert (tags["status"], tags["tlsearch.table"]) == ("FINISHED", "own")
        assert tags["tlsearch.kind"] == run["kind"]
        assert (tags["tlsearch.scenario"], tags["tlsearch.arm"]) in CELLS
        asked = run["run"]
        assert tags["tlsearch.seed"] == str(asked["seed"] if asked else 0)


def test_the_json_of_the_run(ran: Ran) -> None:
    result, place = ran.result, ran.place
    assert result["study"] == "tiny"
    assert result["finished"]
    assert result["trials"] == {"complete": 22, "pruned": 0, "failed": 0, "diverged": 0}
    assert Path(result["report"]).read_text().lstrip().lower().startswith("<!doctype html")
    assert result["mlflow"]["tracking_uri"] == f"sqlite:///{place.state}/mlflow.db"
    assert result["optuna"]["study_name"] == "tiny"
    assert result["seconds"] > 0
    kept = content(place)
    assert {name: result[name] for name in kept} == kept
    jsonschema.validate(kept, json.loads(tables_schema_text()))
    assert [table["scenario"] for table in kept["tables"]] == ["all", "photos", "digits few"]
    claims = {(claim["id"], claim["scenario"]): claim for claim in kept["claims"]}
    assert set(claims) == {
        ("decay", "all"), ("given", "all"), ("decay", "photos"), ("given", "photos"),
        ("decay", "digits few"),
    }  # fmt: skip
    right = {key.partition(".")[0]: [] for key in scores(place)}
    for key, one in scores(place).items():
        if "lr=" not in key:
            right[key.partition(".")[0]].append(one["probabilities"].argmax(1) == one["labels"])
    gain = np.mean(right["decay@photos"]) - np.mean(right["fixed@photos"])
    claim = claims["decay", "photos"]
    assert claim["effect"] == pytest.approx(gain)
    assert claim["low"] <= claim["effect"] <= claim["high"]
    assert (claim["n"], claim["seeds"]) == (60, 2)
    assert claim["verdict"] in ("supported", "contradicted", "no material effect", "inconclusive")


def test_killed_stopped_and_begun_anew_it_says_the_same(ran: Ran, disturbed: Place) -> None:
    ours, theirs = runs(disturbed), runs(ran.place)
    assert ours.keys() == theirs.keys()
    for key, run in ours.items():
        assert run == theirs[key], key
    assert tables(disturbed) == tables(ran.place)
    # Killed before MLflow was there, it left runs that are older than the parent that came later.
    parent, *children = mirrored(disturbed)
    assert parent["status"] == "FINISHED"
    assert sorted(tags["tlsearch.key"] for tags in children) == sorted(ours)
    assert {tags["status"] for tags in children} == {"FINISHED"}
    left = [p for p in disturbed.state.rglob("*") if ".part" in p.name]
    assert left + list((disturbed.own / "checkpoints").glob("*")) == []


def test_the_test_part_decides_on_nothing(ran: Ran, disturbed: Place) -> None:
    """With other labels on the test images all is chosen and trained as before, to the bit."""
    place = disturbed
    before, known, aside = runs(place), scores(place), set(studies(place))
    relabelled(place.folder, next(o["rows"] for key, o in known.items() if "@photos" in key))
    only = ("--set", "comparison.only=[photos]")
    refused = place.run(*only)
    assert refused.code == 2
    assert "what the study was started on has changed" in refused.message
    place.finish(*only, "--fresh")
    after = runs(place)
    assert after.keys() == {key for key in before if "@photos" in key}
    for key, run in after.items():
        assert run == before[key], key
    found = scores(place)
    for key in after.keys() & known.keys():
        assert (found[key]["probabilities"] == known[key]["probabilities"]).all()
        assert (found[key]["rows"] == known[key]["rows"]).all()
        assert (found[key]["labels"] != known[key]["labels"]).any()
    here, there = (
        next(
            c["arm_mean"] for c in result["claims"] if (c["id"], c["scenario"]) == ("decay", place)
        )
        for result, place in ((content(disturbed), "all"), (content(ran.place), "photos"))
    )
    assert here != there
    # All that was there is kept under other names, and MLflow has a parent of its own.
    now = set(studies(place))
    assert {name.partition(" until ")[0] for name in now if " until " in name} == aside
    parents = [tags for tags in mirrored(place) if "tlsearch.key" not in tags]
    assert [tags["status"] for tags in parents] == ["FINISHED"] * 2


def test_more_seeds_go_on(ran: Ran) -> None:
    """Last in this file: it changes the study that the others look at."""
    before = runs(ran.place)
    further = ran.run("--set", "comparison.confirm.seeds=3")
    after = runs(ran.place)
    assert {key: after[key] for key in before} == before
    new = [run for key, run in after.items() if key not in before]
    assert len(new) == len(CELLS)
    assert {run["run"]["redraw"] for run in new} == {3}
    assert {claim["seeds"] for claim in further["claims"]} == {3}
    assert content(ran.place)["claims"] == further["claims"]
