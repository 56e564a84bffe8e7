"""How far each parameter lies from the head, in layers: what layer-wise rate decay counts in."""

from collections.abc import Iterator

from torch import nn

from tlsearch.transfer.backbones import Backbone


def layer_distances(backbone: Backbone) -> dict[str, int]:
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
