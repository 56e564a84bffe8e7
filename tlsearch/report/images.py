"""What the report says of the images: findings of the audit, and classes by part."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tlsearch.config.paths import examples_path
from tlsearch.data.records import TITLES, Finding, Listed, effect
from tlsearch.report.wording import Absent, percent
from tlsearch.search.summary import Summary

_PARTS = (
    ("training", "train_counts"),
    ("validation", "validation_counts"),
    ("test", "test_counts"),
)


class FindingRow(NamedTuple):
    """A finding as texts: `files` are its first ones, `more` how many rows of the list are left."""

    title: str
    policy: str
    text: str
    effect: str
    files: tuple[str, ...]
    more: int


class ClassRow(NamedTuple):
    """A class and its images in each part."""

    name: str
    counts: tuple[int, ...]


class Images(NamedTuple):
    """All that is known of the images. `result` is a sentence; `clean` names what was looked for
    and not found, `unseen` says what was not looked at. `fold` says of which fold the classes are
    counted, as `first of 5 folds`; "" where there are none.
    """

    result: str
    findings: tuple[FindingRow, ...]
    clean: tuple[str, ...]
    unseen: tuple[str, ...]
    parts: tuple[str, ...]
    classes: tuple[ClassRow, ...]
    fold: str


def find_images(facts: Mapping[str, Any], audit: Mapping[str, Any] | None) -> Images:
    """From what the store keeps: `facts` of the data, and the summary of the audit."""
    found = facts.get("facts", {})
    columns = [found[field] for _, field in _PARTS] if found else []
    names = map(str, found.get("class_names", ()))
    return Images(
        result=_result(audit),
        findings=tuple(_row(finding) for finding in audit["findings"]) if audit else (),
        clean=tuple(TITLES.get(kind, kind) for kind in audit["clean"]) if audit else (),
        unseen=tuple(audit["unseen"]) if audit else (),
        parts=tuple(name for name, _ in _PARTS),
        classes=tuple(
            ClassRow(name, tuple(counts)) for name, *counts in zip(names, *columns, strict=True)
        )
        if columns
        else (),
        fold=first_fold(found.get("split", {}).get("folds")),
    )


def first_fold(folds: int | None) -> str:
    """Which of several folds images are counted of; "" where the split has none."""
    return f"first of {folds} folds" if folds else ""


def _result(audit: Mapping[str, Any] | None) -> str:
    if audit is None:
        return "The images have not been audited."
    num, used = audit["num_images"], audit["num_used"]
    out = num - used
    left = "is" if out == 1 else "are"
    used_text = f"{out:,} of them {left} left out" if out else "all of them are used"
    nothing = "" if audit["findings"] else "; no problem was found"
    return f"{num:,} images were read, and {used_text}{nothing}."


def _row(record: Mapping[str, Any]) -> FindingRow:
    kept = {k: v for k, v in record.items() if k not in ("files", "listed")}
    listed = tuple(Listed(tuple(row["names"]), row["detail"]) for row in record["files"])
    finding = Finding(files=listed, **kept)
    return FindingRow(
        title=TITLES.get(finding.kind, finding.kind),
        policy=finding.policy,
        text=finding.text,
        effect=effect(finding),
        files=tuple(_file(row) for row in listed),
        more=record["listed"] - len(listed),
    )


def _file(row: Listed) -> str:
    names = ", ".join(row.names)
    return f"{names} ({row.detail})" if row.detail else names


# Pictures of what the winner got wrong and right, and of what it trained on.


_PICTURE = re.compile(r"data:image/(png|jpeg);base64,[A-Za-z0-9+/]+=*")


class Answer(NamedTuple):
    """An image of the test part and what the winner says of it."""

    image: str
    name: str
    true: str
    predicted: str
    probability: str

    @property
    def alt(self) -> str:
        """The picture in words."""
        return f"{self.name}: true {self.true}, predicted {self.predicted} at {self.probability}"


class Trained(NamedTuple):
    """A training image: as it is, then as the winner saw it in its first epochs."""

    name: str
    true: str
    images: tuple[str, ...]


class Examples(NamedTuple):
    """Pictures as data URIs. `wrong` are the surest of `num_wrong` mistakes in `num_images`."""

    num_images: int
    num_wrong: int
    num_classes: int
    wrong: tuple[Answer, ...]
    right: tuple[Answer, ...]
    training: tuple[Trained, ...]

    @property
    def num_epochs(self) -> int:
        """Views of each training image; 0 where the winner leaves them as they are."""
        return min((len(row.images) for row in self.training), default=1) - 1

    @property
    def mistakes(self) -> str:
        """What is shown of the mistakes, in a sentence."""
        if not self.num_wrong:
            return f"All {self.num_images:,} test images are right."
        shown = len(self.wrong)
        which = "all of them" if shown == self.num_wrong else f"the {shown} that it was surest of"
        return (
            f"{self.num_wrong:,} of {self.num_images:,} test images are classified wrongly by the "
            f"exported model; here are {which}, the surest first. Look at them: a label may be "
            "wrong, or a picture show two classes."
        )


def find_examples(
    summary: Summary, folder: Path, class_names: Sequence[str] | None
) -> Examples | Absent:
    """The champion's pictures; the file may be missing or cut short, and nothing is raised."""
    if not summary.test:
        return Absent("Pictures are kept once the test part is scored.")
    path = examples_path(folder, summary.test["champion"])
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Examples(
            num_images=int(content["num_images"]),
            num_wrong=int(content["num_wrong"]),
            num_classes=int(content["num_classes"]),
            wrong=tuple(_answer(row, class_names) for row in content["wrong"]),
            right=tuple(_answer(row, class_names) for row in content["right"]),
            training=tuple(_trained(row, class_names) for row in content["training"]),
        )
    except FileNotFoundError:
        return Absent(
            f"{path} is missing, so there are no pictures: running the study again makes them, as "
            "long as its images are where they were."
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        return Absent(
            f"{path} cannot be read ({type(error).__name__}), so there are no pictures: delete it "
            "and run the study again."
        )


def _answer(row: Mapping[str, Any], names: Sequence[str] | None) -> Answer:
    return Answer(
        image=_checked(row["image"]),
        name=_name(row),
        true=_class(row["true"], names),
        predicted=_class(row["predicted"], names),
        probability=percent(float(row["probability"])),
    )


def _trained(row: Mapping[str, Any], names: Sequence[str] | None) -> Trained:
    return Trained(_name(row), _class(row["true"], names), tuple(map(_checked, row["images"])))


def _name(row: Mapping[str, Any]) -> str:
    return str(row["name"]) if row["name"] is not None else f"image {int(row['row'])}"


def _class(index: Any, names: Sequence[str] | None) -> str:
    known = names is not None and 0 <= int(index) < len(names)
    return str(names[int(index)]) if names is not None and known else f"class {int(index)}"


def _checked(text: Any) -> str:
    """A picture and nothing else: the page puts it where an address stands."""
    if not isinstance(text, str) or not _PICTURE.fullmatch(text):
        raise ValueError("no picture")
    return text
