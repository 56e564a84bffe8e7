"""A torchvision network as a sequence of stages, one per layer group, that share its modules.

Running the stages one after another is running the network. Between two stages there is always
one tensor, so that the output of a frozen prefix can be kept and used again.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tlsearch.config.catalog import BackboneFacts, group_of, groups

if TYPE_CHECKING:
    from tlsearch.models.backbones import Backbone

Parts = dict[str, list[nn.Module]]


def stages_of(model: Any, facts: BackboneFacts) -> tuple[nn.Module, ...]:
    """One module per group of `facts`, from input to head; the last one is the head itself.

    The dropout before the head is left out: the head has its own, and torchvision's is off.
    """
    parts = _FAMILIES[facts.family](model, facts)
    *body, head = groups(facts)
    return *(nn.Sequential(*parts[group]) for group in body), parts[head][0]


# Families whose groups are modules by name; "flatten" stands for one where the network has none.
_PATHS: Mapping[str, Mapping[str, str]] = {
    "resnet": {
        "stem": "conv1 bn1 relu maxpool",
        "layer1": "layer1",
        "layer2": "layer2",
        "layer3": "layer3",
        "layer4": "layer4 avgpool flatten",
        "head": "fc",
    },
    "timm_resnet": {
        "stem": "conv1 bn1 act1 maxpool",
        "layer1": "layer1",
        "layer2": "layer2",
        "layer3": "layer3",
        "layer4": "layer4 global_pool",
        "head": "fc",
    },
    "timm_convnext": {
        "stem": "stem",
        "stage1": "stages.0",
        "stage2": "stages.1",
        "stage3": "stages.2",
        "stage4": "stages.3 norm_pre head.global_pool head.norm head.flatten head.pre_logits",
        "head": "head.fc",
    },
    "timm_efficientnet": {
        "stem": "conv_stem bn1",
        **{f"stage{i}": f"blocks.{i - 1}" for i in range(1, 8)},
        "top": "conv_head bn2 global_pool",
        "head": "classifier",
    },
    "timm_regnet": {
        "stem": "stem",
        "stage1": "s1",
        "stage2": "s2",
        "stage3": "s3",
        "stage4": "s4 final_conv head.global_pool",
        "head": "head.fc",
    },
}


def _by_path(model: nn.Module, facts: BackboneFacts) -> Parts:
    return {
        group: [
            nn.Flatten(1) if path == "flatten" else model.get_submodule(path)
            for path in paths.split()
        ]
        for group, paths in _PATHS[facts.family].items()
    }


def _mobilenet(model: Any, facts: BackboneFacts) -> Parts:
    """MobileNet V2 and V3, EfficientNet: V3's hidden layer goes with the last convolution."""
    parts = _features(model, facts)
    hidden = [layer for layer in model.classifier[:-1] if not isinstance(layer, nn.Dropout)]
    parts["top"] += [nn.AdaptiveAvgPool2d(1), nn.Flatten(1), *hidden]
    return {**parts, "head": [model.classifier[-1]]}


def _vgg(model: Any, facts: BackboneFacts) -> Parts:
    # The pooling to 7×7 opens "hidden" rather than closing "block5": a small image has one pixel
    # there, and what is kept of a frozen prefix would be 49 times as large for nothing.
    hidden = [model.avgpool, nn.Flatten(1), *model.classifier[:-2]]
    return {**_features(model, facts), "hidden": hidden, "head": [model.classifier[-1]]}


def _convnext(model: Any, facts: BackboneFacts) -> Parts:
    parts = _features(model, facts)
    parts["stage4"] += [model.avgpool, *model.classifier[:-1]]
    return {**parts, "head": [model.classifier[-1]]}


def _swin(model: Any, facts: BackboneFacts) -> Parts:
    parts = _features(model, facts)
    parts["stage4"] += [model.norm, model.permute, model.avgpool, model.flatten]
    return {**parts, "head": [model.head]}


def _vit(model: Any, facts: BackboneFacts) -> Parts:
    parts = _by_owner(dict(model.encoder.layers.named_children()), "encoder.layers", facts)
    parts["encoder4"] += [model.encoder.ln, ClassToken()]
    return {"embedding": [Embedding(model)], **parts, "head": [model.heads.head]}


class Embedding(nn.Module):
    """Image (N, 3, H, W) → tokens (N, 1 + patches, width): ViT's steps before its encoder's layers.

    Shares the parameters of `model`, so never replace those (`load_state_dict(assign=True)`).
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.conv_proj = model.conv_proj
        self.class_token = model.class_token
        self.pos_embedding = model.encoder.pos_embedding
        self.dropout = model.encoder.dropout

    def forward(self, images: Tensor) -> Tensor:
        """Tokens with positions added, the class token first."""
        patches = self.conv_proj(images).flatten(2).permute(0, 2, 1)
        class_token = self.class_token.expand(len(images), -1, -1)
        tokens: Tensor = self.dropout(torch.cat([class_token, patches], dim=1) + self.pos_embedding)
        return tokens


class ClassToken(nn.Module):
    """Tokens (N, tokens, width) → the class token (N, width)."""

    def forward(self, tokens: Tensor) -> Tensor:
        """The first token."""
        return tokens[:, 0]


def _features(model: Any, facts: BackboneFacts) -> Parts:
    return _by_owner(dict(model.features.named_children()), "features", facts)


def _by_owner(layers: Mapping[str, nn.Module], prefix: str, facts: BackboneFacts) -> Parts:
    """The layers in order by the group that owns their parameters; one without any goes along."""
    parts: Parts = {}
    group = ""
    for name, layer in layers.items():
        if next(layer.parameters(), None) is not None:
            group = group_of(facts, f"{prefix}.{name}.")
        parts.setdefault(group, []).append(layer)
    return parts


_FAMILIES: Mapping[str, Callable[[Any, BackboneFacts], Parts]] = {
    "mobilenet_v2": _mobilenet,
    "mobilenet_v3": _mobilenet,
    "efficientnet": _mobilenet,
    "vgg": _vgg,
    "convnext": _convnext,
    "vit": _vit,
    "swin": _swin,
    **dict.fromkeys(_PATHS, _by_path),
}


def layer_distances(backbone: "Backbone") -> dict[str, int]:
    """By parameter name: 0 for the head, 1 for the last layer of the body, and so on.

    A layer is a block (residual, inverted residual, transformer, or a plain sequence such as
    convolution, norm and activation) or, where a group has no blocks, each convolution or linear
    layer; a norm that stands alone belongs to the layer before it, and ViT's embedding is one.
    So for ViT these are timm's layers.
    """
    layers = [layer for stage in backbone.stages for layer in _layers(stage)]
    distance = {
        id(parameter): len(layers) - 1 - index
        for index, layer in enumerate(layers)
        for module in layer
        for parameter in module.parameters()
    }
    return {name: distance[id(p)] for name, p in backbone.model.named_parameters()}


def _layers(stage: nn.Module) -> list[list[nn.Module]]:
    """The layers of one stage, each the modules that it is made of."""
    found: list[list[nn.Module]] = []
    for module in _members(stage):
        if next(module.parameters(), None) is None:
            continue
        if found and all(p.ndim < 2 for p in module.parameters()):
            found[-1].append(module)
        else:
            found.append([module])
    return found


def _members(stage: nn.Module) -> Iterator[nn.Module]:
    """The modules of a stage; those of a plain sequence of blocks one by one."""
    if not isinstance(stage, nn.Sequential):
        yield stage
        return
    for child in stage.children():
        members = list(child.children()) if isinstance(child, nn.Sequential) else []
        if any(next(member.children(), None) is not None for member in members):
            yield from members
        else:
            yield child
