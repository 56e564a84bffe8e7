"""How much the images look like those that the network was trained on, in words."""

from tlsearch.report.rows import ReportData
from tlsearch.report.wording import percent
from tlsearch.study.source_checks import knows_source


def likeness(data: ReportData) -> str:
    """What was measured of it, or why nothing was; "" for a network that has learnt nothing."""
    found, backbone = data.likeness, data.config.backbone
    ours = data.config.with_backbone(backbone.names[0])
    if ours.backbone.weights == "none":
        return ""
    if not knows_source(ours):
        return (
            "How much they look like the images that the network was trained on is not known: "
            "backbone.source names none."
        )
    similarity, apart = found.get("similarity"), found.get("frechet_distance")
    if similarity is None:
        return "How much they look like the source's images was not measured."
    told = (
        f"Similarity to the source's images: {similarity:.2f}, as {ours.backbone.name} sees both "
        "before it is fine-tuned (1: like the source itself; 0: no more than the source's images "
        "with their pixels in disorder)."
    )
    error = found.get("domain_error")
    if apart is None or error is None:
        return told
    return (
        f"{told} Fréchet distance of the features: {apart:.2f} per feature; a linear classifier "
        f"that is to tell the two apart errs in {percent(error)} of the images."
    )
