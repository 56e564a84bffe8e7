"""How fast the running statistics of a network's BatchNorm follow the batches.

A test compares both tables with the networks themselves.
"""

from tlsearch.study.backbones import BackboneFacts

USUAL_MOMENTUM = 0.1
"""The share of a new batch in torch's BatchNorm."""
_SLOW = 0.01
_SLOW_NETWORKS = frozenset(
    (
        *("mobilenet_v3_small", "mobilenet_v3_large"),
        *("efficientnet_b5", "efficientnet_b6", "efficientnet_b7"),
    )
)
_WITHOUT = frozenset({"vit", "swin", "convnext", "timm_convnext"})


def norm_momentum(facts: BackboneFacts) -> float | None:
    """The share of a new batch in the running statistics as the network comes; None where it has no
    BatchNorm.
    """
    plain_vgg = facts.family == "vgg" and not facts.name.endswith("_bn")
    if facts.family in _WITHOUT or plain_vgg:
        return None
    return _SLOW if facts.name in _SLOW_NETWORKS else USUAL_MOMENTUM
