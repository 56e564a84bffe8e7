"""Pretrained weights through torchvision's and safetensors' real loading code, offline."""

import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.models import get_model, get_model_weights

from tlsearch.errors import WeightsError, WorkError
from tlsearch.models.backbones import build_backbone
from tlsearch.models.pretrained import load_pretrained
from tlsearch.models.weights import pretrained_state, refuse_out_of_reach

NAME = "mobilenet_v3_small"
FILE = "mobilenet_v3_small-047dcff4.pth"


@pytest.fixture(autouse=True)
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty torch home, and a proxy that refuses: the network is really tried and really off."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for scheme in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(scheme, "http://127.0.0.1:9")
    # urlopen's own opener keeps the proxies of its first use, which may have been another test's.
    monkeypatch.setattr("urllib.request._opener", None)
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return dict(get_model(NAME, weights=None).state_dict())


@pytest.fixture
def published(
    tmp_path: Path, state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """The entry of torchvision with its address moved to a file here, named after its hash."""
    torch.save(state, tmp_path / "saved.pth")
    digest = hashlib.sha256((tmp_path / "saved.pth").read_bytes()).hexdigest()[:8]
    file = (tmp_path / "saved.pth").rename(tmp_path / f"{NAME}-{digest}.pth")
    entry = get_model_weights(NAME)["IMAGENET1K_V1"]
    monkeypatch.setattr(entry.value, "url", file.as_uri())
    return entry


def fetch(weights: str = "IMAGENET1K_V1", backbone: str = NAME) -> dict[str, Tensor] | None:
    return pretrained_state(backbone=backbone, weights=weights)


def message(weights: str = "IMAGENET1K_V1", backbone: str = NAME) -> str:
    with pytest.raises(WeightsError) as caught:
        fetch(weights, backbone)
    assert "\n" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value)


def assert_same(loaded: dict[str, Tensor] | None, state: dict[str, Tensor]) -> None:
    assert loaded is not None
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[k], v) for k, v in state.items())


def test_a_file_of_the_right_name_is_used(
    checkpoints: Path, state: dict[str, Tensor], capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoints.mkdir(parents=True)
    torch.save(state, checkpoints / FILE)
    loaded = fetch()
    assert_same(loaded, state)
    assert loaded is not None
    load_pretrained(
        build_backbone(name=NAME, num_classes=3, image_size=32, dropout=0, seed=0), loaded
    )
    assert capfd.readouterr() == ("", "")


def test_a_download_is_checked_kept_and_silent(
    checkpoints: Path, state: dict[str, Tensor], published: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    assert_same(fetch(), state)
    name = Path(published.url).name
    assert [f.name for f in checkpoints.iterdir()] == [name]
    assert capfd.readouterr() == ("", "")
    Path(published.url.removeprefix("file://")).unlink()
    assert_same(fetch(), state)


def test_a_download_with_another_hash_is_refused(
    tmp_path: Path, checkpoints: Path, published: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Path(published.url.removeprefix("file://")).rename(tmp_path / f"{NAME}-00000000.pth")
    monkeypatch.setattr(published.value, "url", other.as_uri())
    assert f"{other.as_uri()} sent something else" in message()
    assert "00000000" in message()
    assert list(checkpoints.iterdir()) == []


def test_without_a_network_the_message_says_which_file_to_put_where(checkpoints: Path) -> None:
    text = message()
    assert f"put {FILE} into {checkpoints}" in text
    assert "https://download.pytorch.org/models/" + FILE in text
    assert "Connection refused" in text


def test_a_silent_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts and never answers
        port = server.getsockname()[1]
        entry = get_model_weights(NAME)["IMAGENET1K_V1"]
        monkeypatch.setattr(entry.value, "url", f"http://127.0.0.1:{port}/{FILE}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr("tlsearch.models.weights._STALL_SECONDS", 0.05)
        before = socket.getdefaulttimeout()
        assert "timed out" in message()
        assert socket.getdefaulttimeout() == before


@pytest.mark.parametrize("keep", [0, 100, 0.5, -1])
def test_a_file_cut_short_is_named(
    checkpoints: Path, state: dict[str, Tensor], keep: float
) -> None:
    checkpoints.mkdir(parents=True)
    torch.save(state, checkpoints / FILE)
    size = (checkpoints / FILE).stat().st_size
    os.truncate(checkpoints / FILE, int(size * keep) if keep == 0.5 else int(keep) % size)
    text = message()
    assert f"{checkpoints / FILE} is damaged or cut short" in text
    assert "remove it" in text


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("exploded",)


def test_a_pickle_that_runs_code_is_not_run(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoints.mkdir(parents=True)
    torch.save({"w": Bomb()}, checkpoints / FILE)
    assert "is damaged" in message()
    assert not (tmp_path / "exploded").exists()


def test_what_is_no_file_is_named(checkpoints: Path) -> None:
    (checkpoints / FILE).mkdir(parents=True)
    assert f"{checkpoints / FILE}: Is a directory" in message()


def test_a_file_with_something_else_is_named(checkpoints: Path, state: dict[str, Tensor]) -> None:
    checkpoints.mkdir(parents=True)
    torch.save({"epoch": 3, "state_dict": state}, checkpoints / FILE)
    assert "holds no state dict" in message()


@pytest.mark.usefixtures("published")
def test_a_full_disk_is_no_wrong_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object, **_kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.hub.download_url_to_file", full)
    with pytest.raises(WorkError, match=r"disk with .*checkpoints is full"):
        fetch()


@pytest.mark.parametrize(
    ("weights", "backbone", "words"),
    [
        ("IMAGENET1K_V2", NAME, ["has IMAGENET1K_V1;", "did you mean 'IMAGENET1K_V1'?"]),
        ("imagenet1k_v1", "resnet50", ["IMAGENET1K_V1, IMAGENET1K_V2", "did you mean"]),
        ("IMAGENET1K_FEATURES", "vgg16", ["vgg16 has IMAGENET1K_V1"]),
        ("glyph", NAME, ["did you mean 'glyphs'?"]),
    ],
)
def test_unknown_names_come_with_the_known(weights: str, backbone: str, words: list[str]) -> None:
    text = message(weights, backbone)
    assert all(word in text for word in words), text


def test_a_host_whose_name_is_looked_up_for_ever_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tlsearch.models.weights._ANSWER_SECONDS", 0.05)

    looked_up = threading.Event()

    def silent(*_: object, **__: object) -> None:
        looked_up.wait()
        raise OSError("no name server")

    monkeypatch.setattr("tlsearch.models.weights.urlopen", silent)
    with pytest.raises(WeightsError, match=r"no download \(no answer within 0.05 s\) — fetch"):
        refuse_out_of_reach(backbone=NAME, weights="IMAGENET1K_V1")
    looked_up.set()


def test_weights_that_are_here_or_made_here_are_not_asked_for(checkpoints: Path) -> None:
    checkpoints.mkdir(parents=True)
    (checkpoints / FILE).touch()
    refuse_out_of_reach(backbone=NAME, weights="IMAGENET1K_V1")
    refuse_out_of_reach(backbone=NAME, weights="glyphs")
