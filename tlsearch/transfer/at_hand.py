"""Whether weights can be had now, without reading or fetching them."""

import os
from pathlib import Path
from urllib.request import Request, urlopen

from tlsearch.errors import WeightsError


def no_such_file(file: Path) -> WeightsError:
    """What is said of a weights file that is not there."""
    return WeightsError(f"backbone.weights = '{file}': no such file, seen from {Path.cwd()}")


def weights_at_hand(*, backbone: str, weights: str, patience_seconds: float) -> bool:
    """Whether torchvision's `weights` lie in torch's cache, or their server answers in time."""
    folder = downloads()
    # torchvision's names end in a part of the hash; to ask it costs seconds.
    if any(folder.glob(f"{backbone}-*.pth")):
        return True
    return _server_answers(backbone, weights, patience_seconds)


def downloads() -> Path:
    """Where torch keeps the weights that it downloaded; asked without importing torch."""
    home = os.environ.get("TORCH_HOME")
    cache = Path(home) if home else Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "torch"
    return cache.expanduser() / "hub" / "checkpoints"


def _server_answers(backbone: str, weights: str, patience_seconds: float) -> bool:
    from torchvision.models import get_model_weights

    address = get_model_weights(backbone)[weights].url
    try:
        with urlopen(Request(address, method="HEAD"), timeout=patience_seconds):  # noqa: S310
            return True
    except (OSError, ValueError):
        return False
