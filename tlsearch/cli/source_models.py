"""Source models that tlsearch would have to train before a study."""

from collections.abc import Iterable

from tlsearch.study.config import StudyConfig
from tlsearch.study.layout import user_cache


def to_be_trained(configs: Iterable[StudyConfig]) -> list[str]:
    """Those that are not in the user's cache, as `resnet10 at 32 px`; creates nothing."""
    from tlsearch.search.source.pretrain import cached_glyph_weights

    wanted = {
        (name, config.data.size): None
        for config in configs
        for name in config.backbone.names
        if config.backbone.weights_of(name) == "glyphs"
    }
    return [
        f"{name} at {size} px"
        for name, size in wanted
        if cached_glyph_weights(backbone=name, image_size=size, cache=user_cache()) is None
    ]


def told(missing: list[str]) -> list[str]:
    """The same as a user reads it: one line, or none."""
    if not missing:
        return []
    count = "a source model has" if len(missing) == 1 else f"{len(missing)} source models have"
    return [
        f"before that, {count} to be trained, once for all studies: {', '.join(missing)} "
        "(minutes each, and more for large networks and images)"
    ]
