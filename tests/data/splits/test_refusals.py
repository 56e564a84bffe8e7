"""Images that cannot be divided as asked: one message, with the names of classes."""

from typing import Any

import numpy as np
import pytest

from tests.data.splits.made import config, draw, made
from tlsearch.errors import RequestError

EVEN = np.arange(60) % 2


def refused(data: Any, split: Any, **changes: Any) -> str:
    with pytest.raises(RequestError) as caught:
        draw(data, split, **changes)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("strategy", ["random", "stratified"])
@pytest.mark.parametrize(
    ("num", "validation", "test", "part"),
    [(4, 0.1, 0.5, "validation"), (4, 0.5, 0.1, "test"), (4, 0.45, 0.45, "train")],
)
def test_an_empty_part(strategy: str, num: int, validation: float, test: float, part: str) -> None:
    asked = config(strategy, validation=validation, test=test)
    assert f"no image of {num} for the {part} part" in refused(made(np.arange(num) % 2), asked)


def test_a_class_that_is_too_small() -> None:
    labels = np.repeat([0, 1], [20, 2])
    message = refused(made(labels), config("stratified"))
    assert message.startswith('data.split.strategy = stratified: class "class b" has 2 images; ')
    assert "each of the 3 parts needs one — add images of it" in message
    few = made(np.repeat([0, 1], [20, 20]), clusters=np.arange(40))
    assert len(draw(few, config("stratified"))[0].test) == 8


def test_a_class_of_near_duplicates_alone() -> None:
    labels = np.repeat([0, 1], [20, 6])
    clusters = np.arange(26)
    clusters[20:26] = [90, 90, 90, 91, 91, 91]
    message = refused(made(labels, clusters=clusters), config("stratified"))
    assert 'class "class b" has 2 sets of near duplicates; each of the 3 parts' in message


def test_a_class_with_fewer_images_than_folds() -> None:
    labels = np.repeat([0, 1], [40, 5])
    message = refused(made(labels), config("stratified", folds=5))
    assert 'class "class b" has 4 images outside the test part; each of the 5 folds' in message
    assert "take fewer folds" in message
    assert len(draw(made(labels), config("stratified", folds=4))) == 4


@pytest.mark.parametrize(
    ("groups", "folds", "rule"),
    [
        (2, None, "there are 2 groups; each of the 3 parts needs one"),
        (1, None, "there is 1 group; each of the 3 parts needs one"),
        (5, 5, "there are 4 groups outside the test part; each of the 5 folds needs one"),
    ],
)
@pytest.mark.parametrize("strategy", ["group", "stratified_group"])
def test_too_few_groups(strategy: str, groups: int, folds: int | None, rule: str) -> None:
    data = made(EVEN, groups=np.arange(60) // 2 % groups)
    assert rule in refused(data, config(strategy, folds=folds))


@pytest.mark.parametrize(
    ("strategy", "what"), [("group", "groups"), ("stratified_group", "groups"), ("given", "parts")]
)
def test_what_the_source_does_not_tell(strategy: str, what: str) -> None:
    assert f"strategy = {strategy}: the source has no {what}" in refused(
        made(EVEN), config(strategy)
    )


@pytest.mark.parametrize("strategy", ["random", "stratified"])
def test_more_labels_than_there_are(strategy: str) -> None:
    labels = np.repeat([0, 1], [40, 20])
    message = refused(made(labels), config(strategy), labels=30)
    assert message.startswith("data.labels_per_class = 30: the training part has ")
    assert 'images of its smallest class, "class b" — take ' in message
    most = int(message.rpartition("take ")[2].split()[0])
    assert len(draw(made(labels), config(strategy), labels=most)[0].train) == 2 * most


def test_suspects_leave_fewer_labels() -> None:
    data = made(EVEN, suspects=EVEN == 1)
    message = refused(data, config("stratified"), labels=1)
    assert 'has 0 images of its smallest class, "class b" — write null for all' in message


def test_a_training_part_of_one_class() -> None:
    data = made(EVEN, suspects=EVEN == 1)
    message = refused(data, config("stratified"))
    assert message.startswith("data.split = {validation: 0.2, test: 0.2}: the train part holds")
    assert 'images of one class only, "class a"' in message


@pytest.mark.parametrize(("part", "last"), [("test", 14), ("validation", 26)])
def test_a_part_in_time_of_one_class(part: str, last: int) -> None:
    labels = np.arange(60) % 2
    labels[60 - last : 60 - last + 14] = 0
    data = made(labels, times=np.arange(60.0))
    assert f"the {part} part holds images of one class only" in refused(data, config("time"))


def test_a_fold_is_named() -> None:
    labels = np.arange(60) % 2
    labels[:15] = 1
    message = refused(made(labels, times=np.arange(60.0)), config("time", folds=3))
    assert message.startswith("data.split = {folds: 3, test: 0.2}: the train part in fold 1 holds")


def test_suspects_alone_to_train_on() -> None:
    data = made(EVEN, suspects=np.ones(60, bool))
    assert "no image of 60 for the train part" in refused(data, config("random"))


def test_weights_of_nothing() -> None:
    data = made(EVEN, weights=np.zeros(60, np.float32))
    assert "all images of the training part have weight 0" in refused(data, config("random"))


def test_given_parts_without_training_images() -> None:
    parts = np.where(np.arange(60) < 30, 1, 2).astype(np.int8)
    assert "no image of 60 for the train part" in refused(made(EVEN, parts=parts), config("given"))
