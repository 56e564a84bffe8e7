"""What a study may know about a backbone without importing torch: groups, cost, sizes, weights.

The layer maps follow torchvision's own parameter names. A test compares every row with
torchvision, so that a release that renames or adds one is noticed.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

LayerMap = tuple[tuple[str, str], ...]
"""(group, pattern matched at the start of a name), ordered from input to head.

The first match owns a parameter or a buffer; the last group is "head".
"""


class BackboneFacts(NamedTuple):
    """One network of torchvision.

    `giga_macs` counts multiply-adds in 10⁹ per image at `native_size` pixels, from torchvision's
    metadata. Images must be square, with a side of at least `min_size` and a multiple of
    `size_multiple` (a ViT's patch). `weights` are the names that torchvision publishes.
    """

    name: str
    family: str
    layer_map: LayerMap
    giga_macs: float
    native_size: int
    min_size: int
    size_multiple: int
    weights: tuple[str, ...]


def groups(facts: BackboneFacts) -> tuple[str, ...]:
    """The layer groups from input to head; a freeze depth is 0 … len(groups) - 1."""
    return tuple(dict.fromkeys(group for group, _ in facts.layer_map))


def group_of(facts: BackboneFacts, name: str) -> str:
    """The group that owns the parameter or buffer called `name`.

    Raises:
        KeyError: no pattern matches, which the contract suite excludes for torchvision's names.
    """
    for group, pattern in facts.layer_map:
        if re.match(pattern, name):
            return group
    raise KeyError(name)


_RESNET: LayerMap = (
    ("stem", r"(conv1|bn1)\."),
    ("layer1", r"layer1\."),
    ("layer2", r"layer2\."),
    ("layer3", r"layer3\."),
    ("layer4", r"layer4\."),
    ("head", r"fc\."),
)
# MobileNets: a stage ends where the resolution or, at stride 16, the width changes.
_MOBILENET_V2: LayerMap = (
    ("stem", r"features\.[01]\."),
    ("stage1", r"features\.[23]\."),
    ("stage2", r"features\.[4-6]\."),
    ("stage3", r"features\.([7-9]|10)\."),
    ("stage4", r"features\.1[1-3]\."),
    ("stage5", r"features\.1[4-7]\."),
    ("top", r"features\.18\."),
    ("head", r"classifier\.1\."),
)
_MOBILENET_V3_SMALL: LayerMap = (
    ("stem", r"features\.0\."),
    ("stage1", r"features\.1\."),
    ("stage2", r"features\.[23]\."),
    ("stage3", r"features\.[4-6]\."),
    ("stage4", r"features\.[78]\."),
    ("stage5", r"features\.(9|10|11)\."),
    ("top", r"(features\.12|classifier\.0)\."),
    ("head", r"classifier\.3\."),
)
_MOBILENET_V3_LARGE: LayerMap = (
    ("stem", r"features\.[01]\."),
    ("stage1", r"features\.[23]\."),
    ("stage2", r"features\.[4-6]\."),
    ("stage3", r"features\.([7-9]|10)\."),
    ("stage4", r"features\.1[12]\."),
    ("stage5", r"features\.1[3-5]\."),
    ("top", r"(features\.16|classifier\.0)\."),
    ("head", r"classifier\.3\."),
)
_EFFICIENTNET: LayerMap = (
    ("stem", r"features\.0\."),
    *((f"stage{i}", rf"features\.{i}\.") for i in range(1, 8)),
    ("top", r"features\.8\."),
    ("head", r"classifier\.1\."),
)
_EFFICIENTNET_V2_S: LayerMap = (  # one stage fewer than all the others
    *_EFFICIENTNET[:7],
    ("top", r"features\.7\."),
    ("head", r"classifier\.1\."),
)
# ConvNeXt and Swin: the layer that halves the resolution goes with the stage that it feeds, the
# norm before the head with the last stage.
_CONVNEXT: LayerMap = (
    ("stem", r"features\.0\."),
    ("stage1", r"features\.1\."),
    ("stage2", r"features\.[23]\."),
    ("stage3", r"features\.[45]\."),
    ("stage4", r"(features\.[67]|classifier\.0)\."),
    ("head", r"classifier\.2\."),
)
_SWIN: LayerMap = (
    ("stem", r"features\.0\."),
    ("stage1", r"features\.1\."),
    ("stage2", r"features\.[23]\."),
    ("stage3", r"features\.[45]\."),
    ("stage4", r"(features\.[67]|norm)\."),
    ("head", r"head\."),
)


def _vit(num_layers: int) -> LayerMap:
    """The encoder's layers in quarters; the last norm goes with the last quarter."""
    quarter = num_layers // 4
    layers = [
        "layers\\.encoder_layer_(" + "|".join(map(str, range(i, i + quarter))) + ")"
        for i in range(0, num_layers, quarter)
    ]
    layers[-1] = f"({layers[-1]}|ln)"
    return (
        ("embedding", r"class_token$|conv_proj\.|encoder\.pos_embedding$"),
        *((f"encoder{i}", rf"encoder\.{pattern}\.") for i, pattern in enumerate(layers, 1)),
        ("head", r"heads\.head\."),
    )


def _vgg(*blocks: tuple[int, ...]) -> LayerMap:
    """Blocks lie between max-pools; the numbers are those of the layers that have parameters."""
    rows = (
        (f"block{i}", rf"features\.({'|'.join(map(str, layers))})\.")
        for i, layers in enumerate(blocks, 1)
    )
    return (*rows, ("hidden", r"classifier\.[03]\."), ("head", r"classifier\.6\."))


_VGG11 = _vgg((0,), (3,), (6, 8), (11, 13), (16, 18))
_VGG11_BN = _vgg((0, 1), (4, 5), (8, 9, 11, 12), (15, 16, 18, 19), (22, 23, 25, 26))
_VGG13 = _vgg((0, 2), (5, 7), (10, 12), (15, 17), (20, 22))
_VGG13_BN = _vgg((0, 1, 3, 4), (7, 8, 10, 11), (14, 15, 17, 18), (21, 22, 24, 25), (28, 29, 31, 32))
_VGG16 = _vgg((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
_VGG16_BN = _vgg(
    (0, 1, 3, 4),
    (7, 8, 10, 11),
    (14, 15, 17, 18, 20, 21),
    (24, 25, 27, 28, 30, 31),
    (34, 35, 37, 38, 40, 41),
)
_VGG19 = _vgg((0, 2), (5, 7), (10, 12, 14, 16), (19, 21, 23, 25), (28, 30, 32, 34))
_VGG19_BN = _vgg(
    (0, 1, 3, 4),
    (7, 8, 10, 11),
    (14, 15, 17, 18, 20, 21, 23, 24),
    (27, 28, 30, 31, 33, 34, 36, 37),
    (40, 41, 43, 44, 46, 47, 49, 50),
)

_V1 = ("IMAGENET1K_V1",)
_V1_V2 = ("IMAGENET1K_V1", "IMAGENET1K_V2")
_SWAG = ("IMAGENET1K_SWAG_E2E_V1", "IMAGENET1K_SWAG_LINEAR_V1")
_V1_SWAG = (*_V1, *_SWAG)

# Sizes: VGG and ConvNeXt halve five times without padding, so they fail under 32 px. The others,
# but for ViT's patches, run at nearly any size; 8 px is a guess at where an image stops being one.
# VGG-16's IMAGENET1K_FEATURES is left out: no classifier, and a normalisation of its own.
_ROWS = (
    # name, family, layer map, giga_macs, native_size, min_size, size_multiple, weights
    # One block a stage: torchvision's code, without published weights; twice as fast as ResNet-18.
    BackboneFacts("resnet10", "resnet", _RESNET, 0.889, 224, 8, 1, ()),
    BackboneFacts("resnet18", "resnet", _RESNET, 1.814, 224, 8, 1, _V1),
    BackboneFacts("resnet34", "resnet", _RESNET, 3.664, 224, 8, 1, _V1),
    BackboneFacts("resnet50", "resnet", _RESNET, 4.089, 224, 8, 1, _V1_V2),
    BackboneFacts("resnet101", "resnet", _RESNET, 7.801, 224, 8, 1, _V1_V2),
    BackboneFacts("resnet152", "resnet", _RESNET, 11.514, 224, 8, 1, _V1_V2),
    BackboneFacts("resnext50_32x4d", "resnet", _RESNET, 4.23, 224, 8, 1, _V1_V2),
    BackboneFacts("resnext101_32x8d", "resnet", _RESNET, 16.414, 224, 8, 1, _V1_V2),
    BackboneFacts("resnext101_64x4d", "resnet", _RESNET, 15.46, 224, 8, 1, _V1),
    BackboneFacts("wide_resnet50_2", "resnet", _RESNET, 11.398, 224, 8, 1, _V1_V2),
    BackboneFacts("wide_resnet101_2", "resnet", _RESNET, 22.753, 224, 8, 1, _V1_V2),
    BackboneFacts("mobilenet_v2", "mobilenet_v2", _MOBILENET_V2, 0.301, 224, 8, 1, _V1_V2),
    BackboneFacts(
        "mobilenet_v3_large", "mobilenet_v3", _MOBILENET_V3_LARGE, 0.217, 224, 8, 1, _V1_V2
    ),
    BackboneFacts("mobilenet_v3_small", "mobilenet_v3", _MOBILENET_V3_SMALL, 0.057, 224, 8, 1, _V1),
    BackboneFacts("vgg11", "vgg", _VGG11, 7.609, 224, 32, 1, _V1),
    BackboneFacts("vgg11_bn", "vgg", _VGG11_BN, 7.609, 224, 32, 1, _V1),
    BackboneFacts("vgg13", "vgg", _VGG13, 11.308, 224, 32, 1, _V1),
    BackboneFacts("vgg13_bn", "vgg", _VGG13_BN, 11.308, 224, 32, 1, _V1),
    BackboneFacts("vgg16", "vgg", _VGG16, 15.47, 224, 32, 1, _V1),
    BackboneFacts("vgg16_bn", "vgg", _VGG16_BN, 15.47, 224, 32, 1, _V1),
    BackboneFacts("vgg19", "vgg", _VGG19, 19.632, 224, 32, 1, _V1),
    BackboneFacts("vgg19_bn", "vgg", _VGG19_BN, 19.632, 224, 32, 1, _V1),
    BackboneFacts("efficientnet_b0", "efficientnet", _EFFICIENTNET, 0.386, 224, 8, 1, _V1),
    BackboneFacts("efficientnet_b1", "efficientnet", _EFFICIENTNET, 0.687, 240, 8, 1, _V1_V2),
    BackboneFacts("efficientnet_b2", "efficientnet", _EFFICIENTNET, 1.088, 288, 8, 1, _V1),
    BackboneFacts("efficientnet_b3", "efficientnet", _EFFICIENTNET, 1.827, 300, 8, 1, _V1),
    BackboneFacts("efficientnet_b4", "efficientnet", _EFFICIENTNET, 4.394, 380, 8, 1, _V1),
    BackboneFacts("efficientnet_b5", "efficientnet", _EFFICIENTNET, 10.266, 456, 8, 1, _V1),
    BackboneFacts("efficientnet_b6", "efficientnet", _EFFICIENTNET, 19.068, 528, 8, 1, _V1),
    BackboneFacts("efficientnet_b7", "efficientnet", _EFFICIENTNET, 37.746, 600, 8, 1, _V1),
    BackboneFacts("efficientnet_v2_l", "efficientnet", _EFFICIENTNET, 56.08, 480, 8, 1, _V1),
    BackboneFacts("efficientnet_v2_m", "efficientnet", _EFFICIENTNET, 24.582, 480, 8, 1, _V1),
    BackboneFacts("efficientnet_v2_s", "efficientnet", _EFFICIENTNET_V2_S, 8.366, 384, 8, 1, _V1),
    BackboneFacts("convnext_base", "convnext", _CONVNEXT, 15.355, 224, 32, 1, _V1),
    BackboneFacts("convnext_large", "convnext", _CONVNEXT, 34.361, 224, 32, 1, _V1),
    BackboneFacts("convnext_small", "convnext", _CONVNEXT, 8.684, 224, 32, 1, _V1),
    BackboneFacts("convnext_tiny", "convnext", _CONVNEXT, 4.456, 224, 32, 1, _V1),
    BackboneFacts("vit_b_16", "vit", _vit(12), 17.564, 224, 16, 16, _V1_SWAG),
    BackboneFacts("vit_b_32", "vit", _vit(12), 4.409, 224, 32, 32, _V1),
    BackboneFacts("vit_h_14", "vit", _vit(32), 167.295, 224, 14, 14, _SWAG),
    BackboneFacts("vit_l_16", "vit", _vit(24), 61.555, 224, 16, 16, _V1_SWAG),
    BackboneFacts("vit_l_32", "vit", _vit(24), 15.378, 224, 32, 32, _V1),
    BackboneFacts("swin_b", "swin", _SWIN, 15.431, 224, 8, 1, _V1),
    BackboneFacts("swin_s", "swin", _SWIN, 8.741, 224, 8, 1, _V1),
    BackboneFacts("swin_t", "swin", _SWIN, 4.491, 224, 8, 1, _V1),
    BackboneFacts("swin_v2_b", "swin", _SWIN, 20.325, 256, 8, 1, _V1),
    BackboneFacts("swin_v2_s", "swin", _SWIN, 11.546, 256, 8, 1, _V1),
    BackboneFacts("swin_v2_t", "swin", _SWIN, 5.94, 256, 8, 1, _V1),
)

BACKBONES: Mapping[str, BackboneFacts] = {row.name: row for row in _ROWS}


# Networks of timm (the extra `tlsearch[timm]`) that are cut into exact stages, as facts.
#
# The rows are of three families whose forward pass is a chain of modules; a test builds each with
# timm and compares. Weights are timm's tags for ImageNet-1k with its usual normalisation.


PREFIX = "timm/"
"""Begins the names of timm's networks in a study: `timm/resnet18d`."""

_TIMM_CONVNEXT: LayerMap = (
    ("stem", r"stem\."),
    ("stage1", r"stages\.0\."),
    ("stage2", r"stages\.1\."),
    ("stage3", r"stages\.2\."),
    ("stage4", r"(stages\.3|head\.norm)\."),
    ("head", r"head\.fc\."),
)
_REGNET: LayerMap = (
    ("stem", r"stem\."),
    ("stage1", r"s1\."),
    ("stage2", r"s2\."),
    ("stage3", r"s3\."),
    ("stage4", r"s4\."),
    ("head", r"head\.fc\."),
)


def _row(
    name: str, layer_map: LayerMap, giga_macs: float, min_size: int, *weights: str
) -> BackboneFacts:
    family = {_RESNET: "timm_resnet", _TIMM_CONVNEXT: "timm_convnext", _REGNET: "timm_regnet"}
    return BackboneFacts(
        PREFIX + name, family[layer_map], layer_map, giga_macs, 224, min_size, 1, weights
    )


_RESNET50D_WEIGHTS = ("a1_in1k", "a2_in1k", "a3_in1k", "gluon_in1k", "ra2_in1k")
# Multiply-adds at 224 px, counted by torch's FlopCounterMode with timm 1.0.31. ConvNeXt halves five
# times without padding; 8 px is the guess above.
_TIMM_ROWS = (
    _row("resnet10t", _RESNET, 1.097, 8, "c3_in1k"),
    _row("resnet14t", _RESNET, 1.677, 8, "c3_in1k"),
    _row("resnet18d", _RESNET, 2.054, 8, "ra2_in1k"),
    _row("resnet26d", _RESNET, 2.582, 8, "bt_in1k"),
    _row("resnet34d", _RESNET, 3.903, 8, "ra2_in1k"),
    _row("resnet50d", _RESNET, 4.329, 8, *_RESNET50D_WEIGHTS),
    _row("convnext_atto", _TIMM_CONVNEXT, 0.547, 32, "d2_in1k"),
    _row("convnext_femto", _TIMM_CONVNEXT, 0.78, 32, "d1_in1k"),
    _row("convnext_pico", _TIMM_CONVNEXT, 1.367, 32, "d1_in1k"),
    _row("convnext_nano", _TIMM_CONVNEXT, 2.446, 32, "d1h_in1k", "in12k_ft_in1k"),
    _row("regnetx_002", _REGNET, 0.199, 8, "pycls_in1k"),
    _row("regnety_002", _REGNET, 0.2, 8, "pycls_in1k"),
    _row("regnety_004", _REGNET, 0.402, 8, "pycls_in1k", "tv2_in1k"),
    _row("regnety_008", _REGNET, 0.797, 8, "pycls_in1k"),
    _row("regnety_016", _REGNET, 1.612, 8, "pycls_in1k", "tv2_in1k"),
)

TIMM: Mapping[str, BackboneFacts] = {row.name: row for row in _TIMM_ROWS}
CATALOGUE: Mapping[str, BackboneFacts] = {**BACKBONES, **TIMM}
"""Every network by the name that a study has for it."""


# What the head of a backbone sees: how many features, and whether one can be negative.
#
# A test compares every row with the networks themselves. Of a backbone that is not listed here both
# are found out when its features are first looked at.


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


# How fast the running statistics of a network's BatchNorm follow the batches.
#
# A test compares both tables with the networks themselves.


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
