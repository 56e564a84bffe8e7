"""The part of the audit that needs the backbone: labels that a linear probe does not believe."""

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch

from tlsearch.config.runtime import OnProgress
from tlsearch.config.schema import StudyConfig
from tlsearch.config.sources import EmbeddedSource
from tlsearch.data.dataset import ImageSet, with_columns
from tlsearch.data.label_errors import Suspects, find_suspects, finding_of
from tlsearch.data.records import Audit, refuse_errors
from tlsearch.data.splits import draw_splits
from tlsearch.errors import WorkError
from tlsearch.execution.source import load_arrays, save_arrays
from tlsearch.models.backbones import study_backbone
from tlsearch.training.batches import pixels_for
from tlsearch.training.feature_cache import ActivationStore
from tlsearch.training.precision import Numerics, compute_reproducibly

_LAYOUT = 1
"""Raised whenever the same images would give other suspects."""


def audit_labels(
    data: ImageSet,
    audit: Audit,
    config: StudyConfig,
    *,
    state: Mapping[str, torch.Tensor] | None,
    weights_key: str,
    numerics: Numerics,
    device: torch.device,
    cache: Path,
    on_progress: OnProgress,
) -> tuple[ImageSet, Audit]:
    """The set with `suspects` where the study drops them, and the audit with what was found.

    The features of all images are kept below `cache`. The test part's labels have no say in what is
    dropped. What was found is kept too: another machine computes other last bits, and a study that
    moves there goes on with the same images.

    Raises:
        AuditError: the study wants no suspects, and there are some.
        WorkError: the folder cannot be written.
    """
    rules, source = config.data.audit, config.data.source
    if isinstance(source, EmbeddedSource) and config.data.planted is None:
        return data, audit
    if rules.label_errors == "off":
        return data, _unseen(audit, "label_errors is off")
    if state is None:
        return data, _unseen(audit, "the backbone has no pretrained weights to judge with")
    held_out = draw_splits(data, split=config.data.split, labels_per_class=None, redraw=0)[0].test
    judged = np.setdiff1d(data.usable, held_out)
    # What the suspects depend on, but for the machine.
    context = (data.fingerprint, config.backbone.name, weights_key, config.data.split.seed)
    key = sha256(f"{context} {_LAYOUT}".encode() + judged.tobytes()).hexdigest()[:32]
    place = cache / "audit" / f"{key}.npz"
    kept = load_arrays(place, Suspects._fields)
    found = None if kept is None else Suspects(*kept)
    if found is None:
        features = _features(
            data,
            config,
            state=state,
            numerics=numerics,
            device=device,
            folder=cache / "activations",
            on_progress=on_progress,
        )
        if features is None:
            return data, _unseen(audit, "the backbone's features are too large to keep")
        if not np.isfinite(features).all():
            return data, _unseen(audit, "the backbone's features are not finite")
        found = find_suspects(
            features,
            data,
            judged=judged,
            held_out=held_out,
            seed=config.data.split.seed,
            on_progress=on_progress,
        )
        if found is None:
            return data, _unseen(
                audit, "no two classes are large and distinct enough for a linear probe"
            )
        try:
            save_arrays(place, found._asdict())
        except OSError as error:
            raise WorkError(
                f"{place}: cannot be written ({error.strerror or error}) — free some disk space, "
                "then run again"
            ) from error
    finding = finding_of(found, data, config=rules, held_out=held_out)
    if finding is None:
        return data, replace(audit, clean=(*audit.clean, "label_errors"))
    audit = replace(audit, findings=(*audit.findings, finding))
    refuse_errors(audit)
    if rules.label_errors != "drop":
        return data, audit
    suspects = np.zeros(len(data.labels), bool)
    suspects[np.setdiff1d(found.rows, held_out)] = True
    return (with_columns(data, suspects=suspects) if suspects.any() else data), audit


def _unseen(audit: Audit, why: str) -> Audit:
    return replace(audit, unseen=(*audit.unseen, f"Label errors were not looked for: {why}."))


def _features(
    data: ImageSet,
    config: StudyConfig,
    *,
    state: Mapping[str, torch.Tensor],
    numerics: Numerics,
    device: torch.device,
    folder: Path,
    on_progress: OnProgress,
) -> np.ndarray | None:
    """What the head sees of each image, float32 (N, F)."""
    on_progress(0.0, "audit: features of the backbone")
    compute_reproducibly(device)
    num_classes = max(2, data.num_classes)
    backbone = study_backbone(config, num_classes=num_classes, dropout=0.0, seed=0, state=state)
    backbone.model.to(device).to(memory_format=torch.channels_last)
    pixels = pixels_for(backbone.name, images=data.images, labels=data.labels)
    kept = ActivationStore(folder, pixels=pixels, data_key=data.fingerprint, numerics=numerics)
    features = kept.at_depth(backbone.stages[:-1], np.arange(len(data.images)), device=device)
    return None if features is None else features.float().numpy()
