"""How far the classes' shares differ between the parts that a split draws, without training."""

from collections.abc import Iterable

import numpy as np

from tlsearch.data.images import ImageSet
from tlsearch.data.splits.future import draw_past, draw_past_parts
from tlsearch.errors import RequestError
from tlsearch.evidence.measures.splits import class_share_distance
from tlsearch.search.jobs import SharesJob
from tlsearch.study.data import SplitConfig


def shares_of(
    data: ImageSet, job: SharesJob, *, labels_per_class: int | None
) -> tuple[tuple[str, tuple[float, ...]], ...]:
    """Name and `share_distances` of each split of the job, and a draw for each of its seeds.

    Raises:
        RequestError: the images cannot be divided so, as a training with one of the seeds would
            find; the message names split and seed.
    """
    found = []
    for name, split in job.splits:
        refuse_past(
            data,
            split=split,
            labels_per_class=labels_per_class,
            share=job.future,
            seeds=job.seeds,
            name=name,
        )
        distances = share_distances(data, split=split, share=job.future, redraws=job.redraws)
        found.append((name, tuple(distances.tolist())))
    return tuple(found)


def refuse_past(
    data: ImageSet,
    *,
    split: SplitConfig,
    labels_per_class: int | None,
    share: float,
    seeds: Iterable[int],
    name: str,
) -> None:
    """Divide the images before the latest `share` with each seed, as trainings will.

    Raises:
        RequestError: they cannot be divided so; the message names the split and the seed.
    """
    for seed in seeds:
        try:
            draw_past(data, split=split, labels_per_class=labels_per_class, share=share, seed=seed)
        except RequestError as error:
            raise RequestError(f"{name}, seed {seed}: {error}") from None


def share_distances(
    data: ImageSet, *, split: SplitConfig, share: float, redraws: int
) -> np.ndarray:
    """Largest distance of class shares between train, validation and test of each redraw,
    (redraws,): the images before the latest `share` divided with the seeds 0 … redraws - 1.

    Parts are taken whole: thinning the training part to so many labels a class would balance it,
    whatever the split.

    Raises:
        RequestError: the images cannot be divided so.
    Source: claims.md, B1 and B2.
    """
    found = []
    for seed in range(redraws):
        parts = draw_past_parts(data, split=split, share=share, seed=seed)
        labels = [data.labels[rows] for rows in parts]
        found.append(class_share_distance(labels, num_classes=data.num_classes))
    return np.array(found)
