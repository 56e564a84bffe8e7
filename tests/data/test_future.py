"""The future set apart by hand, and on digits what it is for."""

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.svm import SVC

from tests.data.made import draw, labelled, split_config
from tlsearch.data.sources import load_digits_images
from tlsearch.data.splits import draw_parts, draw_past, past_of
from tlsearch.errors import RequestError

TWENTY = np.arange(20) % 2
SVC_OF_CLAIMS = SVC(C=10, gamma=0.005)


def draw_from_past(
    data: Any, split: Any, *, share: float = 0.25, seed: int = 0, labels: int | None = None
) -> Any:
    return draw_past(data, split=split, labels_per_class=labels, share=share, seed=seed)


def test_the_latest_by_their_times() -> None:
    data = labelled(TWENTY, times=np.arange(20.0)[::-1])
    past, future = past_of(data, share=0.25)
    assert future.tolist() == [0, 1, 2, 3, 4]
    assert past.usable.tolist() == list(range(5, 20))


def test_without_times_the_last_of_those_that_may_be_used() -> None:
    data = labelled(TWENTY, rows=np.array([0, 1, 2, 3, 4, 5, 6, 7, 12, 13]))
    past, future = past_of(data, share=0.3)
    assert (past.usable.tolist(), future.tolist()) == ([0, 1, 2, 3, 4, 5, 6], [7, 12, 13])


def test_images_of_one_time_stay_on_one_side() -> None:
    # The border at 15 cuts a run of 13 … 17: its earlier end is nearer.
    times = np.array([*range(13), *[13] * 5, 18, 19], float)
    past, future = past_of(labelled(TWENTY, times=times), share=0.25)
    assert (len(past.usable), len(future)) == (13, 7)
    # At 17 its later end is.
    past, future = past_of(labelled(TWENTY, times=times), share=0.15)
    assert (len(past.usable), len(future)) == (18, 2)


@pytest.mark.parametrize("strategy", ["random", "stratified", "time", "group", "stratified_group"])
def test_no_part_touches_the_future(strategy: Any) -> None:
    rng = np.random.default_rng(1)
    times, groups = rng.permutation(120).astype(float), rng.integers(0, 30, 120)
    data = labelled(rng.permutation(np.arange(120) % 3), times=times, groups=groups)
    for seed in range(2):
        parts, future = draw_from_past(data, split_config(strategy, test=0.3), seed=seed)
        inside = np.concatenate(parts)
        assert len(future) == 30
        assert len(inside) == len(np.unique(inside)) == 90
        assert times[inside].max() < times[future].min()


def test_the_past_is_divided_as_if_it_were_all_there_is() -> None:
    columns = {"times": np.arange(40.0), "clusters": np.arange(40) // 2, "weights": np.ones(40)}
    data = labelled(np.arange(40) % 2, suspects=np.arange(40) % 9 == 0, **columns)
    alone = labelled(
        np.arange(30) % 2,
        suspects=np.arange(30) % 9 == 0,
        **{k: v[:30] for k, v in columns.items()},
    )
    parts, future = draw_from_past(data, split_config("stratified", seed=7), labels=3, seed=4)
    (theirs,) = draw(alone, split_config("stratified", seed=4), labels=3)
    for ours, other in zip(parts, theirs, strict=True):
        np.testing.assert_array_equal(ours, other)
    assert future.tolist() == list(range(30, 40))
    assert len(parts.train) == 6


def test_a_seed_redraws_every_part_that_lots_decide() -> None:
    data = labelled(np.arange(80) % 2, times=np.arange(80.0))
    first, second = (draw_from_past(data, split_config("random"), seed=seed)[0] for seed in (0, 1))
    for a, b in zip(first, second, strict=True):
        assert a.tolist() != b.tolist()
    first, second = (
        draw_from_past(data, split_config("time", gap=3), seed=seed)[0] for seed in (0, 1)
    )
    assert [rows.tolist() for rows in first] == [rows.tolist() for rows in second]
    assert first.test.tolist() == list(range(48, 60))
    assert first.validation.tolist() == list(range(33, 45))
    assert first.train.tolist() == list(range(30))


def test_whole_parts_keep_suspects_all_labels_and_single_classes() -> None:
    labels = np.array([0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1])
    data = labelled(labels, times=np.arange(12.0), suspects=np.arange(12) < 4)
    split = split_config("time", validation=0.2, test=0.2)
    past, _ = past_of(data, share=0.17)
    (parts,) = draw_parts(past, split=split, redraw=0)
    assert [rows.tolist() for rows in parts] == [[0, 1, 2, 3, 4, 5], [6, 7], [8, 9]]
    with pytest.raises(RequestError, match="train part holds images of one class only"):
        draw_from_past(data, split, share=0.17)


@pytest.mark.parametrize(
    ("labels", "columns", "share", "message"),
    [
        (
            TWENTY,
            {"times": [np.nan, *range(19)]},
            0.2,
            "1 image has no time — give each a time, or write data.audit.missing_times: drop",
        ),
        (TWENTY, {}, 0.01, "leaves no image of 20 for the future — change the share"),
        (TWENTY, {"times": np.zeros(20)}, 0.6, "leaves no image of 20 for the past"),
        (np.arange(20) // 10, {}, 0.4, 'the latest 8 images are of one class only, "?class b'),
        ([0] * 15 + [0, 1, 0, 1, 0], {}, 0.25, 'class "?class b"? is among the latest 5 images'),
    ],
    ids=["times", "future", "past", "one class", "new class"],
)
def test_what_is_refused(labels: Any, columns: Any, share: float, message: str) -> None:
    with pytest.raises(RequestError, match=rf"^comparison.future = {share}: {message}"):
        past_of(labelled(labels, **columns), share=share)


def test_what_the_past_cannot_do_is_refused_as_ever() -> None:
    data = labelled(TWENTY)
    with pytest.raises(
        RequestError, match=r"data\.split\.strategy = time: the source has no times"
    ):
        draw_from_past(data, split_config("time"))
    with pytest.raises(RequestError, match="leaves no image of 15 for the"):
        draw_from_past(data, split_config("random", test=0.9, validation=0.09))
    with pytest.raises(RequestError, match=r"class b\S* has 1 image; each of the 3 parts"):
        draw_from_past(labelled([0] * 14 + [1, 1, 0, 0, 1, 0]), split_config("stratified"))


def test_a_shuffled_estimate_promises_more_than_digits_keep() -> None:
    scans, labels = load_digits(return_X_y=True)
    data = load_digits_images(8)

    def judged(split: Any, seed: int) -> tuple[float, float]:
        parts, future = draw_from_past(data, split, share=0.4, seed=seed)
        model = SVC_OF_CLAIMS.fit(scans[parts.train], labels[parts.train])
        found = [model.score(scans[rows], labels[rows]) for rows in (parts.test, future)]
        return found[0], found[1]

    for strategy in ("random", "stratified"):
        estimates, later = np.array([judged(split_config(strategy), seed) for seed in range(3)]).T
        assert (estimates - later > 0.05).all()  # 8 and 9 points over five seeds
    for gap in (0, 50):
        estimate, later = judged(split_config("time", gap=gap), 0)
        assert abs(estimate - later) < 0.02  # less than a point
