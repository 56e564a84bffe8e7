"""A network by name: built, cut into layer groups, loaded with weights."""

from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.models.resnet import BasicBlock, ResNet

from tlsearch.config.catalog import (
    CATALOGUE,
    IMAGENET,
    OWN,
    PREFIX,
    BackboneFacts,
    Normalisation,
    group_of,
    reuse,
)
from tlsearch.errors import RequestError, WeightsError, nearest, refused
from tlsearch.models.depthwise import speed_up_depthwise
from tlsearch.models.layer_groups import Body, Owners, stages_of
from tlsearch.models.own import own_model


def fetch_timm(name: str, *, tag: str) -> dict[str, Tensor]:
    """The published state dict, head included, through timm's own hub client and cache.

    Raises:
        WeightsError: the weights are unknown to this timm, or cannot be fetched.
    """
    import timm

    try:
        model = timm.create_model(f"{name.removeprefix(PREFIX)}.{tag}", pretrained=True)
    except Exception as error:  # the hub's client raises kinds of its own, by version
        raise WeightsError(
            f"backbone.weights = {tag!r} of {name}: timm could not fetch them "
            f"({one_line(error)}) — give a file of this network, or choose glyphs or none"
        ) from None
    return dict(model.state_dict())


MEAN, STD = IMAGENET


class Head(nn.Linear):
    """The last layer, (N, features) → logits (N, classes), with dropout on its input.

    A subclass, so that the names in a state dict stay the library's (`fc.weight`). One that stands
    for a convolution of 1×1, `flattens`, takes (N, features, 1, 1) as well.
    """

    dropout: float
    flattens: bool
    selected: Tensor | None

    def __init__(
        self, in_features: int, num_classes: int, *, dropout: float, flattens: bool, device: str
    ) -> None:
        super().__init__(in_features, num_classes, device=device)
        self.dropout, self.flattens = dropout, flattens
        self.register_buffer("selected", None, persistent=False)
        self._looks = False

    @torch.no_grad()
    def select(self, features: Tensor) -> None:
        """See some features alone, bool (features,), from now on.

        The weights of all others are 0 and stay 0, so they tell the selection wherever they go.
        """
        self.selected = features.to(self.weight)
        self.weight.mul_(self.selected)

    def seen_by(self, model: nn.Module, images: Tensor) -> Tensor:
        """What the head of a network sees of images: (N, features), tokens averaged. Whatever comes
        after the head does not run.
        """
        self._looks = True
        try:
            model(images)
        except _Seen as seen:
            return seen.features.mean(1) if seen.features.ndim == 3 else seen.features
        finally:
            self._looks = False
        raise AssertionError("the head is part of the network's forward pass")

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (the name that nn.Linear has)
        """Logits of the features."""
        if self.flattens:
            input = input.flatten(1)  # noqa: A001
        if self._looks:
            raise _Seen(input)
        seen = input if self.selected is None else input * self.selected
        return super().forward(F.dropout(seen, self.dropout, self.training))


class _Seen(Exception):  # noqa: N818  (it ends a forward pass, and is no error)
    """Carries what a head sees out of its network's forward pass."""

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.features = features


@dataclass(frozen=True, kw_only=True, eq=False)
class Backbone:
    """A network with its layer groups; `stages` are modules of `model`, one after another, which
    begin with the groups whose numbers are in `starts`. `normalisation` is what its weights want.
    """

    facts: BackboneFacts
    normalisation: Normalisation
    model: nn.Module
    head: Head
    groups: tuple[str, ...]
    owners: Owners
    stages: tuple[nn.Module, ...]
    starts: tuple[int, ...]

    @property
    def name(self) -> str:
        """As a study has it."""
        return self.facts.name

    @property
    def body(self) -> tuple[nn.Module, ...]:
        """The stages to what the head sees; of a network that cannot be cut, a single one."""
        return self.stages[:-1] or (Body(self.model, self.owners, self.head),)

    @property
    def ends_in_head(self) -> bool:
        """Whether the last stage is the head alone."""
        return len(self.stages) > 1 and self.starts[-1] == len(self.groups) - 1

    @property
    def uncut(self) -> str:
        """What of its reuse the facts promise and its forward pass here does not allow, or ""."""
        cuts = self.starts[1:]
        if cuts == self.facts.cuts:
            return ""
        return (
            f"{self.name}: its forward pass cannot be cut here as was expected; "
            f"{reuse(self.facts._replace(cuts=cuts))}"
        )

    def num_stages(self, depth: int) -> int:
        """How many stages lie wholly within the first `depth` layer groups."""
        return sum(start <= depth for start in self.starts[1:])

    def to(
        self, device: torch.device, memory_format: torch.memory_format = torch.channels_last
    ) -> None:
        """Move it, its weights in that order; a stage holds some constants by itself. On a CPU it
        then trains by gradients of our own where torch's are slow.
        """
        if device.type == "cpu":
            speed_up_depthwise(self.model)
        for module in (self.model, *self.stages):
            module.to(device).to(memory_format=memory_format)


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
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = new_model(facts, num_classes=num_classes, image_size=image_size)
    return assembled(model, facts, dropout=dropout)


def new_model(facts: BackboneFacts, *, num_classes: int, image_size: int) -> nn.Module:
    """The network as its library, or its author, gives it, with random weights.

    Raises:
        RequestError: it cannot be built.
    """
    options: dict[str, Any] = dict(facts.options)
    if facts.is_timm:
        if facts.takes_size:
            options["img_size"] = image_size
        return timm_model(facts.name, num_classes=num_classes, **options)
    if facts.family == OWN:
        return own_model(facts.name, num_classes=num_classes)
    if facts.takes_size:
        options["image_size"] = image_size
    if facts.name == "resnet10":  # one block a stage, no published weights, twice as fast
        found = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=num_classes)
    else:
        found = get_model(facts.name, weights=None, num_classes=num_classes, **options)
    return cast(nn.Module, found)


def timm_model(name: str, **options: Any) -> nn.Module:
    """The network by its name in a study (`timm/resnet18d`).

    Raises:
        RequestError: the installed timm has no such network, or cannot build it so.
    """
    import timm

    try:
        model: nn.Module = timm.create_model(name.removeprefix(PREFIX), **options)
    except Exception as error:  # each network has ways of its own to refuse an option
        raise refused(
            "backbone.name",
            repr(name),
            f"timm {timm.__version__} cannot build it ({one_line(error)})",
            "take another data.size or network, or update timm: pip install --upgrade timm",
        ) from None
    return without_dropout(model)


def without_dropout(model: nn.Module) -> nn.Module:
    """A network of timm's that drops nothing before its head by itself, as some do by default."""
    for module in model.modules():
        if hasattr(module, "drop_rate"):
            setattr(module, "drop_rate", 0.0)  # noqa: B010  (of classes that mypy does not see)
    return model


def one_line(error: BaseException) -> str:
    """An error's own words, or its kind where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def assembled(model: nn.Module, facts: BackboneFacts, *, dropout: float) -> Backbone:
    """A network of these facts with a `Head`, and cut into stages."""
    head = _replace_head(model, facts, dropout)
    owners = Owners(model, facts)
    stages, starts = stages_of(model, owners, facts, head)
    return Backbone(
        facts=facts,
        normalisation=facts.normalisation,
        model=model,
        head=head,
        groups=owners.groups,
        owners=owners,
        stages=stages,
        starts=starts,
    )


def _replace_head(model: nn.Module, facts: BackboneFacts, dropout: float) -> Head:
    """Put a `Head` where the network's last layer was, with its weights. Dropout is the head's
    alone, and in VGG also that between its hidden layers, which torchvision sets to 0.5; that
    within a user's own network stays.
    """
    old: Any = model.get_submodule(facts.head)
    num_classes, in_features, *window = old.weight.shape
    flattens = bool(window) or getattr(old, "flattens", False)  # of a `Head`
    head = Head(in_features, num_classes, dropout=dropout, flattens=flattens, device="meta")
    head.weight = nn.Parameter(old.weight.detach().flatten(1)) if window else old.weight
    head.bias = old.bias
    model.set_submodule(facts.head, head)
    siblings = list(model.get_submodule(facts.head.rpartition(".")[0]).children())
    before = siblings[siblings.index(head) - 1]
    for module in model.modules():
        if isinstance(module, nn.Dropout) and module.p:
            own = module.p if facts.family == OWN else dropout
            module.p = 0.0 if module is before else own
    return head


def named_groups(backbone: Backbone) -> dict[str, dict[str, nn.Parameter]]:
    """Every parameter by name, in the one group that owns it; groups from input to head."""
    owned: dict[str, dict[str, nn.Parameter]] = {group: {} for group in backbone.groups}
    for name, parameter in backbone.model.named_parameters():
        owned[group_of(backbone.facts, name)][name] = parameter
    return owned
