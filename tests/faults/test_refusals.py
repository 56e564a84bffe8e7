"""What the program must refuse in one line, and what it must do when told how."""

from pathlib import Path

import pytest
from safetensors.torch import save_file

from tests.faults.conftest import MakePlace
from tests.faults.running import STUDY, Command
from tests.faults.stores import all_statuses, check_agreement, mirrored, studies, told
from tests.faults.test_coordinator_killed import wait_for_checkpoint
from tlsearch.models.backbones import build_backbone

pytestmark = pytest.mark.slow

SHORT = ("--set", "budget.trials=1", "--set", "budget.epochs=1")


def refused(command: Command) -> str:
    """The message of a request that was wrong."""
    assert command.code == 2, command.said
    return command.message


def test_a_second_coordinator(make_place: MakePlace) -> None:
    place = make_place()
    first = place.start("--set", "budget.epochs=60")
    wait_for_checkpoint(first, place, "trial-0000")
    long = ("--set", "budget.epochs=60")
    message = refused(place.run(*long))
    assert "another run of this study is under way" in message
    assert f"process {first.pid}" in message
    assert len(message.splitlines()) == 1
    status = place.run(*long, command="status")
    assert status.code == 0
    assert "running" in status.said
    first.kill()
    assert "interrupted" in place.run(*long, command="status").said
    assert "RUNNING" in all_statuses(place)
    place.finish(*SHORT, "--fresh")
    assert all_statuses(place) == ["FINISHED", "FINISHED", "KILLED", "KILLED"]


def test_changes_fresh_and_a_larger_budget(make_place: MakePlace) -> None:
    study = STUDY + "presets:\n  small: {budget.trials: 1, data.labels_per_class: 2}\n"
    place = make_place(study=study)
    place.finish(*SHORT)
    before, first = told(place), mirrored(place)
    journal = (place.state / "optuna.journal").read_bytes()
    for change, line in (
        ("data.labels_per_class=4", "data.labels_per_class: 3 → 4"),
        ("space.lr.low=1.0e-4", "space.lr"),
        ("budget.epochs=2", "budget.epochs: 1 → 2"),
    ):
        message = refused(place.run(*SHORT, "--set", change))
        assert line in message
        assert "--fresh" in message
    assert "data.labels_per_class: 3 → 2" in refused(place.run(*SHORT, "--preset", "small"))
    assert (place.state / "optuna.journal").read_bytes() == journal

    place.finish(*SHORT, "--set", "budget.trials=2")
    assert len(told(place)) == 2
    assert told(place)["trial-0000"] == before["trial-0000"]
    assert mirrored(place).keys() > first.keys()
    check_agreement(place)

    place.finish(*SHORT, "--set", "data.labels_per_class=4", "--fresh")
    assert len(told(place)) == 1
    assert told(place) != before
    assert any(name.startswith("tiny until ") for name in studies(place))
    check_agreement(place)


def test_swapped_weights(make_place: MakePlace, tmp_path: Path) -> None:
    weights = tmp_path / "mine.safetensors"
    place = make_place(study=STUDY.replace("weights: none", f"weights: {weights}"))
    _save(weights, seed=1)
    place.finish(*SHORT)
    _save(weights, seed=2)
    message = refused(place.run("--set", "budget.trials=2", "--set", "budget.epochs=1"))
    assert "the weights of resnet18 (fingerprint" in message
    assert "--fresh" in message
    _save(weights, seed=1)
    place.finish("--set", "budget.trials=2", "--set", "budget.epochs=1")
    check_agreement(place)


def _save(path: Path, *, seed: int) -> None:
    backbone = build_backbone(
        name="resnet18", num_classes=10, image_size=32, dropout=0.0, seed=seed
    )
    state = backbone.model.state_dict()
    save_file({k: v for k, v in state.items() if not k.startswith("fc.")}, path)


@pytest.mark.parametrize("command", ["run", "status"])
def test_a_journal_that_is_none(command: str, make_place: MakePlace) -> None:
    place = make_place()
    for garbage in (b"\x89PNG\r\n\x1a\n" * 99, b"{}\n{}\n", b'{"op_code": 99}\n' * 3):
        (place.state / "optuna.journal").write_bytes(garbage)
        failed = place.run(command=command)
        assert failed.code == 1, failed.said
        assert "optuna.journal: cannot be opened" in failed.message
        assert len(failed.message.splitlines()) == 1
        assert (place.state / "optuna.journal").read_bytes() == garbage


def test_a_file_in_the_place_of_the_state(make_place: MakePlace) -> None:
    place = make_place(tables=False)
    place.state.write_text("mine")
    message = refused(place.run())
    assert f"{place.state}: is no folder" in message
    assert place.state.read_text() == "mine"


def test_a_torn_record(make_place: MakePlace) -> None:
    place = make_place()
    place.finish(*SHORT)
    journal = place.state / "optuna.journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + whole.splitlines()[-1][:30])
    assert place.run(*SHORT, command="status").code == 0
    place.finish(*SHORT, "--set", "budget.trials=2")
    check_agreement(place)
    assert len(told(place)) == 2
    assert all(line.startswith(b"{") for line in journal.read_bytes().splitlines())
