"""Labels that a linear probe doubts, of images that it was not trained on.

Confident learning (arXiv:1911.00068) as cleanlab has it, on probabilities of a logistic regression
over frozen features.
"""

from typing import NamedTuple

import numpy as np

from tlsearch.config.images import AuditConfig
from tlsearch.config.runtime import OnProgress, derive_seed
from tlsearch.data.dataset import ImageSet
from tlsearch.data.records import Finding, Listed, number
from tlsearch.metrics.linear_probe import FOLDS, fit_probe, in_large_classes, out_of_fold

SURE = 0.9
"""Below this share of labels that the probe would give itself, most suspects are its own mistakes:
on 941 pictures in 5 classes it agreed with 67 % and suspected 237, with 6 of 9 planted errors."""


class Suspects(NamedTuple):
    """Rows int64 (S,), most suspect first, the class that the probe would rather give (S,), and the
    probabilities (S,) of the label that is there and of that one. `agreement` () is the share of
    all judged labels that the probe would give itself.
    """

    rows: np.ndarray
    suggested: np.ndarray
    given_probability: np.ndarray
    suggested_probability: np.ndarray
    agreement: np.ndarray


def find_suspects(
    features: np.ndarray,
    data: ImageSet,
    *,
    judged: np.ndarray,
    held_out: np.ndarray,
    seed: int,
    on_progress: OnProgress,
) -> Suspects | None:
    """Suspects among the rows `judged` and `held_out` by `features` (N, F); None if there are not
    two classes with `FOLDS` images, or clusters of duplicates, to judge, or the probe is no better
    than naming the largest class.

    What is said of `judged` images comes from probes of other `judged` ones, duplicates and groups
    on one side, and from no label of `held_out`: the test part must not decide what is trained on.
    """
    blocks = data.blocks(by_group=True)
    judged = in_large_classes(data.labels, blocks, judged)
    classes = np.unique(data.labels[judged])
    if len(classes) < 2:
        return None
    held_out = held_out[np.isin(data.labels[held_out], classes)]
    labels = np.searchsorted(classes, data.labels)
    probabilities = np.zeros((len(data.labels), len(classes)))
    folds = out_of_fold(
        features, labels, judged, blocks=blocks, seed=derive_seed(seed, "label errors")
    )
    for fold, (rows, predicted) in enumerate(folds, start=1):
        probabilities[rows] = predicted
        on_progress(fold / (FOLDS + 1), "audit: looking for label errors")
    if len(held_out):
        probe = fit_probe(features[judged], labels[judged])
        probabilities[held_out] = probe.probabilities(features[held_out])
    agreement = (probabilities[judged].argmax(axis=1) == labels[judged]).mean()
    if agreement <= np.bincount(labels[judged]).max() / len(judged):
        return None
    # Once without the test part, whose labels would move the thresholds of all, and once with it.
    suspected = [judged[_suspected(labels[judged], probabilities[judged])]]
    both = np.concatenate([judged, held_out])
    if len(held_out):
        also = _suspected(labels[both], probabilities[both])
        suspected.append(held_out[also[len(judged) :]])
    rows = np.concatenate(suspected)
    given = probabilities[rows, labels[rows]]
    others = probabilities[rows]
    others[np.arange(len(rows)), labels[rows]] = -1
    rather = others.max(axis=1)
    order = np.argsort(given - rather, kind="stable")
    return Suspects(
        rows=rows[order],
        suggested=classes[others.argmax(axis=1)[order]],
        given_probability=given[order],
        suggested_probability=rather[order],
        agreement=np.asarray(agreement),
    )


def finding_of(
    found: Suspects, data: ImageSet, *, config: AuditConfig, held_out: np.ndarray
) -> Finding | None:
    """A finding of the audit; `drop` takes suspects out of training alone, so that validation and
    test are scored by the labels that they have.
    """
    if not len(found.rows):
        return None
    assert config.label_errors != "off"
    tested = int(np.isin(found.rows, held_out).sum())
    dropped = len(found.rows) - tested if config.label_errors == "drop" else 0
    names = data.class_names
    files = tuple(
        Listed(
            (data.name(row),),
            f"{names[data.labels[row]]} ({given:.2f}), rather {names[other]} ({rather:.2f})",
        )
        for row, other, given, rather in zip(*found[:4], strict=True)
    )
    return Finding(
        kind="label_errors",
        policy=config.label_errors,
        count=len(found.rows),
        dropped=dropped,
        text=f"{number(len(found.rows), 'image')} that a linear probe gives another label, "
        f"{tested:,} of them in the test part; it agrees with {100 * found.agreement:.0f} % of all"
        + (", so it is often wrong itself: see the first" if found.agreement < SURE else ""),
        files=files,
    )


def _suspected(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Which labels (N,) are suspect, by confident learning's pruning by noise rate."""
    from cleanlab.filter import find_label_issues

    found: np.ndarray = find_label_issues(labels, probabilities, n_jobs=1)
    return found
