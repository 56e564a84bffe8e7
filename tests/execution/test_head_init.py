"""What the head starts from: the probe of its own fold, and features that stay selected."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from tests.execution.jobs import bench_of, setting_with, train_job
from tests.execution.test_prepare import images
from tests.models.strategies import strategy
from tests.search.conftest import Study
from tests.training.small import CPU, cut, data, same, store, tiny_backbone, trainer, weights
from tlsearch.config.optimization import Adam, AdamW
from tlsearch.config.paths import weights_path
from tlsearch.config.strategy import Anova, Chi2, LossBalance, SamplingBalance, Strategy
from tlsearch.errors import RequestError
from tlsearch.execution import head_init
from tlsearch.execution.head_init import HeadStart
from tlsearch.execution.messages import TrainJob
from tlsearch.execution.workbench import Workbench
from tlsearch.metrics.linear_probe import INVERSE_PENALTY, LEAST_DEVIATION, MAX_ITERATIONS
from tlsearch.models.backbones import Backbone
from tlsearch.training.batches import TrainingData, pixel_batch
from tlsearch.training.cross_validation import CrossValidation
from tlsearch.training.feature_cache import run_stages
from tlsearch.training.trainer import Trainer

PROBE = strategy(init="pretrained", head_init="probe")
FROZEN = strategy(init="pretrained", freeze_depth=5)


def features(backbone: Backbone, on: TrainingData, rows: np.ndarray) -> np.ndarray:
    backbone.model.eval()
    with torch.no_grad():
        found = run_stages(backbone.stages[:-1], pixel_batch(on.pixels, rows, device=CPU))
    return found.double().numpy()


def prepared(
    folder: Path, chosen: Strategy, *, on: TrainingData | None = None, seed: int = 0
) -> Backbone:
    on = on or data()
    backbone = tiny_backbone(dropout=0.0, seed=0)
    start = HeadStart(store(folder, of=on.pixels), device=CPU)
    start.prepare(backbone, chosen, data=on, seed=seed)
    return backbone


def asked_of(backbone: Backbone, on: TrainingData, rows: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        logits = backbone.head.eval()(torch.from_numpy(features(backbone, on, rows)).float())
    found: np.ndarray = logits.softmax(1).numpy()
    return found


def test_the_head_starts_as_scikit_learns_probe_of_the_training_part(tmp_path: Path) -> None:
    on, backbone = data(), prepared(tmp_path, PROBE)
    train = features(backbone, on, on.train)
    scaler = StandardScaler().fit(train)
    scaler.scale_ = np.maximum(
        scaler.scale_, LEAST_DEVIATION * np.sqrt((train.std(axis=0) ** 2).mean())
    )
    probe = LogisticRegression(C=INVERSE_PENALTY, max_iter=MAX_ITERATIONS)
    probe.fit(scaler.transform(train), on.pixels.labels[on.train])
    expected = probe.predict_proba(scaler.transform(features(backbone, on, on.validation)))
    np.testing.assert_allclose(asked_of(backbone, on, on.validation), expected, atol=1e-4)


def test_validation_and_test_images_have_no_say(tmp_path: Path) -> None:
    on = data()
    labels, others = on.pixels.labels.copy(), np.setdiff1d(np.arange(60), on.train)
    labels[others] = (labels[others] + 1) % 3
    changed = on.pixels.images.copy()
    changed[others] = 255 - changed[others]
    elsewhere = on._replace(pixels=on.pixels._replace(images=changed, labels=labels))
    for chosen in (PROBE, replace(FROZEN, feature_selection=Anova(k=3))):
        ours, theirs = (
            prepared(tmp_path / str(i), chosen, on=o) for i, o in enumerate((on, elsewhere))
        )
        torch.testing.assert_close(ours.head.weight, theirs.head.weight, rtol=1e-5, atol=1e-6)
        labels_train = labels.copy()
        labels_train[on.train] = (labels_train[on.train] + np.arange(36) % 2) % 3
        other = on._replace(pixels=on.pixels._replace(labels=labels_train))
        differing = prepared(tmp_path, chosen, on=other)
        assert not torch.allclose(ours.head.weight, differing.head.weight)


def test_the_probe_weighs_images_as_the_loss_does(tmp_path: Path) -> None:
    on = data()
    own = np.random.default_rng(0).uniform(0.2, 5, 60).astype(np.float32)
    few = on._replace(train=np.sort(np.concatenate([on.train[::3][:12], on.train[1::3][:4]])))
    one = prepared(tmp_path, PROBE).head.weight
    heavy = prepared(tmp_path, PROBE, on=on._replace(weights=own)).head.weight
    assert not torch.allclose(one, heavy)
    by_loss, by_sampling, plain = (
        prepared(tmp_path, replace(PROBE, class_balance=balance), on=few).head.weight
        for balance in (LossBalance(beta=1.0), SamplingBalance(), PROBE.class_balance)
    )
    assert torch.equal(by_loss, by_sampling)
    assert not torch.allclose(by_loss, plain)


def test_rows_of_absent_classes_stay_as_drawn(tmp_path: Path) -> None:
    on = data()
    two = on._replace(train=on.train[on.pixels.labels[on.train] != 1])
    drawn = tiny_backbone(dropout=0.0, seed=0).head
    head = prepared(tmp_path, PROBE, on=two).head
    assert torch.equal(head.weight[1], drawn.weight[1])
    assert not torch.equal(head.weight[0], drawn.weight[0])
    torch.testing.assert_close(head.weight[0], -head.weight[2])
    single = on._replace(train=on.train[on.pixels.labels[on.train] == 1])
    with pytest.raises(
        RequestError, match=r"space.head_init = probe: .* a single class — write ra"
    ):
        prepared(tmp_path, PROBE, on=single)


@pytest.mark.parametrize(("selection", "head_init"), [(Chi2(k=3), "random"), (Anova(k=3), "probe")])
def test_unselected_features_never_come_back(
    selection: Chi2 | Anova, head_init: Any, tmp_path: Path
) -> None:
    chosen = replace(FROZEN, feature_selection=selection, head_init=head_init)
    chosen = replace(chosen, weight_decay=0.1, l1=0.01, dropout=0.2, ema_decay=0.5)
    for optimizer in (chosen.optimizer, Adam(beta1=0.9, beta2=0.9), AdamW(beta1=0.9, beta2=0.9)):
        backbone = prepared(tmp_path, chosen)
        before = backbone.head.weight.detach().clone()
        training = trainer(replace(chosen, optimizer=optimizer), backbone=backbone)
        list(training.epochs())
        training.finish()
        seen = backbone.head.weight.abs().sum(0) != 0
        assert int(seen.sum()) == 3
        assert torch.equal(seen, before.abs().sum(0) != 0)
        # What is saved answers alike in a network that was never told of a selection.
        fresh = tiny_backbone(dropout=0.0, seed=5)
        fresh.model.load_state_dict(backbone.model.state_dict())
        on, rows = data(), data().validation
        np.testing.assert_array_equal(asked_of(fresh, on, rows), asked_of(backbone, on, rows))


def test_a_selected_head_is_a_linear_layer_of_those_features(tmp_path: Path) -> None:
    backbone = prepared(tmp_path, replace(FROZEN, feature_selection=Anova(k=3)))
    head = backbone.head.train()
    kept = head.weight.abs().sum(0) != 0
    inputs = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    narrow = torch.nn.functional.linear(inputs[:, kept], head.weight[:, kept], head.bias)
    torch.testing.assert_close(head(inputs), narrow)
    head(inputs).square().sum().backward()  # type: ignore[no-untyped-call]
    assert head.weight.grad is not None
    assert head.weight.grad[:, ~kept].abs().sum() == 0


def test_features_that_do_not_allow_it_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        RequestError, match=r"anova with k = 9 on resnet18: there are 8 features — "
    ):
        prepared(tmp_path, replace(FROZEN, feature_selection=Anova(k=9)))

    on, backbone = data(), tiny_backbone(dropout=0.0, seed=0)
    backbone.model.set_submodule("layer4.2", torch.nn.Identity())
    negative = cut(backbone.model)
    start = HeadStart(store(tmp_path), device=CPU)
    with pytest.raises(RequestError, match=r"chi2 with k = 2 .* never negative.* — take anova"):
        start.prepare(negative, replace(FROZEN, feature_selection=Chi2(k=2)), data=on, seed=0)


def test_what_was_found_is_found_once_and_belongs_to_its_fold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    probe = head_init.fit_probe

    def counted(found: np.ndarray, *args: Any, **settings: Any) -> Any:
        asked.append(len(found))
        return probe(found, *args, **settings)

    monkeypatch.setattr(head_init, "fit_probe", counted)
    on = data()
    part = on._replace(train=on.train[:30])
    start = HeadStart(store(tmp_path), device=CPU)
    heads = []
    for fold in (on, part, on, part):
        backbone = tiny_backbone(dropout=0.0, seed=0)
        start.prepare(backbone, PROBE, data=fold, seed=0)
        heads.append(backbone.head.weight.detach().clone())
    assert asked == [36, 30]
    assert torch.equal(heads[0], heads[2])
    assert torch.equal(heads[1], heads[3])
    assert not torch.equal(heads[0], heads[1])


def test_a_random_start_has_features_of_its_own_seed(tmp_path: Path) -> None:
    chosen = replace(FROZEN, init="random", feature_selection=Anova(k=3))
    start = HeadStart(store(tmp_path), device=CPU)
    kept = []
    for seed in (0, 1):
        backbone = tiny_backbone(dropout=0.0, seed=seed)
        start.prepare(backbone, chosen, data=data(), seed=seed)
        alone = tiny_backbone(dropout=0.0, seed=seed)
        HeadStart(store(tmp_path), device=CPU).prepare(alone, chosen, data=data(), seed=seed)
        assert torch.equal(backbone.head.weight, alone.head.weight)
        kept.append(backbone.head.weight != 0)
    assert not torch.equal(*kept)


FOLDS = ("data.split.folds=3", "data.split.test=0.4", "data.labels_per_class=null")
Bench = Callable[..., tuple[Workbench, TrainJob]]


@pytest.fixture
def bench(study: Study, tmp_path: Path) -> Bench:
    """A workbench of 60 images in three folds, and a job for some of them."""

    def make(folds: tuple[int, ...], **params: Any) -> tuple[Workbench, TrainJob]:
        config = study(*FOLDS, "backbone.name=resnet10")
        setting = setting_with(images(), config, tmp_path)
        job = train_job(config, params=params, folds=folds, num_epochs=2, backbone="resnet10")
        return bench_of(setting), job

    return make


def test_each_fold_has_a_probe_of_its_own_and_a_resumed_one_goes_on(bench: Bench) -> None:
    work, job = bench((0, 1, 2), head_init="probe", ema_decay=0.5, freeze_depth=5)
    whole = work.trainer(job)
    assert isinstance(whole, CrossValidation)
    results = [r._replace(seconds=0) for r in whole.epochs()]
    first, second = work.trainer(job), work.trainer(job)
    steps = first.epochs()
    for _ in range(3):
        next(steps)
    second.load_state(first.state())
    assert [r._replace(seconds=0) for r in second.epochs()] == results[3:]
    own = [work.trainer(replace(job, run=replace(job.run, folds=(fold,)))) for fold in range(3)]
    heads = [t.backbone.head.weight for t in own]
    assert not torch.equal(heads[0], heads[1])
    for fold, training in enumerate(own):
        alone = [r._replace(seconds=0, epoch=r.epoch + 2 * fold) for r in training.epochs()]
        assert alone == results[2 * fold : 2 * fold + 2]


def test_saved_weights_tell_the_selection(bench: Bench, tmp_path: Path) -> None:
    params = {"feature_selection": "chi2", "feature_selection.chi2.k": 40, "freeze_depth": 5}
    work, job = bench((0,), **params)
    training = work.trainer(job)
    assert isinstance(training, Trainer)
    list(training.epochs())
    training.finish()
    work.save_weights(training.backbone, "w")
    saved = load_file(weights_path(tmp_path, "w"))
    assert int((saved["fc.weight"].abs().sum(0) != 0).sum()) == 40
    assert same(saved, weights(training))
