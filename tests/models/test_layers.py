"""Layer-wise rate decay, layer by layer, against hand counts."""

import re

import pytest
import torch

from tests.models.strategies import strategy
from tlsearch.config.catalog import BACKBONES
from tlsearch.models.backbones import Backbone, build_backbone, named_groups
from tlsearch.models.layer_groups import layer_distances
from tlsearch.training.optim import parameter_groups
from tlsearch.training.plan import make_plan


def built(name: str) -> Backbone:
    with torch.device("meta"):
        size = BACKBONES[name].native_size
        return build_backbone(name=name, num_classes=3, image_size=size, dropout=0, seed=0)


def by_block(name: str, pattern: str) -> dict[str, int]:
    """Distance of each part of the names that the pattern matches; one part is in one layer."""
    found: dict[str, int] = {}
    for parameter, distance in layer_distances(built(name)).items():
        match = re.match(pattern, parameter)
        assert match, parameter
        assert found.setdefault(match[0], distance) == distance, parameter
    return found


def test_a_vit_has_its_embedding_its_blocks_and_its_head() -> None:
    found = by_block("vit_b_32", r"encoder\.layers\.encoder_layer_\d+|encoder\.\w+|\w+")
    blocks = {f"encoder.layers.encoder_layer_{i}": 12 - i for i in range(12)}
    embedding = {"class_token": 13, "conv_proj": 13, "encoder.pos_embedding": 13}
    assert found == {**embedding, **blocks, "encoder.ln": 1, "heads": 0}


def test_a_resnet_has_its_stem_its_blocks_and_its_head() -> None:
    found = by_block("resnet18", r"layer\d\.\d|conv1|bn1|fc")
    blocks = {f"layer{i}.{j}": 9 - (2 * i - 1 + j) for i in range(1, 5) for j in range(2)}
    assert found == {"conv1": 9, "bn1": 9, **blocks, "fc": 0}


def test_a_plain_network_has_its_convolutions() -> None:
    found = layer_distances(built("vgg11_bn"))
    assert [found[f"features.{i}.weight"] for i in (0, 1, 4, 5, 25, 26)] == [10, 10, 9, 9, 3, 3]
    assert [found[f"classifier.{i}.bias"] for i in (0, 3, 6)] == [2, 1, 0]


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_b0", "convnext_tiny", "swin_t"])
def test_layers_lie_within_one_group_and_in_its_order(name: str) -> None:
    backbone = built(name)
    distances, lowest = layer_distances(backbone), None
    for group in named_groups(backbone).values():
        of = {distances[n] for n in group}
        assert lowest is None or max(of) == lowest - 1
        assert of == set(range(min(of), max(of) + 1)), "no layer is left out"
        lowest = min(of)
    assert lowest == 0


def test_blocks_are_counted_one_by_one() -> None:
    # Depths of the blocks as published, downsamplings and merges as layers, stem and head.
    layers = {"mobilenet_v2": 1 + 17 + 1 + 1, "convnext_tiny": 1 + 18 + 3 + 1}
    layers |= {"swin_t": 1 + 12 + 3 + 1, "efficientnet_b0": 1 + 16 + 1 + 1}
    for name, expected in layers.items():
        assert max(layer_distances(built(name)).values()) + 1 == expected, name


def test_the_rate_of_a_layer_is_the_heads_times_the_decay_to_its_distance() -> None:
    backbone = built("resnet18")
    distances, owned = layer_distances(backbone), named_groups(backbone)
    chosen = strategy(lr=0.2, layer_decay=0.5, weight_decay=0.1, freeze_depth=1)
    plan = make_plan(chosen, groups=backbone.groups, num_train_images=50, num_epochs=2)
    rows = parameter_groups(plan, owned, distances=distances)
    rates = {id(p): row["lr"] for row in rows for p in row["params"]}
    names = {id(p): name for group in owned.values() for name, p in group.items()}
    assert {names[key] for key in rates} == set(distances) - {
        "conv1.weight",
        "bn1.weight",
        "bn1.bias",
    }
    for key, rate in rates.items():
        assert rate == pytest.approx(0.2 * 0.5 ** distances[names[key]])
    assert len(rows) == 18, "eight blocks and the head, with and without decay"
