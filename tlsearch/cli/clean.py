"""`tlsearch clean`: what lies on this disk, what of it may go, and its removal."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import typer
from rich.filesize import decimal

from tlsearch.config.loader import read_study
from tlsearch.config.paths import Layout, files_in, layout_here, size_of, user_cache
from tlsearch.errors import RequestError, WorkError, nearest
from tlsearch.search.storage import Aside, forget_aside, is_running, open_storage, studies_aside
from tlsearch.search.store import study_cells
from tlsearch.tracking.registry import Remains, forget, remains_of
from tlsearch.tracking.store import settle_in

USUAL = ("set-aside", "activations")
"""What goes unless parts are named: nothing that takes long to make, or that others may use."""
_KEPT = ("studies", "artifacts", "optuna-artifacts", "optuna.journal", "mlflow.db")


class Part(NamedTuple):
    """What may be removed together: `text` says what it is, and what is lost with it; `size` in
    bytes; `remove` is None where there is nothing.
    """

    name: str
    text: str
    size: int
    remove: Callable[[], object] | None


def clean(names: Sequence[str], *, yes: bool, as_json: bool) -> None:
    """Show what may go and what stays, and remove the parts that are named, or the usual ones, once
    that was agreed to.

    Raises:
        RequestError: there is no such part, or a study of this folder is running.
        WorkError: a store cannot be used, or a file be deleted.
    """
    layout = layout_here()
    parts = {part.name: part for part in _parts(layout)}
    _refuse_unknown("PART", names, parts)
    wanted = [part for name in dict.fromkeys(names or USUAL) if (part := parts[name]).remove]
    whole = f"{', '.join(part.name for part in wanted)} ({decimal(sum(p.size for p in wanted))})"
    kept = size_of(*(layout.root / name for name in _KEPT))
    kept -= parts["set-aside"].size + parts["checkpoints"].size
    if not as_json:
        for part in parts.values():
            typer.echo(f"{part.name:<13} {decimal(part.size):>9}  {part.text}")
        stays = f"trials, models and reports in {layout.root}"
        typer.echo(f"{'(stays)':<13} {decimal(kept):>9}  {stays}")
    if wanted and (yes or (not as_json and _agreed(f"Delete {whole}?"))):
        _refuse_running("clean", layout)
        for part in wanted:
            assert part.remove is not None
            part.remove()
        outcome = f"deleted: {whole}"
    else:
        outcome = "nothing is deleted" + ("; --yes asks no question" if wanted else "")
        wanted = []
    if as_json:
        shown = [
            {"name": p.name, "bytes": p.size, "text": p.text, "usual": p.name in USUAL}
            for p in parts.values()
        ]
        deleted = [part.name for part in wanted]
        found = {"root": str(layout.root), "parts": shown, "kept_bytes": kept, "deleted": deleted}
        typer.echo(json.dumps(found))
    else:
        typer.echo(outcome)


def _agreed(question: str) -> bool:
    with suppress(typer.Abort):  # nobody is there to answer
        return typer.confirm(question)
    typer.echo()
    return False


def _parts(layout: Layout) -> Iterator[Part]:
    asides = _asides(layout)
    names = ", ".join(one.name for one, _ in asides) or "no study was"
    left = [path for one, found in asides for path in (*found.folders, *_pictures(one, layout))]
    remove = partial(_forget, layout, asides) if asides else None
    yield Part("set-aside", f"by --fresh: {names}", size_of(*left), remove)
    places, used = caches(layout), _sides_used(layout)
    pixels = [file for place in places["images"] for file in place.glob("*/images.npy")]
    others = [file.parent for file in pixels if used and _side(file) not in {None, *used}]
    sizes = f"other sizes than {', '.join(map(str, sorted(used)))} pixels" if used else "no size"
    text = f"decoded images of {sizes}, which studies here use; also for studies elsewhere"
    yield _of_files("other-sizes", text, others)
    for name, text in _CACHES.items():
        yield _of_files(name, text, places[name])
    checkpoints = list(layout.root.glob("studies/*/checkpoints/*.pt"))
    text = f"of {len(checkpoints)} trials under way, which start from the beginning without"
    yield _of_files("checkpoints", text, checkpoints)


def _of_files(name: str, text: str, places: Iterable[Path]) -> Part:
    files = list(files_in(places))
    return Part(name, text, size_of(*files), partial(_delete, files) if files else None)


_CACHES = {
    "activations": "of frozen layers, computed again when they are needed",
    "images": "decoded images of all sizes, also for studies elsewhere",
    "styled-images": "images in the style of others, made again when they are needed",
    "source-models": "trained by tlsearch, within minutes, also for studies elsewhere",
    "measurements": "of images and of this machine's number formats, made again",
}


def _sides_used(layout: Layout) -> set[int]:
    """The sizes that the studies of this folder decode images to; empty where one is not known."""
    sides = set()
    for path in layout.root.glob("studies/*/study.yaml"):
        try:
            config = read_study(path, overrides=[], preset=None)
        except RequestError:  # of another version
            return set()
        sides |= {its.data.size for its in study_cells(config).values()}
    return sides


def _side(pixels: Path) -> int | None:
    """Width of the images in an .npy, None where it cannot be read."""
    import numpy as np

    with suppress(OSError, ValueError, IndexError):
        return int(np.load(pixels, mmap_mode="r").shape[1])
    return None


def _asides(layout: Layout) -> list[tuple[Aside, Remains]]:
    """What was set aside in the folder's own stores, with what MLflow holds of each."""
    storage = open_storage(None, layout, create=False)
    asides = studies_aside(storage) if storage is not None else []
    if asides:  # of a copied folder, whose database names the files of the original
        settle_in(layout.mlflow_db, layout.artifacts)
    return [(one, _left(one, layout)) for one in asides]


def _left(aside: Aside, layout: Layout) -> Remains:
    found = remains_of(layout.mlflow_db, aside.of, aside.key)
    ours = tuple(f for f in found.folders if f.is_relative_to(layout.artifacts))
    return found._replace(folders=ours)


def _pictures(aside: Aside, layout: Layout) -> list[Path]:
    return [layout.optuna_artifacts / name for name in aside.pictures]


def _forget(layout: Layout, asides: Sequence[tuple[Aside, Remains]]) -> None:
    storage = open_storage(None, layout, create=False)
    assert storage is not None
    for one, left in asides:  # Optuna last: by it all is found again, should this be cut off
        forget(layout.mlflow_db, one.of, left)
        _delete(files_in((*left.folders, *_pictures(one, layout))))
        forget_aside(one, storage)


# The caches, which `doctor` shows, too.


def caches(layout: Layout) -> dict[str, tuple[Path, ...]]:
    """What tlsearch keeps to be faster, by the name that `clean` takes: folders, or a folder with a
    pattern. All of it is made again when it is needed.
    """
    user, here = user_cache(), layout.cache
    return {
        "activations": (here / "activations",),
        "images": tuple({user / "images": None, here / "images": None}),
        "styled-images": (here / "styled",),
        "source-models": (user / "glyphs-*", user / "source-probe-*"),
        "measurements": (here / "audit", here / "probes", user / "precision"),
    }


def clear_cache(names: Sequence[str], layout: Layout) -> Iterator[str]:
    """Delete these caches, or all of them for "all"; a line of text for each.

    Raises:
        RequestError: there is no such cache, or a study of this folder is running.
        WorkError: a file cannot be deleted.
    """
    known = caches(layout)
    _refuse_unknown("--clear-cache", names, (*known, "all"))
    _refuse_running("--clear-cache", layout)
    for name in known if "all" in names else dict.fromkeys(names):
        found = list(files_in(known[name]))
        size = size_of(*found)
        _delete(found)
        yield f"{name}: {len(found)} files deleted, {decimal(size)}"


def _refuse_unknown(field: str, names: Sequence[str], known: Iterable[str]) -> None:
    for name in names:
        if name not in known:
            *most, last = known
            raise RequestError(
                f"{field} = {name!r}: there are {', '.join(most)} and {last}. "
                f"{nearest(name, [*known])}".strip()
            )


def _refuse_running(field: str, layout: Layout) -> None:
    running = [f.parent.name for f in layout.root.glob("studies/*/lock") if is_running(f.parent)]
    if running:
        raise RequestError(
            f"{field}: {', '.join(running)} is running and reads the caches — wait for its end, or "
            "stop it; it can be resumed"
        )


def _delete(files: Iterable[Path]) -> None:
    try:
        for file in files:
            file.unlink(missing_ok=True)
    except OSError as error:
        raise WorkError(
            f"{error.filename}: cannot be deleted ({error.strerror}) — make its folder writable"
        ) from None
