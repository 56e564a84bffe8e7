"""Where everything lies on disk; reading these paths creates nothing."""

import glob
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from tlsearch.errors import WorkError

_KEPT_REMEDY = (
    "free some disk space or make the folder writable; what is in it may be deleted at any time"
)
_GIT_IGNORE = "*\n!.gitignore\n!README.md\n"


@dataclass(frozen=True)
class Layout:
    """The state folder of the place where the command runs: absolute `mlruns/`."""

    root: Path

    @property
    def mlflow_db(self) -> Path:
        """MLflow's tracking store."""
        return self.root / "mlflow.db"

    @property
    def artifacts(self) -> Path:
        """MLflow's artifacts."""
        return self.root / "artifacts"

    @property
    def optuna_artifacts(self) -> Path:
        """Pictures that Optuna Dashboard shows beside studies and trials."""
        return self.root / "optuna-artifacts"

    @property
    def journal(self) -> Path:
        """Optuna's journal, shared by all studies of this folder."""
        return self.root / "optuna.journal"

    @property
    def cache(self) -> Path:
        """Decoded images and activations; deletable at any time."""
        return self.root / "cache"

    def study(self, name: str) -> Path:
        """What one study keeps: lock, checkpoints, weights of confirmed models, report."""
        return self.root / "studies" / name

    def create(self) -> None:
        """Make the folder, ignored by git.

        Raises:
            OSError: the place is read-only or full.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        ignore = self.root / ".gitignore"
        if not ignore.exists():
            ignore.write_text(_GIT_IGNORE)


def layout_here() -> Layout:
    """The layout of the current folder."""
    return Layout(Path.cwd() / "mlruns")


def user_cache() -> Path:
    """Where weights that tlsearch made live: $TLSEARCH_CACHE, or the platform's cache folder; the
    state folder's cache where a user has no home, or one that cannot be written.
    """
    from platformdirs import user_cache_path

    named = os.environ.get("TLSEARCH_CACHE")
    if named:
        return expanded(named).absolute()
    try:
        usual = user_cache_path("tlsearch")
    except RuntimeError:  # there is no home
        return layout_here().cache
    return usual if _can_be_made(usual) else layout_here().cache


def _can_be_made(folder: Path) -> bool:
    if not folder.is_absolute():  # `~`: there is no home
        return False
    # Of a folder that may not be entered, `Path.exists` raises.
    there = next(place for place in (folder, *folder.parents) if os.path.exists(place))
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def downloads_cache() -> Path:
    """Where torch and its like keep what they download: $TORCH_HOME, or `torch` in the platform's
    cache folder; in the state folder's cache where a user has no home that can be written.
    """
    named = os.environ.get("TORCH_HOME")
    if named:
        return expanded(named)
    usual = expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "torch"
    return usual if _can_be_made(usual) else layout_here().cache / "torch"


def expanded(name: str | Path) -> Path:
    """The path with `~` for the user's home; as it is where no user has that name."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


# What lies in a study's own folder.


PARTS = ("checkpoints", "evaluations", "weights", "scores", "examples")
"""The folders that a study that starts over does without."""


def _kept(part: str, suffix: str) -> Callable[[Path, str], Path]:
    return lambda folder, key: folder / part / f"{key}{suffix}"


checkpoint_path = _kept("checkpoints", ".pt")
"""Where a run's checkpoint is kept while it has no ending, by the study's folder and its key."""
evaluation_path = _kept("evaluations", ".json")
"""Where a run's confusion matrix and scores per class are kept."""
weights_path = _kept("weights", ".safetensors")
"""Where a fixed run's weights are kept until the test is scored; the champion's stay."""
scores_path = _kept("scores", ".npz")
"""Where one scored model's probabilities on the test part are kept."""
examples_path = _kept("examples", ".json")
"""Where the pictures are kept that the report shows of one scored model."""


def scores_folder(folder: Path) -> Path:
    """Where the probabilities of all scored models on the test part are kept."""
    return folder / "scores"


@contextmanager
def atomic_write(path: Path, *, suffix: str | None = None) -> Iterator[Path]:
    """A draft to write, which takes the place of `path` when the block ends.

    Whoever reads `path` finds all of it, or what was there before: also after an error, a kill or
    a power cut. The folder is made; the draft has the suffix of `path` unless another is given,
    as some writers choose the format by it. What is no file, such as /dev/stdout or a pipe, is
    written directly.

    Raises:
        OSError: the disk is full, or the folder may not be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():
        yield path
        return
    draft = draft_of(path, os.getpid(), suffix=suffix)
    try:
        yield draft
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file by `atomic_write`, in UTF-8.

    Raises:
        OSError: the disk is full, or the folder may not be written.
    """
    with atomic_write(path) as draft:
        draft.write_text(text, encoding="utf-8")


def draft_of(path: Path, process: int, *, suffix: str | None = None) -> Path:
    """Where the process of this number writes what is to become `path`."""
    return path.with_name(f".{path.name}.{process}.part{path.suffix if suffix is None else suffix}")


def remove_drafts(path: Path) -> None:
    """Remove the drafts of `path` that killed processes left; nobody else may write it now."""
    for draft in path.parent.glob(f".{glob.escape(path.name)}.[0-9]*.part*"):
        draft.unlink(missing_ok=True)


@contextmanager
def made_once(
    lock: Path, *, remedy: str = _KEPT_REMEDY, on_wait: Callable[[], object] = bool
) -> Iterator[None]:
    """Within, no other process makes what this lock file stands for, in a folder that is made if
    need be; `on_wait` is called if one does just now. The system releases the lock when a process
    dies, however it dies.

    Raises:
        WorkError: the folder may not be written, or in the block a disk is full.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            held = FileLock(lock).acquire(timeout=0)
        except Timeout:
            on_wait()
            held = FileLock(lock).acquire()
        with held:
            yield
    except OSError as error:
        place, reason = error.filename or lock.parent, error.strerror or error
        raise WorkError(f"{place}: cannot be written ({reason}) — {remedy}") from error


def files_in(places: Iterable[Path]) -> Iterator[Path]:
    """Every file at these places, files or folders; the last part of one may be a pattern."""
    for place in places:
        for found in place.parent.glob(place.name):
            yield from (f for f in found.rglob("*") if f.is_file()) if found.is_dir() else [found]


def size_of(*places: Path) -> int:
    """Bytes of all `files_in` these places."""
    return sum(file.stat().st_size for file in files_in(places))


def sweep(folder: Path, *, open_keys: Collection[str]) -> None:
    """Remove what killed processes left: half-written files, checkpoints of runs that ended.

    The study's lock must be held.
    """
    for part in (folder, *(folder / name for name in PARTS)):
        for left in part.glob("*.part*"):
            left.unlink(missing_ok=True)
    for left in (folder / "checkpoints").glob("*.pt"):
        if left.stem not in open_keys:
            left.unlink(missing_ok=True)
