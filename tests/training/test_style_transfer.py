"""Style transfer: what it moves and what it keeps; and the images that are kept of it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training.small import CPU, pixels, tiny_backbone
from tlsearch.errors import WorkError
from tlsearch.models.backbones import build_backbone
from tlsearch.training import style_transfer as styled
from tlsearch.training.batches import unit_batch
from tlsearch.training.style_transfer import (
    StyledImages,
    StyleNetwork,
    StyleStage,
    content_distance,
    gram,
    style_distance,
    transfer_style,
)

TARGET, SOURCE = pixels(), pixels(seed=1, noise=200)
AMONG = np.arange(0, 60, 3)
ROWS = np.arange(1, 31, 2)


def network(layers: int = 2) -> StyleNetwork:
    return StyleNetwork(tiny_backbone(dropout=0.0, seed=0), layers, TARGET)


def images(rows: np.ndarray, of: Any = TARGET) -> Tensor:
    return unit_batch(of, rows, device=CPU).contiguous()


def test_a_gram_matrix_by_hand() -> None:
    features = torch.tensor([[[1.0, 2.0], [3.0, 5.0]]])  # two channels in two places
    assert gram(features).tolist() == [[[2.5, 6.5], [6.5, 17.0]]]
    # Where things are does not matter, only what there is.
    assert torch.equal(gram(features), gram(features.flip(2)))


@pytest.mark.parametrize("name", ["resnet10", "swin_t", "vit_b_16", "vgg11_bn"])
def test_every_group_before_the_head_has_a_style(name: str) -> None:
    """Channels and places are distinguished; the last group may have pooled its places to one."""
    with torch.device("meta"):
        backbone = build_backbone(name=name, num_classes=2, image_size=32, dropout=0.0, seed=0)
        body = len(backbone.stages) - 1
        found = StyleNetwork(backbone, body, TARGET).features(torch.empty(3, 3, 32, 32))
        assert style_distance(found, found).shape == (3,)
    assert [f.ndim for f in found] == [3] * (1 + body)
    assert found[0].shape == (3, 4, 1024)
    widths = {"resnet10": 64, "swin_t": 96, "vit_b_16": 768, "vgg11_bn": 64}
    assert found[1].shape[1] == widths[name]
    assert found[-1].shape[1] == backbone.head.in_features


def test_the_style_comes_closer_and_the_content_stays_near(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tlsearch.training.style_transfer.NUM_STEPS", 60)
    rows, lenders = np.arange(6), AMONG[:6]
    net, before, sources = network(), images(rows), images(lenders, SOURCE)
    after = transfer_style(net, before, sources)
    assert after.shape == before.shape
    assert 0 <= after.min() <= after.max() <= 1
    with torch.no_grad():
        style = net.features(sources)
        old, new = (style_distance(net.features(x), style) for x in (before, after))
        kept = content_distance(net.features(after), net.features(before))
        lost = content_distance(style, net.features(before))
    assert (new < 0.7 * old).all()
    assert new.mean() < 0.4 * old.mean()
    assert (kept < lost).all()


def test_an_image_is_made_alone_whatever_is_beside_it() -> None:
    rows, lenders = np.arange(6), AMONG[:6]
    whole = transfer_style(network(), images(rows), images(lenders, SOURCE))
    alone = transfer_style(network(), images(rows[2:3]), images(lenders[2:3], SOURCE))
    torch.testing.assert_close(alone, whole[2:3], atol=2e-3, rtol=0)


def test_the_network_stays_as_it_was() -> None:
    net = network()
    net.backbone.stages[0].requires_grad_(False)
    before = {k: v.clone() for k, v in net.backbone.model.state_dict().items()}
    trained = [p.requires_grad for p in net.backbone.model.parameters()]
    transfer_style(net, images(np.arange(3)), images(AMONG[:3], SOURCE))
    assert all(torch.equal(v, before[k]) for k, v in net.backbone.model.state_dict().items())
    assert [p.requires_grad for p in net.backbone.model.parameters()] == trained
    assert all(p.grad is None for p in net.backbone.model.parameters())


class Calls:
    """Counts what the making of styled images calls."""

    def __init__(self) -> None:
        self.networks, self.lines = 0, list[tuple[float, str]]()

    def network(self) -> StyleNetwork:
        self.networks += 1
        return network()

    def progress(self, share: float, text: str) -> None:
        self.lines.append((share, text))


def styled_images(folder: Path, calls: Calls | None = None, **changes: Any) -> StyledImages:
    calls = calls or Calls()
    made = StyledImages(
        folder=folder,
        pixels=TARGET,
        source=SOURCE,
        among=AMONG,
        network=calls.network,
        keys=("data", "source", "weights"),
        seed=0,
        device=CPU,
        on_progress=calls.progress,
    )
    return replace(made, **changes)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tlsearch.training.style_transfer.BLOCK", 4)
    monkeypatch.setattr("tlsearch.training.style_transfer.NUM_STEPS", 8)


def test_images_are_made_once_and_found_again(tmp_path: Path) -> None:
    calls, again = Calls(), Calls()
    made = styled_images(tmp_path, calls).styled(ROWS)
    assert made.shape == (len(ROWS), 12, 12, 3)
    assert made.dtype == np.uint8
    assert calls.networks == 1
    assert [share for share, _ in calls.lines] == sorted(share for share, _ in calls.lines)
    assert calls.lines[-1] == (1.0, f"style: {len(ROWS)} images")
    assert np.array_equal(styled_images(tmp_path, again).styled(ROWS), made)
    (path,) = tmp_path.glob("*.npy")
    whole = np.array(made)
    path.write_bytes(path.read_bytes()[:-100])
    assert np.array_equal(styled_images(tmp_path).styled(ROWS), whole), "cut short: made again"
    assert (again.networks, again.lines) == (0, [])
    assert not [p for p in tmp_path.iterdir() if p.suffix not in (".npy", ".lock")]


@pytest.mark.parametrize(
    "changes",
    [{"seed": 1}, {"among": AMONG[:-1]}, {"keys": ("data", "source", "others")}],
)
def test_another_request_has_images_of_its_own(changes: dict[str, Any], tmp_path: Path) -> None:
    styled_images(tmp_path).styled(ROWS)
    calls = Calls()
    styled_images(tmp_path, calls, **changes).styled(ROWS)
    assert calls.networks == 1
    other = Calls()
    styled_images(tmp_path, other).styled(ROWS[:-1])
    assert other.networks == 1
    assert len(list(tmp_path.glob("*.npy"))) == 3


class KilledError(BaseException):
    """Ends the making at some moment, as a signal would."""


def test_after_a_kill_only_what_was_not_finished_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = np.array(styled_images(tmp_path / "whole").styled(ROWS))
    make, done = styled.transfer_style, list[int]()

    def until(*arguments: Any) -> Tensor:
        if len(done) == 3:
            raise KilledError
        done.append(1)
        return make(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(styled, "transfer_style", until)
        with pytest.raises(KilledError):
            styled_images(tmp_path).styled(ROWS)
    assert not list(tmp_path.glob("*.npy"))
    count: list[int] = []

    def counted(*arguments: Any) -> Tensor:
        count.append(1)
        return make(*arguments)

    monkeypatch.setattr(styled, "transfer_style", counted)
    assert np.array_equal(styled_images(tmp_path).styled(ROWS), whole)
    assert len(count) == 1  # fifteen images in blocks of four
    assert not list(tmp_path.glob("*.parts"))


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("a file")
    with pytest.raises(WorkError, match="it may be deleted at any time"):
        styled_images(tmp_path / "there" / "styled").styled(ROWS)


@pytest.fixture
def stage(tmp_path: Path) -> Callable[[float], StyleStage]:
    return lambda strength: StyleStage(styled_images(tmp_path), rows=ROWS, strength=strength)


def test_strength_mixes_the_image_with_what_was_made_of_it(
    stage: Callable[[float], StyleStage], tmp_path: Path
) -> None:
    made = styled_images(tmp_path).styled(ROWS)
    picked = np.array([7, 1, 29])
    plain = images(picked)
    wanted = torch.from_numpy(made[[3, 0, 14]]).permute(0, 3, 1, 2) / 255
    for strength in (1.0, 0.25, 0.0):
        found = stage(strength)(plain, picked, epoch=1)
        torch.testing.assert_close(found, (1 - strength) * plain + strength * wanted)
        assert torch.equal(stage(strength)(plain, picked, epoch=9), found)
    assert torch.equal(plain, images(picked))


def test_rows_that_were_not_foreseen_are_made_when_they_are_asked_for(
    stage: Callable[[float], StyleStage], tmp_path: Path
) -> None:
    rows = np.array([2, 1, 50])
    found = stage(1.0)(images(rows), rows, epoch=1)
    wanted = (
        torch.from_numpy(np.array(styled_images(tmp_path).styled(rows))).permute(0, 3, 1, 2) / 255
    )
    torch.testing.assert_close(found, wanted)
