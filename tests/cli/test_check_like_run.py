"""What `tlsearch run` would refuse before it trains, `tlsearch check` refuses in the same words."""

from pathlib import Path

import pytest

from tests.cli.conftest import Files, Invoke
from tests.data.audit.made import photo

SPLITS = """\
name: s
data:
  source: {letters: {images: 40, classes: 4}}
  split: {validation: 0.2, test: 0.2}
  audit: {min_class_images: 2, small_classes: keep}
backbone: {name: resnet10, weights: none}
workers: 1
comparison:
  table: B
  future: 0.8
  arms: {B2: {data.split.strategy: stratified}, B1: {data.split.strategy: random}}
  tuning: {epochs: 1}
  confirm: {seeds: 2}
"""


@pytest.fixture
def splits(here: Path) -> Path:
    path = here / "splits.yaml"
    path.write_text(SPLITS)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("base", "told"),
    [
        ("stratified", "data.split.strategy = stratified: class "),
        ("random", "B2, seed 1: data.split.strategy = stratified: class "),
    ],
)
def test_the_past_is_divided_as_every_arm_does_it(
    splits: Path, tlsearch: Invoke, files: Files, base: str, told: str
) -> None:
    splits.write_text(SPLITS.replace("split: {", f"split: {{strategy: {base}, "))
    before = files()
    checked = tlsearch("check", str(splits), code=2)
    assert files() == before
    told += '"A" has 2 images; each of the 3 parts needs one'
    assert checked.stderr.startswith(f"tlsearch: scenario 'here': {told}")
    ran = tlsearch("run", str(splits), code=2)
    assert ran.stderr.endswith(checked.stderr.partition("'here': ")[2])


def test_the_future_of_files_is_looked_at(splits: Path, tlsearch: Invoke) -> None:
    for i in range(40):
        path = splits.parent / "photos" / "ab"[i // 20] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo(i).save(path)
    options = ("--set", "data.source={folder: photos}", "--set", "comparison.future=0.25")
    done = tlsearch("check", str(splits), *options, code=2)
    assert "the latest 10 images are of one class only" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("study", ["study.yaml", "splits.yaml"])
def test_a_weights_file_must_be_there(splits: Path, tlsearch: Invoke, study: str) -> None:
    options = ("--set", "backbone.weights=nofile.safetensors", "--set", "comparison.future=0.2")
    options = options if study == splits.name else options[:2]
    checked = tlsearch("check", study, *options, code=2)
    told = f"backbone.weights = 'nofile.safetensors': no such file, seen from {Path.cwd()}\n"
    assert checked.stderr.endswith(told)
    assert told in tlsearch("run", study, *options, code=2).stderr
