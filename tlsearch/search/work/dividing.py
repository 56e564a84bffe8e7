"""From images to parts, before the first trial: drawn, checked, measured."""

from dataclasses import replace
from typing import Any

from tlsearch.data.images import ImageSet
from tlsearch.data.splits.draw import draw_splits
from tlsearch.data.splits.facts import describe, listing
from tlsearch.errors import Problem, RequestError
from tlsearch.search.jobs import DataFacts
from tlsearch.study.checks import step_contradictions
from tlsearch.study.config import StudyConfig
from tlsearch.study.cost import train_images
from tlsearch.study.fine_tuning_checks import step_notes


def divide(data: ImageSet, config: StudyConfig) -> tuple[DataFacts, dict[str, Any]]:
    """What is known of the data and their split, and the images of each part as JSON.

    Every draw of the confirmation is tried as well: it would be too late to refuse it there.

    Raises:
        RequestError: the images cannot be divided as asked, or their number contradicts the study.
    """
    split, labels = config.data.split, config.data.labels_per_class
    splits = draw_splits(data, split=split, labels_per_class=labels, redraw=0)
    smallest = min(len(parts.train) for parts in splits)
    for seed in range(1, config.confirm.seeds + 1):
        try:
            again = draw_splits(data, split=split, labels_per_class=labels, redraw=seed)
        except RequestError as error:
            raise RequestError(f"confirmation seed {seed}: {error}") from None
        smallest = min(smallest, *(len(parts.train) for parts in again))
    for found in step_contradictions(config, smallest):
        raise RequestError(str(Problem(found.field, found.value, found.rule, found.remedy)))
    told = describe(data, splits, split=split)
    if train_images(config) is None:  # else these were among the study's own notes
        told = replace(told, notes=(*told.notes, *step_notes(config, smallest)))
    facts = DataFacts(
        num_images=len(data.labels),
        class_names=data.class_names,
        fingerprint=data.fingerprint,
        train_counts=told.counts("train"),
        validation_counts=told.counts("validation"),
        test_counts=told.counts("test"),
        split=told,
    )
    return facts, listing(data, splits)
