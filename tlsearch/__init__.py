"""Measure which transfer-learning strategy works on your images and your pretrained network."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tlsearch.api import Model, Results, check, load_model, load_study, open_results, run
    from tlsearch.errors import (
        RequestError,
        StoreError,
        StudyError,
        TlsearchError,
        WeightsError,
        WorkError,
    )
    from tlsearch.execution.interrupts import Interrupted

__version__ = "0.1.0"
__all__ = [
    "Interrupted",
    "Model",
    "RequestError",
    "Results",
    "StoreError",
    "StudyError",
    "TlsearchError",
    "WeightsError",
    "WorkError",
    "__version__",
    "check",
    "load_model",
    "load_study",
    "open_results",
    "run",
]
_ELSEWHERE = {"Interrupted": "tlsearch.execution.interrupts"}


def __getattr__(name: str) -> Any:
    """The public names; nothing else is loaded before one of them is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    is_error = name.endswith("Error")
    module = _ELSEWHERE.get(name, "tlsearch.errors" if is_error else "tlsearch.api")
    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    return __all__
