"""A user's own network, `package.file:function`: found from the folder where the command runs,
called with `num_classes`, and judged by what it gives.
"""

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from tlsearch.config.catalog import NetworkError
from tlsearch.errors import nearest

NUM_CLASSES = 7
"""Of a network that is only to be looked at: a number that few layers have by chance."""
_NAMES_SHOWN = 5
_PACKAGE = str(Path(__file__).parents[1])


def own_model(name: str, *, num_classes: int) -> nn.Module:
    """The network that the user's function gives.

    Raises:
        NetworkError: there is no such function, it raises, or it gives no network.
    """
    function = _function(name)
    call = f"{name.partition(':')[2]}(num_classes={num_classes})"
    remedy = "it must take num_classes and return a torch.nn.Module"
    with foreign_code(name, call, remedy):
        model = function(num_classes=num_classes)
    if not isinstance(model, nn.Module):
        rule = f"returns a {type(model).__name__}, no torch.nn.Module"
        raise NetworkError("module", name, rule, "return the network itself")
    if any(map(is_lazy, (*model.parameters(), *model.buffers()))):
        rule = "has lazy layers, whose sizes are not known yet"
        remedy = "let the function run the network once, on zeros, or write the sizes"
        raise NetworkError("module", name, rule, remedy)
    if not any(p.requires_grad for p in model.parameters()):
        raise NetworkError("module", name, "has no parameters to train", "return a whole network")
    return model


def _function(name: str) -> Callable[..., Any]:
    module_name, _, function_name = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    with foreign_code(name, f"importing {module_name}", "correct the file"):
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
                raise
            rule = f"there is no module {error.name}, seen from {here}"
            remedy = "write package.file:function, and run where the package or file lies"
            raise NetworkError("module", name, rule, remedy) from None
    found: Any = getattr(module, function_name, None)
    if not callable(found):
        own = {n: v for n, v in vars(module).items() if getattr(v, "__module__", "") == module_name}
        known = [n for n, v in own.items() if callable(v) and not n.startswith("_")]
        rule = f"{module_name} has no function {function_name}"
        listed = ", ".join(known[:_NAMES_SHOWN]) + ", …" * (len(known) > _NAMES_SHOWN)
        remedy = nearest(function_name, known) or f"it has {listed or 'none'}"
        raise NetworkError("module", name, rule, remedy)
    function: Callable[..., Any] = found
    return function


@contextmanager
def foreign_code(name: str, what: str, remedy: str) -> Iterator[None]:
    """Within, what the user's code prints goes to stderr, for stdout is the command's result; what
    it raises, or that it exits, becomes a NetworkError.
    """
    try:
        with redirect_stdout(sys.stderr):
            yield
    except NetworkError:
        raise
    except (Exception, SystemExit) as error:
        raise NetworkError("module", name, f"{what} raises {told(error)}", remedy) from None


def lies_here(name: str) -> bool:
    """Whether the file or package of a network's function lies in the current folder: what a file
    of somebody else's names is not imported from anywhere else.
    """
    first = Path.cwd() / name.partition(":")[0].partition(".")[0]
    return first.is_dir() or first.with_suffix(".py").is_file()


def told(error: BaseException) -> str:
    """An exception of foreign code: its kind, its words, and the user's line."""
    words = (str(error).splitlines() or [""])[0][:200]
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [f for f in frames if _PACKAGE not in f.filename and "importlib" not in f.filename]
    # The last line may be torch's.
    theirs = [f for f in theirs if "site-packages" not in f.filename] or theirs
    place = f" ({Path(theirs[-1].filename).name}, line {theirs[-1].lineno})" if theirs else ""
    return f"{type(error).__name__}: {words}{place}" if words else type(error).__name__ + place


def source_digest(name: str) -> str:
    """16 hex digits of the content of the file that has the function; "" where it has none."""
    try:
        path = inspect.getsourcefile(inspect.unwrap(_function(name)))
    except TypeError:
        return ""
    return "" if path is None else sha256(Path(path).read_bytes()).hexdigest()[:16]


def scores(
    model: nn.Module, *, num_images: int, training: bool, image_size: int, name: str
) -> torch.Tensor:
    """What the network gives for random images: class scores (N, K).

    Raises:
        NetworkError: it raises, or gives something of another kind or shape, or what is not finite.
    """
    images = torch.randn(num_images, 3, image_size, image_size)
    what = f"{num_images} image{'s' * (num_images > 1)} of {image_size} px"
    what += " in training mode" * training
    remedy = "it must take images (N, 3, S, S) of data.size; correct it, or change data.size"
    with foreign_code(name, f"its forward pass of {what}", remedy), torch.no_grad():
        found = model.train(training)(images)
    wanted = (num_images, NUM_CLASSES)
    if not isinstance(found, torch.Tensor) or tuple(found.shape) != wanted:
        kind = type(found).__name__
        given = f"shape {tuple(found.shape)}" if isinstance(found, torch.Tensor) else f"a {kind}"
        rule = f"gives {given} for {what} and num_classes = {NUM_CLASSES}, not {wanted}"
        remedy = "return class scores, one row per image and one column per class"
        raise NetworkError("module", name, rule, remedy)
    if not found.isfinite().all():
        rule = f"gives scores for {what} that are not finite"
        raise NetworkError("module", name, rule, "correct its forward pass or initial weights")
    return found
