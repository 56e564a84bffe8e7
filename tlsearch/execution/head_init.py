"""What the head starts from: which features it sees, and a linear probe of them."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Literal, TypeVar

import numpy as np
import torch

from tlsearch.config.strategy import (
    AllFeatures,
    Anova,
    Chi2,
    LossBalance,
    SamplingBalance,
    Strategy,
)
from tlsearch.errors import RequestError
from tlsearch.metrics.linear_probe import LinearProbe, fit_probe, select_features
from tlsearch.models.backbones import Backbone
from tlsearch.training.batches import TrainingData, loss_weights
from tlsearch.training.feature_cache import ActivationStore

_KEPT = 32
"""Answers kept at a time: the folds of a few draws."""
_Found = TypeVar("_Found")


class HeadStart:
    """Prepares heads from frozen features of the training part alone, which all trials of a fold
    share; what was found is kept for the next trial.
    """

    def __init__(self, activations: ActivationStore, *, device: torch.device) -> None:
        self._activations, self._device = activations, device
        self._known: OrderedDict[Hashable, Any] = OrderedDict()

    def prepare(
        self, backbone: Backbone, strategy: Strategy, *, data: TrainingData, seed: int
    ) -> None:
        """Give the head its features and, in linear probing before fine-tuning, its weights.

        The probe weighs images as the training's loss does on average. Rows of classes that the
        training part lacks stay as they were drawn.
        Source: LP-FT, arXiv:2202.10054.

        Raises:
            RequestError: the features do not allow it.
        """
        selection = strategy.feature_selection
        if isinstance(selection, AllFeatures) and strategy.head_init == "random":
            return
        backbone.to(self._device)
        start = None if strategy.init == "pretrained" else seed  # random features are a seed's own
        key = (start, data.train.tobytes())
        chosen = None
        if not isinstance(selection, AllFeatures):
            chosen = self._kept(
                (*key, selection), lambda: self._chosen(backbone, data, selection=selection)
            )
        if strategy.head_init == "probe":
            balance = strategy.class_balance
            if isinstance(balance, SamplingBalance):
                balance = LossBalance(beta=1.0)  # the same on average
            weights = loss_weights(data.weights, data.pixels.labels, data.train, balance=balance)
            of = None if weights is None else weights.double().numpy()[data.train]
            probe = self._kept(
                (*key, selection, balance, "probe"),
                lambda: self._probe(backbone, data, chosen=chosen, weights=of),
            )
            _fill(backbone, probe)
        if chosen is not None:
            backbone.head.select(torch.from_numpy(chosen))

    def _kept(self, key: Hashable, find: Callable[[], _Found]) -> _Found:
        if key not in self._known:
            self._known[key] = find()
        self._known.move_to_end(key)
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)
        found: _Found = self._known[key]
        return found

    def _chosen(
        self, backbone: Backbone, data: TrainingData, *, selection: Chi2 | Anova
    ) -> np.ndarray:
        """Which features the head sees: bool (F,)."""
        by: Literal["chi2", "anova"] = "chi2" if isinstance(selection, Chi2) else "anova"
        features, labels = self._features(backbone, data)
        try:
            return select_features(features, labels, by=by, k=selection.k)
        except ValueError as error:
            remedy = "take anova" if "χ²" in str(error) else "write a smaller k, or none"
            raise RequestError(
                f"space.feature_selection.{by} with k = {selection.k} on {backbone.name}: {error} "
                f"— {remedy}"
            ) from None

    def _probe(
        self,
        backbone: Backbone,
        data: TrainingData,
        *,
        chosen: np.ndarray | None,
        weights: np.ndarray | None,
    ) -> LinearProbe:
        features, labels = self._features(backbone, data)
        if chosen is not None:
            features = features * chosen
        try:
            return fit_probe(features, labels, weights=weights)
        except ValueError as error:
            raise RequestError(f"space.head_init = probe: {error} — write random") from None

    def _features(self, backbone: Backbone, data: TrainingData) -> tuple[np.ndarray, np.ndarray]:
        """Frozen features (N, F) float64 and labels (N,) of the training part."""
        body = backbone.body
        # The rows that a linear probe keeps, so that both read one file.
        rows = np.union1d(data.train, data.validation)
        found = self._activations.of_rows(body, rows, device=self._device)
        features = found[torch.from_numpy(np.searchsorted(rows, data.train))]
        return features.double().numpy(), data.pixels.labels[data.train]


@torch.no_grad()
def _fill(backbone: Backbone, probe: LinearProbe) -> None:
    """Copy a probe into the head's rows of its classes."""
    rows, head = torch.from_numpy(probe.classes), backbone.head
    head.weight[rows] = torch.from_numpy(probe.weight).to(head.weight)
    if head.bias is not None:
        head.bias[rows] = torch.from_numpy(probe.bias).to(head.bias)
