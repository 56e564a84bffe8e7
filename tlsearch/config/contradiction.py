"""One contradiction, and what every check needs to find some."""

from tlsearch.config.catalog import groups
from tlsearch.config.dimensions import Dimension, highest, lowest, raw, values
from tlsearch.config.schema import StudyConfig


def dimension(config: StudyConfig, name: str) -> tuple[str, Dimension, object]:
    """A dimension's full field name, itself, and what the file holds for it."""
    found: Dimension = getattr(config.space, name)
    return f"space.{name}", found, raw(found)


# Which part of a network the strategies of a study train at the most.


def head_alone_trains(config: StudyConfig) -> bool:
    """Whether no strategy of the space trains more than the head."""
    space, deepest = config.space, len(groups(config.backbone.facts)) - 1
    stands = lowest(space.freeze_depth) >= deepest and highest(space.unfreeze_every_epochs) == 0
    return stands or values(space.trained) == [_head(config)]


def reuses_features(config: StudyConfig) -> bool:
    """Whether every strategy, on each network, trains the head alone on images that never change:
    what the body makes of them is then computed once and kept.
    """
    space = config.space
    changes = (space.augmentation, space.mixing, space.adversarial, space.adaptation)
    is_plain = highest(space.erasing) <= 0 and all(set(c.names) <= {"none"} for c in changes)
    return is_plain and all(
        head_alone_trains(config.with_backbone(name)) for name in config.backbone.names
    )


def _head(config: StudyConfig) -> str:
    return groups(config.backbone.facts)[-1]
