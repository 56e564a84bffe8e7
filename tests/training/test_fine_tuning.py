"""Each way of fine-tuning against hand arithmetic and a plain torch loop."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.models.strategies import strategy
from tests.training.small import (
    by_group,
    cut,
    data,
    figures,
    pixels,
    same,
    store,
    tiny_backbone,
    trainer,
    weights,
)
from tlsearch.config.augmentation import Mixup
from tlsearch.config.optimization import AdamW, Sgd
from tlsearch.config.strategy import LossBalance, SamplingBalance
from tlsearch.errors import RequestError
from tlsearch.models.backbones import build_backbone, named_groups
from tlsearch.training.batches import pixel_batch

PLAIN_SGD = Sgd(momentum=0.0, nesterov=False)
WHOLE = strategy(optimizer=PLAIN_SGD, batch_size=36)
"""One step an epoch: all 36 training images are one batch."""

CASES: Mapping[str, dict[str, Any]] = {
    "l2_sp": {"l2_sp": 0.1, "weight_decay": 0.01},
    "surgical": {"trained": "layer1+layer3"},
    "norms": {"trained": "norms"},
    "layer decay": {"layer_decay": 0.7},
    "loss balance": {"class_balance": LossBalance(beta=0.9)},
    "sampling balance": {"class_balance": SamplingBalance()},
    "average": {"ema_decay": 0.9, "dropout": 0.2},
    "all at once, on views": {
        "trained": "layer1+layer3",
        "class_balance": SamplingBalance(),
        "ema_decay": 0.8,
        "l2_sp": 0.1,
        "mixing": Mixup(alpha=0.4),
        "erasing": 0.5,
    },
    "average of what opens": {"ema_decay": 0.5, "freeze_depth": 3, "unfreeze_every_epochs": 1},
}


def uneven() -> Any:
    """Training data with 12, 8 and 4 images of the three classes."""
    on = data()
    labels = on.pixels.labels[on.train]
    picked = [on.train[labels == label][:num] for label, num in enumerate((12, 8, 4))]
    return on._replace(train=np.sort(np.concatenate(picked)))


@pytest.mark.parametrize("case", CASES)
def test_a_seed_fixes_everything_and_kept_activations_change_nothing(
    case: str, tmp_path: Path
) -> None:
    chosen = strategy(**CASES[case])
    first, second = (trainer(chosen, on=uneven(), activations=a) for a in (None, store(tmp_path)))
    plain, other = trainer(on=uneven()), trainer(chosen, on=uneven(), seed=1)
    results = [figures(t.epochs()) for t in (first, second, plain, other)]
    assert results[0] == results[1]
    assert results[0] != results[2], "the strategy does something"
    assert results[0] != results[3]
    for training in (first, second):
        training.finish()
    assert same(weights(first), weights(second))


@pytest.mark.parametrize("trained", ["layer3+stem", "layer4+head"])
def test_named_groups_and_the_head_train_alone(trained: str) -> None:
    chosen = strategy(trained=trained, weight_decay=0.1, decay_norm_and_bias=True, l1=0.01)
    training = trainer(replace(chosen, dropout=0.2), num_epochs=2)
    before = by_group(training.backbone)
    list(training.epochs())
    for group, found in by_group(training.backbone).items():
        for name, value in found.items():
            moves = group in trained.split("+") or group == "head"
            assert torch.equal(before[group][name], value) != moves, name


def test_what_stands_before_the_first_named_group_is_kept(tmp_path: Path) -> None:
    training = trainer(strategy(trained="layer2+layer3"), activations=store(tmp_path))
    assert training.forward.begin == 2
    list(training.epochs())
    assert set(training.state()["model"]) == {
        name
        for group in ("layer2", "layer3", "head")
        for name in by_group(training.backbone)[group]
    }


@pytest.mark.parametrize(
    "name",
    [
        "resnet10",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("convnext_tiny", "swin_t")),
    ],
)
def test_norms_and_the_head_train_alone_statistics_included(name: str) -> None:
    size = 32
    backbone = build_backbone(name=name, num_classes=3, image_size=size, dropout=0.0, seed=0)
    nn.init.normal_(backbone.head.weight, std=0.1)
    few = pixels(num_images=10, size=size)
    chosen = strategy(trained="norms", weight_decay=0.1, decay_norm_and_bias=True, lr=0.01)
    training = trainer(chosen, num_epochs=1, backbone=backbone, on=data(few))
    kinds = {
        f"{path}.{leaf}" if path else leaf: module
        for path, module in backbone.model.named_modules()
        for leaf, _ in (
            *module.named_parameters(recurse=False),
            *module.named_buffers(recurse=False),
        )
    }
    before = weights(training)
    list(training.epochs())
    moved = {n for n, v in weights(training).items() if not torch.equal(before[n], v)}
    norms = (nn.BatchNorm2d, nn.LayerNorm)
    assert moved == {
        name
        for name, module in kinds.items()
        if name in before and (isinstance(module, norms) or module is backbone.head)
    }


def test_norms_cannot_train_where_there_are_none() -> None:
    with pytest.raises(RequestError, match="resnet18 has no normalisation layers — name layer gro"):
        trainer(strategy(trained="norms"), backbone=without_norms())


def without_norms() -> Any:
    built = tiny_backbone(dropout=0.0, seed=0)
    for name, module in list(built.model.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            built.model.set_submodule(name, nn.Identity())
    return cut(built.model)


def bare_l2_sp(chosen: Any, *, pull: float, head_decay: float, steps: int) -> dict[str, Tensor]:
    """Full batches, the penalty as a term of the loss, gradients by torch."""
    on, backbone = data(), tiny_backbone(dropout=0.0, seed=0)
    model = backbone.model.to(memory_format=torch.channels_last).train()
    start = {n: p.detach().clone() for n, p in model.named_parameters()}
    images = pixel_batch(on.pixels, on.train, device=torch.device("cpu"))
    labels = torch.from_numpy(on.pixels.labels[on.train])
    for _ in range(steps):
        loss = F.cross_entropy(model(images), labels)
        for name, p in model.named_parameters():
            if p.ndim > 1:
                is_head = name.startswith("fc.")
                to = torch.zeros_like(p) if is_head else start[name]
                loss = loss + (head_decay if is_head else pull) / 2 * ((p - to) ** 2).sum()
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for p, gradient in zip(model.parameters(), gradients, strict=True):
                p -= chosen.lr * gradient
    return {name: p.detach() for name, p in model.named_parameters()}


def test_l2_sp_is_the_papers_penalty_in_the_loss() -> None:
    chosen = replace(WHOLE, l2_sp=3.0, weight_decay=0.7, lr=0.1)
    training = trainer(chosen, num_epochs=3)
    list(training.epochs())
    by_hand, unpulled = (
        bare_l2_sp(chosen, pull=pull, head_decay=0.7, steps=3) for pull in (3.0, 0.0)
    )
    for name, p in training.backbone.model.named_parameters():
        torch.testing.assert_close(p.detach(), by_hand[name], rtol=1e-3, atol=1e-4)
    far = [by_hand[name] - unpulled[name] for name in by_hand]
    assert nn.utils.get_total_norm(far) > 0.05


def test_a_decoupled_decay_spares_the_body_under_l2_sp() -> None:
    adamw = AdamW(beta1=0.9, beta2=0.999)
    training = trainer(strategy(l2_sp=0.1, weight_decay=0.3, optimizer=adamw, lr=1e-3))
    decays = {
        (row["name"] == "head", row["decayed"]): row["weight_decay"]
        for row in training.optimizer.param_groups
    }
    assert decays == {
        (False, True): 0.0,
        (False, False): 0.0,
        (True, True): 0.3,
        (True, False): 0.0,
    }
    assert set(named_groups(training.backbone)) == {
        row["name"] for row in training.optimizer.param_groups
    }
