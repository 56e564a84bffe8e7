"""Networks of timm (the extra `tlsearch[timm]`) that are cut into exact stages, as facts.

The rows are of three families whose forward pass is a chain of modules; a test builds each with
timm and compares. Weights are timm's tags for ImageNet-1k with its usual normalisation.
"""

from collections.abc import Mapping

from tlsearch.study.backbones import BACKBONES, BackboneFacts, LayerMap

PREFIX = "timm/"
"""Begins the names of timm's networks in a study: `timm/resnet18d`."""

_RESNET: LayerMap = (
    ("stem", r"(conv1|bn1)\."),
    ("layer1", r"layer1\."),
    ("layer2", r"layer2\."),
    ("layer3", r"layer3\."),
    ("layer4", r"layer4\."),
    ("head", r"fc\."),
)
_CONVNEXT: LayerMap = (
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
    family = {_RESNET: "timm_resnet", _CONVNEXT: "timm_convnext", _REGNET: "timm_regnet"}
    return BackboneFacts(
        PREFIX + name, family[layer_map], layer_map, giga_macs, 224, min_size, 1, weights
    )


# Multiply-adds at 224 px, counted by torch's FlopCounterMode with timm 1.0.31. ConvNeXt halves five
# times without padding; 8 px is the guess of `study.backbones`.
_ROWS = (
    _row("resnet10t", _RESNET, 1.097, 8, "c3_in1k"),
    _row("resnet14t", _RESNET, 1.677, 8, "c3_in1k"),
    _row("resnet18d", _RESNET, 2.054, 8, "ra2_in1k"),
    _row("resnet26d", _RESNET, 2.582, 8, "bt_in1k"),
    _row("resnet34d", _RESNET, 3.903, 8, "ra2_in1k"),
    _row("resnet50d", _RESNET, 4.329, 8, "a1_in1k", "a2_in1k", "a3_in1k", "gluon_in1k", "ra2_in1k"),
    _row("convnext_atto", _CONVNEXT, 0.547, 32, "d2_in1k"),
    _row("convnext_femto", _CONVNEXT, 0.78, 32, "d1_in1k"),
    _row("convnext_pico", _CONVNEXT, 1.367, 32, "d1_in1k"),
    _row("convnext_nano", _CONVNEXT, 2.446, 32, "d1h_in1k", "in12k_ft_in1k"),
    _row("regnetx_002", _REGNET, 0.199, 8, "pycls_in1k"),
    _row("regnety_002", _REGNET, 0.2, 8, "pycls_in1k"),
    _row("regnety_004", _REGNET, 0.402, 8, "pycls_in1k", "tv2_in1k"),
    _row("regnety_008", _REGNET, 0.797, 8, "pycls_in1k"),
    _row("regnety_016", _REGNET, 1.612, 8, "pycls_in1k", "tv2_in1k"),
)

TIMM: Mapping[str, BackboneFacts] = {row.name: row for row in _ROWS}
CATALOGUE: Mapping[str, BackboneFacts] = {**BACKBONES, **TIMM}
"""Every network by the name that a study has for it."""
