"""Networks that answer differently to different images, as trained ones do; and their buffers."""

import torch
from torch import Tensor

from tlsearch.config.catalog import group_of
from tlsearch.models.backbones import Backbone, build_backbone
from tlsearch.models.export import Classifier
from tlsearch.models.facts import ModelFacts

LOGIT_SPREAD = 1.0


def lively_classifier(name: str, *, image_size: int, num_classes: int) -> Classifier:
    """A classifier with statistics of batches, and logits that spread as a trained one's do.

    As it is built, a network may answer every image alike: some heads start at zero.
    """
    backbone = build_backbone(
        name=name, num_classes=num_classes, image_size=image_size, dropout=0.0, seed=0
    )
    classifier = Classifier(backbone).requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(16, 3, image_size, image_size, generator=generator)
    images *= torch.rand(16, 3, 1, 1, generator=generator)
    with torch.no_grad():
        for layer in classifier.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = 1.0  # the statistics of one batch, whole
        torch.manual_seed(0)
        classifier.train()(images)
        classifier.eval()
        weight = backbone.head.weight
        weight.copy_(torch.randn(weight.shape, generator=generator))
        logits = classifier.model((images - classifier.mean) / classifier.std)
        scale = LOGIT_SPREAD / logits.std(0).mean()
        weight.mul_(scale)
        assert backbone.head.bias is not None
        backbone.head.bias.copy_(-scale * logits.mean(0))
    return classifier


def facts_of(name: str, *, image_size: int, num_classes: int) -> ModelFacts:
    return ModelFacts(
        class_names=tuple(f"ç{n}" for n in range(num_classes)),
        image_size=image_size,
        fit="pad",
        backbone=name,
        study="s",
        trial=3,
        run="confirm-0003-seed-1",
        test={"mean": 0.9, "low": 0.8, "high": 1.0, "num_seeds": 1, "num_images": 50},
        weights="float32",
    )


def named_buffers(backbone: Backbone) -> dict[str, dict[str, Tensor]]:
    """Every buffer by name, in the group that owns it: that of the parameters of its own layer.

    These are BatchNorm's statistics and Swin's constant tables of relative positions.
    """
    owned: dict[str, dict[str, Tensor]] = {group: {} for group in backbone.groups}
    for name, buffer in backbone.model.named_buffers():
        owned[group_of(backbone.facts, name)][name] = buffer
    return owned
