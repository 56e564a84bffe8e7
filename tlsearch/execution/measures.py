"""What a training that has just ended shows, while its network is in memory: what the registry of
measures (`tlsearch.metrics.registry`) reads.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tlsearch.config.augmentation import Attack, FgsmAttack, PgdAttack
from tlsearch.config.runtime import derive_seed
from tlsearch.data.splits import Split
from tlsearch.execution.source import SourceTask
from tlsearch.metrics.registry import DomainFeatures, GradientNorms
from tlsearch.models.backbones import Backbone, named_groups
from tlsearch.models.freezing import trained_parameters
from tlsearch.training.adversarial import ATTACKERS
from tlsearch.training.batches import label_batch, normalised, unit_batch
from tlsearch.training.feature_cache import Forward, features, run_stages
from tlsearch.training.optim import is_decayed
from tlsearch.training.results import TrainResult
from tlsearch.training.trainer import Trainer

GRADIENT_BATCH_SIZE = 50
"""Bounds the memory that gradients take."""
NOISE_BATCHES, NOISE_BATCH_SIZE, NOISE_IMAGES = 32, 8, 1024
"""Batches behind the gradient noise scale, and the images of the one large batch: the training
part, where it has no more. With pairs of 8 and 64 images the signal drowned."""
DOMAIN_IMAGES = 512
"""Of either domain, at the most, for the distance between them."""
ATTACKED_IMAGES = 200
"""Images of the test part that are attacked at the most."""
ATTACKS: Mapping[str, Attack] = {
    "fgsm": FgsmAttack(epsilon=8 / 255),
    "pgd": PgdAttack(epsilon=8 / 255, num_steps=10),
}
"""By the part of the measure; arXiv:1706.06083 takes this epsilon for natural images."""


@dataclass(kw_only=True, eq=False)
class Trained:
    """A complete training with what it is measured against (`registry.Observed`).

    `test` (T,) are the rows of the test part. `pretrained` gives the network that it started from,
    None where it started at random; `source` the task that this one was trained on, None where no
    image of it is at hand.
    """

    trainer: Trainer
    result: TrainResult
    test: np.ndarray
    pretrained: Callable[[], Backbone] | None
    source: Callable[[], SourceTask] | None

    def __post_init__(self) -> None:
        assert self.result.chosen is not None, "a complete training has an epoch"
        trainer, epochs = self.trainer, self.result.epochs
        self.backbone = trainer.backbone
        self.groups: Sequence[str] = self.backbone.groups[:-1]
        self.chosen = self.result.chosen  # the epoch whose weights count
        self.val_losses = np.array([epoch.val_loss for epoch in epochs])
        self.val_accuracies = np.array([epoch.val_accuracy for epoch in epochs])
        self.val_accuracy = self.chosen.val_accuracy
        # One a step that was taken, before clipping; `planned_steps` also where it ended early.
        self.gradient_norms = np.array(trainer.steps.gradients)
        self.planned_steps = trainer.plan.total_steps
        self.largest_step_norm = trainer.steps.largest_update
        self.seconds = self.result.seconds

    @cached_property
    def train_accuracy(self) -> float:
        """Of the weights that count, in evaluation mode, without augmentation."""
        return accuracy(self.trainer.forward, self.trainer.data.train)

    @cached_property
    def images_per_second(self) -> float:
        """Of the steps alone: validation takes the same time whatever the strategy."""
        return self.result.images_trained / self.trainer.step_seconds

    # Its weights.

    @cached_property
    def weights(self) -> Sequence[Sequence[np.ndarray]]:
        """The parameters of each group; BatchNorm's statistics are none."""
        return self._by_group(self.backbone)

    @cached_property
    def pretrained_weights(self) -> Sequence[Sequence[np.ndarray]] | None:
        """The same before training."""
        return None if self.pretrained is None else self._by_group(self.pretrained())

    def _by_group(self, backbone: Backbone) -> Sequence[Sequence[np.ndarray]]:
        named = named_groups(backbone)
        return [_arrays(named[group].values()) for group in self.groups]

    @cached_property
    def penalised_weights(self) -> Sequence[np.ndarray]:
        """What L1 and weight decay reach by default, of the groups that had trained by the chosen
        epoch: weights of convolutions and linear layers, no norms, which would outweigh them.
        """
        plan = self.trainer.plan
        trained = trained_parameters(self.backbone, norms_alone=plan.norms_alone)
        opened = plan.open_in(self.chosen.epoch)
        named = [row for group in opened for row in trained[group].items()]
        return _arrays(weight for name, weight in named if is_decayed(name, weight))

    # The source.

    @cached_property
    def source_features(self) -> Sequence[np.ndarray] | None:
        """Of the source's held-out images, (images, width) behind each group, in the trained
        network.
        """
        return None if self.source is None else self.source().features(self.backbone)

    @cached_property
    def pretrained_source_features(self) -> Sequence[np.ndarray] | None:
        """The same before training."""
        return None if self.source is None else self.source().pretrained_features

    @cached_property
    def source_accuracy(self) -> dict[str, float]:
        """By a probe of the pretrained network, the same for all strategies; `head` is by the head
        that learnt the source's task beside the target's, where there is one.
        """
        if self.source is None or self.source_features is None:
            return {"": math.nan}
        given, second = self.source_features[-1], self.trainer.second_task
        found = {"": self.source().accuracy(given)}
        if second is not None:
            found["head"] = self.source().head_accuracy(second.head, given)
        return found

    @cached_property
    def domains(self) -> DomainFeatures | None:
        """Source and validation part, in the trained network."""
        if self.source is None or self.source_features is None:
            return None
        return DomainFeatures(evenly(self.source_features[-1]), self._target(self.backbone), None)

    @cached_property
    def pretrained_domains(self) -> DomainFeatures | None:
        """Source and validation part, as it is and adapted, in the network before training."""
        if self.source is None or self.pretrained is None:
            return None
        backbone, stage = self.pretrained(), self.trainer.adaptation
        adapted = None
        if stage is not None:  # images as the first epoch has them
            adapted = self._target(backbone, lambda images, rows: stage(images, rows, epoch=1))
        source = evenly(self.source().pretrained_features[-1])
        return DomainFeatures(source, self._target(backbone), adapted)

    def _target(
        self, backbone: Backbone, change: Callable[[Tensor, np.ndarray], Tensor] | None = None
    ) -> np.ndarray:
        data = self.trainer.data
        return features(backbone, data.pixels, evenly(data.validation), change=change)[-1]

    # Gradients and attacks.

    @cached_property
    def gradient_noise(self) -> GradientNorms:
        """Of the cross-entropy at the final weights, in evaluation mode. The training part counts
        as all images that there are, so small batches are drawn from it with replacement.
        """
        rows, forward = self.trainer.data.train, self.trainer.forward
        self.backbone.model.eval()
        weights = [p for p in self.backbone.model.parameters() if p.requires_grad]
        draw = np.random.default_rng(derive_seed(self.trainer.seed, "noise scale"))

        def norm2(batch: np.ndarray) -> float:
            mean = [torch.zeros_like(w) for w in weights]
            for i in range(0, len(batch), GRADIENT_BATCH_SIZE):
                part = batch[i : i + GRADIENT_BATCH_SIZE]
                loss = F.cross_entropy(forward.logits(part), forward.labels(part), reduction="sum")
                torch._foreach_add_(mean, torch.autograd.grad(loss / len(batch), weights))
            return float(nn.utils.get_total_norm(mean)) ** 2

        few = len(rows) <= NOISE_IMAGES
        small = [norm2(draw.choice(rows, NOISE_BATCH_SIZE)) for _ in range(NOISE_BATCHES)]
        large = norm2(rows if few else draw.choice(rows, NOISE_IMAGES))
        return GradientNorms(
            small=np.array(small),
            large=np.array([large]),
            small_size=NOISE_BATCH_SIZE,
            large_size=math.inf if few else NOISE_IMAGES,
        )

    @cached_property
    def attacked_accuracy(self) -> dict[str, float]:
        """On attacked images of the test part, in fp32: the same images for every model."""
        self.backbone.model.eval()
        pixels, device = self.trainer.data.pixels, self.backbone.head.weight.device
        generator = torch.Generator().manual_seed(derive_seed(self.trainer.seed, "pgd"))
        rows = evenly(self.test, most=ATTACKED_IMAGES)

        def logits(images: Tensor) -> Tensor:
            return run_stages(self.backbone.stages, normalised(images, pixels))

        right = dict.fromkeys(ATTACKS, 0)
        for i in range(0, len(rows), GRADIENT_BATCH_SIZE):
            batch = rows[i : i + GRADIENT_BATCH_SIZE]
            images = unit_batch(pixels, batch, device=device)
            labels = label_batch(pixels, batch, device=device)
            for name, attack in ATTACKS.items():
                attacked = ATTACKERS[type(attack)](attack, logits, images, labels, generator)
                with torch.no_grad():
                    right[name] += int((logits(attacked).argmax(1) == labels).sum())
        shares = {name: count / len(rows) for name, count in right.items()}
        return {"": shares["pgd"], **shares}


def evenly(rows: np.ndarray, *, most: int = DOMAIN_IMAGES) -> np.ndarray:
    """At most so many of the rows, evenly over them: their order may be one of classes or time."""
    places = np.linspace(0, len(rows) - 1, min(len(rows), most))
    found: np.ndarray = rows[places.round().astype(int)]
    return found


def split_figures(forward: Forward, split: Split, future: np.ndarray) -> dict[str, float]:
    """Figures of a finished training, on images that had no say in it, as shares of right answers.

    `estimate`: on the split's own test part; `later_accuracy`: on the rows `future`;
    `future_error`: the absolute difference of the two.
    Source: claims.md, B3.
    """
    estimate, later = (accuracy(forward, rows) for rows in (split.test, future))
    return {
        "estimate": estimate,
        "later_accuracy": later,
        "future_error": abs(estimate - later),
    }


def accuracy(forward: Forward, rows: np.ndarray) -> float:
    """Share of right answers on these rows."""
    scores, labels = forward.evaluate(rows)
    return (scores.argmax(1) == labels).double().mean().item()


def _arrays(tensors: Iterable[Tensor]) -> list[np.ndarray]:
    return [tensor.detach().cpu().numpy() for tensor in tensors]
