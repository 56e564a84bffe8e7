"""Files of weights as training scripts leave them, read by torch and safetensors themselves."""

import argparse
import collections
import datetime
import io
import os
import re
import subprocess
import sys
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tlsearch.errors import WeightsError
from tlsearch.models.checkpoints import conversion, read_checkpoint

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    torch.manual_seed(0)
    found = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 4)).state_dict()
    return {f"layer.{name}": value for name, value in found.items()}


def assert_same(loaded: State, state: State) -> None:
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[k], v) for k, v in state.items())


def refusal(file: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        read_checkpoint(file)
    assert "\n" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    start = f"backbone.weights = '{file}': "
    assert str(caught.value).startswith(start)
    return str(caught.value).removeprefix(start)


def optimizer(state: State) -> dict[str, Any]:
    moments = {i: {"step": torch.tensor(3.0), "exp_avg": v} for i, v in enumerate(state.values())}
    return {"state": moments, "param_groups": [{"lr": 0.1, "params": list(moments)}]}


def script(state: State) -> dict[str, Any]:
    """What a usual training script saves beside the weights, harmless objects and all."""
    return {
        "epoch": 3,
        "best": np.float64(0.5),
        "confusion": np.eye(3),
        "args": argparse.Namespace(lr=0.1, output=Path("runs"), at=datetime.timedelta(seconds=3)),
        "more": types.SimpleNamespace(a=1),
        "counts": collections.defaultdict(list, {"a": [1]}),
        "generator": torch.get_rng_state(),
        "optimizer": optimizer(state),
    }


WRAPPINGS: dict[str, tuple[str, str, Callable[[State], Any]]] = {
    "plain": ("", "", lambda s: s),
    "ordered": ("", "", collections.OrderedDict),
    "with a scale": ("", "", lambda s: s | {"scale": 0.5}),
    "state_dict": ("state_dict", "", lambda s: {"state_dict": s, "best": torch.tensor(0.5)}),
    "model": ("model", "", lambda s: script(s) | {"model": s, "model_ema": {"n": torch.ones(1)}}),
    "model_state_dict": ("model_state_dict", "", lambda s: script(s) | {"model_state_dict": s}),
    "ema": ("ema", "", lambda s: script(s) | {"ema": s}),
    "nested": ("ema", "module.", lambda s: {"ema": {"module": s, "decay": 0.9}}),
    "two parts": ("model", "encoder.", lambda s: {"model": {"encoder": s, "decoder": {"w": 1}}}),
    "both": ("state_dict", "", lambda s: {"model_ema": dict.fromkeys(s, 0), "state_dict": s}),
    "another place": ("", "weights.", lambda s: {"epoch": 3, "weights": s}),
    "parameters": ("model", "", lambda s: {"model": {k: nn.Parameter(v) for k, v in s.items()}}),
}


@pytest.mark.parametrize("is_archive", [True, False])
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_the_state_dict_is_found(
    tmp_path: Path, state: State, wrapping: str, is_archive: bool
) -> None:
    if wrapping == "parameters":
        state = {k: v for k, v in state.items() if v.is_floating_point()}
    place, prefix, wrap = WRAPPINGS[wrapping]
    file = tmp_path / "mine.pth"
    torch.save(wrap(state), file, _use_new_zipfile_serialization=is_archive)
    found = read_checkpoint(file)
    assert_same(found.state, {prefix + name: value for name, value in state.items()})
    assert (found.place, found.others) == (place, ())


def test_lightning_s_checkpoint_is_read_without_lightning(tmp_path: Path, state: State) -> None:
    class AttributeDict(dict[str, Any]):
        __module__ = "pytorch_lightning.utilities.parsing"
        __qualname__ = "AttributeDict"

    module = types.ModuleType(AttributeDict.__module__)
    vars(module)["AttributeDict"] = AttributeDict
    inside = {
        "epoch": 1,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {f"model.{name}": value for name, value in state.items()},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_k_models": {}}},
        "hyper_parameters": AttributeDict(lr=0.1, args=argparse.Namespace(depth=18)),
    }
    parents = ("pytorch_lightning", "pytorch_lightning.utilities")
    known = {name: types.ModuleType(name) for name in parents} | {module.__name__: module}
    sys.modules.update(known)
    try:
        torch.save(inside, tmp_path / "last.ckpt")
    finally:
        for name in known:
            del sys.modules[name]
    assert read_checkpoint(tmp_path / "last.ckpt").state.keys() == {f"model.{k}" for k in state}


def test_of_two_state_dicts_the_trained_one_counts_and_the_other_is_named(
    tmp_path: Path, state: State
) -> None:
    average = {name: torch.zeros_like(value) for name, value in state.items()}
    torch.save({"model_ema": average, "model": state}, tmp_path / "mine.pth")
    found = read_checkpoint(tmp_path / "mine.pth")
    assert_same(found.state, state)
    assert (found.place, found.others) == ("model", ("model_ema",))


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize("is_archive", [True, False])
def test_code_is_named_and_not_run(
    tmp_path: Path, state: State, is_archive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "mine.pth"
    for content, code in (
        ({"model": state, "args": Bomb()}, "posix.mkdir"),
        (nn.Linear(3, 3), "torch.nn.modules.linear.Linear"),
    ):
        torch.save(content, file, _use_new_zipfile_serialization=is_archive)
        text = refusal(file)
        assert f'needs code to load ("{code}"), and none is run' in text
        assert "if you trust it, convert it" in text
    assert not (tmp_path / "exploded").exists()


class Large:
    def __reduce__(self) -> tuple[Any, ...]:
        return bytearray, (10,)


@pytest.mark.parametrize("is_archive", [True, False])
def test_a_pickle_that_would_fill_memory_is_refused(
    tmp_path: Path, state: State, is_archive: bool
) -> None:
    file = tmp_path / "mine.pth"
    content = {"model": state, "large": Large()}
    torch.save(content, file, _use_new_zipfile_serialization=is_archive)
    assert "makes a bytearray of a size of its own" in refusal(file)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("kind", ["module", "in a mapping", "mapping", "script"])
def test_the_printed_command_converts_a_checkpoint(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "my model.pth.tar"
    network = nn.Linear(3, 3)
    load = "torch.load"
    if kind == "script":
        torch.jit.script(network).save(file)
        load = "torch.jit.load"
        assert conversion(file, load=load) in refusal(file)
    else:
        wrap = {"module": network, "in a mapping": {"model": network, "epoch": 3}}
        torch.save(wrap.get(kind, {"model": network.state_dict(), "args": Bomb}), file)
    command = conversion(file, load=load).replace("python", sys.executable, 1)
    subprocess.run(["sh", "-c", command], check=True)
    assert_same(read_checkpoint(tmp_path / "my model.safetensors").state, network.state_dict())


def claiming(content: bytes, *, name: str, extra: int = 0) -> bytes:
    """An archive of torch's with a record written again, compressed."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            if entry.filename.endswith(name):
                new.writestr(entry.filename, data + bytes(extra), zipfile.ZIP_DEFLATED)
            else:
                new.writestr(entry.filename, data)
    return target.getvalue()


DAMAGED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "no file of torch's, damaged or cut short"),
    "text": (lambda _: b"no tensors at all", "no file of torch's, damaged or cut short"),
    "half": (lambda b: b[: len(b) // 2], "a zip archive that is damaged or cut short"),
    "last byte": (lambda b: b[:-1], "a zip archive that is damaged or cut short"),
    "in the middle": (lambda b: b.replace(b"layer.0.weight", b"\xfflayer.0.weigh"), "damaged"),
    "a name": (lambda b: b.replace(b"mine/version", b"mine/\xffersion"), "a zip archive that is"),
    "bomb": (lambda b: claiming(b, name="data/0", extra=10**7), "unpacks to 10,"),
    "compressed": (lambda b: claiming(b, name="data/0"), "torch compresses nothing"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_file_is_named(tmp_path: Path, state: State, kind: str) -> None:
    spoil, words = DAMAGED[kind]
    file = tmp_path / "mine.pth"
    torch.save(state, file)
    file.write_bytes(spoil(file.read_bytes()))
    assert words in refusal(file)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
def test_an_old_file_cut_short_is_named(tmp_path: Path, state: State, keep: float) -> None:
    file = tmp_path / "mine.pth"
    torch.save(state, file, _use_new_zipfile_serialization=False)
    os.truncate(file, int(keep * file.stat().st_size))
    assert "no file of torch's, damaged or cut short — copy or save it again" in refusal(file)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([torch.zeros(3)], "is a list, no state dict"),
        (torch.zeros(3), "is a Tensor, no state dict"),
        ({"epoch": 3}, "holds no tensors"),
        ({"a": torch.zeros(1).expand(10**9, 10**9)}, "its tensors claim 4,000,000,000,000,000,000"),
        (
            {"a": torch.eye(3).to_sparse()},
            "a is sparse, quantised or without values — save the weights as plain",
        ),
        ({"a": torch.zeros(3, device="meta")}, "a is sparse, quantised or without values"),
    ],
)
def test_what_holds_no_weights_is_named(tmp_path: Path, content: object, words: str) -> None:
    torch.save(content, tmp_path / "mine.pth")
    assert words in refusal(tmp_path / "mine.pth")


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    for suffix in (".safetensors", ".pth"):
        file = tmp_path / f"mine{suffix}"
        assert re.search("no such file, seen from .* — check the path", refusal(file))
        file.mkdir()
        assert "is a folder" in refusal(file)
    assert "did you mean 'mine.pth'?" in refusal(tmp_path / "mime.pth")


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_a_pointer_of_git_lfs_is_told_from_the_file(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"model{suffix}"
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 45000000\n")
    assert "is a pointer of Git LFS, not the file of weights — fetch it" in refusal(file)


def test_a_safetensors_file_is_read_as_it_is(tmp_path: Path, state: State) -> None:
    halves = {k: v.bfloat16() for k, v in state.items() if v.is_floating_point()}
    save_file(halves, tmp_path / "mine.safetensors")
    assert_same(read_checkpoint(tmp_path / "mine.safetensors").state, halves)


@pytest.mark.parametrize("kind", ["renamed", "empty", "cut", "text"])
def test_a_damaged_safetensors_file_is_named(tmp_path: Path, state: State, kind: str) -> None:
    file = tmp_path / "mine.safetensors"
    if kind == "renamed":
        torch.save(state, file)
    else:
        save_file(state, file)
        content = file.read_bytes()
        wrong = {"empty": b"", "cut": content[:-1], "text": b"no tensors at all here"}
        file.write_bytes(wrong[kind])
    assert "no safetensors file, or cut short" in refusal(file)
