"""Each finding under each policy."""

import csv
import json
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.data.made import SIDE, audit_config, folder_of, jpeg, photo
from tlsearch.config.images import DataConfig
from tlsearch.config.runtime import no_progress
from tlsearch.data.audit import audited
from tlsearch.data.dataset import TEST, TRAIN, VALIDATION, Failure, ImageSet
from tlsearch.data.records import (
    Audit,
    AuditError,
    Finding,
    as_json,
    audit_of_counts,
    csv_text,
    effect,
    summary,
)
from tlsearch.data.splits import draw_splits

PHOTOS = [photo(i) for i in range(8)]
LABELS = [0, 1] * 4
"""Eight pictures of two classes without a finding."""


def look(data: ImageSet, rules: DataConfig) -> tuple[ImageSet, Audit]:
    return audited(data, rules, on_progress=no_progress)


def refused(data: ImageSet, rules: DataConfig) -> AuditError:
    with pytest.raises(AuditError) as caught:
        look(data, rules)
    return caught.value


def only(audit: Audit, kind: str) -> Finding:
    (finding,) = (f for f in audit.findings if f.kind == kind)
    return finding


def with_more(*more: tuple[Any, int], **known: Any) -> ImageSet:
    """The eight pictures, and further ones with their labels."""
    return folder_of(
        [*PHOTOS, *(p for p, _ in more)], [*LABELS, *(label for _, label in more)], **known
    )


def test_a_clean_set_stays_as_it_is() -> None:
    data = with_more()
    found, audit = look(data, audit_config())
    assert found is data
    assert audit.findings == ()
    assert audit.unseen == ()
    assert (audit.num_images, audit.num_used) == (8, 8)
    assert audit.class_counts == (("a", 4), ("b", 4))
    assert set(audit.clean) == {
        "unreadable",
        "missing_files",
        "missing_labels",
        "not_an_image",
        "extreme_sizes",
        "conflicting_labels",
        "exact_duplicates",
        "near_conflicts",
        "near_duplicates",
        "augmented_copies",
        "small_classes",
        "imbalance",
        "low_contrast",
        "class_losses",
    }


def test_augmented_copies_stay_on_one_side_by_their_names() -> None:
    names = [
        f"{'ab'[label]}/{i // 2}_{'rot15' if i % 2 else 'crop'}.png"
        for i, label in enumerate([0, 0, 1, 1] * 2)
    ]
    data = folder_of(PHOTOS, [0, 0, 1, 1] * 2, names=names)
    found, audit = look(data, audit_config())
    finding = only(audit, "augmented_copies")
    assert (finding.count, finding.dropped, len(finding.files)) == (8, 0, 4)
    assert effect(finding) == "kept; a random split keeps them on one side"
    assert found.clusters is not None
    assert found.clusters.tolist() == [0, 0, 2, 2, 4, 4, 6, 6]
    assert look(data, audit_config(augmented_copies="drop"))[0].usable.tolist() == [0, 2, 4, 6]
    assert look(data, audit_config(augmented_copies="off"))[0].clusters is None
    given = look(replace(data, parts=np.array([0, 2] * 4, np.int8)), audit_config(split="given"))[1]
    assert "4 of them in more than one part" in only(given, "augmented_copies").text


def odd_size(data: ImageSet) -> ImageSet:
    assert data.files is not None
    sizes = data.files.sizes.copy()
    sizes[3], sizes[5], sizes[6], sizes[7] = (SIDE, 3 * SIDE + 1), (15, 15), (16, 16), (32, 96)
    object.__setattr__(data, "files", data.files._replace(sizes=sizes))
    return data


# A set, what its study asks beside the policy, the rows that `drop` leaves out, the count.
CASES: dict[str, tuple[Any, dict[str, Any], list[int], int]] = {
    "missing_times": (
        lambda: with_more(times=np.array([1, 2, np.nan, 4, 5, 6, np.nan, 8])),
        {"split": "time"},
        [2, 6],
        2,
    ),
    "extreme_sizes": (lambda: odd_size(with_more()), {}, [3, 5], 2),
    "conflicting_labels": (
        lambda: with_more((PHOTOS[0], 0), (PHOTOS[1], 0)),
        {"exact_duplicates": "keep"},
        [1, 9],
        2,
    ),
    "exact_duplicates": (lambda: with_more((PHOTOS[2], 0), (PHOTOS[2], 0)), {}, [8, 9], 2),
    "near_conflicts": (lambda: with_more((jpeg(PHOTOS[2], 70), 1)), {}, [2, 8], 2),
    "near_duplicates": (lambda: with_more((jpeg(PHOTOS[3], 70), 1)), {}, [8], 2),
    "leakage": (
        lambda: with_more(
            (PHOTOS[0], 0),
            (PHOTOS[1], 1),
            (jpeg(PHOTOS[2], 70), 0),
            (PHOTOS[3], 1),
            parts=np.array(
                [TRAIN, VALIDATION, TRAIN, -1, *[TRAIN] * 4, TEST, TRAIN, TEST, VALIDATION],
                np.int8,
            ),
        ),
        {"split": "given"},
        [0, 2, 3, 9],
        8,
    ),
    "small_classes": (
        lambda: folder_of([*PHOTOS, photo(20)], [*LABELS, 2], num_classes=3),
        {"min_class_images": 2},
        [8],
        1,
    ),
}


@pytest.mark.parametrize("kind", CASES)
def test_each_finding_under_each_policy(kind: str) -> None:
    make, wanted, dropped, count = CASES[kind]
    data = make()
    found, audit = look(data, audit_config(**wanted, **{kind: "drop"}))
    finding = only(audit, kind)
    assert (finding.policy, finding.count, finding.dropped) == ("drop", count, len(dropped))
    expected = np.setdiff1d(np.arange(len(data.labels)), dropped)
    np.testing.assert_array_equal(found.usable, expected)
    assert audit.num_used == len(expected)
    assert effect(finding) == f"{len(dropped)} left out"
    assert found.fingerprint != data.fingerprint
    assert found.images is data.images

    error = refused(data, audit_config(**wanted, **{kind: "error"}))
    finding = only(error.audit, kind)
    assert (finding.policy, finding.count) == ("error", count)
    text = str(error)
    assert f"data.audit.{kind} = error: {finding.text}: {finding.files[0].names[0]}" in text
    assert f"or write {kind}: drop" in text
    assert "tlsearch check STUDY --files" in text
    assert error.exit_code == 2

    if kind != "missing_times":  # images without a time cannot be kept
        found, audit = look(
            data, audit_config(**{"exact_duplicates": "keep", **wanted, kind: "keep"})
        )
        finding = only(audit, kind)
        assert (finding.policy, finding.count, finding.dropped) == ("keep", count, 0)
        assert found.rows is None
        assert audit.num_used == audit.num_images


def test_all_errors_are_reported_at_once_with_their_first_files() -> None:
    failures = tuple(Failure("unreadable", f"{i}.jpg", "cut short") for i in range(1234))
    data = with_more((PHOTOS[0], 1), (PHOTOS[1], 1), failures=failures)
    rules = {"unreadable": "error", "conflicting_labels": "error", "exact_duplicates": "error"}
    text = str(refused(data, audit_config(**rules)))
    assert text.startswith("the images: 3 problems\n")
    assert all(f"data.audit.{kind} = error" in text for kind in rules)
    assert "1,234 files that cannot be decoded: 0.jpg (cut short); 1.jpg (cut short); " in text
    assert "… and 1,231 more" in text
    assert "5.jpg" not in text


@pytest.mark.parametrize("policy", ["drop", "error"])
@pytest.mark.parametrize("kind", ["unreadable", "missing_labels"])
def test_files_without_an_image_are_counted(kind: Any, policy: str) -> None:
    data = with_more(failures=(Failure(kind, "x", "why"), Failure("not_an_image", "Thumbs.db", "")))
    if policy == "error":
        assert f"data.audit.{kind} = error" in str(refused(data, audit_config(**{kind: "error"})))
        return
    found, audit = look(data, audit_config(**{kind: "drop"}))
    finding = only(audit, kind)
    assert (finding.count, finding.dropped) == (1, 1)
    assert (audit.num_images, audit.num_used) == (8, 8)
    assert found.rows is None
    other = only(audit, "not_an_image")
    assert (other.policy, other.files[0].names) == ("note", ("Thumbs.db",))


def test_times_and_given_parts_matter_only_to_splits_by_them() -> None:
    data = with_more(times=np.full(8, np.nan), parts=np.array([TRAIN, TEST] * 4, np.int8))
    _, audit = look(data, audit_config(missing_times="error", leakage="error"))
    assert audit.findings == ()
    assert not {"missing_times", "leakage"} & set(audit.clean)


def test_near_and_exact_duplicates_share_a_cluster() -> None:
    data = with_more((jpeg(PHOTOS[2], 70), 0), (PHOTOS[2], 0), (PHOTOS[5], 1))
    found, audit = look(data, audit_config(exact_duplicates="keep"))
    np.testing.assert_array_equal(found.clusters, [0, 1, 2, 3, 4, 5, 6, 7, 2, 2, 5])
    near = only(audit, "near_duplicates")
    assert near.count == 3  # 5 and its copy are one picture, no near duplicates
    assert near.files[0].names == ("0/2.png", "0/8.png", "0/9.png")
    assert only(audit, "exact_duplicates").count == 2
    found, _ = look(with_more((PHOTOS[2], 0)), audit_config(exact_duplicates="drop"))
    assert found.clusters is None  # of what is left out


def test_near_duplicates_are_not_looked_for_when_they_are_off() -> None:
    data = with_more((jpeg(PHOTOS[2], 70), 1), (PHOTOS[3], 1))
    found, audit = look(data, audit_config(near_duplicates="off", exact_duplicates="keep"))
    assert {f.kind for f in audit.findings} == {"exact_duplicates"}
    assert "near_duplicates is off" in audit.unseen[0]
    np.testing.assert_array_equal(found.clusters, [0, 1, 2, 3, 4, 5, 6, 7, 8, 3])


def test_of_copies_in_a_given_split_the_held_out_ones_stay() -> None:
    parts = np.array([TRAIN] * 8 + [TRAIN, TEST, TEST], np.int8)
    data = with_more((PHOTOS[0], 0), (PHOTOS[0], 0), (PHOTOS[0], 0), parts=parts)
    found, audit = look(data, audit_config(split="given"))
    # The leak first, then one of the two that are tested.
    np.testing.assert_array_equal(found.usable, [1, 2, 3, 4, 5, 6, 7, 9])
    assert only(audit, "leakage").dropped == 2
    assert only(audit, "exact_duplicates").dropped == 1


def test_a_class_that_is_dropped_leaves_the_names() -> None:
    labels = [0, 1, 2, 2, 2, 0, 2, 0]
    data = folder_of(PHOTOS, labels, num_classes=4)
    found, audit = look(data, audit_config(min_class_images=2, small_classes="drop"))
    assert found.class_names == ("a", "c")
    np.testing.assert_array_equal(found.labels, [0, -1, 1, 1, 1, 0, 1, 0])
    np.testing.assert_array_equal(found.usable, [0, 2, 3, 4, 5, 6, 7])
    assert audit.class_counts == (("a", 3), ("c", 4))
    finding = only(audit, "small_classes")
    assert [row.names for row in finding.files] == [("b",), ("d",)]
    assert finding.files[1].detail == "0 images"
    assert finding.dropped == 1


def test_an_empty_class_that_is_dropped_changes_the_fingerprint() -> None:
    data = folder_of(PHOTOS, LABELS, num_classes=3)
    found, _ = look(data, audit_config(small_classes="drop"))
    assert found.class_names == ("a", "b")
    assert found.rows is None
    assert found.fingerprint != data.fingerprint


def test_classes_are_counted_after_the_rest_was_left_out() -> None:
    data = with_more(*((PHOTOS[0], 0) for _ in range(10)))
    _, audit = look(data, audit_config(min_class_images=4, max_imbalance=1.5))
    assert not {"small_classes", "imbalance"} & {f.kind for f in audit.findings}
    _, audit = look(data, audit_config(exact_duplicates="keep", max_imbalance=3))
    finding = only(audit, "imbalance")
    assert finding.text.startswith("the largest class has 3.5 times")
    assert (finding.policy, finding.files[0].names) == ("keep", ("b",))
    error = refused(data, audit_config(exact_duplicates="keep", max_imbalance=3, imbalance="error"))
    assert "data.audit.imbalance = error" in str(error)


def test_counts_alone_are_judged_as_images_are() -> None:
    rules = audit_config(min_class_images=2, small_classes="drop", max_imbalance=3)
    data = folder_of(PHOTOS, [0, 1, 0, 1, 0, 1, 0, 2], num_classes=3)
    _, audit = look(data, rules)
    counted = audit_of_counts([("a", 4), ("b", 3), ("c", 1)], rules.audit)
    assert (counted.num_images, counted.num_used) == (8, 7)
    assert counted.findings == audit.findings
    assert counted.class_counts == audit.class_counts == (("a", 4), ("b", 3))
    assert counted.clean == ("imbalance",)  # of the classes that stay


def test_too_few_classes_left_is_an_error() -> None:
    rules = audit_config(min_class_images=2, small_classes="drop")
    text = str(refused(folder_of(PHOTOS, [0] * 7 + [1]), rules))
    assert "only the class 'a' is left" in text
    assert "1 class below 2 images: b (1 image)" in text
    failures = (Failure("unreadable", "0.jpg", "cut short"),)
    text = str(refused(folder_of([], [], failures=failures), audit_config(small_classes="drop")))
    assert "none of the files gave an image" in text
    assert "0.jpg (cut short)" in text
    assert "cut short" not in str(refused(folder_of([], []), audit_config(small_classes="drop")))
    data = with_more(times=np.full(8, np.nan))
    error = refused(data, audit_config(split="time", missing_times="drop", small_classes="keep"))
    assert "none of the 8 images is left" in str(error)


def test_an_audit_pickles_becomes_json_and_a_table() -> None:
    data = with_more(
        (PHOTOS[0], 1), (jpeg(PHOTOS[2], 70), 0), names=[f"ä,{i}\n" for i in range(10)]
    )
    _, audit = look(data, audit_config(conflicting_labels="keep"))
    assert pickle.loads(pickle.dumps(audit)) == audit
    found = json.loads(json.dumps(as_json(audit)))
    assert found["class_counts"] == {"a": 5, "b": 5}
    assert [f["kind"] for f in found["findings"]] == ["conflicting_labels", "near_duplicates"]
    head, *rows = csv.reader(csv_text({"": audit}).splitlines())
    assert head == ["kind", "policy", "group", "file", "detail"]
    assert rows[0] == ["conflicting_labels", "keep", "1", r"ä,0\n", "a, b"]
    assert [row[2] for row in rows] == ["1"] * 4


def test_a_class_that_loses_a_tenth_is_named_whatever_the_rule() -> None:
    failed = [Failure("unreadable", f"b/{i}.png", "damaged", "b") for i in range(2)]
    data = with_more((PHOTOS[0], 0), failures=tuple(failed))
    _, audit = look(data, audit_config())
    found = only(audit, "class_losses")  # a alone lost a single image, which is no share
    assert [row.names for row in found.files] == [("b",)]
    assert found.files[0].detail == "2 of 6 images left out"
    assert found.text == "b 2 of 6"


def test_a_class_of_unreadable_files_stops_the_study_and_says_why() -> None:
    why = ".heic is not read here; convert it"
    failed = tuple(Failure("unreadable", f"c/{i}.heic", why, "c") for i in range(6))
    error = refused(with_more(failures=failed, num_classes=3), audit_config())
    assert f"c (0 images; 6 cannot be read: {why})" in str(error)
    data = with_more(failures=failed, num_classes=3)
    found, audit = look(data, audit_config(small_classes="drop"))
    assert found.class_names == ("a", "b")
    assert only(audit, "class_losses").text == "c 6 of 6"


def test_pictures_that_show_nothing_are_named_and_are_no_duplicates() -> None:
    white = [Image.new("RGB", (SIDE, SIDE + i), "white") for i in range(3)]
    data = with_more(*((picture, i % 2) for i, picture in enumerate(white)))
    found, audit = look(data, audit_config())
    assert len(found.usable) == 11
    assert only(audit, "low_contrast").count == 3
    assert {"exact_duplicates", "conflicting_labels"} <= set(audit.clean)
    assert data.files is not None
    grounds = np.array([""] * 8 + ["black", "black", "nothing"])
    _, audit = look(replace(data, files=data.files._replace(grounds=grounds)), audit_config())
    assert "3 images, seen 2 over black, 1 without alpha" in only(audit, "transparency").text


def test_a_summary_is_small_whatever_is_listed() -> None:
    no_text = Failure("unreadable", "a\udcff\n.jpg", "cut\x1bshort")
    others = (Failure("unreadable", "d/" * 500 + f"{i}.jpg", "x" * 999) for i in range(1, 5000))
    failures = (no_text, *others)
    copies = [(PHOTOS[0], 0)] * 30
    _, audit = look(with_more(*copies, failures=failures), audit_config(min_class_images=1))
    found = summary(audit)
    assert len(json.dumps(found)) < 10_000
    unreadable, exact, losses = found["findings"]
    assert losses["text"] == "a 30 of 34"
    assert unreadable["files"][0] == {"names": [r"a\udcff\n.jpg"], "detail": r"cut\x1bshort"}
    assert unreadable["listed"] == 5000
    assert len(unreadable["files"]) == 8
    assert unreadable["files"][7]["names"][0].endswith("7.jpg")
    assert exact["files"][0]["names"][-1] == "… and 27 more"


def test_what_is_left_out_is_in_no_part() -> None:
    num = 60
    pictures = [*(photo(i, side=64) for i in range(num - 1)), photo(0, side=64)]
    parts = np.tile(np.array([TRAIN, TRAIN, TRAIN, VALIDATION, TEST], np.int8), num // 5)
    columns = {"times": np.arange(num) * 1.0, "groups": np.arange(num) // 2, "parts": parts}
    data = folder_of(pictures, [*([0, 1] * 28), 2, 2, 2, 2], num_classes=3, **columns)
    rules = {"small_classes": "drop", "conflicting_labels": "drop", "near_duplicates": "off"}
    for strategy in ("stratified", "time", "group", "given"):
        found, _ = look(data, audit_config(split=strategy, min_class_images=5, **rules))
        np.testing.assert_array_equal(found.usable, np.arange(1, 56))
        split = audit_config(split=strategy).split
        (drawn,) = draw_splits(found, split=split, labels_per_class=None, redraw=0)
        np.testing.assert_array_equal(np.sort(np.concatenate(drawn)), found.usable)
