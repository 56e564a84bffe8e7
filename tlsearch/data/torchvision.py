"""A data set of torchvision's by the name of its class, all of its official parts together.

tlsearch loads no pickle. CIFAR10 and CIFAR100 come as pickles all the same: torchvision opens them,
and only after their MD5 is that of the published files.
"""

import inspect
import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tlsearch.config.images import DataConfig
from tlsearch.config.paths import expanded
from tlsearch.config.runtime import OnProgress
from tlsearch.config.sources import TorchvisionSet
from tlsearch.data.cache import (
    Listing,
    Work,
    assemble,
    decode_once,
    decoding,
    entry_key,
    find_entry,
)
from tlsearch.data.dataset import TEST, TRAIN, VALIDATION, ImageSet
from tlsearch.data.decode import (
    DECODER_VERSION,
    FULL_WHITE,
    Decoded,
    UnreadableImage,
    decode_image,
    decode_picture,
)
from tlsearch.data.folder import printable
from tlsearch.errors import WorkError, nearest, refused
from tlsearch.models.weights import patience

FIELD = "data.source.torchvision.name"
_GENERIC = ("DatasetFolder", "ImageFolder", "VisionDataset")
_PICKLED = ("LSUN", "LSUNClass")  # they load a pickle that lies in the current folder, unchecked
_SPLITS = (
    (TRAIN, ("train", "trainval", "train-standard")),
    (VALIDATION, ("val", "valid")),
    (TEST, ("test",)),
)
_PART_WORDS = {TRAIN: "train", VALIDATION: "validation", TEST: "test", -1: "all"}
_SEED = 0  # of the draw that `images` asks for
_SECONDS = 15.0  # of silence after which a download is given up


_Parts = list[tuple[int, Any]]  # values of Dataset.parts, and torchvision's data


def read_torchvision(data: DataConfig, cache: Path, on_progress: OnProgress) -> ImageSet:
    """The set's images, decoded once and kept below `cache`; `files` are named by their path, or
    by part and number where the set keeps all of them in one file.

    Raises:
        RequestError: there is no such set, it is none for classification, or needs what a study
            cannot say.
        WorkError: it is not there and cannot be fetched, or the cache cannot be written.
    """
    source = data.source
    assert isinstance(source, TorchvisionSet)
    kind = _kind(source.name)
    default = cache / "torchvision" / source.name
    root = expanded(source.root) if source.root else default

    def key() -> str:
        facts = (source.name, source.images, version("torchvision"))
        return entry_key(
            DECODER_VERSION,
            decoding(data, white=data.white or FULL_WHITE),
            *facts,
            files=_files(root),
        )

    entry = find_entry(cache / key())
    if entry is None:
        on_progress(0.0, f"fetching {source.name}")
        parts = _open_parts(kind, source, root)
        entry = decode_once(
            key(),  # of the files that are there now
            cache=cache,
            size=data.size,
            work=lambda: _work(parts, data, root, source.images),
            on_progress=on_progress,
        )
    return assemble(entry, _listing(entry.columns), field=FIELD)


def _kind(name: str) -> Any:
    """The class, if a study can build it.

    Raises:
        RequestError: it is none, or needs more than a folder.
    """
    from torchvision import datasets

    if name in _GENERIC:
        raise refused(FIELD, name, "is no data set of its own", "write source: {folder: …}")
    if name in _PICKLED:
        rule = "torchvision reads it through a pickle that it does not check"
        raise refused(FIELD, name, rule, "unpack its images, then write source: {folder: …}")
    known = [n for n in datasets.__all__ if inspect.isclass(getattr(datasets, n))]
    if name not in known:
        remedy = nearest(name, known) or "see torchvision.datasets for what there is"
        raise refused(FIELD, name, "torchvision has no such data set", remedy)
    kind = getattr(datasets, name)
    needed = [
        p.name
        for p in inspect.signature(kind).parameters.values()
        if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "root"
    ]
    if needed:
        rule = f"it needs {', '.join(needed)}, which a study cannot give"
        raise refused(FIELD, name, rule, "save it as a folder or manifest")
    return kind


def _parameters(kind: Any) -> set[str]:
    """What its constructor takes, by itself or handed on to its parents'."""
    found: set[str] = set()
    for base in kind.__mro__:
        parameters = inspect.signature(base.__init__).parameters.values()
        found |= {p.name for p in parameters}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return found


def _open_parts(kind: Any, source: TorchvisionSet, root: Path) -> _Parts:
    taken = _parameters(kind)
    # A path in place of a picture from the loader: we decode it, with all cores.
    known = {"root": str(root), "download": source.download, "loader": Path}
    fixed = {name: value for name, value in known.items() if name in taken}
    parts: _Parts = []
    # No bar of torchvision's own on the terminal.
    quiet = redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO())
    with patience(_SECONDS), quiet[0], quiet[1]:
        if "train" in taken:
            for part, is_train in ((TRAIN, True), (TEST, False)):
                parts.append((part, _build(kind, source, root, {**fixed, "train": is_train})))
        elif "split" in taken:
            for part, names in _SPLITS:
                built = (_build(kind, source, root, {**fixed, "split": name}) for name in names)
                data = next((data for data in built if data is not None), None)
                parts += [] if data is None else [(part, data)]
        if not parts:
            parts = [(-1, _build(kind, source, root, fixed))]
    labelled = [(part, data) for part, data in parts if _is_labelled(data, source.name)]
    if not labelled:
        raise refused(FIELD, source.name, "its labels are not public", "choose another data set")
    return labelled


def _build(kind: Any, source: TorchvisionSet, root: Path, arguments: dict[str, Any]) -> Any:
    """The set; None where it has no split of that name."""
    try:
        return kind(**arguments)
    except Exception as error:  # each set has its own way to fail
        if isinstance(error, ValueError) and "split" in arguments and "split" in str(error):
            return None
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        if isinstance(error, ImportError):
            raise WorkError(f"{FIELD} = {source.name}: {reason} — install it") from error
        if arguments.get("download"):
            raise WorkError(
                f"{FIELD} = {source.name}: it is not whole in {root}, and fetching it failed "
                f"({reason}) — run where there is a network, or put its files there"
            ) from error
        remedy = "put its files there, or name their folder in data.source.torchvision.root"
        if "download" in arguments:
            remedy = "write download: true, or name its folder in data.source.torchvision.root"
        rule = f"it is not whole in {root}"
        raise refused(FIELD, source.name, rule, remedy) from error


def _is_labelled(data: Any, name: str) -> bool:
    """Whether the images have classes; False for a part whose labels are kept secret.

    Raises:
        RequestError: it holds no images with one class each.
    """
    match data[0] if len(data) else None:
        case (Image.Image() | Path(), None):
            return False
        case (Image.Image() | Path(), target) if _class_index(target) is not None:
            return True
    rule = "it has no images with one class each"
    raise refused(FIELD, name, rule, "choose a data set for classification")


def _class_index(target: Any) -> int | None:
    if getattr(target, "shape", None) == () and hasattr(target, "item"):
        target = target.item()
    is_index = isinstance(target, int | np.integer) and not isinstance(target, bool)
    return int(target) if is_index else None


def _files(root: Path) -> Iterator[str]:
    for folder, folders, names in os.walk(root):
        folders.sort()
        yield from (os.path.join(os.path.abspath(folder), name) for name in sorted(names))


def _work(parts: _Parts, data: DataConfig, root: Path, images: int | None) -> Work:
    places = [(p, i) for p, part in enumerate(parts) for i in range(len(part[1]))]
    if images is not None and images < len(places):
        drawn = np.random.default_rng(_SEED).permutation(len(places))[:images]
        places = [places[i] for i in np.sort(drawn)]
    labels = np.full(len(places), -1, np.int64)
    how = decoding(data, white=data.white or FULL_WHITE)
    names = [f"{_PART_WORDS[parts[p][0]]}/{i:05d}" for p, i in places]
    one_at_a_time = threading.Lock()  # sets need not bear threads: one reseeds torch for a moment

    def step(row: int) -> Callable[[], Decoded]:
        def run() -> Decoded:
            part, i = places[row]
            with one_at_a_time:
                try:
                    sample, target = parts[part][1][i]
                except Exception as error:  # whatever the set's own reader raises
                    reason = str(error).partition("\n")[0] or type(error).__name__
                    raise UnreadableImage(reason) from error
            index = _class_index(target)
            if index is None or index < 0:
                raise UnreadableImage("has no label")
            labels[row] = index
            if isinstance(sample, Path):
                names[row] = printable(os.path.relpath(sample, root))
                return decode_image(sample, how)
            return decode_picture(sample, how)

        return run

    def columns() -> dict[str, np.ndarray]:
        return {
            "labels": labels,
            "names": np.asarray(names),
            "parts": np.asarray([parts[p][0] for p, _ in places], np.int8),
            "classes": np.asarray(_class_names(parts[0][1], int(labels.max(initial=0)))),
        }

    return Work(len(places), map(step, range(len(places))), columns)


def _class_names(data: Any, highest: int) -> list[str]:
    """The set's own names of its classes, else their numbers; no two alike."""
    found = getattr(data, "classes", None) or getattr(data, "categories", None) or []
    names = [str(n[0]) if isinstance(n, tuple | list) and n else str(n) for n in found]
    if len(names) <= highest:
        return [str(i) for i in range(highest + 1)]
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return unique


def _listing(columns: dict[str, np.ndarray]) -> Listing:
    """Classes of which no image was taken are left out."""
    labels, parts = columns["labels"], columns["parts"]
    present = np.unique(labels[labels >= 0])
    return Listing(
        paths=(),
        names=tuple(columns["names"].tolist()),
        labels=np.where(labels < 0, -1, np.searchsorted(present, labels)),
        class_names=tuple(str(columns["classes"][i]) for i in present),
        columns={"parts": parts} if len(np.unique(parts)) > 1 else {},
        failures=(),
    )
