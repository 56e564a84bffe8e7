"""What comes before the first trial: data on disk, weights found or made, number format chosen."""

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from tlsearch.config.checks import step_contradictions, step_notes
from tlsearch.config.cost import train_images
from tlsearch.config.images import SplitConfig
from tlsearch.config.paths import write_text
from tlsearch.config.runtime import OnProgress, Precision, planned_workers, usable_cores
from tlsearch.config.schema import StudyConfig
from tlsearch.config.search_options import METRICS
from tlsearch.config.sources import EmbeddedSource
from tlsearch.data import dataset as store
from tlsearch.data.dataset import ImageSet, with_columns
from tlsearch.data.glyph_recipe import RECIPE
from tlsearch.data.label_errors import Suspects, find_suspects, finding_of
from tlsearch.data.records import Audit, refuse_errors
from tlsearch.data.sources import read_images, read_source
from tlsearch.data.splits import (
    Split,
    describe,
    draw_parts,
    draw_past,
    draw_splits,
    listing,
    past_of,
)
from tlsearch.errors import Problem, RequestError, WorkError, refused, shown
from tlsearch.execution.messages import DataFacts, PrepareJob, Setting, SharesJob
from tlsearch.execution.source import load_arrays, save_arrays
from tlsearch.metrics.domain import class_share_distance
from tlsearch.models.pretrained import check_weights, study_backbone
from tlsearch.models.weights import chosen, pretrained_state
from tlsearch.training.batches import pixels_for
from tlsearch.training.feature_cache import ActivationStore
from tlsearch.training.precision import (
    PROBE_ROUNDS,
    Numerics,
    compute_reproducibly,
    probe_precision,
    torch_threads,
)
from tlsearch.training.pretrain import glyph_weights


def divide(data: ImageSet, config: StudyConfig) -> tuple[DataFacts, dict[str, Any]]:
    """What is known of the data and their split, and the images of each part as JSON.

    Every draw of the confirmation is tried as well: it would be too late to refuse it there.

    Raises:
        RequestError: the images cannot be divided so, or their number contradicts the study.
    """
    split, labels = config.data.split, config.data.labels_per_class
    splits = draw_splits(data, split=split, labels_per_class=labels, redraw=0)
    _refuse_absent(data, splits, config)
    smallest = min(len(parts.train) for parts in splits)
    for seed in range(1, config.confirm.seeds + 1):
        try:
            again = draw_splits(data, split=split, labels_per_class=labels, redraw=seed)
            _refuse_absent(data, again, config)
        except RequestError as error:
            raise RequestError(f"confirmation seed {seed}: {error}") from None
        smallest = min(smallest, *(len(parts.train) for parts in again))
    for found in step_contradictions(config, smallest):
        raise RequestError(str(Problem(found.field, found.value, found.rule, found.remedy)))
    facts = describe(data, splits, split=split)
    if train_images(config) is None:  # else these were among the study's own notes
        facts = replace(facts, notes=(*facts.notes, *step_notes(config, smallest)))
    known = DataFacts(
        num_images=len(data.labels),
        class_names=data.class_names,
        fingerprint=data.fingerprint,
        train_counts=facts.counts("train"),
        validation_counts=facts.counts("validation"),
        test_counts=facts.counts("test"),
        split=facts,
        white=data.white,
    )
    return known, listing(data, splits)


def _refuse_absent(data: ImageSet, splits: Sequence[Split], config: StudyConfig) -> None:
    """Refuse a metric that is a mean over classes where one of them cannot be in it.

    Raises:
        RequestError: a class has no image that validates; the message names it.
    """
    name = config.search.metric
    if not METRICS[name].counts_classes:
        return
    present = np.unique(data.labels[data.usable])
    for fold, parts in enumerate(splits, start=1):
        absent = np.setdiff1d(present, data.labels[parts.validation])
        if len(absent):
            where = f" in fold {fold}" if config.data.split.folds else ""
            rule = "counts every class alike, and no image of class "
            rule += f"{shown(data.class_names[absent[0]])} is in the validation part{where}"
            remedy = "stratify, validate on more, add images of it, or take accuracy or log_loss"
            raise refused("search.metric", name, rule, remedy)


def prepare(
    job: PrepareJob, *, device_index: int | None, on_progress: OnProgress
) -> tuple[Setting, Audit]:
    """Make all that the trainings of a study share, and tell what the audit found.

    Raises:
        RequestError: the data or the weights do not fit the study.
        WorkError: something cannot be read, written or fetched.
    """
    torch.set_num_threads(1)
    config, device = job.config, find_device(job.config, device_index)
    networks_of = [config.with_backbone(name) for name in config.backbone.names]
    origins = [check_weights(ours) for ours in networks_of]
    data, audit = read_images(config.data, cache=job.user_cache / "images", on_progress=on_progress)
    read_as = data.fingerprint
    facts, images_of_parts = divide(data, config)
    source = read_source(config, cache=job.user_cache / "images", on_progress=on_progress)
    networks = [
        ready_network(
            ours,
            num_classes=data.num_classes,
            device=device,
            user_cache=job.user_cache,
            threads=job.threads,
            on_progress=on_progress,
        )
        for ours in networks_of
    ]
    data, audit = audit_labels(
        data, audit, networks[0], device=device, cache=job.cache, on_progress=on_progress
    )
    if data.fingerprint != read_as:
        facts, images_of_parts = divide(data, config)
    kept = store.save(data, job.cache / "images")
    of_source = None if source is None else store.save(source[0], job.cache / "images")
    setting, *others = (
        Setting(
            config=network.config,
            data=facts,
            groups=network.groups,
            folder=job.folder,
            store=kept,
            activations=job.cache / "activations",
            activations_key=read_as,
            source=of_source,
            weights=network.weights,
            weights_fingerprint=network.fingerprint,
            precision=network.precision,
            device=device.type,
            origin=origin,
            uncut=network.uncut,
        )
        for network, origin in zip(networks, origins, strict=True)
    )
    setting = replace(setting, others=tuple(others))
    write_text(setting.split_file, json.dumps(images_of_parts))
    return setting, audit


class Network(NamedTuple):
    """A network that trainings can start from; `state` is None where it starts at random."""

    config: StudyConfig
    groups: tuple[str, ...]
    weights: str
    state: Mapping[str, torch.Tensor] | None
    fingerprint: str
    precision: Precision
    uncut: str


def ready_network(
    config: StudyConfig,
    *,
    num_classes: int,
    device: torch.device,
    user_cache: Path,
    threads: int,
    on_progress: OnProgress,
) -> Network:
    """The weights of a study's only network, found or made and known to fit, and its number format.

    Raises:
        RequestError: the weights do not fit.
        WorkError: something cannot be read, written or fetched.
    """
    weights, made = find_weights(config, cache=user_cache, threads=threads, on_progress=on_progress)
    state = pretrained_state(backbone=config.backbone.name, weights=weights)
    # Fitting now saves a failure in every trial.
    backbone = study_backbone(config, num_classes=num_classes, dropout=0.0, seed=0, state=state)
    backbone.to(device)
    return Network(
        config=config,
        groups=backbone.groups,
        weights=weights,
        state=state,
        fingerprint=weights_fingerprint(weights, state, made) + config.backbone.facts.source,
        precision=find_precision(config, backbone.model, device, user_cache),
        uncut=backbone.uncut,
    )


def find_weights(
    config: StudyConfig, *, cache: Path, threads: int, on_progress: OnProgress
) -> tuple[str, Path | None]:
    """The weights by name or path, and where those lie that tlsearch made itself.

    Raises:
        WorkError: they cannot be made or written.
    """
    if config.backbone.weights != "glyphs":
        of = config.backbone
        return chosen(backbone=of.name, weights=of.weights).name, None
    made = glyph_weights(
        RECIPE,
        backbone=config.backbone.name,
        image_size=config.data.size,
        cache=cache,
        threads=threads,
        on_progress=on_progress,
    )
    torch.set_num_threads(1)
    return str(made), made


def weights_fingerprint(
    weights: str, state: Mapping[str, torch.Tensor] | None, made: Path | None
) -> str:
    """What the weights are, by content. Those that tlsearch made go by their recipe: another
    machine trains them to other last bits, and the study may move there.
    """
    if state is None:
        return weights
    if made is not None:
        return made.stem
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(name.encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


NO_CUDA = "device = 'cuda': torch finds no CUDA device — write `device: auto` or `cpu`"


def find_device(config: StudyConfig, index: int | None) -> torch.device:
    """Where a worker of the study computes.

    Raises:
        RequestError: the study asks for a GPU, and there is none.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise RequestError(NO_CUDA)
    use_cuda = config.device != "cpu" and torch.cuda.is_available()
    return torch.device(f"cuda:{index or 0}" if use_cuda else "cpu")


def find_precision(
    config: StudyConfig, model: torch.nn.Module, device: torch.device, cache: Path
) -> Precision:
    """The study's choice, or the faster one; measured once a machine, so that a second run of the
    same study computes with the same bits.
    """
    if config.precision != "auto":
        return config.precision
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    probed = f"{config.backbone.name} {config.data.size} {PROBE_ROUNDS} rounds"
    identity = f"{name} {torch.__version__} {probed} of 3 formats, depthwise, by rounding"
    path = cache / "precision" / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.json"
    with suppress(FileNotFoundError, ValueError, KeyError, TypeError):  # absent, or cut short
        return Numerics(json.loads(path.read_text())["precision"]).precision
    chosen = probe_precision(model, image_size=config.data.size, batch_size=32, device=device)
    write_text(path, json.dumps({"precision": chosen.precision, "measured_on": identity}))
    return chosen.precision


def _processor() -> str:
    """The processor's name, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith("model name")), platform.machine())


# The part of the audit that needs a network: labels that a linear probe does not believe.


_LAYOUT = 1
"""Raised whenever the same images would give other suspects."""


def audit_labels_alone(
    data: ImageSet,
    audit: Audit,
    config: StudyConfig,
    *,
    cache: Path,
    user_cache: Path,
    threads: int,
    on_progress: OnProgress,
) -> Audit:
    """The audit with what the backbone says of the labels, for someone who does not train; of
    several networks the first one says it, as in a run.

    Raises:
        AuditError: the study wants no label errors.
        RequestError: the weights do not fit the study.
        WorkError: something cannot be read, written or fetched.
    """
    device = find_device(config, None)
    network = ready_network(
        config.with_backbone(config.backbone.names[0]),
        num_classes=data.num_classes,
        device=device,
        user_cache=user_cache,
        threads=threads,
        on_progress=on_progress,
    )
    _, found = audit_labels(
        data, audit, network, device=device, cache=cache, on_progress=on_progress
    )
    return found


def audit_labels(
    data: ImageSet,
    audit: Audit,
    network: Network,
    *,
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
    config = network.config
    rules, split = config.data.audit, config.data.split
    if isinstance(config.data.source, EmbeddedSource) and config.data.planted is None:
        return data, audit
    if rules.label_errors == "off":
        return data, _unseen(audit, "label_errors is off")
    if network.state is None:
        return data, _unseen(audit, "the backbone has no pretrained weights to judge with")
    held_out = draw_splits(data, split=split, labels_per_class=None, redraw=0)[0].test
    judged = np.setdiff1d(data.usable, held_out)
    # What the suspects depend on, but for the machine.
    context = (data.fingerprint, config.backbone.name, network.fingerprint, split.seed)
    key = hashlib.sha256(f"{context} {_LAYOUT}".encode() + judged.tobytes()).hexdigest()[:32]
    place = cache / "audit" / f"{key}.npz"
    kept = load_arrays(place, Suspects._fields)
    if kept is not None:
        found = Suspects(*kept)
    else:
        on_progress(0.0, "audit: features of the backbone")
        features = _frozen_features(data, network, device=device, folder=cache / "activations")
        if features is None:
            return data, _unseen(audit, "the backbone's features are too large to keep")
        if not np.isfinite(features).all():
            return data, _unseen(audit, "the backbone's features are not finite")
        looked = find_suspects(
            features,
            data,
            judged=judged,
            held_out=held_out,
            seed=split.seed,
            on_progress=on_progress,
        )
        if looked is None:
            return data, _unseen(
                audit, "no two classes are large and distinct enough for a linear probe"
            )
        found = looked
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
    dropped = np.setdiff1d(found.rows, held_out)
    if rules.label_errors == "drop" and len(dropped):
        data = with_columns(data, suspects=np.isin(np.arange(len(data.labels)), dropped))
    return data, audit


def _unseen(audit: Audit, why: str) -> Audit:
    return replace(audit, unseen=(*audit.unseen, f"Label errors were not looked for: {why}."))


def _frozen_features(
    data: ImageSet, network: Network, *, device: torch.device, folder: Path
) -> np.ndarray | None:
    """What the head sees of each image, float32 (N, F); None where that is too large to keep."""
    compute_reproducibly(device)
    num_classes = max(2, data.num_classes)
    backbone = study_backbone(
        network.config, num_classes=num_classes, dropout=0.0, seed=0, state=network.state
    )
    numerics = Numerics(network.precision)
    threads = 1
    if device.type == "cpu":  # workers would take as many cores and as much memory, but wait
        threads = min(planned_workers(network.config.workers, device="cpu"), usable_cores())
    backbone.to(device, numerics.memory_format)
    pixels = pixels_for(network.config.backbone, images=data.images, labels=data.labels)
    pixels = pixels._replace(memory_format=numerics.memory_format)
    kept = ActivationStore(
        folder,
        pixels=pixels,
        data_key=data.fingerprint,
        numerics=numerics,
        threads=threads,
    )
    with torch_threads(1):
        features = kept.at_depth(backbone.body, np.arange(len(data.images)), device=device)
    return None if features is None else features.float().numpy()


# How far the classes' shares differ between the parts that a split draws, without training.


def shares_of(
    data: ImageSet, job: SharesJob, *, labels_per_class: int | None
) -> dict[str, list[float]]:
    """`share_distances` of each split of the job by its name, after a draw for each of its seeds.

    Raises:
        RequestError: the images cannot be divided so, as a training with one of the seeds would
            find; the message names split and seed.
    """
    found = {}
    for name, split in job.splits.items():
        refuse_past(
            data,
            split=split,
            labels_per_class=labels_per_class,
            share=job.future,
            seeds=job.seeds,
            name=name,
        )
        distances = share_distances(data, split=split, share=job.future, redraws=job.redraws)
        found[name] = distances.tolist()
    return found


def refuse_past(
    data: ImageSet,
    *,
    split: SplitConfig,
    labels_per_class: int | None,
    share: float,
    seeds: Iterable[int],
    name: str,
) -> None:
    """Divide the images before the latest `share` with each seed, as trainings will.

    Raises:
        RequestError: they cannot be divided so; the message names the split and the seed.
    """
    for seed in seeds:
        try:
            draw_past(data, split=split, labels_per_class=labels_per_class, share=share, seed=seed)
        except RequestError as error:
            raise RequestError(f"{name}, seed {seed}: {error}") from None


def share_distances(
    data: ImageSet, *, split: SplitConfig, share: float, redraws: int
) -> np.ndarray:
    """Largest distance of class shares between train, validation and test of each redraw,
    (redraws,): the images before the latest `share` divided with the seeds 0 … redraws - 1.

    Parts are taken whole: thinning the training part to so many labels a class would balance it,
    whatever the split.

    Raises:
        RequestError: the images cannot be divided so.
    Source: claims.md, B1 and B2.
    """
    past, _ = past_of(data, share=share)
    found = []
    for seed in range(redraws):
        (parts,) = draw_parts(past, split=split.model_copy(update={"seed": seed}), redraw=0)
        labels = [data.labels[rows] for rows in parts]
        found.append(class_share_distance(labels, num_classes=data.num_classes))
    return np.array(found)
