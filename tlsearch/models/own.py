"""A user's own network, `package.file:function`: found from the folder where the command runs,
called with `num_classes`, and judged by what it gives.
"""

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tlsearch.config.catalog import NetworkError
from tlsearch.errors import nearest

NUM_CLASSES = 7
"""Of a network that is only to be looked at: a number that few layers have by chance."""


def own_model(name: str, *, num_classes: int) -> nn.Module:
    """The network that the user's function gives.

    Raises:
        NetworkError: there is no such function, it raises, or it gives no network.
    """
    function = _function(name)
    try:
        model = function(num_classes=num_classes)
    except Exception as error:
        call = f"{name.partition(':')[2]}(num_classes={num_classes})"
        remedy = "it must take num_classes and return a torch.nn.Module"
        raise NetworkError("module", name, f"{call} raises {told(error)}", remedy) from None
    if not isinstance(model, nn.Module):
        rule = f"returns a {type(model).__name__}, no torch.nn.Module"
        raise NetworkError("module", name, rule, "return the network itself")
    if not any(p.requires_grad for p in model.parameters()):
        raise NetworkError("module", name, "has no parameters to train", "return a whole network")
    return model


def _function(name: str) -> Callable[..., Any]:
    module_name, _, function_name = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            remedy = "install it, or correct the import"
            rule = f"importing {module_name} raises {told(error)}"
            raise NetworkError("module", name, rule, remedy) from None
        rule = f"there is no module {error.name}, seen from {here}"
        remedy = "write package.file:function, and run where the package or file lies"
        raise NetworkError("module", name, rule, remedy) from None
    except Exception as error:
        rule = f"importing {module_name} raises {told(error)}"
        raise NetworkError("module", name, rule, "correct the file") from None
    found: Any = getattr(module, function_name, None)
    if not callable(found):
        known = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        rule = f"{module_name} has no function {function_name}"
        remedy = nearest(function_name, known) or f"it has {', '.join(known) or 'none'}"
        raise NetworkError("module", name, rule, remedy)
    function: Callable[..., Any] = found
    return function


def lies_here(name: str) -> bool:
    """Whether the file or package of a network's function lies in the current folder: what a file
    of somebody else's names is not imported from anywhere else.
    """
    first = Path.cwd() / name.partition(":")[0].partition(".")[0]
    return first.is_dir() or first.with_suffix(".py").is_file()


def told(error: BaseException) -> str:
    """An exception of foreign code: its kind, its words, and the place."""
    words = (str(error).splitlines() or [""])[0][:200]
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "/tlsearch/" not in f.filename.replace("\\", "/")]
    own = [f for f in own if "importlib" not in f.filename] or own
    place = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {words}{place}" if words else type(error).__name__ + place


def source_digest(name: str) -> str:
    """16 hex digits of the content of the file that has the function; "" where it has none."""
    try:
        path = inspect.getsourcefile(inspect.unwrap(_function(name)))
    except TypeError:
        return ""
    return "" if path is None else sha256(Path(path).read_bytes()).hexdigest()[:16]


def scores(model: nn.Module, *, num_images: int, image_size: int, name: str) -> torch.Tensor:
    """What the network gives for random images, in evaluation mode: class scores (N, K).

    Raises:
        NetworkError: it raises, or gives something of another kind or shape.
    """
    images = torch.randn(num_images, 3, image_size, image_size)
    what = f"{num_images} images of {image_size} px"
    try:
        with torch.no_grad():
            found = model.eval()(images)
    except Exception as error:
        rule = f"its forward pass raises {told(error)} for {what}"
        remedy = "it must take images (N, 3, S, S) of data.size; correct it, or change data.size"
        raise NetworkError("module", name, rule, remedy) from None
    wanted = (num_images, NUM_CLASSES)
    if not isinstance(found, torch.Tensor) or tuple(found.shape) != wanted:
        kind = type(found).__name__
        given = f"shape {tuple(found.shape)}" if isinstance(found, torch.Tensor) else f"a {kind}"
        rule = f"gives {given} for {what} and num_classes = {NUM_CLASSES}, not {wanted}"
        remedy = "return class scores, one row per image and one column per class"
        raise NetworkError("module", name, rule, remedy)
    return found
