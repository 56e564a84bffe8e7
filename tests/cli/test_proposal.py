"""What init proposes for what it finds."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from tlsearch.cli.init import propose, valid_name
from tlsearch.config.sources import Folder
from tlsearch.data.survey import Survey
from tlsearch.errors import RequestError
from tlsearch.models import weights as at_hand


def no_network(*_: Any, **__: Any) -> None:
    raise OSError("no network")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(at_hand, "urlopen", no_network)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("tlsearch.cli.init.visible_gpus", lambda: 0)


def seen(images: dict[str, int], **changes: Any) -> Survey:
    plain = Survey(
        source=Folder(path="x"),
        images=images,
        trained=images,
        parts=frozenset(),
        num_groups=None,
        has_times=False,
        unlabelled=0,
        left_out=0,
        first="x/a/0.png",
        sizes=((300, 200), (500, 400), (640, 480)),
    )
    return plain._replace(**changes)


def chosen(found: Survey, **options: Any) -> dict[str, Any]:
    given = {"name": "s", "weights": "none", "size": None, "gpus": 0, **options}
    return propose(found, **given).fields


@pytest.mark.parametrize(
    ("found", "strategy"),
    [
        (seen({"a": 50, "b": 50}), "stratified"),
        (seen({"a": 2, "b": 2, "c": 8}, parts=frozenset({0, 1, 2})), "given"),
        (seen({"a": 50, "b": 50}, has_times=True), "time"),
        (seen({"a": 50, "b": 50}, has_times=True, num_groups=20), "stratified_group"),
        (seen({"a": 50, "b": 50}, num_groups=2), "stratified"),
        (seen({"a": 50, "b": 50}, parts=frozenset({0, 2}), num_groups=9), "given"),
        (seen({"a": 50, "b": 50}, parts=frozenset({0})), "stratified"),
    ],
)
def test_the_split_suits(found: Survey, strategy: str) -> None:
    assert chosen(found)["split"]["strategy"] == strategy


@pytest.mark.parametrize(
    ("side", "gpus", "size"),
    [(20, 0, 32), (40, 0, 32), (50, 0, 48), (500, 0, 64), (500, 1, 224), (150, 1, 128)],
)
def test_the_size_suits(side: int, gpus: int, size: int) -> None:
    found = seen({"a": 9, "b": 9}, sizes=((side, side + 5),))
    assert chosen(found, gpus=gpus)["size"] == size


def test_the_audit_stops_at_nothing_that_init_has_seen() -> None:
    assert chosen(seen({"a": 50, "b": 5}))["audit"] == {}
    assert chosen(seen({"a": 50, "b": 4}))["audit"] == {"min_class_images": 4}
    assert chosen(seen({"a": 50, "b": 9, "c": 2}))["audit"] == {
        "min_class_images": 3,
        "small_classes": "drop",
    }
    given = frozenset({0, 1, 2})
    assert chosen(seen({"a": 50, "b": 2}, parts=given))["audit"] == {"min_class_images": 2}


def test_the_budget_shrinks_with_the_cost() -> None:
    sizes = [chosen(seen({"a": n, "b": n}, sizes=((64, 64),))) for n in (50, 5000, 500_000)]
    assert [fields["trials"] for fields in sizes] == [30, 12, 12]
    assert [fields["timeout"] for fields in sizes][::2] == [None, "1h"]
    epochs = [fields["epochs"] for fields in sizes]
    assert epochs == sorted(epochs, reverse=True)
    batches = [fields["batch_size"][0] for fields in sizes]
    assert batches == sorted(set(batches))


def test_published_weights_are_taken_where_they_can_be_had(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = seen({"a": 9, "b": 9})
    without = propose(found, name="s", weights=None, size=None, gpus=0)
    assert without.fields["weights"] == "glyphs"
    assert "with one, write that" in without.reasons["weights"]
    large = seen({"a": 9, "b": 9}, sizes=((300, 300),))
    assert chosen(large, weights=None)["size"] == 32  # its source model is trained here first
    assert chosen(large, weights="IMAGENET1K_V1")["size"] == 64
    kept = here / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    kept.parent.mkdir(parents=True)
    kept.touch()
    assert chosen(found, weights=None)["weights"] == "IMAGENET1K_V1"
    kept.unlink()
    monkeypatch.setattr(at_hand, "urlopen", lambda *_, **__: nullcontext())
    assert chosen(found, weights=None)["weights"] == "IMAGENET1K_V1"


def test_too_few_images_for_three_parts() -> None:
    with pytest.raises(RequestError, match="two classes with 3 at the very least"):
        chosen(seen({"a": 2, "b": 90}))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("photos", "photos"),
        ("My Photos (2024)", "My-Photos-2024"),
        ("Größe", "Groe"),
        ("猫", "my-study"),
        ("..", "my-study"),
        ("_x_", "x"),
        ("a" * 99, "a" * 48),
    ],
)
def test_names_are_made_valid(text: str, name: str) -> None:
    assert valid_name(text) == name


def test_a_server_that_is_not_there_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # the discard port: refused at once
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert not at_hand.weights_at_hand(
        backbone="resnet18", weights="IMAGENET1K_V1", patience_seconds=2.0
    )
