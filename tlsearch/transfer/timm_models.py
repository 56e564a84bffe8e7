"""timm's networks, built and fetched by timm itself; the only import of it, and a late one."""

from contextlib import suppress
from importlib import import_module
from typing import Any

from torch import Tensor, nn

from tlsearch.errors import RequestError, WeightsError
from tlsearch.study.timm_backbones import PREFIX


def build_timm(name: str, *, num_classes: int) -> nn.Module:
    """The network with random weights, by its name in a study (`timm/resnet18d`).

    Raises:
        RequestError: timm is not installed, or has no such network.
    """
    timm = _timm(name)
    try:
        model: nn.Module = timm.create_model(
            name.removeprefix(PREFIX), pretrained=False, num_classes=num_classes
        )
    except RuntimeError as error:
        raise RequestError(
            f"backbone.name = {name!r}: the installed timm {timm.__version__} has no such network "
            f"({error}) — update it: pip install --upgrade timm"
        ) from None
    return model


def fetch_timm(name: str, *, tag: str) -> dict[str, Tensor]:
    """The published state dict, head included, through timm's own hub client and cache.

    Raises:
        RequestError: timm is not installed.
        WeightsError: the weights are unknown to this timm, or cannot be fetched.
    """
    timm = _timm(name)
    try:
        model = timm.create_model(f"{name.removeprefix(PREFIX)}.{tag}", pretrained=True)
    except Exception as error:  # the hub's client raises kinds of its own, by version
        summary = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"backbone.weights = {tag!r} of {name}: timm could not fetch them ({summary}) — "
            "give a .safetensors file of this network, or choose glyphs or none"
        ) from None
    return dict(model.state_dict())


def _timm(name: str) -> Any:
    found: Any = None
    with suppress(ImportError):
        found = import_module("timm")
    if not hasattr(found, "create_model"):  # a folder called timm passes for an empty package
        raise RequestError(
            f"backbone.name = {name!r}: needs timm, which is not installed — "
            "pip install 'tlsearch[timm]'"
        )
    return found
