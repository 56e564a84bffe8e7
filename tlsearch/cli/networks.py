"""`tlsearch networks`: the networks that a study may name, and whose weights are here."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import typer

from tlsearch.config.catalog import (
    CATALOGUE,
    PREFIX,
    BackboneFacts,
    groups,
    left_out,
    made_with,
    reuse,
    short,
)
from tlsearch.config.packaged import packaged_for
from tlsearch.errors import RequestError, nearest
from tlsearch.models.weights import HUB_FILES, downloads, is_installed

_TAGS_SHOWN = 2


def networks(pattern: str | None, *, as_json: bool) -> None:
    """List the networks whose names hold the pattern, or match it where it has a wildcard, and why
    some of them cannot be taken; without one torchvision's, and how many timm has.

    Raises:
        RequestError: there is none.
    """
    names = list(_named(CATALOGUE, pattern))
    others = {} if pattern is None else {n: left_out()[n] for n in _named(left_out(), pattern)}
    if not names and not others:
        remedy = nearest(pattern or "", list(CATALOGUE)) or "take a shorter part of a name"
        raise RequestError(f"PATTERN = {pattern!r}: in no network's name — {remedy}")
    here = _on_this_machine()
    if as_json:
        rows = [_row(CATALOGUE[name], here) for name in names]
        typer.echo(json.dumps({"made_with": made_with(), "networks": rows, "left_out": others}))
        return
    for line in _lines([CATALOGUE[name] for name in names], here) if names else ():
        typer.echo(line)
    for name, rule in others.items():
        typer.echo(f"{name}: no study can take it: it {rule}")
    if pattern is None:
        number = sum(name.startswith(PREFIX) for name in CATALOGUE)
        typer.echo(
            f"\nand {number:,} of timm's {made_with()['timm']}: tlsearch networks timm/, or a part "
            f"of a name, such as lite0; {len(left_out())} more have several classifiers or none, "
            "and no study can take them"
        )
    typer.echo(
        "\nparameters with 1,000 classes, multiply-adds at the native size; weights in [brackets] "
        "are on this machine"
    )


def _named(names: Iterable[str], pattern: str | None) -> Iterator[str]:
    if pattern is None:
        return (name for name in names if not name.startswith(PREFIX))
    wanted = pattern.lower()  # as all names are
    if any(wildcard in wanted for wildcard in "*?["):
        return (name for name in names if fnmatchcase(name, wanted))
    return (name for name in names if wanted in name)


def _on_this_machine() -> Mapping[str, Iterable[str]]:
    """The names of weights files in torch's cache by their beginning, and of the repositories of
    timm's in the hub's; nothing is imported to look.
    """
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    home = Path(os.environ.get("HF_HOME") or caches / "huggingface")
    hub = Path(os.environ.get("HF_HUB_CACHE") or home / "hub").expanduser()
    kept = [file for name in HUB_FILES for file in hub.glob(f"models--timm--*/snapshots/*/{name}")]
    return {
        "torch": [file.name for file in downloads().glob("*.pth")],
        "hub": {file.parents[2].name.removeprefix("models--timm--") for file in kept},
    }


def _here(facts: BackboneFacts, found: Mapping[str, Iterable[str]]) -> list[str]:
    """Which of a network's weights are on this machine; of torchvision's, where a network has
    several, the file, as its name alone does not tell which they are of.
    """
    carried = [name for name in packaged_for(facts.name) if is_installed(name)]
    if facts.is_timm:
        plain = facts.name.removeprefix(PREFIX)
        return [*(t for t in facts.weights if f"{plain}.{t}" in found["hub"]), *carried]
    kept = [file for file in found["torch"] if file.startswith(f"{facts.name}-")]
    return [*(facts.weights if kept and len(facts.weights) == 1 else kept), *carried]


def _row(facts: BackboneFacts, found: Mapping[str, Iterable[str]]) -> dict[str, Any]:
    return {
        "name": facts.name,
        "parameters": facts.num_parameters,
        "giga_multiply_adds": facts.giga_macs,
        "native_size": facts.native_size,
        "least_size": facts.min_size,
        "size_multiple": facts.size_multiple,
        "interpolation": facts.interpolation,
        "layer_groups": groups(facts),
        "weights": facts.weights,
        "on_this_machine": _here(facts, found),
        "cuts": facts.cuts,
        "reuse": reuse(facts),
    }


def _lines(listed: list[BackboneFacts], found: Mapping[str, Iterable[str]]) -> Iterator[str]:
    width = max(len(facts.name) for facts in listed)
    yield f"{'network':<{width}}  parameters  multiply-adds  size  cut at   weights"
    for facts in listed:
        here = _here(facts, found)
        others = [name for name in facts.weights if name not in here]
        shown = [*(f"[{name}]" for name in here), *others[:_TAGS_SHOWN]]
        more = len(others) - _TAGS_SHOWN
        tags = ", ".join(shown) + (f" and {more} more" if more > 0 else "")
        cost = f"{short(facts.num_parameters):>10}  {short(facts.giga_macs * 1e9):>13}"
        cut = f"{facts.native_size:>4}  {_cut(facts):<7}"
        yield f"{facts.name:<{width}}  {cost}  {cut}  {tags or '-'}"


def _cut(facts: BackboneFacts) -> str:
    """Where the network can be cut, in a word."""
    last = len(groups(facts)) - 1
    match facts.cuts:
        case ():
            return "-"
        case cuts if len(cuts) == last:
            return "any"
        case (only,) if only == last:
            return "head"
        case cuts:
            return ",".join(map(str, cuts))
