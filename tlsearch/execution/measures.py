"""Measures of a training that has just ended, taken while its network is in memory."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tlsearch.config.seeds import derive_seed
from tlsearch.data.splits import Split
from tlsearch.execution.source_data import SourceTask
from tlsearch.execution.source_distance import adapted_distance, domain_distance
from tlsearch.metrics.curves import (
    early_gradient_norm,
    epochs_to_share,
    generalisation_gap,
    gradient_noise_scale,
    oscillation,
)
from tlsearch.metrics.drift import linear_cka, relative_distance, sparsity, weight_norm
from tlsearch.metrics.protocol import (
    ACCURACY_SHARE,
    ATTACKED_IMAGES,
    EARLY_SHARE,
    EPSILON,
    NEAR_ZERO,
    NOISE_BATCH_SIZE,
    NOISE_BATCHES,
    NOISE_IMAGES,
    PGD_STEP_SIZE,
    PGD_STEPS,
)
from tlsearch.metrics.sweeps import future_error
from tlsearch.models.backbones import Backbone, named_groups
from tlsearch.models.freezing import trained_parameters
from tlsearch.training.adversarial import fgsm, pgd
from tlsearch.training.batches import label_batch, normalised, unit_batch
from tlsearch.training.feature_cache import Forward, run_stages
from tlsearch.training.optim import is_decayed
from tlsearch.training.results import EpochResult, TrainResult
from tlsearch.training.trainer import Trainer

GRADIENT_BATCH_SIZE = 50
"""Bounds the memory that gradients take."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A complete training with what it is measured against.

    `test` (T,) are the rows of the test part. `pretrained` gives the network that it started from,
    None where it started at random; `source` the task that this one was trained on, None where no
    image of it is at hand.
    """

    trainer: Trainer
    result: TrainResult
    test: np.ndarray
    pretrained: Callable[[], Backbone] | None
    source: Callable[[], SourceTask] | None

    @property
    def backbone(self) -> Backbone:
        """The trained network."""
        return self.trainer.backbone

    @property
    def chosen(self) -> EpochResult:
        """The epoch whose weights count."""
        assert self.result.chosen is not None, "a complete training has an epoch"
        return self.result.chosen

    @property
    def body(self) -> tuple[str, ...]:
        """All layer groups but the head."""
        return self.backbone.groups[:-1]

    @cached_property
    def source_features(self) -> list[np.ndarray]:
        """What the trained network makes of the source's held-out images."""
        assert self.source is not None
        return self.source().features(self.backbone)

    def penalised_weights(self) -> list[nn.Parameter]:
        """What L1 and weight decay reach by default, of the groups that had trained by the chosen
        epoch: weights of convolutions and linear layers, no norms, which would outweigh them.
        """
        plan = self.trainer.plan
        trained = trained_parameters(self.backbone, norms_alone=plan.norms_alone)
        opened = plan.open_in(self.chosen.epoch)
        named = [row for group in opened for row in trained[group].items()]
        return [weight for name, weight in named if is_decayed(name, weight)]


def take_measures(names: Sequence[str], of: Trained) -> dict[str, float]:
    """The measures of these names, as `evidence.measures.protocol` lists them, and their parts.

    Not a number: drifts of a network that started at random; `cka_drift`, `source_accuracy` and
    distances of domains where no images of the source are at hand; `oscillation` of a single epoch.
    """
    taken: dict[str, float] = {}
    for name in names:
        taken |= _MEASURES[name](of)
    return taken


def _cka_drift(of: Trained) -> dict[str, float]:
    """1 - linear CKA with the pretrained features, of held-out source images."""
    if of.source is None:
        return _by_group("cka_drift", of.body, [math.nan] * len(of.body))
    pairs = zip(of.source().pretrained_features, of.source_features, strict=True)
    # Equal features have a CKA of 1 but for rounding, and a constant one, too, has not moved.
    drifts = [
        0.0 if np.array_equal(old, new) else max(0.0, 1 - linear_cka(old, new))
        for old, new in pairs
    ]
    return _by_group("cka_drift", of.body, drifts)


def _weight_drift(of: Trained) -> dict[str, float]:
    """Relative distance from the pretrained parameters; BatchNorm's statistics are none."""
    if of.pretrained is None:
        return _by_group("weight_drift", of.body, [math.nan] * len(of.body))
    start, now = named_groups(of.pretrained()), named_groups(of.backbone)
    drifts = [
        relative_distance(_arrays(now[group].values()), _arrays(start[group].values()))
        for group in of.body
    ]
    return _by_group("weight_drift", of.body, drifts)


def _by_group(name: str, groups: Sequence[str], values: Sequence[float]) -> dict[str, float]:
    """A value a group, and the mean over the early half of the groups, rounded up."""
    early = values[: math.ceil(len(values) / 2)]
    parts = {f"{name}.{group}": value for group, value in zip(groups, values, strict=True)}
    return {name: float(np.mean(early)), **parts}


def _source_accuracy(of: Trained) -> dict[str, float]:
    """By a probe of the pretrained network, the same for all strategies; `.head` is by the head
    that learnt the source's task beside the target's, where there is one.
    """
    if of.source is None:
        return {"source_accuracy": math.nan}
    found = {"source_accuracy": of.source().accuracy(of.source_features)}
    second = of.trainer.second_task
    if second is not None:
        found["source_accuracy.head"] = of.source().head_accuracy(second.head, of.source_features)
    return found


def _domain_distance(of: Trained) -> dict[str, float]:
    """Of the validation part, in the trained network's features."""
    if of.source is None:
        return _not_measured("domain_distance", ("error", "proxy_a"))
    data = of.trainer.data
    return domain_distance(of.backbone, of.source(), data.pixels, data.validation)


def _adapted_distance(of: Trained) -> dict[str, float]:
    """Of the validation part, as it is and adapted, in the pretrained network's features."""
    if of.source is None or of.pretrained is None:
        return _not_measured("adapted_distance", ("before", "after"))
    data, stage = of.trainer.data, of.trainer.adaptation
    return adapted_distance(of.pretrained(), of.source(), data.pixels, data.validation, stage)


def _not_measured(name: str, parts: Iterable[str]) -> dict[str, float]:
    return dict.fromkeys((name, *(f"{name}.{part}" for part in parts)), math.nan)


def _early_gradient_norm(of: Trained) -> dict[str, float]:
    norms, planned = np.array(of.trainer.steps.gradients), of.trainer.plan.total_steps
    found = early_gradient_norm(norms, first=EARLY_SHARE, planned=planned)
    return {"early_gradient_norm": found}


def _largest_step_norm(of: Trained) -> dict[str, float]:
    return {"largest_step_norm": of.trainer.steps.largest_update}


def _oscillation(of: Trained) -> dict[str, float]:
    return {"oscillation": oscillation(np.array([e.val_loss for e in of.result.epochs]))}


def _epochs_to_share(of: Trained) -> dict[str, float]:
    accuracies = np.array([e.val_accuracy for e in of.result.epochs])
    return {"epochs_to_share": float(epochs_to_share(accuracies, share=ACCURACY_SHARE))}


def _epochs_spent(of: Trained) -> dict[str, float]:
    return {"epochs_spent": float(len(of.result.epochs))}


def _generalisation_gap(of: Trained) -> dict[str, float]:
    logits, labels = of.trainer.forward.evaluate(of.trainer.data.train)
    training = (logits.argmax(1) == labels).double().mean().item()
    gap = generalisation_gap(np.array(training), np.array(of.chosen.val_accuracy))
    return {"generalisation_gap": float(gap)}


def _sparsity(of: Trained) -> dict[str, float]:
    return {"sparsity": sparsity(_arrays(of.penalised_weights()), below=NEAR_ZERO)}


def _weight_norm(of: Trained) -> dict[str, float]:
    return {"weight_norm": weight_norm(_arrays(of.penalised_weights()))}


def _images_per_second(of: Trained) -> dict[str, float]:
    """Of the steps alone: validation takes the same time whatever the strategy."""
    return {"images_per_second": of.result.images_trained / of.trainer.step_seconds}


def _seconds(of: Trained) -> dict[str, float]:
    return {"seconds": of.result.seconds}


def _noise_scale(of: Trained) -> dict[str, float]:
    """Of the cross-entropy at the final weights, in evaluation mode. The training part counts as
    all images that there are, so small batches are drawn from it with replacement.
    """
    rows, forward = of.trainer.data.train, of.trainer.forward
    of.backbone.model.eval()
    weights = [p for p in of.backbone.model.parameters() if p.requires_grad]
    draw = np.random.default_rng(derive_seed(of.trainer.seed, "noise scale"))

    def norm2(batch: np.ndarray) -> float:
        mean = [torch.zeros_like(w) for w in weights]
        for i in range(0, len(batch), GRADIENT_BATCH_SIZE):
            part = batch[i : i + GRADIENT_BATCH_SIZE]
            loss = F.cross_entropy(forward.logits(part), forward.labels(part), reduction="sum")
            torch._foreach_add_(mean, torch.autograd.grad(loss / len(batch), weights))
        return float(nn.utils.get_total_norm(mean)) ** 2

    few = len(rows) <= NOISE_IMAGES
    small = [norm2(draw.choice(rows, NOISE_BATCH_SIZE)) for _ in range(NOISE_BATCHES)]
    scale = gradient_noise_scale(
        np.array(small),
        np.array([norm2(rows if few else draw.choice(rows, NOISE_IMAGES))]),
        small=NOISE_BATCH_SIZE,
        large=math.inf if few else NOISE_IMAGES,
    )
    return {"noise_scale": scale}


def _robust_accuracy(of: Trained) -> dict[str, float]:
    """Accuracy on attacked images of the test part, in fp32: the same images for every model."""
    of.backbone.model.eval()
    pixels = of.trainer.data.pixels
    device = of.backbone.head.weight.device
    generator = torch.Generator().manual_seed(derive_seed(of.trainer.seed, "pgd"))
    # Evenly over the part, whose order may be one of classes or of time.
    places = np.linspace(0, len(of.test) - 1, min(len(of.test), ATTACKED_IMAGES))
    rows = of.test[places.round().astype(int)]

    def logits(images: Tensor) -> Tensor:
        return run_stages(of.backbone.stages, normalised(images, pixels))

    attacks: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
        "fgsm": lambda images, labels: fgsm(logits, images, labels, epsilon=EPSILON),
        "pgd": lambda images, labels: pgd(
            logits,
            images,
            labels,
            epsilon=EPSILON,
            num_steps=PGD_STEPS,
            step_size=PGD_STEP_SIZE,
            generator=generator,
        ),
    }
    right = dict.fromkeys(attacks, 0)
    for i in range(0, len(rows), GRADIENT_BATCH_SIZE):
        batch = rows[i : i + GRADIENT_BATCH_SIZE]
        images = unit_batch(pixels, batch, device=device)
        labels = label_batch(pixels, batch, device=device)
        for name, attack in attacks.items():
            attacked = attack(images, labels)
            with torch.no_grad():
                found = logits(attacked).argmax(1)
            right[name] += int((found == labels).sum())
    shares = {f"robust_accuracy.{name}": count / len(rows) for name, count in right.items()}
    return {"robust_accuracy": shares["robust_accuracy.pgd"], **shares}


def _arrays(tensors: Iterable[Tensor]) -> list[np.ndarray]:
    return [tensor.detach().cpu().numpy() for tensor in tensors]


_MEASURES: Mapping[str, Callable[[Trained], dict[str, float]]] = {
    "cka_drift": _cka_drift,
    "weight_drift": _weight_drift,
    "source_accuracy": _source_accuracy,
    "early_gradient_norm": _early_gradient_norm,
    "largest_step_norm": _largest_step_norm,
    "oscillation": _oscillation,
    "epochs_to_share": _epochs_to_share,
    "epochs_spent": _epochs_spent,
    "generalisation_gap": _generalisation_gap,
    "sparsity": _sparsity,
    "weight_norm": _weight_norm,
    "images_per_second": _images_per_second,
    "seconds": _seconds,
    "noise_scale": _noise_scale,
    "robust_accuracy": _robust_accuracy,
    "domain_distance": _domain_distance,
    "adapted_distance": _adapted_distance,
}


# Whether a split's own estimate of accuracy comes true on images that come later.


def split_figures(forward: Forward, split: Split, future: np.ndarray) -> dict[str, float]:
    """Figures of a finished training, on images that had no say in it, as shares of right answers.

    `estimate`: on the split's own test part; `later_accuracy`: on the rows `future`;
    `future_error`: the absolute difference of the two.
    Source: claims.md, B3.
    """
    estimate, later = (_accuracy(forward, rows) for rows in (split.test, future))
    error = future_error(np.array([estimate]), np.array([later]))
    return {"estimate": estimate, "later_accuracy": later, "future_error": float(error[0])}


def _accuracy(forward: Forward, rows: np.ndarray) -> float:
    scores, labels = forward.evaluate(rows)
    return (scores.argmax(1) == labels).float().mean().item()
