"""What a study may know about a backbone without importing torch: groups, cost, sizes, weights.

The layer maps follow the libraries' own parameter names. A test compares every row with torchvision
and timm, so that a release that renames or adds one is noticed.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

LayerMap = tuple[tuple[str, str], ...]
"""(group, pattern matched at the start of a name), ordered from input to head.

The first match owns a parameter or a buffer; the last group is "head".
"""


class BackboneFacts(NamedTuple):
    """One network of torchvision or timm.

    `giga_macs` counts multiply-adds in 10⁹ per image at `native_size` pixels. Images must be
    square, with a side of at least `min_size` and a multiple of `size_multiple` (a ViT's patch).
    `num_features` is what the head sees, None where that is found out when features are first
    looked at. `weights` are the names of those that are published.
    """

    name: str
    family: str
    layer_map: LayerMap
    giga_macs: float
    num_features: int | None
    weights: tuple[str, ...]
    native_size: int = 224
    min_size: int = 8
    size_multiple: int = 1

    @property
    def last_activation(self) -> str | None:
        """The last layer before the head that decides the sign of its features, where known."""
        return _LAST_ACTIVATION.get(self.family)

    @property
    def has_negative_features(self) -> bool:
        """Whether the head is known to see features below 0."""
        return self.last_activation not in (None, "ReLU", "ReLU6")

    @property
    def norm_momentum(self) -> float | None:
        """The share of a new batch in BatchNorm's running statistics as the network comes; None
        where it has no BatchNorm.
        """
        plain_vgg = self.family == "vgg" and not self.name.endswith("_bn")
        if self.family in _WITHOUT_BATCH_NORM or plain_vgg:
            return None
        return 0.01 if self.name in _SLOW_NORMS else USUAL_MOMENTUM


USUAL_MOMENTUM = 0.1
"""The share of a new batch in the running statistics of torch's BatchNorm."""
_SLOW_NORMS = frozenset(
    [
        "mobilenet_v3_small",
        "mobilenet_v3_large",
        "efficientnet_b5",
        "efficientnet_b6",
        "efficientnet_b7",
    ]
)
_WITHOUT_BATCH_NORM = frozenset({"vit", "swin", "convnext", "timm_convnext"})
_LAST_ACTIVATION = {
    "resnet": "ReLU",
    "mobilenet_v2": "ReLU6",
    "mobilenet_v3": "Hardswish",
    "efficientnet": "SiLU",
    "timm_efficientnet": "ReLU6",
    "vgg": "ReLU",
    "convnext": "LayerNorm",
    "vit": "LayerNorm",
    "swin": "LayerNorm",
}


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
_TIMM_CONVNEXT: LayerMap = (
    ("stem", r"stem\."),
    ("stage1", r"stages\.0\."),
    ("stage2", r"stages\.1\."),
    ("stage3", r"stages\.2\."),
    ("stage4", r"(stages\.3|head\.norm)\."),
    ("head", r"head\.fc\."),
)
_TIMM_EFFICIENTNET: LayerMap = (
    ("stem", r"(conv_stem|bn1)\."),
    *((f"stage{i}", rf"blocks\.{i - 1}\.") for i in range(1, 8)),
    ("top", r"(conv_head|bn2)\."),
    ("head", r"classifier\."),
)
_REGNET: LayerMap = (
    ("stem", r"stem\."),
    *((f"stage{i}", rf"s{i}\.") for i in range(1, 5)),
    ("head", r"head\.fc\."),
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


def _vgg(*convolutions: int, batch_norm: bool) -> LayerMap:
    """So many convolutions in each block between max-pools, a ReLU after each, BatchNorm between.

    VGG-16's IMAGENET1K_FEATURES is left out: no classifier, and a normalisation of its own.
    """
    rows, start, step = [], 0, 3 if batch_norm else 2
    for number, count in enumerate(convolutions, 1):
        layers = [start + step * i + own for i in range(count) for own in range(step - 1)]
        rows.append((f"block{number}", rf"features\.({'|'.join(map(str, layers))})\."))
        start += step * count + 1
    return (*rows, ("hidden", r"classifier\.[03]\."), ("head", r"classifier\.6\."))


_V1 = ("IMAGENET1K_V1",)
_V1_V2 = ("IMAGENET1K_V1", "IMAGENET1K_V2")
_SWAG = ("IMAGENET1K_SWAG_E2E_V1", "IMAGENET1K_SWAG_LINEAR_V1")
_V1_SWAG = (*_V1, *_SWAG)


def _networks(
    family: str, layer_map: LayerMap, *rows: tuple[Any, ...], patch: int = 1
) -> list[BackboneFacts]:
    """Networks of one layer map, a row each: name, giga multiply-adds, features, weights, and the
    native size where it is not 224.

    VGG and ConvNeXt halve five times without padding, so they fail under 32 px. The others, but for
    ViT's patches, run at nearly any size; 8 px is a guess at where an image stops being one.
    """
    halves_without_padding = family in ("vgg", "convnext", "timm_convnext")
    least = 32 if halves_without_padding else max(8, patch)
    sizes = {"min_size": least, "size_multiple": patch}
    return [
        BackboneFacts(name, family, layer_map, macs, features, weights, *native, **sizes)
        for name, macs, features, weights, *native in rows
    ]


_TORCHVISION = (
    _networks(
        "resnet",
        _RESNET,
        # One block a stage: torchvision's code, no published weights, twice as fast as the next.
        ("resnet10", 0.889, 512, ()),
        ("resnet18", 1.814, 512, _V1),
        ("resnet34", 3.664, 512, _V1),
        ("resnet50", 4.089, 2048, _V1_V2),
        ("resnet101", 7.801, 2048, _V1_V2),
        ("resnet152", 11.514, 2048, _V1_V2),
        ("resnext50_32x4d", 4.23, 2048, _V1_V2),
        ("resnext101_32x8d", 16.414, 2048, _V1_V2),
        ("resnext101_64x4d", 15.46, 2048, _V1),
        ("wide_resnet50_2", 11.398, 2048, _V1_V2),
        ("wide_resnet101_2", 22.753, 2048, _V1_V2),
    ),
    _networks("mobilenet_v2", _MOBILENET_V2, ("mobilenet_v2", 0.301, 1280, _V1_V2)),
    _networks("mobilenet_v3", _MOBILENET_V3_LARGE, ("mobilenet_v3_large", 0.217, 1280, _V1_V2)),
    _networks("mobilenet_v3", _MOBILENET_V3_SMALL, ("mobilenet_v3_small", 0.057, 1024, _V1)),
    *(
        _networks("vgg", _vgg(*blocks, batch_norm=bn), (f"{name}{'_bn' * bn}", macs, 4096, _V1))
        for name, macs, *blocks in (
            ("vgg11", 7.609, 1, 1, 2, 2, 2),
            ("vgg13", 11.308, 2, 2, 2, 2, 2),
            ("vgg16", 15.47, 2, 2, 3, 3, 3),
            ("vgg19", 19.632, 2, 2, 4, 4, 4),
        )
        for bn in (False, True)
    ),
    _networks(
        "efficientnet",
        _EFFICIENTNET,
        ("efficientnet_b0", 0.386, 1280, _V1),
        ("efficientnet_b1", 0.687, 1280, _V1_V2, 240),
        ("efficientnet_b2", 1.088, 1408, _V1, 288),
        ("efficientnet_b3", 1.827, 1536, _V1, 300),
        ("efficientnet_b4", 4.394, 1792, _V1, 380),
        ("efficientnet_b5", 10.266, 2048, _V1, 456),
        ("efficientnet_b6", 19.068, 2304, _V1, 528),
        ("efficientnet_b7", 37.746, 2560, _V1, 600),
        ("efficientnet_v2_l", 56.08, 1280, _V1, 480),
        ("efficientnet_v2_m", 24.582, 1280, _V1, 480),
    ),
    _networks("efficientnet", _EFFICIENTNET_V2_S, ("efficientnet_v2_s", 8.366, 1280, _V1, 384)),
    _networks(
        "convnext",
        _CONVNEXT,
        ("convnext_base", 15.355, 1024, _V1),
        ("convnext_large", 34.361, 1536, _V1),
        ("convnext_small", 8.684, 768, _V1),
        ("convnext_tiny", 4.456, 768, _V1),
    ),
    _networks("vit", _vit(12), ("vit_b_16", 17.564, 768, _V1_SWAG), patch=16),
    _networks("vit", _vit(12), ("vit_b_32", 4.409, 768, _V1), patch=32),
    _networks("vit", _vit(32), ("vit_h_14", 167.295, 1280, _SWAG), patch=14),
    _networks("vit", _vit(24), ("vit_l_16", 61.555, 1024, _V1_SWAG), patch=16),
    _networks("vit", _vit(24), ("vit_l_32", 15.378, 1024, _V1), patch=32),
    _networks(
        "swin",
        _SWIN,
        ("swin_b", 15.431, 1024, _V1),
        ("swin_s", 8.741, 768, _V1),
        ("swin_t", 4.491, 768, _V1),
        ("swin_v2_b", 20.325, 1024, _V1, 256),
        ("swin_v2_s", 11.546, 768, _V1, 256),
        ("swin_v2_t", 5.94, 768, _V1, 256),
    ),
)

# Networks of timm, of families whose forward pass is a chain of modules. Weights are its tags for
# ImageNet-1k; multiply-adds were counted by torch's FlopCounterMode with timm 1.0.31.
PREFIX = "timm/"
"""Begins the names of timm's networks in a study: `timm/resnet18d`."""
_TIMM = (
    _networks(
        "timm_resnet",
        _RESNET,
        ("timm/resnet10t", 1.097, None, ("c3_in1k",)),
        ("timm/resnet14t", 1.677, None, ("c3_in1k",)),
        ("timm/resnet18d", 2.054, None, ("ra2_in1k",)),
        ("timm/resnet26d", 2.582, None, ("bt_in1k",)),
        ("timm/resnet34d", 3.903, None, ("ra2_in1k",)),
        (
            "timm/resnet50d",
            4.329,
            None,
            ("a1_in1k", "a2_in1k", "a3_in1k", "gluon_in1k", "ra2_in1k"),
        ),
    ),
    _networks(
        "timm_convnext",
        _TIMM_CONVNEXT,
        ("timm/convnext_atto", 0.547, None, ("d2_in1k",)),
        ("timm/convnext_femto", 0.78, None, ("d1_in1k",)),
        ("timm/convnext_pico", 1.367, None, ("d1_in1k",)),
        ("timm/convnext_nano", 2.446, None, ("d1h_in1k", "in12k_ft_in1k")),
    ),
    _networks(
        "timm_regnet",
        _REGNET,
        ("timm/regnetx_002", 0.199, None, ("pycls_in1k",)),
        ("timm/regnety_002", 0.2, None, ("pycls_in1k",)),
        ("timm/regnety_004", 0.402, None, ("pycls_in1k", "tv2_in1k")),
        ("timm/regnety_008", 0.797, None, ("pycls_in1k",)),
        ("timm/regnety_016", 1.612, None, ("pycls_in1k", "tv2_in1k")),
    ),
    _networks(
        "timm_efficientnet",
        _TIMM_EFFICIENTNET,
        ("timm/tf_efficientnet_lite0", 0.385, 1280, ("in1k",)),
    ),
)


def _by_name(families: Iterable[list[BackboneFacts]]) -> dict[str, BackboneFacts]:
    return {facts.name: facts for family in families for facts in family}


BACKBONES: Mapping[str, BackboneFacts] = _by_name(_TORCHVISION)
TIMM: Mapping[str, BackboneFacts] = _by_name(_TIMM)
CATALOGUE: Mapping[str, BackboneFacts] = {**BACKBONES, **TIMM}
"""Every network by the name that a study has for it."""
