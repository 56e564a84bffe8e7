"""Each change of training images that a space may choose, alone and as strong as it may get."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tlsearch.study.dimensions import Dimension, Fixed, Scalar, highest, lowest, values
from tlsearch.study.space import Space, with_defaults

CHOICES = ("adaptation", "augmentation", "mixing", "adversarial")
_WEAKER_WHEN_LARGE = ("augmentation.basic.crop",)
_UNITS = {"rotation": "°", "shear": "°"}
_OFF = {"crop": 1}


class Policy(NamedTuple):
    """`params` are those of a complete strategy that leaves images alone but for this. `detail`
    tells the parameters that do something.
    """

    title: str
    detail: str
    params: Mapping[str, Any]


def policies(space: Space) -> Iterator[Policy]:
    """One for each option that changes images, in the order in which they are applied.

    Of a searched strength the end that changes images most; of a list the largest.
    """
    found = space.dimensions()
    for field in ("adaptation", "augmentation", "erasing", "mixing", "adversarial"):
        if field not in CHOICES:
            value = highest(found[field])
            if value > 0:
                detail = _detail({field: value}, {field: found[field]})
                yield Policy(field, detail, with_defaults({field: value}))
            continue
        for option in getattr(space, field).names:
            prefix = f"{field}.{option}."
            inner = {n: d for n, d in found.items() if n.startswith(prefix)}
            chosen = {name: _strongest(name, d) for name, d in inner.items()}
            if option != "none":
                plain = {n.removeprefix(prefix): v for n, v in chosen.items()}
                searched = {n.removeprefix(prefix): d for n, d in inner.items()}
                params = with_defaults({field: option, **chosen})
                yield Policy(option, _detail(plain, searched), params)


def _strongest(name: str, dimension: Dimension) -> Scalar:
    if isinstance(dimension, Fixed):
        return dimension.value
    value = lowest(dimension) if name in _WEAKER_WHEN_LARGE else highest(dimension)
    is_whole = all(isinstance(v, int) for v in _ends(dimension))
    return int(value) if is_whole else value


def _ends(dimension: Dimension) -> list[Scalar]:
    low = getattr(dimension, "low", None)
    return [low] if low is not None else values(dimension)


def _detail(chosen: Mapping[str, Any], dimensions: Mapping[str, Dimension]) -> str:
    told = [
        f"{name.replace('_', ' ')} {'at least ' if name == 'crop' else ''}{value:g}"
        f"{_UNITS.get(name, '')}"
        for name, value in chosen.items()
        if value != _OFF.get(name, 0)
    ]
    is_searched = any(not isinstance(d, Fixed) for d in dimensions.values())
    return ", ".join(told) + (" (the strongest of the search)" if is_searched else "")
