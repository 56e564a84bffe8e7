"""The facts of a network, found by building it: for networks.json, and for those that it lacks."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from tlsearch.config.catalog import (
    OWN,
    PREFIX,
    BackboneFacts,
    NetworkError,
    NetworkSpec,
    Normalisation,
    prefixes,
)
from tlsearch.models.backbones import Backbone, assembled, new_model, one_line, without_dropout
from tlsearch.models.layer_groups import is_norm
from tlsearch.models.own import NUM_CLASSES, own_model, scores, source_digest

Layout = dict[str, str]
"""The paths of each layer group, from input to head, with spaces between them."""

_MOST_GROUPS = 10
"""Before the head. Of a network with more, such as a ViT with its twelve blocks, the groups between
the first and what follows the last block are put together to quarters.
"""
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
    if not timm.is_model(plain):
        rule = f"timm {timm.__version__} has no such network"
        raise NetworkError("name", name, rule, "list them: tlsearch networks timm/")
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
    """Paths of the layers that give one number per class."""
    return [
        path
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
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


# Layer groups.


class _Rank(NamedTuple):
    """The place of a tensor in timm's order; `late` are what goes with, or after, the last one."""

    place: tuple[float, ...]
    late: bool = False


def timm_layout(model: Any, head: str) -> Layout:
    """Groups by timm's own `group_matcher`: the stem, its stages, what follows them and has weights
    beyond a norm's (top), the head.
    """
    try:
        matcher = model.group_matcher(coarse=True)
    except (AttributeError, AssertionError):  # RDNet has no stages, and asserts so
        matcher = _children_of(model, head)
    shapes = {n: p.ndim for n, p in model.named_parameters() if not n.startswith(f"{head}.")}
    ranks = _ranks(matcher, shapes)
    places = sorted({rank.place for rank in ranks.values() if not rank.late})
    own = {n: r.place for n, r in ranks.items() if not r.late}
    tail = []
    for name, rank in ranks.items():
        if not rank.late:
            continue
        before = [place for place in places if place < rank.place]
        if "." not in name and rank.place[0] == _UNMATCHED:
            own[name] = places[0]
        elif before and before[-1] != places[-1]:
            own[name] = before[-1]
        else:
            tail.append(name)
    is_top = any(shapes[name] > 1 for name in tail)
    if not is_top:
        own.update(dict.fromkeys(tail, places[-1]))
    members = [[n for n in shapes if own.get(n) == place] for place in places]
    stem, *stages = members
    if len(stages) + is_top >= _MOST_GROUPS:
        size, rest = divmod(len(stages), 4)
        ends = [sum(size + (i < rest) for i in range(k)) for k in range(5)]
        stages = [[n for s in stages[a:b] for n in s] for a, b in pairwise(ends)]
    named = dict(zip(["stem", *_stage_names(stages)], [stem, *stages], strict=True))
    if is_top:
        named["top"] = tail
    return layout_of(model, named, head)


_UNMATCHED = float("inf")
_AFTER = 99  # timm's mark of what goes with the group before is 99999, once 99


def _ranks(matcher: Any, names: Mapping[str, int]) -> dict[str, _Rank]:
    """Where timm's matcher puts each name: see `timm.models.group_with_matcher`."""
    if callable(matcher):
        found = {name: matcher(name) for name in names}
        places = {n: tuple(f) if isinstance(f, list | tuple) else (f,) for n, f in found.items()}
        return {n: _Rank(place, place[-1] == _UNMATCHED) for n, place in places.items()}
    specs = [
        (re.compile(pattern), number, suffix or ())
        for number, entry in enumerate(matcher.values())
        if entry is not None
        for pattern, suffix in ([(entry, ())] if isinstance(entry, str) else entry)
    ]
    ranks = {}
    for name in names:
        place: tuple[float, ...] = (_UNMATCHED,)
        for pattern, number, suffix in specs:
            if match := pattern.match(name):
                inner = (float(part) for part in match.groups() if part is not None)
                place = (number, *inner, *suffix)
                break
        ranks[name] = _Rank(
            place, (place[-1] >= _AFTER and len(place) < 3) or place[0] == _UNMATCHED
        )
    return ranks


def _children_of(model: nn.Module, head: str) -> Any:
    """A matcher for a network that has none: its children in order, those of a list one by one."""
    children = list(model.named_children())
    lists = [i for i, (n, c) in enumerate(children) if not head.startswith(n) and _has_several(c)]
    last = max(lists, default=-1)
    places: dict[str, tuple[float, ...]] = {}
    for index, (name, child) in enumerate(children):
        if index in lists:
            inner = child.named_children()
            places |= {f"{name}.{key}": (index, i) for i, (key, _) in enumerate(inner)}
        else:
            places[name] = (_UNMATCHED,) if index > last >= 0 else (index,)
    return lambda name: next(
        (place for path, place in places.items() if name.startswith(f"{path}.")), (_UNMATCHED,)
    )


def _has_several(child: nn.Module) -> bool:
    with_weights = (c for c in child.children() if next(c.parameters(), None) is not None)
    return isinstance(child, nn.Sequential | nn.ModuleList) and len(list(with_weights)) > 1


def _stage_names(stages: Sequence[Sequence[str]]) -> list[str]:
    """The network's own names of its stages where they are layer1 to layer4; else numbers."""
    tops = [{name.partition(".")[0] for name in stage} for stage in stages]
    own = [next(iter(top)) for top in tops if len(top) == 1]
    if len(set(own)) == len(stages) and all(re.fullmatch(r"layer\d+", name) for name in own):
        return own
    return [f"stage{i}" for i in range(1, len(stages) + 1)]


def layout_of(model: nn.Module, groups: Mapping[str, Sequence[str]], head: str) -> Layout:
    """The shortest paths that name the parameters of each group, and the buffers beside them; a
    buffer that lies elsewhere is the first group's.
    """
    owner = {name: group for group, names in groups.items() for name in names}
    owner |= {n: "head" for n, _ in model.named_parameters() if n.startswith(f"{head}.")}
    for name, _ in model.named_buffers():
        path = name.rpartition(".")[0]
        beside = {g for n, g in owner.items() if path and n.startswith(f"{path}.")}
        owner[name] = min(beside, key=[*groups, "head"].index) if beside else next(iter(groups))
    found: dict[str, list[str]] = {group: [] for group in (*groups, "head")}
    for path, group in _pure(owner, ""):
        found[group].append(path)
    return {group: " ".join(paths) for group, paths in found.items()}


def _pure(owner: Mapping[str, str], path: str) -> Iterator[tuple[str, str]]:
    """The highest paths below `path` whose tensors are all of one group."""
    size = len(path) + 1 if path else 0
    parts = dict.fromkeys(name[size:].partition(".")[0] for name in owner)
    for part in parts:
        inner = f"{path}.{part}" if path else part
        own = {n: g for n, g in owner.items() if n == inner or n.startswith(f"{inner}.")}
        if len(set(own.values())) == 1:
            yield inner, next(iter(own.values()))
        else:
            yield from _pure(own, inner)


def as_map(layout: Layout) -> tuple[tuple[str, str], ...]:
    """The layer map of a layout."""
    return tuple((group, prefixes(paths)) for group, paths in layout.items())


# What is counted and tried.


def measured(facts: BackboneFacts, model: nn.Module, *, sizes: "Sizes") -> BackboneFacts:
    """The facts with all that a network on the meta device shows: its cost at its native size, the
    sizes that it takes, its norms, what its head sees, and where it can be cut.

    Raises:
        NetworkError: it gives no class scores for images of its native size.
    """
    norms = [m.momentum for m in model.modules() if isinstance(m, _BatchNorm)]
    head: Any = model.get_submodule(facts.head)
    features, rows = head.weight.shape[1], _USUAL_CLASSES - NUM_CLASSES
    more = rows * (features + (head.bias is not None))
    facts = facts._replace(
        num_parameters=sum(p.numel() for p in model.parameters()) + more,
        num_features=features,
        norm_momentum=next((m for m in norms if m is not None), None),
        has_norms=any(is_norm(m) for m in model.modules()),
    )
    size = facts.native_size
    facts = facts._replace(**_sizes(facts, model, sizes))
    counter, given, order = FlopCounterMode(display=False), _Given(), _Order()
    model.requires_grad_(False)
    with counter, given, torch.device("meta"), order:
        found = model.eval()(torch.empty(1, 3, size, size))
    if not isinstance(found, Tensor) or found.shape != (1, NUM_CLASSES):
        raise NetworkError("name", facts.name, "gives no class scores", "take another network")
    last = order.before_head()
    facts = facts._replace(
        giga_macs=round((counter.get_total_flops() / 2 + rows * features) / 1e9, 3),
        mega_activations=round(given.numbers / 1e6, 3),
        last_activation=_WORDS.get(last, last),
        has_negative_features=last not in _NEVER_NEGATIVE,
    )
    every = tuple(range(1, len(facts.layer_map)))
    backbone = assembled(model, facts._replace(cuts=every), dropout=0.0)
    return facts._replace(cuts=backbone.starts[1:])


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
    """Those of the cuts at which a network of random weights gives the same bits as uncut, in
    evaluation and in training mode; all or none but the head.
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
    head = _own_head(spec, model)
    groups = _given_groups(spec, model, head) if spec.layer_groups else _own_groups(model, head)
    counter, given, order = FlopCounterMode(display=False), _Given(), _Order()
    model.requires_grad_(False)
    with counter, given, order:
        scores(model, num_images=1, image_size=spec.image_size, name=spec.name)
    scores(model, num_images=2, image_size=spec.image_size, name=spec.name)
    last, layer = order.before_head(), cast(nn.Linear, model.get_submodule(head))
    norms = [m.momentum for m in model.modules() if isinstance(m, _BatchNorm)]
    facts = BackboneFacts(
        name=spec.name,
        family=OWN,
        layer_map=as_map(layout_of(model, groups, head)),
        head=head,
        giga_macs=counter.get_total_flops() / 2e9,
        mega_activations=given.numbers / 1e6,
        num_features=layer.weight.shape[1],
        native_size=spec.image_size,
        num_parameters=sum(p.numel() for p in model.parameters()),
        normalisation=spec.normalisation,
        source=source_digest(spec.name),
        min_size=1,
        last_activation=_WORDS.get(last, last),
        has_negative_features=last not in _NEVER_NEGATIVE,
        norm_momentum=next((m for m in norms if m is not None), None),
        has_norms=any(is_norm(m) for m in model.modules()),
    )
    for cuts in (tuple(range(1, len(facts.layer_map))), (len(facts.layer_map) - 1,)):
        backbone = assembled(model, facts._replace(cuts=cuts), dropout=0.0)
        if found := exact_cuts(backbone, image_size=spec.image_size):
            return facts._replace(cuts=found)
    return facts


def _own_head(spec: NetworkSpec, model: nn.Module) -> str:
    known = _heads(model)
    if spec.head is None:
        if not known:
            rule = f"no linear layer of it gives num_classes = {NUM_CLASSES} numbers"
            remedy = "name the layer that does: backbone.head: fc"
            raise NetworkError("module", spec.name, rule, remedy)
        return known[-1]
    paths = {path for path, _ in model.named_modules()}
    if spec.head not in paths:
        rule, remedy = "is no module of the network", f"write {' or '.join(known) or 'its path'}"
        raise NetworkError("head", spec.head, rule, remedy)
    if spec.head not in known:
        kind = type(model.get_submodule(spec.head)).__name__
        rule = f"is a {kind}, no linear layer (or 1×1 convolution) that gives num_classes numbers"
        raise NetworkError("head", spec.head, rule, f"write {' or '.join(known) or 'another'}")
    return spec.head


def _given_groups(spec: NetworkSpec, model: nn.Module, head: str) -> dict[str, list[str]]:
    """The parameters of each group by the study's patterns; the first that matches owns."""
    given = spec.layer_groups or {}
    patterns = {}
    for group, pattern in given.items():
        try:
            patterns[group] = re.compile(pattern)
        except re.error as error:
            rule = f"is no regular expression ({error})"
            raise NetworkError(f"layer_groups.{group}", pattern, rule, "") from None
    found: dict[str, list[str]] = {group: [] for group in given}
    left: list[str] = []
    for name in (n for n, _ in model.named_parameters() if not n.startswith(f"{head}.")):
        owner = next((g for g, pattern in patterns.items() if pattern.search(name)), None)
        (left if owner is None else found[owner]).append(name)
    for group, names in found.items():
        if not names:
            tops = dict.fromkeys(n.partition(".")[0] for n, _ in model.named_parameters())
            rule = "matches no parameter that no group before it has, nor the head"
            remedy = f"names of parameters begin with {', '.join(tops)}"
            raise NetworkError(f"layer_groups.{group}", given[group], rule, remedy)
    if left:
        some = ", ".join(left[:3]) + (", …" if len(left) > 3 else "")
        rule = f"leave {len(left)} parameters over: {some}"
        raise NetworkError("layer_groups", dict(given), rule, "let a group match them")
    return found


def _own_groups(model: nn.Module, head: str) -> dict[str, list[str]]:
    """The top-level children in order; a norm alone goes with the child before it, and what lies
    beside the children with the first.
    """
    found: dict[str, list[str]] = {}
    shapes = {n: p.ndim for n, p in model.named_parameters() if not n.startswith(f"{head}.")}
    loose = [name for name in shapes if "." not in name]
    for child, _ in model.named_children():
        names = [n for n in shapes if n.startswith(f"{child}.")]
        if not names:
            continue
        if found and all(shapes[n] < 2 for n in names):
            found[next(reversed(found))] += names
        else:
            found["top" if child == "head" else child] = names
    if not found:
        return {"body": loose} if loose else {}
    first = next(iter(found))
    return {**found, first: [*loose, *found[first]]}
