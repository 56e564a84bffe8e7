"""Options of the command line that the scenarios or the arms of a comparison would undo."""

from pathlib import Path

import pytest

from tests.config.conftest import Read, Refused
from tlsearch.config.cells import Cell, cell_config
from tlsearch.config.loader import read_study
from tlsearch.config.sources import Digits, Folder

STUDIES = Path(__file__).parents[2] / "studies"
LINES = """\
comparison:
  arms:
    slow: {space.lr: 0.01, space.optimizer: {sgd: {}}}
    fast: {space.lr: 0.1, space.optimizer.sgd.momentum: 0.5}
  scenarios:
    digits: {set: {data.source: digits, data.labels_per_class: 5}}
    letters: {set: {data.source: {letters: {classes: 10}}}}
  only: [digits, letters]
"""
ALONE = ("comparison.scenarios={here: {}}", "comparison.only=null")


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("data.source={folder: mine}", "--set data.source = {folder: mine}: every scenario sets"),
        ("data.source.folder=mine", '--set data.source.folder = "mine": every scenario sets'),
        # What is written in the file and in a scenario is asked for in every scenario here.
        ("data.source=digits", '--set data.source = "digits": every scenario sets'),
    ],
)
def test_what_every_scenario_sets(refused: Refused, read: Read, option: str, expected: str) -> None:
    (problem,) = refused(LINES, option)
    assert problem.startswith(expected)
    assert problem.endswith(
        "itself — add --set 'comparison.scenarios={here: {}}' --set comparison.only=null for the "
        "study without them"
    )
    source = cell_config(read(LINES, option, *ALONE), Cell("here", "slow")).data.source
    assert source == (Folder(path="mine") if "mine" in option else Digits())


@pytest.mark.parametrize(
    ("option", "field"),
    [("space.lr=0.5", "space.lr"), ("space.optimizer=adam", "space.optimizer")],
)
def test_what_every_arm_sets(refused: Refused, option: str, field: str) -> None:
    (problem,) = refused(LINES, option)
    assert problem.startswith(f"--set {field} = ")
    assert problem.endswith(f": every arm sets {field} itself — change it in comparison.arms")


@pytest.mark.parametrize(
    "option",
    [
        "data.labels_per_class=3",  # the letters take it
        "data.size=64",
        "space.optimizer={sgd: {nesterov: true}}",  # one arm adds to it
    ],
)
def test_what_some_cell_takes(read: Read, option: str) -> None:
    assert read(LINES, option).comparison is not None


@pytest.mark.parametrize("name", ["c08_augmentation", "learning_rate_strategies"])
def test_the_remedy_holds_for_the_studies_that_are_there(name: str) -> None:
    config = read_study(
        STUDIES / f"{name}.yaml",
        overrides=[
            "data.source={folder: mine}",
            "comparison.scenarios={here: {}}",
            "comparison.sweeps.scenarios=null",
        ],
        preset=None,
    )
    assert config.comparison is not None
    assert config.comparison.used == ("here",)
    (arm, *_) = config.comparison.arms
    assert isinstance(cell_config(config, Cell("here", arm)).data.source, Folder)
