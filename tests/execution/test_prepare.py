"""What is checked and known of a split before the first trial, and what workers make of it."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.made import labelled, split_config
from tests.execution.jobs import bench_of, setting_with, train_job
from tests.search.conftest import Study
from tests.search.fakes import memory_store, setting_of
from tlsearch.data.dataset import ImageSet, image_set
from tlsearch.data.splits import draw_past, draw_splits
from tlsearch.errors import RequestError, StoreError
from tlsearch.execution.messages import SharesJob, TrainJob
from tlsearch.execution.prepare import divide, share_distances, shares_of
from tlsearch.search.provenance import parent_params, parent_tags
from tlsearch.search.runner import agreed
from tlsearch.training.cross_validation import CrossValidation
from tlsearch.training.trainer import Trainer

HEAD = """
name: s
data: {source: {manifest: labels.csv}, split: %s}
backbone: {name: resnet18, weights: none}
"""
BODY = "budget: {trials: 4, epochs: 3}\nspace: {lr: {low: 1.0e-3, high: 1.0e-1, log: true}}\n"


def images(num: int = 120, **columns: Any) -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 255, (num, 32, 32, 3)).astype(np.uint8)
    return image_set(pixels, np.arange(num) % 3, ("ape", "bee", "cat"), **columns)


def config_of(study: Study, split: str = "{}", lines: str = "", *overrides: str) -> Any:
    return study(*overrides, body=BODY + lines, head=HEAD % split)


def test_facts_and_listing(study: Study) -> None:
    config, data = config_of(study, "{folds: 4, test: 0.4}"), images()
    facts, parts = divide(data, config)
    splits = draw_splits(data, split=config.data.split, labels_per_class=None, redraw=0)
    assert facts.train_counts == (18, 18, 18)
    assert facts.validation_counts == (6, 6, 6)
    assert facts.test_counts == (16, 16, 16)
    assert facts.num_images == 120
    assert parts["test"] == splits[0].test.tolist()
    assert [fold["train"] for fold in parts["folds"]] == [s.train.tolist() for s in splits]
    assert parts["fingerprint"] == facts.split.fingerprint
    assert json.loads(json.dumps(asdict(facts)))["split"]["folds"] == 4


@pytest.mark.parametrize("folds", ["", "folds: 4, "])
def test_warm_up_that_outlasts_the_images_that_were_found(study: Study, folds: str) -> None:
    split = f"{{{folds}test: 0.4, validation: 0.2}}"
    # 48 images (or 54 in a fold) in batches of 32 make 2 steps, three times
    config = config_of(study, split, "", "space.warmup_steps=6")
    with pytest.raises(RequestError) as caught:
        divide(images(), config)
    assert str(caught.value) == (
        "space.warmup_steps = 6: warm-up is as long as training, 6 steps at batch size 32 — "
        "take less than 6, or write space.warmup_fraction in its place"
    )
    divide(images(), config_of(study, split, "", "space.warmup_steps=5"))


def test_a_metric_of_classes_is_refused_where_one_has_no_image_that_validates(study: Study) -> None:
    parts = np.arange(120) // 3 % 4 - 1  # not named, to train, to validate, to test
    data = images(parts=np.where((parts == 1) & (np.arange(120) % 3 == 2), 0, parts))
    split = "{strategy: given}"
    divide(data, config_of(study, split, "", "search.metric=log_loss"))
    with pytest.raises(RequestError) as caught:
        divide(data, config_of(study, split, "", "search.metric=balanced_accuracy"))
    assert str(caught.value) == (
        "search.metric = val_balanced_accuracy: counts every class alike, and no image of class "
        '"cat" is in the validation part — stratify, validate on more, add images of it, or take '
        "accuracy or log_loss"
    )
    divide(images(), config_of(study, "{}", "", "search.metric=macro_auroc"))


def test_more_labels_than_were_found(study: Study) -> None:
    config = config_of(study, "{}", "", "data.labels_per_class=30")
    rule = 'labels_per_class = 30: the training part has 24 images of its smallest class, ".*" — '
    with pytest.raises(RequestError, match=rule + "take 24 or less, or null for all"):
        divide(images(), config)


def test_a_draw_of_the_confirmation_is_refused_before_the_first_trial(study: Study) -> None:
    # Six groups of one class each: some draws hold one class only.
    data = images(60, groups=np.arange(60) % 6)
    config = config_of(
        study, "{strategy: group, validation: 0.3, test: 0.3}", "", "confirm.seeds=50"
    )
    with pytest.raises(RequestError, match=r"(confirmation seed \d+: )?data\.split = .* one class"):
        divide(data, config)


def job(config: Any, folds: tuple[int, ...], redraw: int) -> TrainJob:
    params = {"freeze_depth": 5}
    return train_job(config, params=params, folds=folds, redraw=redraw)


def test_a_worker_trains_the_folds_that_it_is_told(study: Study, tmp_path: Path) -> None:
    weights = np.random.default_rng(1).uniform(1, 2, 60).astype(np.float32)
    config, data = config_of(study, "{folds: 3, test: 0.4}"), images(60, weights=weights)
    bench = bench_of(setting_with(data, config, tmp_path))
    whole = bench.trainer(job(config, (0, 1, 2), 0))
    assert isinstance(whole, CrossValidation)
    assert len(list(whole.epochs())) == 3
    own, other = (
        draw_splits(data, split=config.data.split, labels_per_class=None, redraw=i) for i in (0, 2)
    )
    for on, split in zip(whole._data, own, strict=True):
        np.testing.assert_array_equal(on.train, split.train)
        np.testing.assert_array_equal(on.validation, split.validation)
    single = bench.trainer(job(config, (1,), 2))
    assert isinstance(single, Trainer)
    np.testing.assert_array_equal(single.data.train, other[1].train)
    np.testing.assert_array_equal(single.data.weights, weights)  # type: ignore[arg-type]


def test_what_mlflow_is_told(study: Study, tmp_path: Path) -> None:
    config, data = config_of(study, "{folds: 4, test: 0.4}"), images()
    facts, parts = divide(data, config)
    setting = replace(setting_of(config, tmp_path), data=facts)
    setting.store.mkdir()
    setting.split_file.write_text(json.dumps(parts))
    assert facts.split.fingerprint in setting.split_file.name
    params = parent_params(config, setting)
    sizes = ("split", "folds", "train_images", "validation_images", "test_images")
    assert [params[name] for name in sizes] == ["stratified", 4, 54, 18, 48]
    assert parent_tags(setting)["tlsearch.split"] == facts.split.fingerprint


def test_a_study_goes_on_with_its_own_split_alone(study: Study, tmp_path: Path) -> None:
    kept = memory_store(study())
    setting = setting_of(study(), tmp_path)
    split = replace(setting.data.split, fingerprint="6" * 16)
    other = replace(setting, data=replace(setting.data, split=split))
    agreed(kept, other)
    agreed(kept, setting)  # nothing has run yet, so nothing is mixed
    kept.ask()
    agreed(kept, setting)
    with pytest.raises(StoreError, match=f"the split .fingerprint {'5' * 16} → {'6' * 16}"):
        agreed(kept, other)


def test_what_depends_on_the_number_of_images_is_said_once_files_are_read(study: Study) -> None:
    facts, _ = divide(images(), config_of(study, "{}", "", "space.ema_decay=0.999"))
    (note,) = [text for text in facts.split.notes if "ema_decay" in text]
    assert "is not reached" in note


# Class shares of the parts, over redraws without training.


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
    by_lot = distances(split_config("random", validation=0.25, test=0.25))
    assert len(by_lot) == 30
    assert len(np.unique(by_lot)) > 3
    assert by_lot.mean() > 0.1


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


def shares_job(*, seeds: tuple[int, ...], redraws: int) -> SharesJob:
    splits = {"B1": split_config("random"), "B2": split_config("stratified")}
    return SharesJob(splits=splits, future=0.2, seeds=seeds, redraws=redraws)


def test_all_splits_by_name() -> None:
    data = labelled(LABELS, times=np.arange(40.0))
    found = shares_of(data, shares_job(seeds=(1, 2), redraws=4), labels_per_class=1)
    assert list(found) == ["B1", "B2"]
    assert found["B1"] == distances(split_config("random"), redraws=4).tolist()


def test_a_draw_that_a_training_could_not_use_is_refused_by_its_name() -> None:
    data = labelled((np.arange(40) % 16 == 5).astype(int), times=np.arange(40.0))
    with pytest.raises(RequestError, match=r"^B1, seed \d: data.split = .* of one class only"):
        shares_of(data, shares_job(seeds=(1, 2, 3), redraws=1), labels_per_class=None)
    with pytest.raises(RequestError, match=r"^B1, seed 3: data.labels_per_class = 9: "):
        shares_of(
            labelled(LABELS, times=np.arange(40.0)),
            shares_job(seeds=(3,), redraws=1),
            labels_per_class=9,
        )
