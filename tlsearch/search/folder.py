"""What lies in a study's own folder."""

from pathlib import Path


def checkpoint_path(folder: Path, key: str) -> Path:
    """Where a run's checkpoint is kept while it has no ending."""
    return folder / "checkpoints" / f"{key}.pt"


def evaluation_path(folder: Path, key: str) -> Path:
    """Where a run's confusion matrix and scores per class are kept."""
    return folder / "evaluations" / f"{key}.json"


def weights_path(folder: Path, key: str) -> Path:
    """Where a fixed run's weights are kept until the test is scored; the champion's stay."""
    return folder / "weights" / f"{key}.safetensors"


def scores_folder(folder: Path) -> Path:
    """Where each scored model's probabilities on the test part are kept."""
    return folder / "scores"
