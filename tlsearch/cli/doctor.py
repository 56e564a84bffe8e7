"""What works on this machine and in this folder, found without creating anything."""

import importlib.util
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, packages_distributions, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape

from tlsearch.cli.clean import caches, clear_cache
from tlsearch.config.paths import Layout, files_in, layout_here
from tlsearch.config.runtime import usable_cores
from tlsearch.config.schema import StudyConfig
from tlsearch.errors import TlsearchError, WorkError, hidden
from tlsearch.models.weights import downloads
from tlsearch.search.provenance import versions
from tlsearch.search.storage import open_storage, storage_address
from tlsearch.tracking.address import absolute_address, look, server_remedy, sqlite_path
from tlsearch.tracking.store import former_places

if TYPE_CHECKING:
    import torch


LOW_DISK_BYTES = 2 * 10**9
"""A study of some hundred trials with its checkpoints and activations takes about one."""
_EXTRAS = {
    "dashboard": ("optuna_dashboard", "Optuna Dashboard in `tlsearch ui`"),
    "onnx": ("onnxruntime", "models in the ONNX format"),
    "heif": ("pillow_heif", "photographs in HEIC"),
}
State = Literal["works", "absent", "fails"]


class Finding(NamedTuple):
    """One thing that was looked at. What is absent is not needed, or comes by itself; what fails
    keeps a study from running, and `remedy` says what to do.
    """

    section: str
    name: str
    state: State
    detail: str
    remedy: str = ""


def examine(
    config: StudyConfig | None, layout: Layout, *, tracking_uri: str | None
) -> list[Finding]:
    """All findings; without a study (`config` None) those of the folder's own stores.

    `tracking_uri` is MLflow's address where it is not the folder's.
    """
    return [
        *_packages(),
        *_devices(),
        _state_folder(layout),
        _mlflow(tracking_uri, layout),
        _optuna(config, layout),
        *(_cache(name, places) for name, places in caches(layout).items()),
        _cache("downloaded weights", (downloads(),)),
        *_extras(),
    ]


def _packages() -> Iterator[Finding]:
    for name, found in versions().items():
        yield Finding("versions", name, "works", found)
    for name, why in _unmet().items():
        yield Finding("versions", name, "fails", why, "pip install --upgrade tlsearch")


def _unmet() -> dict[str, str]:
    """What tlsearch needs and does not find, or finds in another version."""
    from packaging.requirements import Requirement

    try:
        wanted = map(Requirement, requires("tlsearch") or ())
    except PackageNotFoundError:  # run from its sources: there is no list
        return {}
    unmet = {}
    for need in wanted:
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(need.name)
        except PackageNotFoundError:
            unmet[need.name] = f"not installed, {need.specifier} is needed"
            continue
        if not need.specifier.contains(found, prereleases=True):
            unmet[need.name] = f"{found}, where {need.specifier} is needed"
    return unmet


def _devices() -> Iterator[Finding]:
    cores = usable_cores()
    yield Finding("devices", "processor", "works", f"{cores} cores, one worker each")
    try:
        import torch
    except (ImportError, OSError) as error:
        remedy = "pip install --force-reinstall torch"
        yield Finding("devices", "torch", "fails", str(error), remedy)
        return
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        found = f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB"
        yield Finding("devices", f"GPU {index}", "works", found)
    if torch.cuda.device_count() == 0:
        found = "none that CUDA sees; training is on the processor"
        yield Finding("devices", "GPU", "absent", found)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    yield Finding("devices", "number format", "works", _precision(device))


def _precision(device: "torch.device") -> str:
    """The result of a probe of one network; a study probes its own."""
    from tlsearch.models.backbones import build_backbone
    from tlsearch.training.precision import probe_precision

    network = build_backbone(name="resnet18", num_classes=10, image_size=32, dropout=0.0, seed=0)
    chosen = probe_precision(network.model, image_size=32, batch_size=32, device=device)
    return f"{chosen.precision} for ResNet-18 at 32 pixels, which measured fastest here"


def _state_folder(layout: Layout) -> Finding:
    place = _nearest(layout.root)
    if layout.root.exists() and not layout.root.is_dir():
        remedy = "move it away, or work in another folder"
        return Finding("stores", "folder", "fails", f"{layout.root} is no folder", remedy)
    if not os.access(place, os.W_OK | os.X_OK):
        remedy = "make it writable, or work in another folder"
        return Finding("stores", "folder", "fails", f"{place} cannot be written", remedy)
    free = shutil.disk_usage(place).free
    found = f"{layout.root}, {decimal(free)} free"
    if free < LOW_DISK_BYTES:
        return Finding("stores", "folder", "fails", found, "free some space")
    return Finding("stores", "folder", "works", found)


def _mlflow(tracking_uri: str | None, layout: Layout) -> Finding:
    wanted = tracking_uri or f"sqlite:///{layout.mlflow_db}"
    shown = str(hidden(wanted))
    try:
        address = absolute_address(wanted)
        found = look(address)
    except (TlsearchError, OSError) as error:
        lines = str(getattr(error, "reason", error)).splitlines() or [type(error).__name__]
        why = str(hidden(lines[0]))
        remedy = server_remedy(getattr(error, "code", None))
        return Finding("stores", "MLflow", "fails", f"{shown}: {why}", remedy)
    if found is None:
        return Finding("stores", "MLflow", "absent", f"{shown}: made by the first run")
    file = sqlite_path(address)
    moved = former_places(file, layout.artifacts) if file else []
    if moved:
        found += f"; its artifacts are named as in {', '.join(map(str, moved))}"
        remedy = "the folder was moved or copied: the next `tlsearch run` or `ui` corrects it"
        return Finding("stores", "MLflow", "works", f"{shown}: {found}", remedy)
    return Finding("stores", "MLflow", "works", f"{shown}: {found}")


def _optuna(config: StudyConfig | None, layout: Layout) -> Finding:
    shown = str(layout.journal if config is None else hidden(storage_address(config, layout)))
    try:
        storage = open_storage(config, layout, create=False)
        names = [s.study_name for s in storage.get_all_studies()] if storage else None
    except TlsearchError as error:
        why, _, remedy = str(error).partition(" — ")
        return Finding("stores", "Optuna", "fails", why, remedy)
    if names is None:
        return Finding("stores", "Optuna", "absent", f"{shown}: made by the first run")
    # A study of ours has companions, and cells if it compares.
    count = len([name for name in names if not {*":/ "} & {*name}])
    found = "1 study" if count == 1 else f"{count} studies"
    return Finding("stores", "Optuna", "works", f"{shown}: {found}")


def _cache(name: str, places: Sequence[Path]) -> Finding:
    shown = ", ".join(map(str, places))
    try:
        sizes = [file.stat().st_size for file in files_in(places)]
    except OSError as error:
        return Finding("caches", name, "fails", f"{shown}: {error.strerror}", "make it readable")
    if not sizes:
        return Finding("caches", name, "absent", f"{shown}: filled when it is needed")
    found = f"{shown}: {len(sizes)} files, {decimal(sum(sizes))}"
    folders = [_nearest(place if "*" not in place.name else place.parent) for place in places]
    if not all(os.access(folder, os.W_OK | os.X_OK) for folder in folders):
        return Finding("caches", name, "fails", f"{found}, cannot be written", "make it writable")
    return Finding("caches", name, "works", found)


def _extras() -> Iterable[Finding]:
    for extra, (module, gives) in _EXTRAS.items():
        if importlib.util.find_spec(module) is None:
            remedy = f"pip install 'tlsearch[{extra}]'"
            yield Finding("extras", extra, "absent", f"for {gives}", remedy)
        else:
            yield Finding("extras", extra, "works", _distribution(module))


def _distribution(module: str) -> str:
    """Name and version of what brings a module: `onnxruntime` comes in `onnxruntime-gpu`, too."""
    for name in (module.replace("_", "-"), *packages_distributions().get(module, ())):
        with suppress(PackageNotFoundError):
            return f"{name} {version(name)}"
    return f"{module}, of no known version"


def _nearest(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(place for place in (path, *path.parents) if place.exists())


_MARKS = {
    "works": "[green]ok[/green]",
    "absent": "[dim]--[/dim]",
    "fails": "[bold red]!![/bold red]",
}


def doctor(config: StudyConfig | None, *, as_json: bool, clear: Sequence[str]) -> None:
    """Print all that was found, after `clear_cache` if caches are to go; creates nothing.

    Raises:
        RequestError: there is no such cache, or it is in use.
        WorkError: something that is needed fails.
    """
    cleared = list(clear_cache(clear, layout_here())) if clear else []
    # A study has taken the environment's address already.
    named = os.environ.get("MLFLOW_TRACKING_URI") if config is None else config.tracking_uri
    findings = examine(config, layout_here(), tracking_uri=named or None)
    failed = [finding for finding in findings if finding.state == "fails"]
    if as_json:
        # Scripts know the detail as "told".
        shown = [
            {("told" if name == "detail" else name): value for name, value in f._asdict().items()}
            for f in findings
        ]
        text = {"ok": not failed, "findings": shown, **({"cleared": cleared} if clear else {})}
        typer.echo(json.dumps(text))
    else:
        for line in cleared:
            typer.echo(line)
        console, section = Console(highlight=False, emoji=False), ""
        for finding in findings:
            if finding.section != section:
                section = finding.section
                console.print(f"[bold]{section}[/bold]")
            remedy = f" — {finding.remedy}" if finding.remedy else ""
            line = f"  {_MARKS[finding.state]} {finding.name:<22} "
            console.print(line + escape(finding.detail + remedy), soft_wrap=True)
    if failed:
        names = ", ".join(f"{finding.section}: {finding.name}" for finding in failed)
        raise WorkError(f"what is needed fails — {names}")
