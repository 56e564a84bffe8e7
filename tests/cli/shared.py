"""Three small studies that are really run, once for all tests that only look at them."""

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from tests.cli.conftest import only_line
from tlsearch.cli.app import app

COMMON = """\
data:
  source: {textures: {images: 120, classes: 3, difficulty: 0.2}}
  size: 32
  labels_per_class: 8
  split: {validation: 0.2, test: 0.4}
backbone: {name: resnet10, weights: none}
workers: 1
device: cpu
precision: fp32
"""
STUDIES = {
    "search": """\
budget: {trials: 2, epochs: 2}
search: {sampler: tpe, pruner: none}
space: {lr: {low: 1.0e-3, high: 1.0e-2, log: true}, freeze_depth: [0, 3], batch_size: 8}
baselines: [linear_probe]
confirm: {top: 1, seeds: 1}
""",
    "comparison": """\
space: {lr: {low: 1.0e-3, high: 1.0e-2, log: true}, batch_size: 8}
comparison:
  arms: {fixed: {space.schedule: constant}, cosine: {space.schedule: cosine}}
  tuning: {trials: 1, epochs: 1}
  confirm: {seeds: 2}
""",
    "folds": """\
budget: {trials: 1, epochs: 1}
search: {sampler: random, pruner: none}
space: {lr: 0.01, batch_size: 8}
baselines: []
confirm: null
""",
}


class Shared:
    """The folder of the studies; each is run in this process when a test first asks for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, text in STUDIES.items():
            (folder / f"{name}.yaml").write_text(f"name: {name}\n{COMMON}{text}")
        folds = (folder / "folds.yaml").read_text().replace("validation: 0.2", "folds: 2")
        (folder / "folds.yaml").write_text(folds)

    def tlsearch(self, *arguments: str, code: int = 0) -> Result:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            patch.delenv("MLFLOW_TRACKING_URI", raising=False)
            patch.setenv("TLSEARCH_CACHE", str(self.folder / "cache"))
            done = CliRunner().invoke(app, arguments, prog_name="tlsearch")
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == code, done.output
        return done

    def json(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(only_line(self.tlsearch(*arguments, "--json").stdout))
        return found

    @cached_property
    def search(self) -> dict[str, Any]:
        return self.json("run", "search.yaml")

    @cached_property
    def comparison(self) -> dict[str, Any]:
        return self.json("run", "comparison.yaml")

    @cached_property
    def folds(self) -> dict[str, Any]:
        return self.json("run", "folds.yaml")

    def files(self) -> dict[Path, int]:
        """All that lies there, and when it was changed; locks are touched by readers."""
        return {p: p.stat().st_mtime_ns for p in self.folder.rglob("*") if p.name != "lock"}
