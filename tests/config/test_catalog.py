"""The literal facts, without torch; tests/models compares them with the libraries."""

import pytest

from tlsearch.config.catalog import CATALOGUE, BackboneFacts, group_of, groups


def test_groups_of_a_resnet() -> None:
    expected = ("stem", "layer1", "layer2", "layer3", "layer4", "head")
    assert groups(CATALOGUE["resnet18"]) == expected


@pytest.mark.parametrize(
    ("backbone", "name", "group"),
    [
        ("resnet18", "bn1.running_mean", "stem"),
        ("resnet18", "layer1.0.bn1.weight", "layer1"),
        ("mobilenet_v2", "features.1.conv.0.0.weight", "stem"),
        ("mobilenet_v2", "features.10.conv.0.0.weight", "stage3"),
        ("mobilenet_v2", "features.18.0.weight", "top"),
        ("mobilenet_v3_small", "classifier.0.weight", "top"),
        ("vgg16_bn", "features.24.weight", "block4"),
        ("vgg16_bn", "features.34.weight", "block5"),
        ("vgg11", "classifier.3.bias", "hidden"),
        ("efficientnet_b0", "features.7.0.block.0.0.weight", "stage7"),
        ("efficientnet_v2_s", "features.7.0.weight", "top"),
        ("convnext_tiny", "classifier.0.weight", "stage4"),
        ("vit_b_16", "class_token", "embedding"),
        ("vit_b_16", "encoder.layers.encoder_layer_1.ln_1.weight", "encoder1"),
        ("vit_b_16", "encoder.layers.encoder_layer_11.ln_1.weight", "encoder4"),
        ("vit_l_16", "encoder.layers.encoder_layer_11.ln_1.weight", "encoder2"),
        ("vit_h_14", "encoder.layers.encoder_layer_3.ln_1.weight", "encoder1"),
        ("vit_h_14", "encoder.layers.encoder_layer_31.ln_1.weight", "encoder4"),
        ("vit_h_14", "encoder.ln.weight", "encoder4"),
        ("swin_t", "features.2.reduction.weight", "stage2"),
        ("swin_t", "norm.bias", "stage4"),
    ],
)
def test_the_group_that_owns_a_parameter(backbone: str, name: str, group: str) -> None:
    assert group_of(CATALOGUE[backbone], name) == group


def test_the_first_match_owns() -> None:
    facts = BackboneFacts("x", "x", (("a", "w"), ("b", "weight"), ("head", "h")), 1, 1, 8, ())
    assert group_of(facts, "weight") == "a"


def test_a_pattern_matches_at_the_start_only() -> None:
    with pytest.raises(KeyError):
        group_of(CATALOGUE["resnet18"], "module.layer1.0.bn1.weight")


def test_facts_are_sane() -> None:
    for name, facts in CATALOGUE.items():
        assert facts.name == name
        assert 2 <= len(groups(facts)) <= 12
        assert groups(facts)[-1] == "head"
        assert len(facts.layer_map) == len(groups(facts)), "one row per group"
        assert facts.native_size % facts.size_multiple == 0
        assert facts.min_size % facts.size_multiple == 0
        assert facts.giga_macs > 0
        assert facts.weights or facts.is_timm or name == "resnet10"
