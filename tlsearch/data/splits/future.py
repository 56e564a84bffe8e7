"""A future that no split may touch, to judge ways of splitting the images before it."""

from dataclasses import replace

import numpy as np

from tlsearch.data.images import ImageSet
from tlsearch.data.splits.draw import draw_parts, draw_splits
from tlsearch.data.splits.ordered import edge
from tlsearch.data.splits.parts import Split
from tlsearch.errors import Problem, RequestError
from tlsearch.study.complaints import shown
from tlsearch.study.data import SplitConfig

FIELD = "comparison.future"
_SMALLER = "take a smaller share, or add images"


def set_future_apart(data: ImageSet, *, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the past and of the future, each ascending: the latest `share` of the images that
    may be used, by their times, or by their order where the source tells none.

    Images of one time stay on one side: a border among them moves to their nearer end. Groups and
    near duplicates may lie on both sides, as they do in time.

    Raises:
        RequestError: some images have no time, a side would be empty, the future holds one class
            only or one that the past lacks.
    """
    rows = data.usable
    times = np.arange(len(rows), dtype=float) if data.times is None else data.times[rows]
    missing = int(np.isnan(times).sum())
    if missing:
        rule = f"{missing} {'image has' if missing == 1 else 'images have'} no time"
        raise _refused(share, rule, "give each a time, or write data.audit.missing_times: drop")
    order = np.argsort(times, kind="stable")
    border = edge(times[order], len(rows) - round(len(rows) * share))
    if not 0 < border < len(rows):
        side = "future" if border else "past"
        rule = f"leaves no image of {len(rows)} for the {side}"
        raise _refused(
            share, rule, "change the share or add images; those of one time stay on one side"
        )
    past, future = np.sort(rows[order[:border]]), np.sort(rows[order[border:]])
    _check_classes(data, past, future, share)
    return past, future


def draw_past(
    data: ImageSet, *, split: SplitConfig, labels_per_class: int | None, share: float, seed: int
) -> tuple[Split, np.ndarray]:
    """The images before the future divided by `split` with this seed, and the rows of the future.

    All rows are those of `data`. Other seeds redraw every part, the test part too, but where parts
    are given or in time. Fractions are of the past.

    Raises:
        RequestError: the future cannot be set apart, the past cannot be divided (`draw_splits`), or
            the split has folds.
    """
    past, future, seeded = _past(data, split, share, seed)
    (parts,) = draw_splits(past, split=seeded, labels_per_class=labels_per_class, redraw=0)
    return parts, future


def draw_past_parts(data: ImageSet, *, split: SplitConfig, share: float, seed: int) -> Split:
    """The parts of `draw_past` whole and unchecked (`draw_parts`).

    Raises:
        RequestError: as `draw_past`.
    """
    past, _, seeded = _past(data, split, share, seed)
    (parts,) = draw_parts(past, split=seeded, redraw=0)
    return parts


def _past(
    data: ImageSet, split: SplitConfig, share: float, seed: int
) -> tuple[ImageSet, np.ndarray, SplitConfig]:
    if split.folds:
        rule = "a split that the future judges has one validation part"
        raise RequestError(str(Problem("data.split.folds", str(split.folds), rule, "write null")))
    past, future = set_future_apart(data, share=share)
    return replace(data, rows=past), future, split.model_copy(update={"seed": seed})


def _check_classes(data: ImageSet, past: np.ndarray, future: np.ndarray, share: float) -> None:
    """Refuse a future in which accuracy means nothing, or that nobody could have foretold."""
    classes = np.unique(data.labels[future])
    if len(classes) == 1:
        rule = f"the latest {len(future)} images are of one class only, "
        raise _refused(
            share,
            rule + shown(data.class_names[classes[0]]),
            "take a larger share, or give times: a file's order may be that of its classes",
        )
    unknown = np.setdiff1d(classes, data.labels[past])
    if len(unknown):
        rule = f"class {shown(data.class_names[unknown[0]])} is among the latest {len(future)} "
        raise _refused(share, rule + "images alone, so that none could be learnt from", _SMALLER)


def _refused(share: float, rule: str, remedy: str) -> RequestError:
    return RequestError(str(Problem(FIELD, str(share), rule, remedy)))
