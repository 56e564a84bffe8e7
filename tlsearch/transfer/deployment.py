"""A backbone as others use it: pixels in, probabilities out."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from tlsearch.errors import WorkError
from tlsearch.transfer.backbones import Backbone, build_backbone, normalisation


class Classifier(nn.Module):
    """Images (N, 3, S, S), float in 0 … 1, to class probabilities (N, K); normalises inside."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.model = backbone.model
        mean, std = normalisation(backbone.name)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Probabilities of each class."""
        logits: Tensor = self.model((images - self.mean) / self.std)
        return logits.softmax(1)


class Halved(nn.Module):
    """A classifier that keeps its weights in fp16 and computes in fp32.

    So a file has half the size, answers as exactly as its weights allow, and needs no arithmetic
    that CPUs lack. Vectors (norms, biases) and buffers stay in fp32: they weigh nothing, and a
    batch norm's variance may lie beyond fp16. Takes over `classifier`, whose weights it rounds.

    Raises:
        WorkError: a weight is too large for fp16.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier
        for name, weight in classifier.named_parameters():
            if weight.ndim < 2:
                continue
            weight.data = weight.data.half()
            if not torch.isfinite(weight).all():
                raise WorkError(
                    f"the model cannot be exported with --half: {name} holds values beyond fp16's "
                    "65504 — export it without --half"
                )

    def forward(self, images: Tensor) -> Tensor:
        """Probabilities of each class, float32."""
        weights = {
            name: weight.float()
            for name, weight in self.classifier.named_parameters()
            if weight.dtype == torch.float16
        }
        found: Tensor = torch.func.functional_call(self.classifier, weights, (images,))
        return found


def empty_classifier(*, backbone: str, num_classes: int, image_size: int) -> Classifier:
    """A classifier in evaluation mode whose weights are yet to be loaded."""
    built = build_backbone(
        name=backbone, num_classes=num_classes, image_size=image_size, dropout=0.0, seed=0
    )
    return Classifier(built).requires_grad_(False).eval()


def load_classifier(
    weights: Path, *, backbone: str, num_classes: int, image_size: int
) -> Classifier:
    """A classifier with the weights that a training left, a .safetensors file.

    Raises:
        WorkError: the file is missing, damaged or does not fit.
    """
    classifier = empty_classifier(backbone=backbone, num_classes=num_classes, image_size=image_size)
    try:
        classifier.model.load_state_dict(load_file(weights))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise WorkError(
            f"{weights}: the model's weights cannot be read "
            f"({str(error).splitlines()[0]}) — the model that is logged in MLflow is whole; or "
            "train it again with: tlsearch run STUDY --fresh"
        ) from error
    return classifier
