"""torchvision's networks by name: built, cut into layer groups, frozen, loaded with weights."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.models.resnet import BasicBlock, ResNet

from tlsearch.config.catalog import CATALOGUE, PREFIX, TIMM, BackboneFacts, group_of, groups
from tlsearch.errors import RequestError, WeightsError, nearest
from tlsearch.models.layer_groups import stages_of


def build_timm(name: str, *, num_classes: int) -> nn.Module:
    """The network with random weights, by its name in a study (`timm/resnet18d`).

    Raises:
        RequestError: timm is not installed, or has no such network.
    """
    timm = _timm(name)
    try:
        model: nn.Module = timm.create_model(
            name.removeprefix(PREFIX), pretrained=False, num_classes=num_classes
        )
    except RuntimeError as error:
        raise RequestError(
            f"backbone.name = {name!r}: the installed timm {timm.__version__} has no such network "
            f"({error}) — update it: pip install --upgrade timm"
        ) from None
    return model


def fetch_timm(name: str, *, tag: str) -> dict[str, Tensor]:
    """The published state dict, head included, through timm's own hub client and cache.

    Raises:
        RequestError: timm is not installed.
        WeightsError: the weights are unknown to this timm, or cannot be fetched.
    """
    timm = _timm(name)
    try:
        model = timm.create_model(f"{name.removeprefix(PREFIX)}.{tag}", pretrained=True)
    except Exception as error:  # the hub's client raises kinds of its own, by version
        summary = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"backbone.weights = {tag!r} of {name}: timm could not fetch them ({summary}) — "
            "give a file of this network, or choose glyphs or none"
        ) from None
    return dict(model.state_dict())


def _timm(name: str) -> Any:
    """The only import of timm, and a late one."""
    found: Any = None
    with suppress(ImportError):
        found = import_module("timm")
    if not hasattr(found, "create_model"):  # a folder called timm passes for an empty package
        raise RequestError(
            f"backbone.name = {name!r}: needs timm, which is not installed — pip install timm"
        )
    return found


Channels = tuple[float, float, float]

MEAN: Channels = (0.485, 0.456, 0.406)
STD: Channels = (0.229, 0.224, 0.225)
_OTHER_NORMALISATION: Mapping[str, tuple[Channels, Channels]] = {
    "efficientnet_v2_l": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "timm/tf_efficientnet_lite0": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}


def normalisation(name: str) -> tuple[Channels, Channels]:
    """Mean and standard deviation per channel, of images in 0 … 1, that `name` was trained with."""
    return _OTHER_NORMALISATION.get(name, (MEAN, STD))


class Head(nn.Linear):
    """The last layer, (N, features) → logits (N, classes), with dropout on its input.

    A subclass, so that the names in a state dict stay torchvision's (`fc.weight`).
    """

    dropout: float
    selected: Tensor | None

    def __init__(self, in_features: int, num_classes: int, *, dropout: float, device: str) -> None:
        super().__init__(in_features, num_classes, device=device)
        self.dropout = dropout
        self.register_buffer("selected", None, persistent=False)

    @torch.no_grad()
    def select(self, features: Tensor) -> None:
        """See some features alone, bool (features,), from now on.

        The weights of all others are 0 and stay 0, so they tell the selection wherever they go.
        """
        self.selected = features.to(self.weight)
        self.weight.mul_(self.selected)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (the name that nn.Linear has)
        """Logits of the features."""
        seen = input if self.selected is None else input * self.selected
        return super().forward(F.dropout(seen, self.dropout, self.training))


@dataclass(frozen=True, kw_only=True, eq=False)
class Backbone:
    """A network with its layer groups; `stages` are modules of `model` in order, one per group."""

    name: str
    model: nn.Module
    groups: tuple[str, ...]
    stages: tuple[nn.Module, ...]

    @property
    def facts(self) -> BackboneFacts:
        """What is known of it without torch."""
        return CATALOGUE[self.name]

    @property
    def head(self) -> Head:
        """The last stage."""
        return cast(Head, self.stages[-1])


def build_backbone(
    *, name: str, num_classes: int, image_size: int, dropout: float, seed: int
) -> Backbone:
    """A network with random weights that depend on `seed` alone; torch's generator stays as it was.

    Under `torch.device("meta")` it costs no memory, and has no weights.

    Raises:
        RequestError: the name is unknown, or the network cannot take images of this size.
    """
    if name not in CATALOGUE:
        raise RequestError(
            f"backbone = {name!r}: unknown. {nearest(name, list(CATALOGUE))}".strip()
        )
    facts = CATALOGUE[name]
    if image_size < facts.min_size or image_size % facts.size_multiple:
        multiple = f" and a multiple of {facts.size_multiple}" if facts.size_multiple > 1 else ""
        raise RequestError(
            f"data.size = {image_size}: {name} takes images of at least {facts.min_size} px"
            f"{multiple}"
        )
    # Only a ViT depends on the size: it has one position embedding per patch.
    size = {"image_size": image_size} if facts.family == "vit" else {}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if name == "resnet10":
            model: nn.Module = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=num_classes)
        elif name in TIMM:
            model = build_timm(name, num_classes=num_classes)
        else:
            model = get_model(name, weights=None, num_classes=num_classes, **size)
    _replace_head(model, facts, dropout)
    return Backbone(name=name, model=model, groups=groups(facts), stages=stages_of(model, facts))


def _replace_head(model: nn.Module, facts: BackboneFacts, dropout: float) -> None:
    """Put a `Head` where torchvision's linear layer was, with its weights. Dropout is the head's
    alone, and in VGG also that between its hidden layers, which torchvision sets to 0.5.
    """
    weight = next(n for n, _ in model.named_parameters() if group_of(facts, n) == "head")
    path = weight.removesuffix(".weight")
    old = model.get_submodule(path)
    assert isinstance(old, nn.Linear)
    head = Head(old.in_features, old.out_features, dropout=dropout, device="meta")
    head.weight, head.bias = old.weight, old.bias
    model.set_submodule(path, head)
    siblings = list(model.get_submodule(path.rpartition(".")[0]).children())
    before = siblings[siblings.index(head) - 1]
    for module in model.modules():
        if isinstance(module, nn.Dropout) and module.p:
            module.p = 0.0 if module is before else dropout


def named_groups(backbone: Backbone) -> dict[str, dict[str, nn.Parameter]]:
    """Every parameter by name, in the one group that owns it; groups from input to head."""
    owned: dict[str, dict[str, nn.Parameter]] = {group: {} for group in backbone.groups}
    for name, parameter in backbone.model.named_parameters():
        owned[group_of(backbone.facts, name)][name] = parameter
    return owned
