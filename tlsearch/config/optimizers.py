"""Optimizers: fields with defaults and ranges, and the torch class that each builds."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

Fraction = Annotated[float, Field(ge=0, lt=1)]


class Optimizer(ABC):
    """Base of the optimizers; `torch_name` is that of the class in `torch.optim`."""

    torch_name: ClassVar[str]

    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """Torch's keyword arguments, apart from rates and weight decay."""


@dataclass(frozen=True, kw_only=True)
class Sgd(Optimizer):
    """Stochastic gradient descent with (Nesterov) momentum."""

    torch_name: ClassVar[str] = "SGD"
    momentum: Fraction = 0.9
    nesterov: bool = False

    def arguments(self) -> dict[str, Any]:
        """As torch names them."""
        return {"momentum": self.momentum, "nesterov": self.nesterov, "fused": True}


@dataclass(frozen=True, kw_only=True)
class Adam(Optimizer):
    """Adam (arXiv:1412.6980): weight decay is added to the gradient."""

    torch_name: ClassVar[str] = "Adam"
    beta1: Fraction = 0.9
    beta2: Fraction = 0.999

    def arguments(self) -> dict[str, Any]:
        """As torch names them."""
        return {"betas": (self.beta1, self.beta2), "fused": True}


@dataclass(frozen=True, kw_only=True)
class AdamW(Adam):
    """AdamW (arXiv:1711.05101): weight decay is apart from the gradient."""

    torch_name: ClassVar[str] = "AdamW"


@dataclass(frozen=True, kw_only=True)
class RmsProp(Optimizer):
    """RMSprop with momentum; `alpha` smooths the squared gradient."""

    torch_name: ClassVar[str] = "RMSprop"
    alpha: Fraction = 0.99
    momentum: Fraction = 0.0

    def arguments(self) -> dict[str, Any]:
        """As torch names them; it has no fused form."""
        return {"alpha": self.alpha, "momentum": self.momentum}


OPTIMIZERS: Mapping[str, type[Optimizer]] = {
    "sgd": Sgd,
    "adam": Adam,
    "adamw": AdamW,
    "rmsprop": RmsProp,
}
