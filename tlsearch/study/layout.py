"""Where everything lies on disk; reading these paths creates nothing."""

import os
from dataclasses import dataclass
from pathlib import Path

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
    """Where weights that tlsearch made live: $TLSEARCH_CACHE or the platform's cache folder."""
    from platformdirs import user_cache_path

    named = os.environ.get("TLSEARCH_CACHE")
    return expanded(named).absolute() if named else user_cache_path("tlsearch")


def expanded(name: str | Path) -> Path:
    """The path with `~` for the user's home; as it is where no user has that name."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)
