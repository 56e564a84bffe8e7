"""What trains and what stands still: gradients, and BatchNorm's statistics."""

from collections.abc import Collection, Mapping

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tlsearch.errors import RequestError
from tlsearch.models.backbones import Backbone, named_groups
from tlsearch.models.layer_groups import is_norm


def trained_parameters(
    backbone: Backbone, *, norms_alone: bool
) -> dict[str, dict[str, nn.Parameter]]:
    """By group and name, what trains once a group is open: all of it, or only scale and offset of
    its normalisation layers (arXiv:2003.00152) and all of the head.

    Raises:
        RequestError: norms alone are to train, and the body has none.
    """
    owned = named_groups(backbone)
    if not norms_alone:
        return owned
    norms = {id(p) for m in backbone.model.modules() if is_norm(m) for p in m.parameters()}
    *body, head = backbone.groups
    found = {g: {n: p for n, p in owned[g].items() if id(p) in norms} for g in body}
    if not any(found.values()):
        raise RequestError(
            f"space.trained = norms: {backbone.name} has no normalisation layers — name layer "
            f"groups ({', '.join(body)}), or write all"
        )
    return {**found, head: owned[head]}


def freeze(backbone: Backbone, open_groups: Collection[str], *, norms_alone: bool) -> None:
    """Close everything to gradients but what trains of `open_groups`. Modes stay as they are.

    A closed parameter loses its gradient, so that no optimizer moves it by a stale one.
    """
    assert set(open_groups) <= set(backbone.groups), open_groups
    assert backbone.groups[-1] in open_groups, "the head always trains"
    trained = trained_parameters(backbone, norms_alone=norms_alone)
    opened = {id(p) for group in open_groups for p in trained[group].values()}
    for parameter in backbone.model.parameters():
        parameter.requires_grad_(id(parameter) in opened)
        if id(parameter) not in opened:
            parameter.grad = None


def set_train_mode(
    backbone: Backbone, open_groups: Collection[str], *, statistics_rest: bool = False
) -> None:
    """Training mode for the open groups; the others stay in evaluation mode, wherever they lie.

    So their BatchNorm statistics rest and nothing in them is dropped at random. In an open group
    statistics move even where norms alone train: their scales are learnt for normalised batches,
    and would not fit the statistics of other data. If `statistics_rest`, BatchNorm normalises by
    those that it has, in open groups too.
    """
    backbone.model.train()
    ends = (*backbone.starts[1:], len(backbone.groups))
    for stage, start, end in zip(backbone.stages, backbone.starts, ends, strict=True):
        stage.train(any(group in open_groups for group in backbone.groups[start:end]))
    for group in (g for g in backbone.groups if g not in open_groups):
        for module in backbone.owners.of(group):
            module.eval()
    if statistics_rest:
        for module in backbone.model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()


def set_norm_momentum(backbone: Backbone, momentum: float | None) -> None:
    """Let running statistics take this share of each new batch; None leaves it to the network."""
    if momentum is not None:
        for module in backbone.model.modules():
            if isinstance(module, _BatchNorm):
                module.momentum = momentum


def moving_state(
    backbone: Backbone,
    open_groups: Collection[str],
    trained: Mapping[str, Mapping[str, nn.Parameter]],
) -> dict[str, Tensor]:
    """By name, the parameters of groups that train at some time, and their buffers: those in use,
    no copies. `trained` are the parameters of each group that train once it is open.
    """
    moving = {id(p) for group in open_groups for p in trained[group].values()}
    owner = backbone.owners.tensors
    moving |= {
        id(buffer)
        for name, buffer in backbone.model.named_buffers()
        if name not in owner or backbone.groups[owner[name]] in open_groups
    }
    state = backbone.model.state_dict(keep_vars=True)
    return {name: v.detach() for name, v in state.items() if id(v) in moving}
