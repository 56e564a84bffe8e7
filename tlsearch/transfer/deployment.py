"""A backbone as others use it: pixels in, probabilities out."""

import torch
from torch import Tensor, nn

from tlsearch.transfer.backbones import Backbone, normalisation


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
