import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from safetensors import safe_open
from safetensors.torch import load_file

from tlsearch.data.synthetic.glyph_recipe import RECIPE
from tlsearch.errors import WorkError
from tlsearch.models.backbones import build_backbone, load_pretrained
from tlsearch.training import pretrain
from tlsearch.training import pretrain as source_model
from tlsearch.training.pretrain import (
    cached_glyph_weights,
    damage,
    glyph_weights,
    train_source,
    weights_of,
)

TINY = replace(
    RECIPE,
    faces=("DejaVuSans.ttf", "cmr10.ttf"),
    unseen_faces=("cmss10.ttf",),
    num_images=48,
    batch_size=16,
)
BACKBONE = "mobilenet_v3_small"


def ignore(_done, _text):
    pass


def make(cache, on_progress=ignore, recipe=TINY, backbone=BACKBONE):
    return weights_of(
        recipe,
        backbone=backbone,
        image_size=32,
        cache=cache,
        threads=1,
        on_progress=on_progress,
    )


def forbidden(*_args, **_kwargs):
    raise AssertionError("trained again")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("cache") / "below")


def visible(folder):
    return sorted(p.name for p in folder.iterdir() if p.suffix != ".lock")


def test_the_file_holds_all_but_the_head_and_fits(made):
    backbone = build_backbone(name=BACKBONE, num_classes=10, image_size=32, dropout=0.0, seed=0)
    state = load_file(made)
    load_pretrained(backbone, state)
    own = backbone.model.state_dict()
    assert set(own) - set(state) == {"classifier.3.weight", "classifier.3.bias"}
    assert all(torch.equal(own[name], tensor) for name, tensor in state.items())
    assert visible(made.parent) == [made.name]


def test_the_metadata_says_how_it_was_made(made):
    with safe_open(made, "pt") as file:
        metadata = file.metadata()
    assert 0 <= float(metadata["unseen_font_accuracy"]) <= 1
    assert metadata["backbone"] == BACKBONE
    assert metadata["precision"] == "fp32"
    assert metadata["recipe"] == repr(TINY)


def test_a_second_request_trains_nothing(made, monkeypatch):
    monkeypatch.setattr(source_model, "train_source", forbidden)
    before = made.stat().st_mtime_ns
    assert make(made.parent) == made
    assert made.stat().st_mtime_ns == before


def test_the_same_recipe_gives_the_same_weights_and_leaves_torch_as_it_was(made):
    random_state, num_threads = torch.get_rng_state(), torch.get_num_threads()
    again = train_source(TINY, backbone=BACKBONE, image_size=32, threads=1, on_progress=ignore)
    assert torch.equal(random_state, torch.get_rng_state())
    assert torch.get_num_threads() == num_threads
    first = load_file(made)
    assert all(torch.equal(first[name], tensor) for name, tensor in again.state.items())


def test_weights_are_kept_per_size_and_backbone(tmp_path):
    names = {
        pretrain._file(RECIPE, backbone=b, image_size=s, cache=tmp_path)
        for b in ("resnet18", "vgg11")
        for s in (32, 64)
    }
    assert len(names) == 4


def test_progress_grows_to_one(tmp_path):
    seen = []
    make(tmp_path, on_progress=lambda done, text: seen.append((done, text)))
    parts = [done for done, _ in seen]
    assert parts == sorted(parts)
    assert parts[0] == 0.0
    assert parts[-1] == 1.0
    assert any("images/s" in text for _, text in seen)
    assert "unseen fonts" in seen[-1][1]


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_a_file_cut_short_is_made_again_and_says_so(made, tmp_path, keep):
    file = tmp_path / made.name
    file.write_bytes(made.read_bytes()[:keep])
    assert cached_glyph_weights(backbone=BACKBONE, image_size=32, cache=tmp_path) is None
    said = []
    assert make(tmp_path, on_progress=lambda _, text: said.append(text)) == file
    again, first = load_file(file), load_file(made)
    assert all(torch.equal(again[name], first[name]) for name in first)
    assert any("damaged" in text for text in said)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "no header"),
        (b"\xff" * 64, "cut short"),
        (b"\x02" + b"\0" * 7 + b"[]", "unreadable"),
        (b"\x04" + b"\0" * 7 + b"oops", "unreadable"),
        (b"\x02" + b"\0" * 7 + b"{}", "bytes"),
    ],
)
def test_damage_is_recognised(tmp_path, content, problem):
    file = tmp_path / "x.safetensors"
    file.write_bytes(content)
    assert problem in damage(file)


def test_bytes_appended_are_damage(made, tmp_path):
    assert damage(made) is None
    file = tmp_path / "longer.safetensors"
    file.write_bytes(made.read_bytes() + b"\0")
    assert "bytes instead of" in damage(file)


def test_what_is_cached_is_found_without_importing_torch(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from tlsearch.training.pretrain import cached_glyph_weights\n"
        f"cache = Path({str(tmp_path)!r})\n"
        "assert not cached_glyph_weights(backbone='resnet18', image_size=32, cache=cache)\n"
        "heavy = {'torch', 'numpy', 'matplotlib', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_leaves_nothing_and_passes_through(tmp_path, error):
    def interrupt(done, _text):
        if done > 0:
            raise error

    with pytest.raises(error):
        make(tmp_path, on_progress=interrupt)
    assert visible(tmp_path) == []
    assert torch.get_num_threads() >= 1


def test_an_interruption_while_writing_leaves_nothing(tmp_path, monkeypatch):
    def stop(_from, _to):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path)
    assert visible(tmp_path) == []


def test_what_a_killed_process_left_is_removed(made, tmp_path):
    leftover = tmp_path / f"{made.name}.4194304.part"
    leftover.write_bytes(b"half")
    stranger = tmp_path / "other.part"
    stranger.write_bytes(b"mine")
    make(tmp_path)
    assert visible(tmp_path) == sorted([made.name, stranger.name])


def _train_for_ever(cache, training):
    def wait(done, _text):
        if done > 0:
            training.set()
            time.sleep(600)

    make(cache, on_progress=wait)


@pytest.mark.slow
def test_a_second_process_waits_and_takes_over_when_the_first_is_killed(made, tmp_path):
    context = multiprocessing.get_context("spawn")
    training = context.Event()
    first = context.Process(target=_train_for_ever, args=(tmp_path, training))
    first.start()
    assert training.wait(120)
    said = []

    def see(_done, text):
        said.append(text)
        first.kill()

    assert make(tmp_path, on_progress=see) == tmp_path / made.name
    first.join()
    assert "waiting" in said[0]
    assert any("images/s" in text for text in said)
    assert visible(tmp_path) == [made.name]


def test_a_waiting_process_takes_what_the_other_made(made, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain, "_LOCK_POLL_SECONDS", 0.01)
    monkeypatch.setattr(source_model, "train_source", forbidden)
    file = tmp_path / made.name
    held = FileLock(f"{file}.lock")
    held.acquire()

    def finish(_done, _text):
        file.write_bytes(made.read_bytes())
        held.release()

    assert make(tmp_path, on_progress=finish) == file


def test_a_file_in_place_of_the_folder_is_one_clear_error(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setattr(source_model, "train_source", forbidden)
    with pytest.raises(
        WorkError, match=r"cache folder .*cache: cannot be written .* XDG_CACHE_HOME"
    ):
        make(tmp_path / "cache")


def test_a_read_only_folder_is_found_before_any_training(tmp_path, monkeypatch):
    if not hasattr(os, "geteuid"):
        pytest.skip("no permissions of this kind here")
    monkeypatch.setattr(source_model, "train_source", forbidden)
    cache = tmp_path / "cache"
    cache.mkdir()
    for folder in cache.parents:
        if folder.is_relative_to(tempfile.gettempdir()) and folder != Path(tempfile.gettempdir()):
            folder.chmod(0o755)
    cache.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)  # root may write anywhere
    try:
        with pytest.raises(WorkError, match="cannot be written"):
            make(cache)
    finally:
        if root:
            os.seteuid(0)
    assert list(cache.iterdir()) == []


def test_a_full_disk_is_one_clear_error_and_leaves_nothing(tmp_path):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))  # no file may grow beyond it
    try:
        with pytest.raises(WorkError, match=r"cannot be written .*File too large"):
            make(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert visible(tmp_path) == []


def test_a_missing_font_is_one_clear_error(tmp_path):
    with pytest.raises(WorkError, match=r"font .*gone\.ttf: No such file .* matplotlib"):
        make(tmp_path, recipe=replace(TINY, faces=("gone.ttf",)))


def test_divergence_is_an_error_and_leaves_nothing(tmp_path):
    with pytest.raises(WorkError, match="diverged"):
        make(tmp_path, recipe=replace(TINY, sgd_lr=1e30))
    assert visible(tmp_path) == []


def test_the_public_function_uses_the_recipe(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain, "RECIPE", TINY)
    file = glyph_weights(
        backbone=BACKBONE, image_size=32, cache=tmp_path, threads=1, on_progress=ignore
    )
    assert file == cached_glyph_weights(backbone=BACKBONE, image_size=32, cache=tmp_path)
    assert isinstance(file, Path)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["resnet18", "efficientnet_b0"])
def test_other_families_train_too(tmp_path, backbone):
    file = make(tmp_path, recipe=replace(TINY, num_images=16, batch_size=8), backbone=backbone)
    target = build_backbone(name=backbone, num_classes=3, image_size=32, dropout=0.0, seed=0)
    load_pretrained(target, load_file(file))
