"""What is said of a backbone's features without torch is what the network does."""

import pytest
import torch
from torch import nn

from tlsearch.config.catalog import BACKBONES, LAST_ACTIVATION, NEVER_NEGATIVE, NUM_FEATURES
from tlsearch.models.backbones import build_backbone
from tlsearch.training.feature_cache import run_stages

KINDS = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU, nn.LayerNorm, nn.GELU)


def test_every_backbone_is_listed_or_asked_later() -> None:
    torchvisions = {n for n, f in BACKBONES.items() if f.family in LAST_ACTIVATION}
    assert set(NUM_FEATURES) == torchvisions


@pytest.mark.parametrize("name", list(NUM_FEATURES))
def test_number_and_last_activation(name: str) -> None:
    facts = BACKBONES[name]
    with torch.device("meta"):
        backbone = build_backbone(
            name=name, num_classes=2, image_size=facts.native_size, dropout=0, seed=0
        )
    assert backbone.head.in_features == NUM_FEATURES[name]
    last = [m for stage in backbone.stages[:-1] for m in stage.modules() if isinstance(m, KINDS)]
    assert LAST_ACTIVATION[facts.family] in {kind.__name__ for kind in type(last[-1]).__mro__}


@pytest.mark.parametrize(
    "name", ["resnet10", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "swin_t"]
)
def test_sign(name: str) -> None:
    backbone = build_backbone(name=name, num_classes=2, image_size=32, dropout=0, seed=0)
    backbone.model.eval()
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = run_stages(backbone.stages[:-1], images)
    never = LAST_ACTIVATION[backbone.facts.family] in NEVER_NEGATIVE
    assert bool((features >= 0).all()) == never
