"""What the head of a backbone sees: how many features, and whether one can be negative.

A test compares every row with the networks themselves. Of a backbone that is not listed here both
are found out when its features are first looked at.
"""

from collections.abc import Mapping

_RESNETS = "resnet50 resnet101 resnet152 resnext50_32x4d resnext101_32x8d resnext101_64x4d"
_WIDTHS: Mapping[int, str] = {
    512: "resnet10 resnet18 resnet34",
    768: "convnext_small convnext_tiny vit_b_16 vit_b_32 swin_s swin_t swin_v2_s swin_v2_t",
    1024: "mobilenet_v3_small convnext_base vit_l_16 vit_l_32 swin_b swin_v2_b",
    1280: "mobilenet_v2 mobilenet_v3_large efficientnet_b0 efficientnet_b1 efficientnet_v2_l "
    "efficientnet_v2_m efficientnet_v2_s vit_h_14",
    1408: "efficientnet_b2",
    1536: "efficientnet_b3 convnext_large",
    1792: "efficientnet_b4",
    2048: f"{_RESNETS} wide_resnet50_2 wide_resnet101_2 efficientnet_b5",
    2304: "efficientnet_b6",
    2560: "efficientnet_b7",
    4096: "vgg11 vgg11_bn vgg13 vgg13_bn vgg16 vgg16_bn vgg19 vgg19_bn",
}
NUM_FEATURES: Mapping[str, int] = {
    name: width for width, names in _WIDTHS.items() for name in names.split()
}
"""Features that the head sees, by the backbone's name."""

LAST_ACTIVATION: Mapping[str, str] = {
    "resnet": "ReLU",
    "mobilenet_v2": "ReLU6",
    "mobilenet_v3": "Hardswish",
    "efficientnet": "SiLU",
    "vgg": "ReLU",
    "convnext": "LayerNorm",
    "vit": "LayerNorm",
    "swin": "LayerNorm",
}
"""By family, the last layer before the head that decides the sign of its features."""

NEVER_NEGATIVE = frozenset({"ReLU", "ReLU6"})
