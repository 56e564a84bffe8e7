"""What comes before the first trial: data on disk, weights found or made, number format chosen."""

import hashlib
import json
import platform
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from tlsearch.data import store
from tlsearch.data.audit.findings import Audit
from tlsearch.data.images import ImageSet
from tlsearch.data.reading import read_images
from tlsearch.data.source_images import read_source
from tlsearch.errors import RequestError
from tlsearch.search.folder import write_whole
from tlsearch.search.jobs import PrepareJob, Setting
from tlsearch.search.source.pretrain import glyph_weights
from tlsearch.search.work.dividing import divide
from tlsearch.search.work.suspecting import audit_labels
from tlsearch.study.config import StudyConfig
from tlsearch.training.precision import Numerics, probe_precision
from tlsearch.transfer.backbones import build_backbone, load_pretrained
from tlsearch.transfer.weights import pretrained_state

PROBE_BATCH_SIZE = 32

OnProgress = Callable[[float, str], None]


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
    data, audit = read_images(config.data, cache=job.user_cache / "images", on_progress=on_progress)
    read_as = data.fingerprint
    facts, images_of_parts = divide(data, config)
    source = read_source(config, cache=job.user_cache / "images", on_progress=on_progress)
    networks = [
        ready_network(
            config.with_backbone(name),
            num_classes=data.num_classes,
            device=device,
            user_cache=job.user_cache,
            threads=job.threads,
            on_progress=on_progress,
        )
        for name in config.backbone.names
    ]
    first = networks[0]  # judges the labels
    data, audit = audit_labels(
        data,
        audit,
        first.config,
        state=first.state,
        weights_key=first.fingerprint,
        numerics=Numerics(first.precision),
        device=device,
        cache=job.cache,
        on_progress=on_progress,
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
            store=kept,
            activations=job.cache / "activations",
            activations_key=read_as,
            source=of_source,
            weights=network.weights,
            weights_fingerprint=network.fingerprint,
            precision=network.precision,
            device=device.type,
        )
        for network in networks
    )
    setting = replace(setting, others=tuple(others))
    write_whole(setting.split_file, json.dumps(images_of_parts))
    return setting, audit


class Network(NamedTuple):
    """A network that trainings can start from; `state` is None where it starts at random."""

    config: StudyConfig
    groups: tuple[str, ...]
    weights: str
    state: Mapping[str, torch.Tensor] | None
    fingerprint: str
    precision: Literal["fp32", "bf16"]


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
    backbone = build_backbone(
        name=config.backbone.name,
        num_classes=num_classes,
        image_size=config.data.size,
        dropout=0.0,
        seed=0,
    )
    state = pretrained_state(backbone=config.backbone.name, weights=weights)
    if state is not None:  # fitting now saves a failure in every trial
        load_pretrained(backbone, state)
    return Network(
        config=config,
        groups=backbone.groups,
        weights=weights,
        state=state,
        fingerprint=weights_fingerprint(weights, state, made),
        precision=find_precision(config, backbone.model, device, user_cache),
    )


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
    return audit_labels(
        data,
        audit,
        network.config,
        state=network.state,
        weights_key=network.fingerprint,
        numerics=Numerics(network.precision),
        device=device,
        cache=cache,
        on_progress=on_progress,
    )[1]


def find_weights(
    config: StudyConfig, *, cache: Path, threads: int, on_progress: OnProgress
) -> tuple[str, Path | None]:
    """The weights by name or path, and where those lie that tlsearch made itself.

    Raises:
        WorkError: they cannot be made or written.
    """
    if config.backbone.weights != "glyphs":
        return config.backbone.weights, None
    made = glyph_weights(
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


def find_device(config: StudyConfig, index: int | None) -> torch.device:
    """Where a worker of the study computes.

    Raises:
        RequestError: the study asks for a GPU, and there is none.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise RequestError(
            "device = 'cuda': torch finds no CUDA device — write `device: auto` or `cpu`"
        )
    use_cuda = config.device != "cpu" and torch.cuda.is_available()
    return torch.device(f"cuda:{index or 0}" if use_cuda else "cpu")


def find_precision(
    config: StudyConfig, model: torch.nn.Module, device: torch.device, cache: Path
) -> Literal["fp32", "bf16"]:
    """The study's choice, or the faster one; measured once a machine, so that a second run of the
    same study computes with the same bits.
    """
    if config.precision != "auto":
        return config.precision
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    identity = f"{name} {torch.__version__} {config.backbone.name} {config.data.size}"
    path = cache / "precision" / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.json"
    with suppress(FileNotFoundError, ValueError, KeyError, TypeError):  # absent, or cut short
        return Numerics(json.loads(path.read_text())["precision"]).precision
    chosen = probe_precision(
        model, image_size=config.data.size, batch_size=PROBE_BATCH_SIZE, device=device
    )
    write_whole(path, json.dumps({"precision": chosen.precision, "measured_on": identity}))
    return chosen.precision


def _processor() -> str:
    """The processor's name, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith("model name")), platform.machine())
