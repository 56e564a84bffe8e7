"""The facts of a network, found by building it: for networks.json, and for those that it lacks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from tlsearch.config.catalog import (
    CATALOGUE,
    OWN,
    PREFIX,
    BackboneFacts,
    NetworkError,
    NetworkSpec,
    Normalisation,
)
from tlsearch.errors import nearest
from tlsearch.models.backbones import Backbone, assembled, new_model, one_line, without_dropout
from tlsearch.models.layer_groups import is_norm
from tlsearch.models.layouts import as_map, given_groups, layout_of, own_groups, timm_layout
from tlsearch.models.own import NUM_CLASSES, foreign_code, own_model, scores, source_digest

# What gives timm's networks with a second classifier, for distillation or for tokens, a single one.
_ONE_HEAD: tuple[dict[str, Any], ...] = (
    {},
    {"distilled": False},
    {"distillation": False},
    {"use_aux_head": False},
)


def describe(spec: NetworkSpec) -> BackboneFacts:
    """The facts of a network of the installed timm's, or of a user's own.

    Raises:
        NetworkError: it cannot be had.
    """
    return _own(spec) if spec.is_own else describe_timm(spec.name)


# timm's networks.


def describe_timm(name: str, *, sizes: "Sizes | None" = None) -> BackboneFacts:
    """The facts of a network of timm's, without its weights. Networks of one kind take the sizes
    that `sizes` has of the first of them, where it is given.

    Raises:
        NetworkError: timm does not have it, or it is no classifier with one head.
    """
    import timm

    plain = name.removeprefix(PREFIX)
    network, dot, tag = plain.partition(".")
    if dot and timm.is_model(network):
        remedy = f"write name: {PREFIX}{network}, weights: {tag}"
        raise NetworkError("name", name, "names weights behind the network", remedy)
    if not timm.is_model(plain):
        rule = f"timm {timm.__version__} has no such network"
        remedy = f"{nearest(name, list(CATALOGUE))} list them: tlsearch networks timm/".strip()
        raise NetworkError("name", name, rule, remedy)
    model, head, options = _with_one_head(name, plain)
    without_dropout(model)
    config, weights = model.pretrained_cfg, _published(plain)
    norm = _normalisation(config)
    others = {tag: found for tag, found in weights.items() if found != norm}
    facts = BackboneFacts(
        name=name,
        family=f"timm_{type(model).__module__.rpartition('.')[2]}",
        layer_map=as_map(timm_layout(model, head)),
        head=head,
        giga_macs=0.0,
        mega_activations=0.0,
        num_features=0,
        weights=tuple(weights),
        native_size=config["input_size"][1],
        normalisation=norm,
        normalisations=others,
        interpolation=config["interpolation"],
        options=options,
    )
    return measured(facts, model, sizes={} if sizes is None else sizes)


def _with_one_head(name: str, plain: str) -> tuple[Any, str, dict[str, Any]]:
    import timm

    found: list[str] = []
    for options in _ONE_HEAD:
        try:
            with torch.device("meta"):
                model = timm.create_model(plain, num_classes=NUM_CLASSES, **options)
        except TypeError:  # no such option
            continue
        except Exception as error:  # each network has ways of its own to fail
            rule = f"timm {timm.__version__} cannot build it ({one_line(error)})"
            raise NetworkError("name", name, rule, "take another network") from None
        heads = _heads(model)
        if len(heads) == 1:
            return model, heads[0], dict(options)
        found = found or heads
    several = f"has {len(found)} classifiers ({', '.join(found[:4])})" if found else "has none"
    rule = f"{several}, and a study trains one"
    raise NetworkError("name", name, rule, "take another network: tlsearch networks timm/")


def _heads(model: nn.Module) -> list[str]:
    """Paths of the layers that give one number per class, and have nothing that `Head` lacks."""
    return [
        path
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
        and type(module).forward in (nn.Linear.forward, nn.Conv2d.forward)
        and isinstance(module.weight, nn.Parameter)
        and module.weight.shape[0] == NUM_CLASSES
        and tuple(module.weight.shape[2:]) in ((), (1, 1))
    ]


def _published(plain: str) -> dict[str, Normalisation]:
    """timm's tags of this network's weights, and what images each was trained on."""
    import timm

    names = timm.list_pretrained(f"{plain}.*")
    tagged = {name.partition(".")[2]: timm.get_pretrained_cfg(name) for name in names}
    return {tag: _normalisation(vars(config)) for tag, config in tagged.items()}


def _normalisation(config: Mapping[str, Any]) -> Normalisation:
    mean, std = (tuple(map(float, config[key])) for key in ("mean", "std"))
    return mean, std  # type: ignore[return-value]


# What is counted and tried.


def measured(facts: BackboneFacts, model: nn.Module, *, sizes: "Sizes") -> BackboneFacts:
    """The facts with all that a network on the meta device shows: its cost at its native size, the
    sizes that it takes, its norms, what its head sees, and where it can be cut.

    Raises:
        NetworkError: it gives no class scores for images of its native size.
    """
    size = facts.native_size
    facts = facts._replace(**_sizes(facts, model, sizes))

    def forward() -> None:
        with torch.device("meta"):
            found = model.eval()(torch.empty(1, 3, size, size))
        if not isinstance(found, Tensor) or found.shape != (1, NUM_CLASSES):
            raise NetworkError("name", facts.name, "gives no class scores", "take another network")

    facts = _counted(facts, model, forward)
    rows, features = _USUAL_CLASSES - NUM_CLASSES, facts.num_features
    has_bias = model.get_submodule(facts.head).bias is not None
    facts = facts._replace(
        num_parameters=facts.num_parameters + rows * (features + has_bias),
        giga_macs=round(facts.giga_macs + rows * features / 1e9, 3),
        mega_activations=round(facts.mega_activations, 3),
    )
    every = tuple(range(1, len(facts.layer_map)))
    backbone = assembled(model, facts._replace(cuts=every), dropout=0.0)
    return facts._replace(cuts=backbone.starts[1:])


def _counted(
    facts: BackboneFacts, model: nn.Module, forward: Callable[[], object]
) -> BackboneFacts:
    """The facts with what the network is made of, and what a pass of one image shows."""
    counter, given, order = FlopCounterMode(display=False), _Given(), _Order()
    model.requires_grad_(False)
    with counter, given, order:
        forward()
    norms = [m.momentum for m in model.modules() if isinstance(m, _BatchNorm)]
    last, head = order.before_head(), cast(nn.Linear, model.get_submodule(facts.head))
    return facts._replace(
        num_parameters=sum(p.numel() for p in model.parameters()),
        num_features=head.weight.shape[1],
        norm_momentum=next((m for m in norms if m is not None), None),
        has_norms=any(is_norm(m) for m in model.modules()),
        giga_macs=counter.get_total_flops() / 2e9,
        mega_activations=given.numbers / 1e6,
        last_activation=_WORDS.get(last, last),
        has_negative_features=last not in _NEVER_NEGATIVE,
    )


_USUAL_CLASSES = 1000
"""ImageNet's, for which costs and parameters are published."""


class _Given(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the numbers that convolutions and matrix products give, as arXiv:2003.13678 does."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func.overloadpacket in _PRODUCTS:
            self.numbers += found.numel()
        return found


_ATEN = torch.ops.aten
_PRODUCTS = frozenset([_ATEN.convolution, _ATEN.mm, _ATEN.addmm, _ATEN.bmm, _ATEN.baddbmm])


class _Order(TorchFunctionMode):
    """Notes the order in which torch's functions are called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.__name__)
        return func(*args, **(kwargs or {}))

    def before_head(self) -> str:
        """The last function before the head's own that may change a sign."""
        heads = [i for i, name in enumerate(self.names) if name in ("linear", "conv2d")]
        changing = (n for n in reversed(self.names[: heads[-1]]) if n not in _SIGN_STAYS)
        return next(changing, "")


_SIGN_STAYS = frozenset([
    "mean", "adaptive_avg_pool2d", "adaptive_max_pool2d", "avg_pool2d", "max_pool2d", "view",
    "reshape", "flatten", "transpose", "permute", "squeeze", "unsqueeze", "dropout",
    "__getitem__", "select", "amax", "contiguous", "__get__", "size", "dim", "numel",
    "expand", "to", "float", "type_as", "is_floating_point", "dropout2d", "unbind", "chunk",
    "split", "cat",
])  # fmt: skip
_NEVER_NEGATIVE = frozenset({"relu", "relu_", "relu6", "hardtanh", "sigmoid", "hardsigmoid"})
_WORDS = {
    "relu": "ReLU",
    "relu_": "ReLU",
    "relu6": "ReLU6",
    "hardtanh": "ReLU6",
    "hardswish": "Hardswish",
    "silu": "SiLU",
    "gelu": "GELU",
    "layer_norm": "LayerNorm",
    "group_norm": "GroupNorm",
    "batch_norm": "BatchNorm",
    "rms_norm": "RMSNorm",
}


Sizes = dict[tuple[object, ...], dict[str, Any]]
"""What sizes networks take, by all that tells kinds apart: class, modules, patch, native size."""


def _sizes(facts: BackboneFacts, model: nn.Module, known: Sizes) -> dict[str, Any]:
    """The least side of an image that the network takes, the step between sides, and whether it is
    built for one.
    """
    kinds = frozenset(type(module).__name__ for module in model.modules())
    key = (type(model).__name__, kinds, _patch(model), facts.native_size)
    if key not in known:
        known[key] = _found_sizes(facts, model)
    return known[key]


def _found_sizes(facts: BackboneFacts, model: nn.Module) -> dict[str, Any]:
    native = facts.native_size
    fixed = getattr(model, "pretrained_cfg", {}).get("fixed_input_size", False)
    for takes_size in (True, False) if fixed else (False, True):
        ours = facts._replace(takes_size=takes_size, min_size=8, size_multiple=1)

        def runs(size: int, ours: BackboneFacts = ours) -> bool:
            return _runs(ours, model, size)

        by = _patch(model) if takes_size else 1
        steps = [s for s in _STEPS if s < native and native % s == 0 and s % by == 0]
        step = next((s for s in steps if runs(native + s) and runs(native + 2 * s)), None)
        if step is not None:
            least = _least(runs, step, native)
            return {"takes_size": takes_size, "min_size": least, "size_multiple": step}
    return {"takes_size": False, "min_size": native, "size_multiple": native}


def _patch(model: nn.Module) -> int:
    """The side of the patches that a network cuts images into; 1 where it does not say so."""
    size = getattr(getattr(model, "patch_embed", None), "patch_size", 1)
    return int(size[0] if isinstance(size, tuple | list) else size)


_STEPS = (1, 2, 4, 8, 14, 16, 28, 32, 56, 64, 96, 112, 128)


def _least(runs: Any, step: int, native: int) -> int:
    """The least multiple of `step`, from 8 pixels on, that runs, as do all above it."""
    low, high = -(-8 // step), native // step  # in steps; the native size runs
    if runs(low * step):
        return low * step
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if runs(middle * step) else (middle + 1, high)
    return low * step


def _runs(facts: BackboneFacts, model: nn.Module, size: int) -> bool:
    """Whether the network gives class scores for images of this size."""
    try:
        with torch.no_grad(), torch.device("meta"):
            if facts.takes_size:
                model = new_model(facts, num_classes=NUM_CLASSES, image_size=size)
            found = model.eval()(torch.empty(2, 3, size, size))
    except Exception:  # networks refuse a size in kinds of their own: that it does not run is asked
        return False
    return isinstance(found, Tensor) and found.shape == (2, NUM_CLASSES)


# Whether what was cut is the network.


def exact_cuts(backbone: Backbone, *, image_size: int) -> tuple[int, ...]:
    """The cuts, if a network of random weights gives the same bits with them as uncut, in
    evaluation and in training mode; else none.
    """
    model, images = backbone.model, torch.randn(2, 3, image_size, image_size)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    for training in (False, True):
        outputs = []
        for run in ((model,), backbone.stages):
            model.load_state_dict(state)
            model.train(training)
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                torch.default_generator.manual_seed(0)
                batch = images
                for stage in run:
                    batch = stage(batch)
                outputs.append(batch)
        if not torch.equal(*outputs):
            return ()
    return backbone.starts[1:]


# A user's own network.


def _own(spec: NetworkSpec) -> BackboneFacts:
    """The facts of a user's own network, of which `spec` may say some, checked by running it."""
    model = own_model(spec.name, num_classes=NUM_CLASSES)

    def run(num_images: int, *, training: bool = False) -> Tensor:
        size, name = spec.image_size, spec.name
        return scores(model, num_images=num_images, training=training, image_size=size, name=name)

    head = _own_head(spec, model, run)
    groups = given_groups(spec, model, head) if spec.layer_groups else own_groups(model, head)
    facts = BackboneFacts(
        name=spec.name,
        family=OWN,
        layer_map=as_map(layout_of(model, groups, head)),
        head=head,
        giga_macs=0.0,
        mega_activations=0.0,
        num_features=0,
        native_size=spec.image_size,
        normalisation=spec.normalisation,
        source=source_digest(spec.name),
        min_size=1,
    )
    facts = _counted(facts, model, lambda: run(1))
    run(2, training=True)
    doing, remedy = f"a pass with another layer in place of {head}", "use it as a torch.nn.Linear"
    for cuts in (tuple(range(1, len(facts.layer_map))), (len(facts.layer_map) - 1,)):
        with foreign_code(spec.name, doing, remedy):
            backbone = assembled(model, facts._replace(cuts=cuts), dropout=0.0)
            if found := exact_cuts(backbone, image_size=spec.image_size):
                return facts._replace(cuts=found)
    return facts


def _own_head(spec: NetworkSpec, model: nn.Module, run: Callable[[int], object]) -> str:
    """The classifier: what `spec` names, or else the last that runs."""
    known = _heads(model)
    if not known:
        rule = f"no linear layer (or 1×1 convolution) of it gives num_classes = {NUM_CLASSES}"
        remedy = "build its last layer, a torch.nn.Linear, with num_classes outputs"
        raise NetworkError("module", spec.name, rule, remedy)
    write = f"write {' or '.join(known)}"
    if spec.head is not None and spec.head not in known:
        is_there = spec.head in {path for path, _ in model.named_modules()}
        rule = "is no module of the network"
        if is_there:
            kind = type(model.get_submodule(spec.head)).__name__
            rule = f"is a {kind}, no linear layer (or 1×1 convolution) that gives num_classes"
        raise NetworkError("head", spec.head, rule, write)
    given = _outputs(model, known, lambda: run(2))
    head = spec.head or max(known, key=lambda path: (bool(given[path]), known.index(path)))
    field, value = ("module", spec.name) if spec.head is None else ("head", spec.head)
    if len(given[head]) != 1:
        rule = f"{head} runs {len(given[head])} times in a pass, and a classifier does once"
        raise NetworkError(field, value, rule, "correct the network, or write another head")
    (shape,) = given[head]
    if len(shape) > 3 and shape[2:] != (1, 1):
        rule = f"{head} gives {'×'.join(map(str, shape))} numbers for 2 images, one for each place"
        raise NetworkError(field, value, rule, "average over the image before it, not after it")
    return head


def _outputs(
    model: nn.Module, paths: Sequence[str], run: Callable[[], object]
) -> dict[str, list[torch.Size]]:
    """The shapes that some layers give while the network runs."""
    found: dict[str, list[torch.Size]] = {path: [] for path in paths}
    hooks = [
        model.get_submodule(path).register_forward_hook(
            lambda _, __, scores, own=found[path]: own.append(scores.shape)
        )
        for path in paths
    ]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return found
