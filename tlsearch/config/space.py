"""The search space: derived from `Strategy`, a dimension in place of each of its values."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import Any, get_type_hints

from pydantic import Field, create_model

from tlsearch.config.augmentation import IMAGE_CHANGES
from tlsearch.config.dimensions import (
    Choice,
    Dimension,
    Fixed,
    Scalar,
    count,
    dimension_type,
    raw,
    values,
)
from tlsearch.config.options import Branches, any_of
from tlsearch.config.strategy import CHOICES, Strategy
from tlsearch.config.validation import Section

Suggest = Callable[[str, Dimension], Any]


def section_of(option: type) -> type[Section]:
    """The section of a study file whose fields are the dimensions of `option`, a dataclass."""
    hints = get_type_hints(option, include_extras=True)
    made: Any = {}
    for field in dataclasses.fields(option):
        if field.name == "init":  # no dimension: only a baseline starts at random
            continue
        annotation, info = dimension_type(hints[field.name])
        default: Any = ... if field.default is dataclasses.MISSING else Fixed(field.default)
        if field.name in CHOICES:
            annotation = _ANY_OF[field.name]
            default = Branches(_options_of(field.name, field.default))
        described = Field(default, description=info.description, examples=info.examples)
        made[field.name] = (annotation, described)
    section: type[Section] = create_model(
        f"{option.__name__}Space", __base__=Section, __doc__=option.__doc__, **made
    )
    return section


def _options_of(field: str, option: Any) -> dict[str, dict[str, Dimension]]:
    name = next(name for name, kind in CHOICES[field].items() if kind is type(option))
    return {name: {f.name: Fixed(getattr(option, f.name)) for f in dataclasses.fields(option)}}


_ANY_OF = {
    field: any_of({name: section_of(kind) for name, kind in kinds.items()}, elsewhere=IMAGE_CHANGES)
    for field, kinds in CHOICES.items()
}
_Fields: Any = section_of(Strategy)


class Space(_Fields):  # type: ignore[misc]
    """What is fixed and what is searched: a scalar fixes, a list or {low, high} searches."""

    def assign(self, suggest: Suggest) -> dict[str, Any]:
        """The flat parameters of one strategy, asking `suggest` for the searched ones alone.

        Names are asked in declared order; those of a choice that was not made are never asked.
        """
        params: dict[str, Any] = {}
        for name in type(self).model_fields:
            field = getattr(self, name)
            if isinstance(field, Branches):
                chosen = params[name] = _value(name, _named(field), suggest)
                for inner, dimension in _inner(name, field, chosen):
                    params[inner] = _value(inner, dimension, suggest)
            else:
                params[name] = _value(name, field, suggest)
        return params

    def dimensions(self) -> dict[str, Dimension]:
        """Every dimension in declared order, those of all choices included."""
        found: dict[str, Dimension] = {}
        for name in type(self).model_fields:
            field = getattr(self, name)
            if isinstance(field, Branches):
                found[name] = _named(field)
                for option in field.names:
                    found.update(_inner(name, field, option))
            else:
                found[name] = field
        return found

    def searched(self) -> dict[str, Dimension]:
        """The dimensions that a sampler is asked for, those of all choices included."""
        return {n: d for n, d in self.dimensions().items() if not isinstance(d, Fixed)}

    def conditional(self) -> tuple[str, ...]:
        """The searched dimensions that exist for some choices only."""
        return tuple(
            name
            for name in self.searched()
            if "." in name and len(getattr(self, name.split(".")[0]).names) > 1
        )

    def grid_size(self) -> int | None:
        """The number of points of the full grid; None if it is infinite."""
        counts = [count(d) for d in self.searched().values()]
        return None if None in counts else prod(c for c in counts if c is not None)

    def grid(self) -> dict[str, list[Scalar]]:
        """The values of each searched dimension; `grid_size` must not be None."""
        return {name: values(dimension) for name, dimension in self.searched().items()}


def with_defaults(known: Mapping[str, Any]) -> dict[str, Any]:
    """Flat parameters of a strategy, or raw dimensions, completed by the defaults of those that
    `known` does not name at all: it was written before they existed, or need not name them.
    """
    plain = {name: raw(found) for name, found in Space().dimensions().items()}
    absent = {name for name in plain if "." not in name} - known.keys()
    return {**known, **{n: v for n, v in plain.items() if n.partition(".")[0] in absent}}


def _named(field: Branches) -> Dimension:
    return Choice(field.names) if len(field.names) > 1 else Fixed(field.names[0])


def _inner(name: str, field: Branches, chosen: str) -> Iterator[tuple[str, Dimension]]:
    for inner, found in field.options[chosen].items():
        yield f"{name}.{chosen}.{inner}", found


def _value(name: str, dimension: Dimension, suggest: Suggest) -> Any:
    return dimension.value if isinstance(dimension, Fixed) else suggest(name, dimension)
