"""What of a network moves in a training: what is checkpointed, averaged and restored."""

from collections.abc import Mapping

from torch import Tensor, nn

from tlsearch.transfer.backbones import Backbone
from tlsearch.transfer.plan import TrainPlan


def moving_state(
    backbone: Backbone, plan: TrainPlan, trained: Mapping[str, Mapping[str, nn.Parameter]]
) -> dict[str, Tensor]:
    """By name, parameters that train at some time, and the buffers of their groups; those in use,
    no copies. `trained` are the parameters of each group that train once it is open.
    """
    moving = {
        id(tensor)
        for group, stage in zip(plan.groups, backbone.stages, strict=True)
        if group in plan.open_groups
        for tensor in (*trained[group].values(), *stage.buffers())
    }
    state = backbone.model.state_dict(keep_vars=True)
    return {name: v.detach() for name, v in state.items() if id(v) in moving}
