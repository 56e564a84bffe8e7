import math
import multiprocessing
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from filelock import FileLock
from safetensors import safe_open
from safetensors.torch import load_file

from tlsearch.config.catalog import CATALOGUE, torchvision_names
from tlsearch.config.paths import draft_of
from tlsearch.data import glyph_recipe
from tlsearch.data.glyph_recipe import (
    RECIPE,
    cached_glyph_weights,
    recipe_key,
)
from tlsearch.errors import WorkError
from tlsearch.models.backbones import build_backbone
from tlsearch.models.pretrained import load_pretrained
from tlsearch.models.weights import damage
from tlsearch.training import pretrain
from tlsearch.training.optim import is_decayed
from tlsearch.training.pretrain import (
    glyph_weights,
    lr_fraction,
    source_numerics,
    train_source,
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
    return glyph_weights(
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
    with safe_open(made, "pt") as file:
        metadata = file.metadata()
    assert 0 <= float(metadata["unseen_font_accuracy"]) <= 1
    assert (metadata["backbone"], metadata["precision"]) == (BACKBONE, "fp32")
    assert metadata["recipe"] == repr(TINY)


def test_the_same_recipe_gives_the_same_weights_and_leaves_torch_as_it_was(made):
    random_state, num_threads = torch.get_rng_state(), torch.get_num_threads()
    again = train_source(TINY, backbone=BACKBONE, image_size=32, threads=1, on_progress=ignore)
    assert torch.equal(random_state, torch.get_rng_state())
    assert torch.get_num_threads() == num_threads
    first = load_file(made)
    assert all(torch.equal(first[name], tensor) for name, tensor in again.state.items())


def test_damage_is_recognised(made, tmp_path):
    file = tmp_path / "x.safetensors"
    whole = made.read_bytes()
    problems = {
        b"": "no header",
        b"\xff" * 64: "cut short",
        b"\x02" + b"\0" * 7 + b"[]": "unreadable",
        b"\x04" + b"\0" * 7 + b"oops": "unreadable",
        b"\x02" + b"\0" * 7 + b"{}": "bytes",
        whole[:100]: "cut short",
        whole[:-1]: "bytes instead of",
        whole + b"\0": "bytes instead of",
    }
    for content, problem in problems.items():
        file.write_bytes(content)
        assert problem in damage(file)
    assert damage(made) is None


def test_a_damaged_file_is_made_again_once_and_says_so(made, tmp_path, monkeypatch):
    file = tmp_path / made.name
    file.write_bytes(made.read_bytes()[:-1])
    draft_of(file, 4194304).write_bytes(b"half")  # left by a process that was killed
    stranger = tmp_path / "other.part"
    stranger.write_bytes(b"mine")
    monkeypatch.setattr(glyph_recipe, "RECIPE", TINY)
    assert cached_glyph_weights(backbone=BACKBONE, image_size=32, cache=tmp_path) is None
    seen = []
    assert make(tmp_path, on_progress=lambda *progress: seen.append(progress)) == file
    again, first = load_file(file), load_file(made)
    assert all(torch.equal(again[name], first[name]) for name in first)
    assert visible(tmp_path) == sorted([made.name, stranger.name])
    parts, texts = zip(*seen, strict=True)
    assert "damaged" in texts[0]
    assert list(parts) == sorted(parts)
    assert parts[-1] == 1.0
    assert any("images/s" in text for text in texts)
    assert "unseen fonts" in texts[-1]
    monkeypatch.setattr(pretrain, "train_source", forbidden)
    assert make(tmp_path) == file
    assert cached_glyph_weights(backbone=BACKBONE, image_size=32, cache=tmp_path) == file


def test_what_is_cached_is_found_without_importing_torch(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from tlsearch.data.glyph_recipe import cached_glyph_weights\n"
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
    monkeypatch.setattr(pretrain, "train_source", forbidden)
    file = tmp_path / made.name
    held = FileLock(f"{file}.lock")
    held.acquire()

    def finish(_done, _text):
        file.write_bytes(made.read_bytes())
        held.release()

    assert make(tmp_path, on_progress=finish) == file


def test_a_file_in_place_of_the_folder_is_one_clear_error(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setattr(pretrain, "train_source", forbidden)
    with pytest.raises(WorkError, match=r"cache: cannot be written .* XDG_CACHE_HOME"):
        make(tmp_path / "cache")


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


def test_divergence_is_an_error_and_leaves_nothing(tmp_path):
    with pytest.raises(WorkError, match="diverged"):
        make(tmp_path, recipe=replace(TINY, sgd_lr=1e30))
    assert visible(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["resnet18", "efficientnet_b0"])
def test_other_families_train_too(tmp_path, backbone):
    file = make(tmp_path, recipe=replace(TINY, num_images=16, batch_size=8), backbone=backbone)
    target = build_backbone(name=backbone, num_classes=3, image_size=32, dropout=0.0, seed=0)
    load_pretrained(target, load_file(file))


def test_the_rate_by_hand():
    rates = [lr_fraction(step, num_steps=10, warmup_share=0.2) for step in range(10)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[6] == pytest.approx(0.5)
    assert rates[9] == pytest.approx((1 + math.cos(math.pi * 7 / 8)) / 2)


@pytest.mark.parametrize(
    ("name", "kind", "decay"),
    [("resnet18", torch.optim.SGD, 5e-4), ("vit_b_32", torch.optim.AdamW, 0.05)],
)
def test_the_optimizer_is_the_one_for_the_kind_of_network(name, kind, decay):
    with torch.device("meta"):
        built = build_backbone(name=name, num_classes=3, image_size=32, dropout=0.0, seed=0)
    optimizer = pretrain._optimizer(built.model, RECIPE)
    assert isinstance(optimizer, kind)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [decay, 0.0]
    names = {id(p): n for n, p in built.model.named_parameters()}
    decayed, spared = ({names[id(p)] for p in g["params"]} for g in optimizer.param_groups)
    assert decayed | spared == set(names.values())
    assert all(n.endswith("weight") for n in decayed), "no class token, no position embedding"
    matrices = {n for n, p in built.model.named_parameters() if p.ndim > 1}
    assert matrices - decayed == (
        {"class_token", "encoder.pos_embedding"} if name == "vit_b_32" else set()
    )


def test_the_key_changes_where_the_rule_of_decay_changes_the_weights(monkeypatch):
    names = ("resnet18", "vgg11_bn", "efficientnet_b0", "vit_b_16", "swin_t", "convnext_tiny")
    now = [recipe_key(RECIPE, backbone=n, image_size=32) for n in names]
    monkeypatch.setattr(glyph_recipe, "_VERSIONS", {})
    before = [recipe_key(RECIPE, backbone=n, image_size=32) for n in names]
    assert [a == b for a, b in zip(now, before, strict=True)] == [True] * 3 + [False] * 3
    for name, facts in ((name, CATALOGUE[name]) for name in torchvision_names()):
        assert (facts.family in {"vit", "swin", "convnext"}) == touched(name), name


def touched(name):
    """Whether the rule of decay spares a parameter of more than one dimension."""
    with torch.device("meta"):
        size = CATALOGUE[name].native_size
        built = build_backbone(name=name, num_classes=3, image_size=size, dropout=0.0, seed=0)
    return any(p.ndim > 1 and not is_decayed(n, p) for n, p in built.model.named_parameters())


@pytest.mark.parametrize(
    ("backbone", "in_hardware", "sound", "expected"),
    [
        ("resnet18", True, True, "bf16"),
        ("resnet18", True, False, "fp32"),
        ("resnet18", False, True, "fp32"),
        ("mobilenet_v3_small", True, True, "fp32"),
    ],
)
def test_bf16_needs_hardware_a_family_that_gains_and_sound_gradients(
    monkeypatch, backbone, in_hardware, sound, expected
):
    network = build_backbone(name=backbone, num_classes=2, image_size=32, dropout=0.0, seed=0)
    before = {name: value.clone() for name, value in network.model.state_dict().items()}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": in_hardware})

    def tried(model, *, image_size, device):
        model(torch.zeros(2, 3, image_size, image_size, device=device))
        return sound

    monkeypatch.setattr(pretrain, "bf16_is_sound", tried)
    assert source_numerics(network, image_size=32).precision == expected
    after = network.model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
