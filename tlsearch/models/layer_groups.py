"""A network as a sequence of stages that share its modules, cut where one tensor passes from the
layer groups before to those after.

Running the stages one after another is running the network, so that the output of a frozen prefix
can be kept and used again. The cuts are found in a trace of the network's own forward pass, in
which whatever lies within one group is a single step.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _NormBase

from tlsearch.config.catalog import BackboneFacts, group_of, groups

if TYPE_CHECKING:
    from tlsearch.models.backbones import Backbone, Head


NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
"""Normalisation layers; `_NormBase` is what torch's batch and instance norms have in common."""


def is_norm(module: nn.Module) -> bool:
    """Whether a layer normalises and scales: torch's, and those that other libraries call so."""
    called = re.search(r"Norm(2d|Act|Act2d)?$", type(module).__name__) is not None
    return isinstance(module, NORMS) or (
        called and any(p.ndim == 1 for p in module.parameters(recurse=False))
    )


class Stages(NamedTuple):
    """`modules` one after another are the network; each begins with the layer group whose number
    `starts` has. The last one is the head, unless there is but one.
    """

    modules: tuple[nn.Module, ...]
    starts: tuple[int, ...]


class Owners:
    """Which layer group owns which part of a network.

    `modules` by path are the largest whose tensors are all of one group, in the order of their
    definition; one without tensors belongs with what was defined before it, and the head is always
    one of them. `loose` are the tensors that lie beside these.
    """

    def __init__(self, model: nn.Module, facts: BackboneFacts) -> None:
        self.groups = groups(facts)
        named = (*model.named_parameters(), *model.named_buffers())
        self.tensors = {name: self.groups.index(group_of(facts, name)) for name, _ in named}
        self.parameters = {name for name, _ in model.named_parameters()}
        self.modules: dict[str, tuple[int, nn.Module]] = {}
        self.loose: dict[str, int] = {}
        self._head = facts.head
        self._inside: dict[str, set[int]] = defaultdict(set)
        for name, owner in self.tensors.items():
            parts = name.split(".")
            for size in range(len(parts)):
                self._inside[".".join(parts[:size])].add(owner)
        self._last = 0
        self._visit(model, "")

    def _visit(self, module: nn.Module, path: str) -> None:
        dot, inside = path and f"{path}.", self._inside.get(path, set())
        if path and len(inside) <= 1 and not self._head.startswith(dot):
            self._last = next(iter(inside), self._last)
            self.modules[path] = self._last, module
            return
        own = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
        for name, _ in own:
            if dot + name in self.tensors:  # else it has a name elsewhere, too
                self._last = self.loose[dot + name] = self.tensors[dot + name]
        for name, child in module.named_children():
            self._visit(child, dot + name)

    def of(self, group: str) -> list[nn.Module]:
        """The modules of a group."""
        index = self.groups.index(group)
        return [module for owner, module in self.modules.values() if owner == index]

    def has_tensors(self, path: str) -> bool:
        """Whether a module has parameters or buffers."""
        return path in self._inside or any(name.startswith(f"{path}.") for name in self.tensors)


def stages_of(model: nn.Module, owners: Owners, facts: BackboneFacts, head: "Head") -> Stages:
    """The network cut at those of `facts.cuts` where one tensor passes; before the head alone where
    its forward pass cannot be traced.

    The dropout before the head is left out: the head has its own, and the network's is off.
    """
    last = len(owners.groups) - 1
    if facts.cuts and (graph := _traced(model, owners)) is not None:
        ends = _ends(graph, owners, head)
        found = {k: ends[k] for k in facts.cuts if k in ends}
        if last in found:
            return _cut(graph, found, head)
    if last in facts.cuts:
        return Stages((Body(model, owners, head), head), (0, last))
    return Stages((model,), (0,))


class Body(nn.Module):
    """Image (N, 3, H, W) → what the head of a network sees of it: (N, features).

    Shares the modules and parameters of `model`, which runs as it is, with a head that passes on
    what it sees.
    """

    def __init__(self, model: nn.Module, owners: Owners, head: "Head") -> None:
        super().__init__()
        last = len(owners.groups) - 1
        for path, (owner, module) in owners.modules.items():
            if owner < last:
                self.add_module(path.replace(".", "_"), module)
        loose = {name: p for name, p in model.named_parameters() if name in owners.loose}
        for name, parameter in loose.items():
            self.register_parameter(name.replace(".", "_"), parameter)
        self._hidden = model, head  # a tuple, so that the head's weights are none of the body's

    def forward(self, images: Tensor) -> Tensor:
        """The head's input."""
        model, head = self._hidden
        return head.seen_by(model, images)


class _Traced(nn.Module):
    """Calls a network with images alone: what else its forward pass takes is at its default."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Any:
        return self.network(x)


_BEFORE = "network."


class _Tracer(fx.Tracer):
    """Traces what lies between the parts of layer groups, and not into them."""

    def __init__(self, owners: Owners) -> None:
        super().__init__()
        self._parts = owners.modules

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:  # noqa: ARG002
        """Hook of the tracer."""
        return module_qualified_name.removeprefix(_BEFORE) in self._parts


class _Graph(NamedTuple):
    root: nn.Module
    nodes: list[fx.Node]


def _traced(model: nn.Module, owners: Owners) -> _Graph | None:
    """The forward pass step by step; None where it depends on values or on the mode."""
    root, found = _Traced(model), []
    modes = {module: module.training for module in model.modules()}
    try:
        for training in (True, False):
            root.train(training)
            found.append(_without_dropout(_Tracer(owners).trace(root)))
    except Exception:  # foreign code meets a tracer's proxies; `check` says how it is cut then
        return None
    finally:
        for module, mode in modes.items():
            module.training = mode
    train, evaluation = found
    if str(train) != str(evaluation):
        return None
    (output,) = (node for node in evaluation.nodes if node.op == "output")
    used = _needed(output, output)  # assertions are not
    return _Graph(root, [node for node in evaluation.nodes if node in used])


def _without_dropout(graph: fx.Graph) -> fx.Graph:
    """The graph without dropout that drops nothing, the one step that shows the mode."""
    for node in graph.nodes:
        if node.target is F.dropout and not node.kwargs.get("p", (*node.args, 0.5)[1]):
            node.replace_all_uses_with(node.args[0])
    return graph


def _ends(graph: _Graph, owners: Owners, head: nn.Module) -> dict[int, fx.Node]:
    """By freeze depth, the step whose result alone passes from the groups before to those after;
    the latest where there are several, but for one that widens what was pooled already.
    """
    nodes, last = graph.nodes, len(owners.groups) - 1
    image, used = nodes[0], set(nodes)
    owner = {node: _owner(node, owners) for node in nodes}
    before: dict[fx.Node, set[fx.Node]] = {}
    for node in nodes:
        before[node] = {node}.union(*(before[n] for n in node.all_input_nodes))
    # What is made of buffers alone is made again wherever it is used.
    constant = {n for n in nodes if image not in before[n] and all(owner[m] < 0 for m in before[n])}
    called = [node for node in nodes if _module(graph.root, node) is head]
    found: dict[int, fx.Node] = {}
    for depth in range(1, last + 1):
        early = {node for node in nodes if 0 <= owner[node] < depth}
        late = {node for node in nodes if owner[node] >= depth}
        for node in nodes:
            inside = before[node] - constant
            if image in inside and early <= inside and not late & inside:
                if depth in found and _widens(graph.root, node):
                    break
                if all(n is node or used & n.users.keys() <= inside for n in inside):
                    found[depth] = node
    if len(called) != 1 or found.get(last) is not called[0].all_input_nodes[0]:
        found.pop(last, None)
    return found


def _owner(node: fx.Node, owners: Owners) -> int:
    """The group whose tensors a step reads by itself; -1 for none."""
    path = str(node.target).removeprefix(_BEFORE)
    if node.op == "call_module":
        return owners.modules[path][0] if owners.has_tensors(path) else -1
    is_parameter = node.op == "get_attr" and path in owners.parameters
    return owners.tensors[path] if is_parameter else -1


def _module(root: nn.Module, node: fx.Node) -> nn.Module | None:
    return root.get_submodule(str(node.target)) if node.op == "call_module" else None


def _widens(root: nn.Module, node: fx.Node) -> bool:
    """VGG's pooling to 7×7: a small image has one pixel there, and what is kept of a frozen prefix
    would be 49 times as large for nothing.
    """
    module = _module(root, node)
    return isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size not in (1, (1, 1))


def _cut(graph: _Graph, ends: dict[int, fx.Node], head: "Head") -> Stages:
    stages: list[nn.Module] = []
    start = graph.nodes[0]
    for end in ends.values():
        needed = _needed(end, start)
        stages.append(_stage(graph, [n for n in graph.nodes if n in needed], start, end))
        start = end
    if head.flattens:
        stages[-1] = nn.Sequential(stages[-1], nn.Flatten(1))
    return Stages((*stages, head), (0, *ends))


def _needed(end: fx.Node, start: fx.Node) -> set[fx.Node]:
    """The steps from `start`, which is left out, to `end`."""
    found, left = {start}, list(end.all_input_nodes) if end is start else [end]
    while left:
        node = left.pop()
        if node not in found:
            found.add(node)
            left += node.all_input_nodes
    return found - {start}


def _stage(graph: _Graph, nodes: Sequence[fx.Node], start: fx.Node, end: fx.Node) -> nn.Module:
    """These steps as a module: a plain sequence where they are one, else torch's own."""
    chain, at = [], start
    for node in nodes:
        module = _module(graph.root, node)
        if node.target is torch.flatten and node.args[1:] == (1,):
            module = nn.Flatten(1)
        if module is None or node.args[0] is not at or len(node.all_input_nodes) > 1 or node.kwargs:
            break
        chain.append(module)
        at = node
    if at is end:
        return nn.Sequential(*chain)
    copied = fx.Graph()
    made = {start: copied.placeholder("x")}
    for node in nodes:
        made[node] = copied.node_copy(node, lambda n: made[n])
    copied.output(made[end])
    return fx.GraphModule(graph.root, copied)


def layer_distances(backbone: "Backbone") -> dict[str, int]:
    """By parameter name: 0 for the head, 1 for the last layer of the body, and so on.

    A layer is a block (residual, inverted residual, transformer, or a plain sequence such as
    convolution, norm and activation) or, where a group has no blocks, each convolution or linear
    layer; a norm that stands alone belongs to the layer before it, and what a group holds beside
    its modules, such as a ViT's class token, to its first layer. Layers of timm's networks are
    timm's own.
    """
    owners, named = backbone.owners, dict(backbone.model.named_parameters())
    fine = timm_layers(backbone.model) if backbone.facts.is_timm else None
    layers: list[list[nn.Parameter]] = []
    for index, group in enumerate(backbone.groups):
        if fine is not None:
            own = [n for n in named if owners.tensors[n] == index]
            ranks = sorted({fine[n] for n in own})
            layers += [[named[n] for n in own if fine[n] == rank] for rank in ranks]
            continue
        loose = [named[n] for n, g in owners.loose.items() if g == index and n in named]
        found = [[p for m in layer for p in m.parameters()] for layer in _layers(owners.of(group))]
        layers += [[*loose, *found[0]], *found[1:]] if found else [loose]
    distance = {id(p): len(layers) - 1 - i for i, layer in enumerate(layers) for p in layer}
    return {name: distance[id(p)] for name, p in named.items()}


def timm_layers(model: Any) -> dict[str, int] | None:
    """timm's number of the layer of each parameter; None of a network that does not say."""
    from timm.models import group_parameters

    try:
        matcher = model.group_matcher(coarse=False)
    except AttributeError:
        return None
    found: dict[str, int] = group_parameters(model, matcher, reverse=True)
    return found


def _layers(modules: Sequence[nn.Module]) -> list[list[nn.Module]]:
    """The layers of a group, each the modules that it is made of."""
    found: list[list[nn.Module]] = []
    for module in (member for whole in modules for member in _members(whole)):
        if next(module.parameters(), None) is None:
            continue
        if found and all(p.ndim < 2 for p in module.parameters()):
            found[-1].append(module)
        else:
            found.append([module])
    return found


def _members(module: nn.Module) -> Iterator[nn.Module]:
    """The modules of a plain sequence of blocks one by one; another module as it is."""
    members = list(module.children()) if isinstance(module, nn.Sequential) else []
    if any(next(member.children(), None) is not None for member in members):
        yield from members
    else:
        yield module
