"""What is measured of a split, by hand."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from tests.data.made import draw, labelled, split_config
from tlsearch.data.dataset import Files
from tlsearch.data.records import split_rows
from tlsearch.data.split_facts import describe, fingerprint, listing
from tlsearch.data.splits import Split


def split_of(*parts: list[int]) -> tuple[Split, ...]:
    return (Split(*(np.array(rows) for rows in parts)),)


SPLIT = split_of([0, 1, 2, 3], [4, 5], [6, 7])
LABELS = [0, 0, 0, 1, 0, 1, 1, 1, 0]


def test_shares_and_distances_by_hand() -> None:
    facts = describe(labelled(LABELS), SPLIT, split=split_config("random"))
    assert [(p.part, p.fold, p.class_counts) for p in facts.parts] == [
        ("train", 1, (3, 1)),
        ("validation", 1, (1, 1)),
        ("test", 1, (0, 2)),
    ]
    # (3/4, 1/4) against (1/2, 1/2) and (0, 1)
    assert [(p.first, p.second, p.distance) for p in facts.pairs] == [
        ("train", "validation", 0.25),
        ("train", "test", 0.75),
        ("validation", "test", 0.5),
    ]
    assert facts.left_out == 1
    assert facts.counts("train") == (3, 1)
    assert {(p.duplicates, p.near_duplicates, p.groups, p.later) for p in facts.pairs} == {
        (None, None, None, None)
    }
    assert facts.notes == (
        'no image of "class a" is in the test part: its figure says nothing about it',
    )


def test_leakage_by_hand() -> None:
    data = labelled(
        LABELS,
        clusters=[0, 1, 2, 3, 0, 1, 0, 7, 8],
        groups=[0, 0, 1, 1, 1, 2, 2, 0, -1],
        times=np.array([1, 9, 3, 4, 5, 6, 4, 8, 0], float),
    )
    names = np.array([f"{i}.png" for i in range(9)])
    digests = np.array(["a", "b", "c", "d", "a", "e", "b", "a", "f"])
    files = Files(names, np.ones((9, 2), np.int32), digests, np.zeros(9, np.uint64))
    facts = describe(replace(data, files=files), SPLIT, split=split_config("random"))
    found = {
        (p.first, p.second): (p.duplicates, p.near_duplicates, p.groups, p.later)
        for p in facts.pairs
    }
    # later: of train 9 > 5; of train 9 > 4 (4 is not); of validation 5 and 6 > 4
    assert found == {
        ("train", "validation"): (1, 2, 1, 1),
        ("train", "test"): (2, 1, 1, 1),
        ("validation", "test"): (1, 1, 1, 2),
    }
    assert facts.notes[1:] == (
        "near duplicates on both sides of the test part (1): its figure may be too good",
        "groups on both sides of the test part (1): its figure may be too good",
    )
    found = listing(replace(data, files=files), SPLIT)
    assert found["images"] == "name"
    assert found["test"] == ["6.png", "7.png"]
    assert found["folds"] == [
        {"train": [f"{i}.png" for i in range(4)], "validation": ["4.png", "5.png"]}
    ]


def test_a_class_that_is_never_seen_in_training() -> None:
    splits = split_of([0, 1, 2], [4, 5], [6, 7])
    note, *_ = describe(labelled(LABELS), splits, split=split_config("random")).notes
    assert note.startswith('no image of "class b" is in the training part: what is never seen')


def test_rows_for_a_table() -> None:
    data = labelled(np.arange(40) % 2, times=np.arange(40.0))
    asked = split_config("time", folds=2, gap=2)
    facts = describe(data, draw(data, asked), split=asked)
    rows = split_rows(json.loads(json.dumps(asdict(facts))))
    # 8 tested, 2 left out, 30 in three runs of ten, of which two are left out at the end
    assert [(r.parts, r.images, r.later, r.groups) for r in rows] == [
        ("train – validation, fold 1", "8 – 10", "0", ""),
        ("train – test, fold 1", "8 – 8", "0", ""),
        ("validation – test, fold 1", "10 – 8", "0", ""),
        ("train – validation, fold 2", "18 – 10", "0", ""),
        ("train – test, fold 2", "18 – 8", "0", ""),
        ("validation – test, fold 2", "10 – 8", "0", ""),
    ]
    assert facts.left_out == 2


def test_listing_by_index() -> None:
    found = listing(labelled(LABELS), SPLIT)
    assert json.loads(json.dumps(found)) == {
        "fingerprint": fingerprint(SPLIT),
        "images": "index",
        "test": [6, 7],
        "folds": [{"train": [0, 1, 2, 3], "validation": [4, 5]}],
    }


@pytest.mark.parametrize(
    "other",
    [
        split_of([0, 1, 2], [3, 4, 5], [6, 7]),
        split_of([0, 1, 2, 3], [4, 5], [6, 8]),
        (*SPLIT, *SPLIT),
    ],
)
def test_a_fingerprint_tells_any_index(other: tuple[Split, ...]) -> None:
    assert fingerprint(other) != fingerprint(SPLIT)
    assert len(fingerprint(other)) == 16


@pytest.mark.parametrize("strategy", ["random", "time"])
def test_digits_in_time_do_not_leak_and_by_lot_do(strategy: str) -> None:
    data = labelled(np.arange(200) % 4, times=np.arange(200.0))
    asked = split_config(strategy)
    facts = describe(data, draw(data, asked), split=asked)
    later = next(p.later for p in facts.pairs if (p.first, p.second) == ("train", "test"))
    assert later is not None
    assert (later == 0) == (strategy == "time")
