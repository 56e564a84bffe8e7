"""Which parameters make up which layer group of a network, from input to head: by timm's own
matchers, by a study's patterns, or by the network's children.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from torch import nn

from tlsearch.config.catalog import NetworkError, NetworkSpec, prefixes
from tlsearch.config.strategy import ALL, NORMS

Layout = dict[str, str]
"""The paths of each layer group, from input to head, with spaces between them."""

_MOST_GROUPS = 10
"""Before the head. Of a network with more, such as a ViT with its twelve blocks, the groups between
the first and what follows the last block are put together to quarters.
"""


def layout_of(model: nn.Module, groups: Mapping[str, Sequence[str]], head: str) -> Layout:
    """The shortest paths that name the parameters of each group, and the buffers beside them; a
    buffer that lies elsewhere is the first group's. Of what has several names, all are named.
    """
    order = [*groups, "head"]
    owner = {name: group for group, names in groups.items() for name in names}
    owner |= {n: "head" for n, _ in model.named_parameters() if n.startswith(f"{head}.")}
    of = {id(p): owner[name] for name, p in model.named_parameters()}
    owner |= {name: of[id(p)] for name, p in model.named_parameters(remove_duplicate=False)}
    for name, _ in model.named_buffers(remove_duplicate=False):
        path = name.rpartition(".")[0]
        beside = {g for n, g in owner.items() if path and n.startswith(f"{path}.")}
        owner[name] = min(beside, key=order.index) if beside else order[0]
    found: dict[str, list[str]] = {group: [] for group in order}
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


# Of timm's networks.


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


# Of a user's own network.


def given_groups(spec: NetworkSpec, model: nn.Module, head: str) -> dict[str, list[str]]:
    """The parameters of each group by the study's patterns; the first that matches owns."""
    given = spec.layer_groups or {}
    patterns = {}
    for group, pattern in given.items():
        field = f"layer_groups.{group}"
        if group in ("head", ALL, NORMS):
            rule = "head, all and norms mean something else where a study names groups"
            raise NetworkError(field, pattern, rule, "give it another name")
        try:
            patterns[group] = re.compile(pattern)
        except re.error as error:
            rule = f"is no regular expression ({error})"
            raise NetworkError(field, pattern, rule, "write one such as ^conv1|^bn1") from None
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


def own_groups(model: nn.Module, head: str) -> dict[str, list[str]]:
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
            found.setdefault("top" if child == "head" else child, []).extend(names)
    if not found:
        return {"body": loose} if loose else {}
    first = next(iter(found))
    return {**found, first: [*loose, *found[first]]}
