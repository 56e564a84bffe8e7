"""What needs images of the task that the weights were trained on, and whether there are any."""

from collections.abc import Iterator

from tlsearch.study.backbones import groups
from tlsearch.study.config import StudyConfig
from tlsearch.study.contradiction import Contradiction, clash, dimension
from tlsearch.study.dimensions import Fixed, highest, raw
from tlsearch.study.what_trains import head_alone_trains

_REMEDY = "write backbone.source: {folder: PATH}, labelled images of that task"


def knows_source(config: StudyConfig) -> bool:
    """Whether images of the source task are at hand: the embedded weights know theirs."""
    return config.backbone.weights == "glyphs" or config.backbone.source is not None


def source_contradictions(config: StudyConfig) -> Iterator[Contradiction]:
    """What asks for source images that are not there, and what they would not change."""
    backbone = config.backbone
    if backbone.weights == "glyphs" and backbone.source is not None:
        value = backbone.model_dump(mode="json")["source"]
        rule = "the weights glyphs know their source: printed characters"
        remedy = "drop it, or give every network weights of one source"
        yield clash("backbone.source", value, rule, remedy, "backbone.weights")
    yield from _adaptation(config)
    yield from _second_task(config)


def _adaptation(config: StudyConfig) -> Iterator[Contradiction]:
    chosen = [name for name in config.space.adaptation.names if name != "none"]
    if chosen and not knows_source(config):
        verb = "takes" if len(chosen) == 1 else "take"
        rule = f"{' and '.join(chosen)} {verb} images towards the source's, and none are known"
        yield clash("space.adaptation", chosen, rule, _REMEDY, "backbone.source")
    dimensions = config.space.dimensions()
    for name in ("fourier.band", *(f"{kind}.strength" for kind in chosen)):
        found = dimensions.get(f"adaptation.{name}", Fixed(1.0))
        if highest(found) == 0:
            remedy = "raise it, or write space.adaptation: none"
            yield clash(f"space.adaptation.{name}", raw(found), "0 changes no image", remedy)
    if "style" not in chosen:
        return
    if config.backbone.weights == "none":
        rule = "a network that has learnt nothing tells no style"
        remedy = "take fourier or moments, or pretrained weights"
        yield clash("space.adaptation", "style", rule, remedy, "backbone.weights")
    body = groups(config.backbone.facts)[:-1]
    layers = dimensions["adaptation.style.layers"]
    if highest(layers) > len(body):
        rule = f"{config.backbone.name} has {len(body)} layer groups before its head"
        field = "space.adaptation.style.layers"
        yield clash(field, raw(layers), rule, f"take 1 to {len(body)}", "backbone.name")


def _second_task(config: StudyConfig) -> Iterator[Contradiction]:
    field, weight, value = dimension(config, "source_task_weight")
    if highest(weight) <= 0:
        return
    if not knows_source(config):
        rule = "no images of the source task are known"
        yield clash(field, value, rule, _REMEDY, "backbone.source")
    if head_alone_trains(config):
        rule = "the head alone trains, so that both tasks share nothing that learns"
        others = ("space.freeze_depth", "space.unfreeze_every_epochs", "space.trained")
        yield clash(field, value, rule, "write 0, or let more train", *others)
