"""The study of each kind of source runs from end to end, at the smallest size that is one."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import command, only_line
from tlsearch.comparison.answers import tables_of
from tlsearch.config.images import DataConfig
from tlsearch.config.loader import read_study
from tlsearch.config.runtime import no_progress
from tlsearch.config.sources import SOURCES, source_name
from tlsearch.data.sources import READERS, load_images
from tlsearch.report.comparison import ComparisonReport
from tlsearch.report.markdown import render_markdown

STUDIES = Path(__file__).parent.parent / "studies"
ALL = {path: read_study(path, overrides=[], preset=None) for path in sorted(STUDIES.glob("*.yaml"))}
BY_SOURCE = {
    source_name(config.data.source): path
    for path, config in ALL.items()
    if config.comparison is None
}
TINY = (
    "budget.trials=1",
    "budget.epochs=1",
    "space.warmup_epochs=0",
    "search.pruner=none",
    "confirm=null",
    "baselines=false",
    "workers=1",
    "precision=fp32",
    "data.size=32",
    "backbone.weights=none",
)
FEW = {
    "glyphs": ("data.source.glyphs.images=216", "data.labels_per_class=1"),
    "letters": ("data.source.letters.images=208", "data.labels_per_class=1"),
    "textures": ("data.source.textures.images=80", "data.labels_per_class=2"),
    "folder": (),
    "manifest": (),
    "torchvision": (
        "data.source.torchvision.root=here",
        "data.source.torchvision.images=100",
        "data.labels_per_class=2",
    ),
}


def drawn(images: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    knobs = {"images": images, "classes": classes, "difficulty": 0.3}
    data = DataConfig.model_validate({"source": {"textures": knobs}, "size": 28})
    found = load_images(data, cache=Path(), on_progress=no_progress)
    return found.images, found.labels


def make_folder(here: Path) -> None:
    for i, (pixels, label) in enumerate(zip(*drawn(48, 3), strict=True)):
        place = here / "photos" / "abc"[label] / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place)


def make_manifest(here: Path) -> None:
    make_folder(here)
    images = sorted((here / "photos").rglob("*.png"))
    rows = [
        f"photos/{p.parent.name}/{p.name},{p.parent.name},p{i % 12},2024-05-{i % 28 + 1:02d}"
        for i, p in enumerate(images)
    ]
    (here / "labels.csv").write_text("\n".join(["path,label,patient,taken", *rows]) + "\n")


def make_torchvision(here: Path) -> None:
    """FashionMNIST's files, in their own format, with few images."""
    folder = here / "here" / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    images, labels = drawn(160, 10)
    grey = images.mean(axis=3).astype(np.uint8)
    for name, rows in (("train", slice(0, 120)), ("t10k", slice(120, 160))):
        for kind, code, array in (
            ("images-idx3", 2051, grey[rows]),
            ("labels-idx1", 2049, labels[rows].astype(np.uint8)),
        ):
            head = np.asarray([code, *array.shape], dtype=">i4").tobytes()
            (folder / f"{name}-{kind}-ubyte").write_bytes(head + array.tobytes())


MADE = {"folder": make_folder, "manifest": make_manifest, "torchvision": make_torchvision}


def test_every_source_has_a_study() -> None:
    assert set(BY_SOURCE) == set(SOURCES)


@pytest.mark.slow
@pytest.mark.parametrize(
    "source",
    [
        pytest.param(name, marks=[pytest.mark.ci] if name == "folder" else [])
        for name in sorted(set(READERS) - {"digits"})  # run by tests/cli
    ],
)
def test_the_study_of_each_source_runs(source: str, tmp_path: Path) -> None:
    if source in MADE:
        MADE[source](tmp_path)
    sets = [word for text in (*TINY, *FEW[source]) for word in ("--set", text)]
    path = str(BY_SOURCE[source])
    done = command("run", path, *sets, "--json", cwd=tmp_path, TLSEARCH_CACHE=str(tmp_path / "c"))
    assert done.returncode == 0, done.stderr
    told = json.loads(only_line(done.stdout))
    assert told["trials"]["complete"] == 1
    assert 0 <= told["best"]["value"] <= 1
    assert Path(told["report"]).is_file()


@pytest.mark.parametrize("path", sorted((STUDIES / "results").glob("*.json")), ids=lambda p: p.stem)
def test_kept_results_are_those_of_a_study_here(path: Path) -> None:
    if path.name == "tables.schema.json":
        pytest.skip("the schema itself")
    found = json.loads(path.read_text())
    name = path.stem.removesuffix("_imagenet")
    preset = None if name == path.stem else "imagenet"
    config = read_study(STUDIES / f"{name}.yaml", overrides=[], preset=preset)
    assert config.comparison is not None
    assert found["finished"]
    assert [place["scenario"] for place in found["scenarios"]] == list(config.comparison.used)
    assert found["protocol"]["trials"] == config.comparison.tuning.trials
    assert found["protocol"]["epochs"] == config.comparison.tuning.epochs
    told = path.with_suffix(".md").read_text()
    again = render_markdown(ComparisonReport(tables_of(found)))
    assert told == again, "write it again: python benchmarks/kept_results.py"
    assert path.with_name(f"{path.stem}_gains.png").is_file()
    assert all(claim["says"] in told for claim in found["claims"] if claim["verdict"])
    assert path.with_suffix(".csv").read_text().count("\n") == 1 + len(found["claims"])
    places = (found["mlflow"]["tracking_uri"], found["optuna"]["storage"])
    assert places == ("sqlite:///mlruns/mlflow.db", "mlruns/optuna.journal")  # no machine's own
