"""Pretrained weights in a network: which tensor belongs where, what is left out or missing."""

import re
import sys
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import floor
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchvision.models.vision_transformer import interpolate_embeddings

from tlsearch.config.catalog import group_of
from tlsearch.config.paths import expanded
from tlsearch.config.runtime import derive_seed
from tlsearch.config.schema import StudyConfig, is_weights_file
from tlsearch.errors import WeightsError
from tlsearch.models.backbones import Backbone, build_backbone
from tlsearch.models.checkpoints import read_checkpoint
from tlsearch.models.weights import chosen, named_origin, refuse_out_of_reach

LEAST_SHARE = 0.95
"""The share of a network's body that weights must fill, counted in tensors and in values; and that
of the values that a file has for the body's modules which must be the network's.
"""
_WRAPPERS = frozenset({"module", "model", "backbone", "encoder", "student", "_orig_mod"})
_NAMES_SHOWN = 3


class Match(NamedTuple):
    """Tensors by the network's own names, none of them the head's, and how they were found: the
    `prefix` of their names in the file, what of it is left out, and the names of the network's body
    that it does not fill, with the reason where there is one. `resized` are those whose values
    were interpolated, with the shape that the file has: what a ViT knows of positions.

    `num_body` counts the body's tensors without BatchNorm's counters of batches, which may be
    absent.
    """

    tensors: dict[str, Tensor]
    prefix: str
    left_out: tuple[str, ...]
    missing: tuple[str, ...]
    resized: tuple[str, ...]
    num_body: int

    def in_words(self, network: str, *, place: str = "") -> str:
        """What is loaded from a place in the file, left out and missing, with the first names."""
        names = f", their names without {self.prefix}" if self.prefix else ""
        kinds = {v.dtype for v in self.tensors.values() if v.is_floating_point()}
        halves = sorted(str(k).removeprefix("torch.") for k in kinds if k.itemsize < 4)
        widened = f", widened from {' and '.join(halves)}" if halves else ""
        resized = f"; interpolated to this size: {_first(self.resized)}" if self.resized else ""
        random = "; missing, and random at the start: " if self.missing else "; missing: "
        return (
            f"{self.num_body - len(self.missing)} of {self.num_body} tensors of {network}'s body "
            f"are loaded{place}{names}{widened}{resized}; left out: {_first(self.left_out)}"
            f"{random}{_first(self.missing)}"
        )


def match_state(backbone: Backbone, state: Mapping[str, Tensor]) -> Match:
    """Find the tensors of a network's body in `state`, whose names may have a prefix, as wrapping
    the network gives them. A ViT's position embeddings are interpolated to its image size, and
    timm's networks also take the names that their original authors gave.

    The network may be on torch's meta device.

    Raises:
        WeightsError: less than `LEAST_SHARE` of the body is there, the file holds a larger network
            or this one several times, or a value is not finite.
    """
    model, facts = backbone.model, backbone.facts
    own = model.state_dict()
    head = {name for name in own if group_of(facts, name) == "head"}
    body = {name: value for name, value in own.items() if name not in head}
    wanted = {name: value for name, value in body.items() if not _is_counter(name)}
    if not wanted:
        raise WeightsError(
            f"{backbone.name} is a head alone, and the head starts anew — write none"
        )
    prefix = _prefix(backbone.name, wanted, state)
    given = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    given = _vit_state(model, given) if facts.family == "vit" else _as_timm_has_it(model, given)
    found = {k: v for k, v in given.items() if k in body and _fits(v, body[k])}
    unlike = {
        k: f"{k} ({_kind(given[k])} instead of {_kind(v)})"
        for k, v in wanted.items()
        if k in given and k not in found
    }
    missing = [k for k in wanted if k not in found]
    modules = {name.partition(".")[0] for name in body}
    foreign = {
        k: v
        for k, v in given.items()
        if k not in body and k not in head and k.partition(".")[0] in modules
    }
    outside = [k for k in state if not k.startswith(prefix)]
    unused = [prefix + k for k in given if k not in found]
    filled = [v for k, v in found.items() if k in wanted]
    shares = len(filled) / len(wanted), _size(filled) / _size(wanted.values())
    remedy = "choose weights that were made for this network, or the network that they are of"
    if min(shares) < LEAST_SHARE:
        theirs = [k for k in unused if k.removeprefix(prefix) not in head] or outside
        absent = _first([unlike.get(k, k) for k in missing], count=False)
        raise WeightsError(
            f"has {len(filled)} of {len(wanted)} tensors of {backbone.name}'s body, "
            f"{floor(100 * shares[1])}% of its values, and must have {LEAST_SHARE:.0%} of both; "
            f"the network's first without a match: {absent}; the file's: "
            f"{_first(theirs, count=False)} — {remedy}"
        )
    extra = _size(foreign.values())
    if extra > (1 - LEAST_SHARE) * (extra + _size(filled)):
        raise WeightsError(
            f"has {extra:,} values more than {backbone.name}'s {_size(filled):,}, in "
            f"{_first([prefix + k for k in foreign])}: it is of a larger network — {remedy}"
        )
    if broken := [k for k, v in found.items() if not _is_finite(v)]:
        raise WeightsError(
            f"has values that are not finite, in {_first(broken)} — take weights from before the "
            "training diverged"
        )
    missing = [unlike.get(k, k) for k in missing]
    resized = tuple(
        f"{k} from {_kind(state[prefix + k])}"
        for k, v in found.items()
        if prefix + k in state and state[prefix + k].numel() != v.numel()
    )
    return Match(found, prefix, (*unused, *outside), tuple(missing), resized, len(wanted))


def check_weights(config: StudyConfig) -> str:
    """Refuse weights of a study's only network that cannot be had or do not fit, before any image
    is read and without building the network; what `origin_of` says.

    Raises:
        WeightsError: a file is damaged or of another network, or published weights are not here and
            their server does not answer.
    """
    name, weights = config.backbone.name, config.backbone.weights
    if not is_weights_file(weights):
        used = chosen(backbone=name, weights=weights).name
        refuse_out_of_reach(backbone=name, weights=used)
    return origin_of(config)


def origin_of(config: StudyConfig) -> str:
    """Where the weights of a study's only network come from, and what of a file is used; "" where
    their name says it all. Asks no server.

    Raises:
        WeightsError: a file is damaged or of another network, or nobody has such weights.
    """
    name, weights = config.backbone.name, config.backbone.weights
    if not is_weights_file(weights):
        return named_origin(backbone=name, weights=weights)
    found = read_checkpoint(expanded(weights))
    with torch.device("meta"):
        network = study_backbone(config, num_classes=2, dropout=0.0, seed=0, state=None)
    with _named(config):
        match = match_state(network, found.state)
    others = f" (and not from {', '.join(found.others)})" if found.others else ""
    place = f" from {found.place}{others}" if found.place else ""
    return f"{weights}: {match.in_words(name, place=place)}"


def study_backbone(
    config: StudyConfig,
    *,
    num_classes: int,
    dropout: float,
    seed: int,
    state: Mapping[str, Tensor] | None,
) -> Backbone:
    """The only network of a study, with the pretrained weights `state` where there are any.

    Its head is drawn as `nn.Linear` draws one, up to 1/√features, whatever the library does: of a
    few classes some would draw it so large (timm's EfficientNets to 1/√classes) that full
    fine-tuning loses much of what the body knew.

    Raises:
        RequestError: the network cannot take images of the study's size.
        WeightsError: the weights do not fit.
    """
    name, size = config.backbone.name, config.data.size
    found = build_backbone(
        name=name, num_classes=num_classes, image_size=size, dropout=dropout, seed=seed
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, "head"))
        found.head.reset_parameters()
    if state is not None:
        with _named(config):
            match = load_pretrained(found, state)
            if match.missing and not is_weights_file(config.backbone.weights):
                missing = _first(match.missing)
                remedy = f"write data.size: {found.facts.native_size}, or name a file"
                raise WeightsError(f"do not fill {name} at {size} px, in {missing} — {remedy}")
    return replace(found, normalisation=config.backbone.normalisation_of(name))


@contextmanager
def _named(config: StudyConfig) -> Iterator[None]:
    """Say in a message which weights it is about."""
    try:
        yield
    except WeightsError as error:
        weights = config.backbone.weights
        raise WeightsError(f"backbone.weights = {weights!r}: {error}") from None


def unwrapped(backbone: Backbone, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a network in `state`, head included, without the prefix of their names.

    Raises:
        WeightsError: the network is there several times.
    """
    own = [name for name, _ in backbone.model.named_parameters()]
    prefix = _prefix(backbone.name, own, state)
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def load_pretrained(backbone: Backbone, state: Mapping[str, Tensor]) -> Match:
    """Fill a network's body from `state`, in the types of the network; all or nothing.

    Raises:
        WeightsError: the weights do not fit, as `match_state` says.
    """
    match = match_state(backbone, state)
    own = backbone.model.state_dict()
    with torch.no_grad():
        for name, tensor in match.tensors.items():
            own[name].copy_(tensor)
    return match


def _prefix(network: str, own: Collection[str], given: Collection[str]) -> str:
    """The prefix that most of the network's names have in a file; of two that as many have, the one
    of which each part is a usual wrapper's name.

    Raises:
        WeightsError: the network is there several times.
    """
    counts = Counter(
        name[:start] for name in given for start in _starts(name) if name[start:] in own
    )
    most = max(counts.values(), default=0)
    if 2 * most < len(own):  # other names, which `_as_timm_has_it` may know
        return _common_wrappers(given)
    best = [prefix for prefix, count in counts.items() if count == most]
    usual = [p for p in best if set(p.split(".")[:-1]) <= _WRAPPERS]
    if len(best) > 1 and len(usual) != 1:
        raise WeightsError(
            f"has {network} {len(best)} times, under {', '.join(best)} — save one of "
            "them alone, without that prefix"
        )
    return (usual or best)[0]


def _common_wrappers(names: Collection[str]) -> str:
    """Usual wrappers' names that all names begin with."""
    prefix, rest = "", set(names)
    while len(firsts := {name.partition(".")[0] for name in rest}) == 1 and firsts <= _WRAPPERS:
        prefix += f"{firsts.pop()}."
        rest = {name.partition(".")[2] for name in rest}
    return prefix


def _starts(name: str) -> Iterator[int]:
    """Where the parts between dots begin."""
    yield 0
    yield from (dot.end() for dot in re.finditer(r"\.", name))


def _vit_state(model: Any, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A ViT's weights under today's names and with position embeddings for the model's size."""
    # torchvision's own files still have the names from before its MLP block became a Sequential.
    new = {"linear_1": "mlp.0", "linear_2": "mlp.3"}
    state = {re.sub(r"mlp\.(linear_[12])\b", lambda m: new[m[1]], k): v for k, v in given.items()}
    positions = state.get("encoder.pos_embedding")
    if positions is None or positions.shape == model.encoder.pos_embedding.shape:
        return state
    state["encoder.pos_embedding"] = positions.float()
    try:
        return dict(interpolate_embeddings(model.image_size, model.patch_size, dict(state)))
    except (ValueError, RuntimeError):
        return state  # no square grid of positions: reported as a shape that does not fit


def _as_timm_has_it(model: object, given: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict by timm's own conversion, for its networks: from the names of the original
    authors, and with position embeddings for the model's size.
    """
    module = type(model).__module__
    convert = getattr(sys.modules[module], "checkpoint_filter_fn", None)
    if not module.startswith("timm.models.") or convert is None:
        return given
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of how it interpolates
            found = convert(dict(given), model)
    except Exception:  # made for files of that network alone: what others lack is said below
        return given
    return {name: value for name, value in found.items() if isinstance(value, Tensor)}


def _is_counter(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def _fits(given: Tensor, own: Tensor) -> bool:
    same_type = given.is_floating_point() == own.is_floating_point()
    return given.shape == own.shape and same_type and not given.is_complex()


def _is_finite(tensor: Tensor) -> bool:
    """Looks at the least and the largest value, which are NaN where any is; copies nothing but
    numbers of 8 bits.
    """
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    tensor = tensor.float() if tensor.itemsize == 1 else tensor
    return all(torch.isfinite(end).item() for end in torch.aminmax(tensor))


def _size(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors)


def _first(names: Sequence[str], *, count: bool = True) -> str:
    """The first few names, and how many there are."""
    if not names:
        return "none"
    more = ", …" if len(names) > _NAMES_SHOWN else ""
    listed = f"{', '.join(names[:_NAMES_SHOWN])}{more}"
    return f"{len(names)} ({listed})" if count else listed


def _kind(tensor: Tensor) -> str:
    shape = "×".join(map(str, tensor.shape)) or "scalar"
    return f"{str(tensor.dtype).removeprefix('torch.')} {shape}"
