"""A network, images and trainings small enough to repeat many times."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.models.lively import named_buffers
from tests.models.strategies import strategy
from tlsearch.config.catalog import CATALOGUE
from tlsearch.config.strategy import Strategy
from tlsearch.models.backbones import MEAN, STD, Backbone, Head, named_groups
from tlsearch.models.layer_groups import Owners, stages_of
from tlsearch.training.augmentation import Stage
from tlsearch.training.batches import Pixels, TrainingData
from tlsearch.training.feature_cache import ActivationStore
from tlsearch.training.multi_task import SecondTask
from tlsearch.training.plan import make_plan
from tlsearch.training.precision import Numerics
from tlsearch.training.results import EpochResult
from tlsearch.training.trainer import Trainer

CPU = torch.device("cpu")
CLASSES = 3
SIZE = 12


class TinyNet(nn.Module):
    """Six layer groups with resnet18's names, BatchNorm and all, and 2,000 weights."""

    def __init__(self, *, dropout: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU()
        self.maxpool = nn.Identity()
        for name in ("layer1", "layer2", "layer3", "layer4"):
            layer = nn.Sequential(
                nn.Conv2d(8, 8, 3, padding=1, bias=False),
                nn.BatchNorm2d(8),
                nn.ReLU(),
                nn.Dropout(0.1 if dropout else 0.0),
            )
            self.add_module(name, layer)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = Head(8, CLASSES, dropout=dropout, flattens=False, device="cpu")

    def forward(self, images: Tensor) -> Tensor:
        images = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        images = self.layer4(self.layer3(self.layer2(self.layer1(images))))
        found: Tensor = self.fc(torch.flatten(self.avgpool(images), 1))
        return found


def tiny_backbone(*, dropout: float, seed: int) -> Backbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return cut(TinyNet(dropout=dropout))


def cut(model: TinyNet) -> Backbone:
    """The network in its stages, as they are now."""
    facts = CATALOGUE["resnet18"]
    owners = Owners(model, facts)
    stages, starts = stages_of(model, owners, facts, model.fc)
    return Backbone(
        facts=facts,
        normalisation=facts.normalisation,
        model=model,
        head=model.fc,
        groups=owners.groups,
        owners=owners,
        stages=stages,
        starts=starts,
    )


def pixels(
    *, num_images: int = 60, size: int = SIZE, channels: int = 3, seed: int = 0, noise: int = 60
) -> Pixels:
    """Classes of different brightness under noise, so that there is something to learn."""
    draw = np.random.default_rng(seed)
    labels = np.arange(num_images) % CLASSES
    images = draw.integers(0, noise, (num_images, size, size, channels))
    images += (30 * labels)[:, None, None, None]
    return Pixels(images=images.astype(np.uint8), labels=labels, mean=MEAN, std=STD)


def data(of: Pixels | None = None) -> TrainingData:
    """Of ten images in a row, six train, two validate."""
    images = of or pixels()
    rows = np.arange(len(images.labels))
    return TrainingData(
        images,
        train=rows[rows % 10 < 6],
        validation=rows[rows % 10 > 7],
        num_classes=CLASSES,
        weights=None,
    )


def store(folder: Any, *, of: Pixels | None = None, **changes: Any) -> ActivationStore:
    settings = {"data_key": "data", "numerics": Numerics("fp32"), **changes}
    return ActivationStore(folder, pixels=of or pixels(), **settings)


def trainer(
    chosen: Strategy | None = None,
    *,
    num_epochs: int = 3,
    seed: int = 0,
    metric: str = "val_accuracy",
    activations: ActivationStore | None = None,
    backbone: Backbone | None = None,
    on: TrainingData | None = None,
    numerics: Numerics | None = None,
    measure_updates: bool = False,
    adaptation: Stage | None = None,
    second_task: Callable[[Backbone], SecondTask] | None = None,
) -> Trainer:
    chosen, on = chosen or strategy(), on or data()
    backbone = backbone or tiny_backbone(dropout=chosen.dropout, seed=0)
    plan = make_plan(
        chosen,
        groups=backbone.groups,
        num_train_images=len(on.train),
        num_epochs=num_epochs,
    )
    return Trainer(
        backbone,
        plan=plan,
        data=on,
        activations=activations,
        metric=metric,
        seed=seed,
        numerics=numerics or Numerics("fp32"),
        device=CPU,
        measure_updates=measure_updates,
        adaptation=adaptation,
        second_task=second_task(backbone) if second_task else None,
    )


def figures(results: Iterable[EpochResult]) -> list[EpochResult]:
    """Results without the time that they took."""
    return [result._replace(seconds=0.0) for result in results]


def weights(of: Trainer) -> dict[str, Tensor]:
    """A copy of all parameters and buffers."""
    return {k: v.clone() for k, v in of.backbone.model.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Whether two states agree to the last bit."""
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def by_group(backbone: Backbone) -> dict[str, dict[str, Tensor]]:
    """A copy of parameters and buffers by layer group."""
    parameters, buffers = named_groups(backbone), named_buffers(backbone)
    return {
        group: {k: v.detach().clone() for k, v in {**parameters[group], **buffers[group]}.items()}
        for group in backbone.groups
    }
