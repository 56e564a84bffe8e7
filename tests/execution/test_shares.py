"""Class shares of the parts, over redraws without training."""

from typing import Any

import numpy as np
import pytest

from tests.data.made import labelled, split_config
from tlsearch.data.splits import draw_past
from tlsearch.errors import RequestError
from tlsearch.execution.messages import SharesJob
from tlsearch.execution.prepare import share_distances, shares_of

# In time: 40 images of which the last 8 are the future; one in four of class b.
LABELS = (np.arange(40) % 4 == 3).astype(np.int64)


def distances(split: Any, *, data: Any = None, redraws: int = 30) -> np.ndarray:
    data = labelled(LABELS, times=np.arange(40.0)) if data is None else data
    return share_distances(data, split=split, share=0.2, redraws=redraws)


def test_by_hand_in_time() -> None:
    # 32 images before the future: 16 train, 8 validate, 8 are tested; the last 4 of class b.
    labels = np.array([0, 1] * 4 + [0] * 8 + [0, 1] * 4 + [0] * 4 + [1] * 4 + [0, 1] * 4)
    data = labelled(labels, times=np.arange(40.0))
    split = split_config("time", validation=0.25, test=0.25)
    # shares of b: 4 of 16, 4 of 8, 4 of 8
    assert distances(split, data=data, redraws=3).tolist() == [0.25] * 3


def test_stratified_parts_agree_and_random_ones_do_not() -> None:
    assert distances(split_config("stratified", validation=0.25, test=0.25)).max() == 0
    random = distances(split_config("random", validation=0.25, test=0.25))
    assert len(random) == 30
    assert len(np.unique(random)) > 3
    assert random.mean() > 0.1


def test_each_redraw_is_that_of_a_training_with_its_seed() -> None:
    data = labelled(LABELS, times=np.arange(40.0))
    split = split_config("random", validation=0.3, test=0.3)
    found = distances(split)
    for seed in (0, 7):
        parts, _ = draw_past(data, split=split, labels_per_class=None, share=0.2, seed=seed)
        shares = [LABELS[rows].mean() for rows in parts]
        assert found[seed] == pytest.approx(max(shares) - min(shares))


def test_redraws_that_no_training_could_use_count_too() -> None:
    # One of class b in 32: two of the three parts lack it.
    data = labelled((np.arange(40) % 32 == 5).astype(int), times=np.arange(40.0))
    assert (distances(split_config("random", validation=0.25, test=0.25), data=data) > 0).all()


def asked(*, seeds: tuple[int, ...], redraws: int) -> SharesJob:
    splits = (("B1", split_config("random")), ("B2", split_config("stratified")))
    return SharesJob(splits=splits, future=0.2, seeds=seeds, redraws=redraws)


def test_all_splits_by_name() -> None:
    data = labelled(LABELS, times=np.arange(40.0))
    found = dict(shares_of(data, asked(seeds=(1, 2), redraws=4), labels_per_class=1))
    assert list(found) == ["B1", "B2"]
    assert found["B1"] == tuple(distances(split_config("random"), redraws=4))


def test_a_draw_that_a_training_could_not_use_is_refused_by_its_name() -> None:
    data = labelled((np.arange(40) % 16 == 5).astype(int), times=np.arange(40.0))
    with pytest.raises(RequestError, match=r"^B1, seed \d: data.split = .* of one class only"):
        shares_of(data, asked(seeds=(1, 2, 3), redraws=1), labels_per_class=None)
    with pytest.raises(RequestError, match=r"^B1, seed 3: data.labels_per_class = 9: "):
        shares_of(
            labelled(LABELS, times=np.arange(40.0)),
            asked(seeds=(3,), redraws=1),
            labels_per_class=9,
        )
