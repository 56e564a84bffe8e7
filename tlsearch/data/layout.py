"""What folders above an image mean, as people arrange them: parts of a split, classes, or nothing.

photos/cat/1.jpg                a class
photos/seg_train/cat/1.jpg      a part, by the word in its name, and a class
photos/cat/train/1.jpg          a class and a part
photos/photos/DATA/cat/1.jpg    wrappers, which hold one folder alone
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tlsearch.data.dataset import TEST, TRAIN, VALIDATION

_EVALUATION = ("eval", "evaluation")
PART_NAMES = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "dev"), VALIDATION),
    **dict.fromkeys(("test", "testing", *_EVALUATION), TEST),
}
"""Parts of a split by the names that people give them, in small letters."""

PARTS = {TRAIN: "train", VALIDATION: "validation", TEST: "test"}
"""What parts are called to people."""

_PICTURES = "images image imgs img photos photo pictures picture pics jpegimages jpg jpeg png"
_FILLERS = frozenset(f"set sets data dataset folder dir part split {_PICTURES}".split())
_UNLABELLED = frozenset(
    (
        *("pred", "predict", "prediction", "predictions", "inference", "submission"),
        *("unlabeled", "unlabelled", "unknown"),
    )
)
_WORDS = re.compile(r"[^\W\d_]+")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
_COMPOUND = re.compile(f"({'|'.join(PART_NAMES)})(?:{'|'.join(_FILLERS)})")

Folders = tuple[str, ...]
"""Names of the folders from the root down to an image, without the image."""


class LayoutError(ValueError):
    """Folders that name no classes; the message is the rule, `remedy` what to do."""

    def __init__(self, rule: str, remedy: str) -> None:
        self.remedy = remedy
        super().__init__(rule)


class Layout(NamedTuple):
    """By image: the folder that names its class, or None and in `reasons` why there is none; its
    part, where folders name parts. `notes` are sentences about what was guessed.
    """

    classes: list[str | None]
    reasons: list[str]
    parts: list[int] | None
    notes: tuple[str, ...]


def parts_named(names: Iterable[str]) -> dict[str, int]:
    """Parts that these folders are called after: `train`, `TestSet`, `seg_val`. Where the names
    hold another word, it is the same in all, and there are two parts at least: a `bullet train` and
    a `steam train` are no parts.
    """
    alike: dict[Folders, dict[str, str]] = {}
    for name in sorted(names):
        words = [w.casefold() for w in _WORDS.findall(_HUMP.sub(" ", name))]
        words = [m[1] if (m := _COMPOUND.fullmatch(word)) else word for word in words]
        known = [word for word in words if word in PART_NAMES]
        if len(known) == 1:
            rest = tuple(w for w in words if w not in known and w not in _FILLERS)
            alike.setdefault(rest, {})[name] = known[0]
    for rest, found in sorted(alike.items(), key=lambda item: (len(item[0]), -len(item[1]))):
        parts = {name: PART_NAMES[word] for name, word in found.items()}
        # Of "test" and "evaluation" side by side, one is meant to choose by.
        if {"test", "testing"} & set(found.values()) and VALIDATION not in parts.values():
            parts |= {name: VALIDATION for name, word in found.items() if word in _EVALUATION}
        if not rest or len(set(parts.values())) > 1:
            return parts
    return {}


def arranged(folders: Sequence[Folders], *, level: int | None) -> Layout:
    """What the folders of each image mean; `level` is that of the folders which name the classes, 1
    for the top ones, None where it is to be found.

    Raises:
        LayoutError: no folder names a class, or folders lie beside those of the parts.
    """
    if level is not None:
        return _at_level(folders, level)
    depth = _wrappers(folders, inside=None)
    notes = (f"Classes are those in {'/'.join(folders[0][:depth])}.",) if depth else ()
    inner = [steps[depth:] for steps in folders]
    heads = {steps[0] for steps in inner if steps}
    if not heads:
        raise LayoutError("holds images, but no folders that name their classes", "")
    parts = parts_named(heads)
    several = len(set(parts.values())) > 1
    if parts and (several or len(parts) == len(heads)):
        return _below_parts(inner, parts, notes)
    return _without_parts(inner, notes, at=depth + 1)


def _at_level(folders: Sequence[Folders], level: int) -> Layout:
    classes = [steps[level - 1] if len(steps) >= level else None for steps in folders]
    parts = None
    for above in range(level - 1):
        heads = {steps[above] for steps in folders if len(steps) >= level}
        named = parts_named(heads)
        if named and len(named) == len(heads):
            parts = [named.get(s[above], -1) if len(s) > above else -1 for s in folders]
    if not any(classes):
        raise LayoutError(f"no image lies {level} folders deep", "lower classes_level")
    return Layout(classes, [_NO_FOLDER] * len(folders), parts, ())


_NO_FOLDER = "lies in no folder that names its class"


def _wrappers(folders: Sequence[Folders], *, inside: str | None) -> int:
    """How many of the first folders only wrap all others: such a one is alone and holds folders, or
    is called after the part that it is `inside`, or "images".
    """
    depth = 0
    while len(heads := {s[depth] if len(s) > depth else None for s in folders}) == 1:
        (head,) = heads
        if head is None or (inside is None and parts_named([head])):
            break
        is_class = any(len(steps) == depth + 1 for steps in folders)
        called = head.casefold()
        if is_class and called not in _FILLERS and called != (inside or "").casefold():
            break
        depth += 1
    return depth


def _below_parts(
    folders: Sequence[Folders], parts: dict[str, int], notes: tuple[str, ...]
) -> Layout:
    """Parts on top, classes in them. What a held-out part keeps in one folder that is none of the
    classes has no label.
    """
    rows: dict[str, list[int]] = {}
    for row, steps in enumerate(folders):
        if steps:
            rows.setdefault(steps[0], []).append(row)
    below: dict[str, list[Folders]] = {}
    for head, ours in rows.items():
        inner = [folders[row][1:] for row in ours]
        depth = _wrappers(inner, inside=head)
        below[head] = [steps[depth:] for steps in inner]
    named = {head: {steps[0] for steps in inner if steps} for head, inner in below.items()}
    _refuse_others(parts, named)
    if not any(named[head] for head in parts):
        are = ", ".join(sorted(parts))
        raise LayoutError(f"its folders are parts of a split ({are}), and none names a class", "")
    trained = set().union(*(named[head] for head in parts if parts[head] == TRAIN))
    classes: list[str | None] = [None] * len(folders)
    reasons, found = [_NO_FOLDER] * len(folders), [-1] * len(folders)
    for head, ours in rows.items():
        part, only = parts.get(head, -1), next(iter(named[head]), "")
        is_class = len(named[head]) > 1 or only in trained or len(trained) < 2 or part == TRAIN
        for row, steps in zip(ours, below[head], strict=True):
            found[row] = part
            if steps and is_class:
                classes[row] = steps[0]
            elif steps:
                rule = f"{only!r} is no class of the training part, so it has no label"
                reasons[row] = f"{rule}; tlsearch predict answers for it"
            elif head not in parts or not named[head]:
                reasons[row] = "lies in no class folder; tlsearch predict answers for it"
    guessed = [h for h in sorted(parts) if h.lower() != PARTS[parts[h]]]
    if guessed:
        notes += (f"Parts: {', '.join(f'{h} is {PARTS[parts[h]]}' for h in guessed)}.",)
    return Layout(classes, reasons, found, notes)


def _refuse_others(parts: dict[str, int], named: dict[str, set[str]]) -> None:
    """Folders beside several parts are a mistake, unless their name says that they lack labels."""
    others = [
        head
        for head, classes in named.items()
        if head not in parts
        and (classes or not _UNLABELLED & {w.casefold() for w in _WORDS.findall(head)})
    ]
    if others:
        beside = ", ".join(sorted(others)[:3])
        rule = f"holds the parts {', '.join(sorted(parts))}, and beside them {beside}"
        raise LayoutError(rule, "move the other folders into a part, or away")


def _without_parts(folders: Sequence[Folders], notes: tuple[str, ...], *, at: int) -> Layout:
    """Classes on top, or where all top folders hold the same folders, these; those may be parts."""
    tops = [steps[0] if steps else None for steps in folders]
    reasons = [_NO_FOLDER] * len(folders)
    inner: dict[str, set[str]] = {}
    for steps in folders:
        if steps:
            inner.setdefault(steps[0], set()).add(steps[1] if len(steps) > 1 else "")
    below = set().union(*inner.values())
    if "" in below or len(inner) < 2 or len(below) < 2:
        return Layout(tops, reasons, None, notes)
    parts = parts_named(below)
    if len(parts) == len(below):
        found = [parts[steps[1]] if steps else -1 for steps in folders]
        held = ", ".join(sorted(below))
        return Layout(tops, reasons, found, (*notes, f"Parts: each class holds {held}."))
    if all(names == below for names in inner.values()):
        some, few = (", ".join(sorted(names)[:3]) for names in (inner, below))
        text = (
            f"All top folders ({some}{', …' * (len(inner) > 3)}) hold the same folders, taken for "
            f"the classes ({few}{', …' * (len(below) > 3)}); if the top ones are the classes, "
            f"write source: {{folder: {{path: …, classes_level: {at}}}}}."
        )
        second = [steps[1] if steps else None for steps in folders]
        return Layout(second, reasons, None, (*notes, text))
    return Layout(tops, reasons, None, notes)
