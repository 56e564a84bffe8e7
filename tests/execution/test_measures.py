"""Measures of real, tiny trainings, against what can be known of them."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.execution.test_source import glyph_task
from tests.models.strategies import strategy
from tests.training.small import CPU, pixels, store, tiny_backbone, trainer
from tlsearch.config.augmentation import Moments
from tlsearch.execution.measures import Trained
from tlsearch.execution.source import SourceTask
from tlsearch.metrics.registry import MEASURES, take_measures
from tlsearch.models.backbones import Backbone
from tlsearch.training.batches import pixel_batch
from tlsearch.training.checkpoint import Checkpointer
from tlsearch.training.domain_adaptation import stage_of
from tlsearch.training.multi_task import SecondTask
from tlsearch.training.precision import Numerics
from tlsearch.training.trainer import Trainer

TEST = np.arange(60)[np.arange(60) % 10 // 6 == 1][:20]  # neither trains; two in four validate
BODY = ("stem", "layer1", "layer2", "layer3", "layer4")


def start() -> Backbone:
    """The network that every training here starts from."""
    return tiny_backbone(dropout=0.0, seed=0)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], SourceTask]:
    weights = tmp_path_factory.mktemp("cache") / "weights.safetensors"
    weights.write_bytes(b"of the tiny network")
    return cache(lambda: glyph_task(start(), weights=weights))


def ended(of: Trainer, **changes: Any) -> Trained:
    """The training once it has come to its end."""
    list(of.epochs())
    settings: dict[str, Any] = {"test": TEST, "pretrained": start, "source": None}
    return Trained(trainer=of, result=of.finish(), **settings | changes)


def test_only_the_named_measures_are_taken() -> None:
    def forbidden() -> Any:
        raise AssertionError("not asked for")

    of = ended(trainer(num_epochs=2), pretrained=forbidden, source=forbidden)
    assert take_measures((), of) == {}
    assert take_measures(("epochs_spent",), of) == {"epochs_spent": 2}


def test_drift_of_frozen_groups_is_exactly_0(source: Any, tmp_path: Path) -> None:
    training = trainer(strategy(freeze_depth=3), activations=store(tmp_path))
    found = take_measures(("cka_drift", "weight_drift"), ended(training, source=source))
    for name in ("cka_drift", "weight_drift"):
        # The early half of five groups, rounded up: all that is frozen.
        assert [found[f"{name}.{g}"] for g in BODY[:3]] == [0, 0, 0] == [found[name]] * 3
        assert all(found[f"{name}.{g}"] > 0.001 for g in BODY[3:])
    assert len(found) == 12


def test_statistics_of_batch_norm_move_features_but_are_no_weights(source: Any) -> None:
    still = trainer(strategy(lr=1e-30))
    of = ended(still, source=source)
    found = take_measures(("cka_drift", "weight_drift"), of)
    assert found["weight_drift"] == pytest.approx(0, abs=1e-20)
    assert found["cka_drift"] > 0


def test_distance_of_the_weights_by_hand() -> None:
    of = ended(trainer(strategy(freeze_depth=5)))
    first = of.backbone.stages[1][0][0]  # layer1's convolution; its norm's weights are 1, biases 0
    size = float(first.weight.detach().norm()) ** 2 + 8
    with torch.no_grad():
        first.weight[0, 0, 0, 0] += 2
    found = take_measures(("weight_drift",), of)
    assert found["weight_drift.layer1"] == pytest.approx(2 / math.sqrt(size), rel=1e-5)
    assert found["weight_drift"] == pytest.approx(found["weight_drift.layer1"] / 3)


def test_what_cannot_be_taken_is_not_a_number() -> None:
    of_source = ("cka_drift", "source_accuracy", "domain_distance", "adapted_distance")
    training = trainer(num_epochs=1)
    own_file = take_measures((*of_source, "weight_drift"), ended(training))
    assert len(own_file) == 6 + 1 + 3 + 3 + 6
    known = {name for name, value in own_file.items() if not math.isnan(value)}
    assert known == {"weight_drift", *(f"weight_drift.{group}" for group in BODY)}
    scratch = Trained(
        trainer=training, result=training.finish(), test=TEST, pretrained=None, source=None
    )
    found = take_measures(("cka_drift", "weight_drift", "oscillation"), scratch)
    assert all(math.isnan(value) for value in found.values())


def test_the_source_is_kept_where_nothing_moves_and_lost_where_all_does(source: Any) -> None:
    before = source().accuracy(source().pretrained_features[-1])
    assert before > 2 / 36  # random features tell some characters from others
    frozen = ended(trainer(strategy(freeze_depth=5)), source=source)
    moved = ended(trainer(strategy(lr=0.5)), source=source)
    accuracies = [take_measures(("source_accuracy",), of) for of in (frozen, moved)]
    assert accuracies[0] == {"source_accuracy": before}
    assert accuracies[1]["source_accuracy"] < before


def test_course_of_the_training() -> None:
    of = ended(trainer(strategy(lr=0.01), num_epochs=6, measure_updates=True))
    names = (
        "oscillation", "epochs_to_share", "epochs_spent", "seconds", "images_per_second",
        "early_gradient_norm", "largest_step_norm",
    )  # fmt: skip
    found = take_measures(names, of)
    assert tuple(found) == names
    losses = [e.val_loss for e in of.result.epochs]
    assert found["oscillation"] == pytest.approx(abs(losses[-1] - losses[-2]) / math.sqrt(2))
    enough = [e.epoch for e in of.result.epochs if e.val_accuracy >= 0.95 * of.chosen.val_accuracy]
    assert found["epochs_to_share"] == enough[0]
    assert found["epochs_spent"] == 6
    assert found["seconds"] == sum(e.seconds for e in of.result.epochs)
    assert found["images_per_second"] == pytest.approx(6 * 36 / of.trainer.step_seconds)
    # No timing but a sum and one of its parts: an epoch is its steps and the validation.
    assert 0 < of.trainer.step_seconds < found["seconds"]
    assert len(of.trainer.steps.gradients) == 30
    assert found["early_gradient_norm"] == max(of.trainer.steps.gradients[:3])
    assert found["largest_step_norm"] == of.trainer.steps.largest_update > 0


def test_gap_between_training_and_validation() -> None:
    of = ended(trainer(strategy(lr=0.01, dropout=0.5)))
    data, model = of.trainer.data, of.backbone.model
    rates = []
    with torch.no_grad():
        for rows in (data.train, data.validation):
            scores = model.eval()(pixel_batch(data.pixels, rows, device=CPU))
            rates.append((scores.argmax(1).numpy() == data.pixels.labels[rows]).mean())
    found = take_measures(("generalisation_gap",), of)
    assert found["generalisation_gap"] == pytest.approx(rates[0] - rates[1])


def test_weights_are_those_of_the_groups_that_trained() -> None:
    head_alone = ended(trainer(strategy(freeze_depth=5), num_epochs=1))
    with torch.no_grad():
        head_alone.backbone.head.weight.zero_()
        head_alone.backbone.head.weight[0, :3] = torch.tensor([3.0, 1e-3, 0.1])
        head_alone.backbone.head.bias.copy_(torch.tensor([0.0, 4.0, 0.0]))
    found = take_measures(("sparsity", "weight_norm"), head_alone)
    assert found["sparsity"] == pytest.approx(22 / 24)  # of 3 × 8 weights; biases are none
    # 3, 0.001 and 0.1; the bias of 4 is out of a penalty's reach.
    assert found["weight_norm"] == pytest.approx(math.sqrt(9 + 1e-6 + 0.01))


def test_groups_that_open_after_the_chosen_epoch_did_not_train() -> None:
    # At this rate no epoch improves on the first, whose weights are restored.
    chosen = strategy(freeze_depth=5, unfreeze_every_epochs=1, lr=1e-9, patience_epochs=2)
    of = ended(trainer(chosen, num_epochs=4))
    assert (of.chosen.epoch, of.trainer.forward.begin) == (1, 3)
    (weight,) = of.penalised_weights
    assert np.array_equal(weight, of.backbone.head.weight.detach())


@pytest.mark.parametrize(
    ("trained", "groups"),
    [("norms", {"fc"}), ("layer2", {"layer2", "fc"}), ("stem+layer4", {"conv1", "layer4", "fc"})],
)
def test_of_named_groups_what_trained_is_measured(trained: str, groups: set[str]) -> None:
    of = ended(trainer(strategy(trained=trained), num_epochs=1))
    names = {
        p.detach().numpy().tobytes(): name.split(".")[0]
        for name, p in of.backbone.model.named_parameters()
    }
    assert {names[weight.tobytes()] for weight in of.penalised_weights} == groups
    drifts = take_measures(("weight_drift",), replace(of, pretrained=start))
    still = {g for g in of.groups if drifts[f"weight_drift.{g}"] == 0}
    opened = set(of.groups) if trained == "norms" else set(trained.split("+"))
    assert still == set(of.groups) - opened


def test_noise_scale_is_near_that_of_all_images() -> None:
    of = ended(trainer(strategy(lr=1e-30), num_epochs=1))
    data, model = of.trainer.data, of.backbone.model.eval()
    gradients = []
    for row in data.train:
        loss = F.cross_entropy(
            model(pixel_batch(data.pixels, np.array([row]), device=CPU)),
            torch.from_numpy(data.pixels.labels[[row]]),
        )
        each = torch.autograd.grad(loss, list(model.parameters()))
        gradients.append(torch.cat([g.flatten() for g in each]).numpy())
    mean = np.mean(gradients, axis=0)
    exact = float(((gradients - mean) ** 2).sum(axis=1).mean() / (mean**2).sum())
    (found,) = take_measures(("noise_scale",), of).values()
    assert found == pytest.approx(exact, rel=0.3)


def test_attacks_cost_accuracy() -> None:
    on = trainer(strategy(lr=0.01), num_epochs=6).data._replace(pixels=pixels(num_images=400))
    test = np.arange(100, 400)
    of = ended(trainer(strategy(lr=0.01), num_epochs=6, on=on), test=test)
    before = {k: v.clone() for k, v in of.backbone.model.state_dict().items()}
    found = take_measures(("robust_accuracy",), of)
    logits, labels = of.trainer.forward.evaluate(test)
    clean = float((logits.argmax(1) == labels).float().mean())
    assert set(found) == {"robust_accuracy", "robust_accuracy.fgsm", "robust_accuracy.pgd"}
    assert found["robust_accuracy"] == found["robust_accuracy.pgd"]
    assert found["robust_accuracy.pgd"] <= found["robust_accuracy.fgsm"] < clean - 0.05
    assert found["robust_accuracy.pgd"] * 200 == pytest.approx(
        round(found["robust_accuracy.pgd"] * 200)
    )
    assert take_measures(("robust_accuracy",), of) == found
    assert all(torch.equal(before[k], v) for k, v in of.backbone.model.state_dict().items())


def test_domains_and_what_adaptation_does_to_them(source: Any) -> None:
    pixels, rows = source().held_out
    moments = stage_of(Moments(strength=1.0), source=pixels, among=rows, seed=0)
    assert moments is not None
    names = ("domain_distance", "adapted_distance")
    plain = take_measures(names, ended(trainer(strategy(lr=1e-30)), source=source))
    adapted = ended(trainer(strategy(lr=1e-30), adaptation=moments), source=source)
    found = take_measures(names, adapted)
    assert plain["adapted_distance"] == 1
    before, after = (found[f"adapted_distance.{name}"] for name in ("before", "after"))
    assert before == plain["adapted_distance.before"] == plain["adapted_distance.after"] > 0
    # Noise around a grey has other moments than a black stroke on white, and those it gets.
    assert found["adapted_distance"] == after / before < 0.9
    assert found["domain_distance"] > 0
    error, proxy = (found[f"domain_distance.{name}"] for name in ("error", "proxy_a"))
    assert 0 <= error <= 0.5
    assert proxy == 2 - 4 * error


def test_the_source_is_read_by_the_same_probe_and_beside_it_by_the_head_that_learnt_it(
    source: Any,
) -> None:
    pixels, rows = source().held_out

    def second(backbone: Backbone) -> SecondTask:
        return SecondTask(
            backbone,
            head=source().head(),
            pixels=pixels,
            rows=rows,
            key="k",
            weight=1.0,
            activations=None,
            numerics=Numerics("fp32"),
            device=CPU,
            seed=0,
        )

    def measured(lr: float, task: Any, epochs: int = 3) -> dict[str, float]:
        chosen = strategy(freeze_depth=5, lr=lr)
        of = trainer(chosen, num_epochs=epochs, second_task=task)
        return take_measures(("source_accuracy",), ended(of, source=source))

    alone, still, learnt = measured(1e-30, None), measured(1e-30, second), measured(0.02, second, 8)
    # Until it learns, that head is the probe.
    assert still == {**alone, "source_accuracy.head": alone["source_accuracy"]}
    # The features stand still, and so does what the probe reads off them.
    assert learnt["source_accuracy"] == still["source_accuracy"]
    assert learnt["source_accuracy.head"] != still["source_accuracy.head"]


def test_an_interrupted_training_has_the_measures_of_one_that_was_not(
    source: Any, tmp_path: Path
) -> None:
    def make() -> Trainer:
        chosen = strategy(freeze_depth=2, unfreeze_every_epochs=2, lr=0.01, dropout=0.2)
        folder = tmp_path / "activations"
        return trainer(chosen, num_epochs=4, activations=store(folder), measure_updates=True)

    names = tuple(n for n in MEASURES if n not in ("seconds", "images_per_second"))
    whole = take_measures(names, ended(make(), source=source))
    assert all(math.isfinite(value) for value in whole.values())
    first, second = make(), make()
    epochs = first.epochs()
    next(epochs)
    next(epochs)
    keeper = Checkpointer(tmp_path / "trial.ckpt", cost_share=0.02)
    keeper.save(first)
    assert keeper.restore(second)
    assert take_measures(names, ended(second, source=source)) == whole
