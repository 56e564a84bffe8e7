"""`--set` and presets: what they change, and how a wrong one is named."""

from pathlib import Path

import pytest

from tests.config.conftest import MINIMAL, Read, Refused
from tlsearch.config.loader import read_noted
from tlsearch.config.search_options import Tpe
from tlsearch.config.space import Choice, Fixed, Range
from tlsearch.errors import RequestError, StudyError

SPACE = "budget: {trials: 9}\nspace: {lr: 0.1, optimizer: [sgd, adam]}\nsearch: {sampler: tpe}\n"


def test_overrides(read: Read) -> None:
    config = read(
        SPACE,
        "budget.trials=3",
        "budget.trials=4",
        "budget.timeout=2h",
        "space.lr={low: 1e-3, high: 1e-1, log: true}",
        "space.optimizer.sgd.momentum=[0.8, 0.9]",
        "search.sampler.tpe.n_startup_trials=2",
        "data.split.seed=7",
        "confirm=null",
        "workers=2",
    )
    assert config.budget.trials == 4
    assert config.budget.epochs == 10
    assert config.budget.timeout == 7200
    assert list(config.space.searched()) == ["lr", "optimizer", "optimizer.sgd.momentum"]
    assert config.space.optimizer.names == ("sgd", "adam")
    assert config.search.sampler == Tpe(n_startup_trials=2)
    assert config.data.split.seed == 7
    assert (config.confirm.seeds, config.workers) == (0, 2)


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("budget.trials", "--set budget.trials: has no '=' — write --set budget.trials=VALUE"),
        ("", "--set : has no '=' — write --set budget.trials=VALUE"),
        ("=3", "--set : is no field — write one such as budget.trials=8"),
        ("budget..trials=3", "--set budget..trials: is no field"),
        ("budget.timeout=", "--set budget.timeout: has no value — write null to clear a field"),
        ("space.lr=[1, 2", "--set space.lr: line 1: not valid YAML"),
        ("space.lr={low: 1, low: 2}", "--set space.lr: is set twice"),
        (
            "budget={trials: 3}",
            "--set budget = {trials: 3}: is a section, and would lose its other fields — set its "
            "fields one by one, such as budget.trials",
        ),
    ],
)
def test_overrides_that_cannot_be_applied(read: Read, option: str, expected: str) -> None:
    with pytest.raises(RequestError) as caught:
        read(SPACE, option)
    assert not isinstance(caught.value, StudyError)
    assert str(caught.value).startswith(expected)


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        (
            "budget.trails=3",
            "--set budget.trails = 3: unknown field — did you mean 'trials'?",
        ),
        ("budget.trials=no", '--set budget.trials = "no": must be a whole number'),
        (
            "space.lr={low: 1, high: 0}",
            "--set space.lr: space.lr.high = 0: must be above 0",
        ),
        ("space.lr.low=1", "--set space.lr.low: space.lr.high: is missing"),
        (
            "budget.epochs=2",
            "--set budget.epochs: space.warmup_epochs = 2: warm-up is as long as training",
        ),
    ],
)
def test_a_wrong_override_is_named_in_place_of_a_line(
    refused: Refused, option: str, expected: str
) -> None:
    (message,) = refused("space: {warmup_epochs: 2}\n", option)
    assert message.startswith(expected)


PRESETS = """\
budget: {trials: 9}
presets:
  small: {budget.trials: 4, space.optimizer: adam}
  large:
    budget.trials: 99
"""


def test_presets(read: Read) -> None:
    assert read(PRESETS).budget.trials == 9
    small = read(PRESETS, preset="small")
    assert small.budget.trials == 4
    assert small.space.optimizer.names == ("adam",)
    assert read(PRESETS, "budget.trials=5", preset="small").budget.trials == 5
    with pytest.raises(RequestError, match="no preset 'smal' — did you mean 'small'"):
        read(PRESETS, preset="smal")
    with pytest.raises(RequestError, match="no preset 'x' — known: none"):
        read("", preset="x")


def test_a_wrong_preset_is_shown_even_if_it_was_not_chosen(refused: Refused) -> None:
    text = "presets:\n  a:\n    budget.epochs: 2\n  b: {budget.trials: 0, confirm: {top: 1}}\n"
    text += "space: {warmup_epochs: 2}\n"
    expected = [
        "line 6: presets.a.budget.epochs: space.warmup_epochs = 2: warm-up is as long as",
        "line 7: presets.b.confirm = {top: 1}: is a section, and would lose its other fields",
        "line 7: presets.b.budget.trials = 0: must be at least 1",
    ]
    for message, start in zip(refused(text), expected, strict=True):
        assert message.startswith(start)
    for message, start in zip(refused(text, preset="a"), expected[:1], strict=True):
        assert message.startswith(start)


def test_presets_do_not_outlive_a_change_that_they_may_not_fit(read: Read) -> None:
    assert set(read(PRESETS).presets) == {"small", "large"}
    assert read(PRESETS, preset="small").presets == {}
    assert read(PRESETS, "budget.trials=5").presets == {}


def test_a_shortened_training_cuts_what_is_searched_beyond_its_end(tmp_path: Path) -> None:
    space = "{warmup_epochs: {low: 0, high: 3}, patience_epochs: [null, 2, 5], lr: 0.1}"
    path = tmp_path / "study.yaml"
    path.write_text(f"{MINIMAL}budget: {{epochs: 12}}\nspace: {space}\n")
    config, cuts = read_noted(path, overrides=["budget.epochs=3"], preset=None)
    assert config.space.warmup_epochs == Range(0, 2, False, None)
    assert config.space.patience_epochs == Choice((None, 2))
    assert cuts == [
        "--set budget.epochs: space.warmup_epochs becomes {low: 0, high: 2}",
        "--set budget.epochs: space.patience_epochs becomes [null, 2]",
    ]
    config, cuts = read_noted(path, overrides=["budget.epochs=1"], preset=None)
    assert config.space.warmup_epochs == Fixed(0)
    # What stands on the same command line, in the file itself, or is no range is not guessed at.
    own = ["budget.epochs=3", "space.warmup_epochs={low: 0, high: 3}"]
    for overrides in (own, ["budget.epochs=3", "space.warmup_epochs=5"]):
        with pytest.raises(StudyError, match="warm-up is as long as training, 3 epochs"):
            read_noted(path, overrides=overrides, preset=None)


def test_a_warm_up_in_steps_is_cut_where_the_images_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    space = "{warmup_steps: {low: 0, high: 200}, batch_size: [16, 32]}"
    path.write_text(f"{MINIMAL}budget: {{epochs: 12}}\nspace: {space}\n")
    config, cuts = read_noted(path, overrides=["budget.epochs=2"], preset=None)
    assert config.space.warmup_steps == Range(0, 67, False, None)  # 34 steps of 32, twice
    assert cuts == ["--set budget.epochs: space.warmup_steps becomes {low: 0, high: 67}"]
    fixed = ["budget.epochs=2", "space.warmup_steps=68"]
    with pytest.raises(StudyError, match="warm-up is as long as training, 68 steps"):
        read_noted(path, overrides=fixed, preset=None)


def test_a_preset_that_shortens_the_training_cuts_as_well(read: Read) -> None:
    text = (
        "budget: {epochs: 12}\nspace: {warmup_epochs: {low: 0, high: 3}}\n"
        "presets: {small: {budget.epochs: 2}}\n"
    )
    assert read(text, preset="small").space.warmup_epochs == Range(0, 1, False, None)
    assert read(text).space.warmup_epochs == Range(0, 3, False, None)
