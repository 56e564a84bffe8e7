"""An exponential moving average of the weights, for what is validated and kept."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """`average = decay * average + (1 - decay) * weights` after every step, from the first step's
    weights on; as torch's `AveragedModel`, without a second network.

    `live` are parameters and buffers in use, by name. BatchNorm's running statistics are averaged
    as the weights are, so that they belong to the same stretch of training; counts are copied.
    Source: Polyak averaging with exponential weights, as in arXiv:1703.01780.
    """

    def __init__(self, live: Mapping[str, Tensor], *, decay: float) -> None:
        self._live = dict(live)
        self._average = {name: value.clone() for name, value in live.items()}
        self._blend = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        self._num_steps = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after an optimizer step."""
        if self._num_steps:
            blended = [name for name, v in self._live.items() if v.is_floating_point()]
            average, live = ([of[n] for n in blended] for of in (self._average, self._live))
            self._blend(average, live, self._num_steps)
        for name, value in self._live.items():
            if not self._num_steps or not value.is_floating_point():
                self._average[name].copy_(value)
        self._num_steps += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The average in the network's place while the context lasts."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def keep(self) -> None:
        """Put the average in the network's place for good."""
        for name, value in self._average.items():
            self._live[name].copy_(value)

    def state(self) -> dict[str, Tensor]:
        """The average as it is in use, no copy, and the number of steps in it."""
        return {**self._average, _STEPS: torch.tensor(self._num_steps)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave."""
        for name, value in self._average.items():
            value.copy_(state[name])
        self._num_steps = int(state[_STEPS])

    @torch.no_grad()
    def _swap(self) -> None:
        for name, value in self._average.items():
            live = self._live[name]
            kept = live.clone()
            live.copy_(value)
            value.copy_(kept)


_STEPS = " steps"
"""No name of a parameter has a space."""
