"""Training of the embedded source model: printed characters in, a network's trunk out.

Not by `Trainer`, though by its rules of decay and its number formats: images are drawn without end
and never stored, nothing is validated, and the weights that caches hold must keep their bits.
"""

import copy
import math
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR

from tlsearch.config.paths import atomic_write, made_once, remove_drafts
from tlsearch.config.runtime import OnProgress, derive_seed
from tlsearch.data.glyph_recipe import CHARACTERS, Recipe, glyph_file
from tlsearch.data.synthetic.glyphs import draw_batches
from tlsearch.errors import WorkError
from tlsearch.models.backbones import Backbone, build_backbone, named_groups
from tlsearch.models.weights import damage
from tlsearch.training.optim import is_decayed
from tlsearch.training.precision import BF16, FP32, Numerics, bf16_is_sound, torch_threads

_REPORT_SECONDS = 0.5
_UNSEEN_IMAGES = 2048
_REMEDY = "free space there, make it writable, or point XDG_CACHE_HOME at a folder that is"
CPU = torch.device("cpu")

# Depthwise convolutions lose with bf16 (MobileNetV3 half its speed), and only these were measured.
_BF16_FAMILIES = ("resnet",)


class SourceModel(NamedTuple):
    """All tensors but the head's by torchvision's names, and how well fonts never seen are read."""

    state: dict[str, Tensor]
    unseen_font_accuracy: float
    numerics: Numerics


def train_source(
    recipe: Recipe,
    *,
    backbone: str,
    image_size: int,
    threads: int,
    on_progress: OnProgress,
) -> SourceModel:
    """Train `backbone` from scratch on jittered characters, on the CPU.

    Depends on the recipe, the fonts, the number of threads and what the CPU can do, and leaves
    torch's generator and number of threads as they were.

    Raises:
        WorkError: the loss left the finite numbers.
    """
    on_progress(0.0, "source model: rendering fonts")
    network = build_backbone(
        name=backbone,
        num_classes=len(CHARACTERS),
        image_size=image_size,
        dropout=0.0,
        seed=derive_seed(recipe.seed, "weights"),
    )
    network.to(CPU)
    with torch_threads(threads), torch.random.fork_rng(devices=[]):
        numerics = source_numerics(network, image_size=image_size)
        torch.default_generator.manual_seed(derive_seed(recipe.seed, "dropout"))
        _train(network, recipe, image_size, numerics, on_progress)
        accuracy = _unseen_font_accuracy(network, recipe, image_size)
    head = set(named_groups(network)[network.groups[-1]])
    state = {k: v.contiguous() for k, v in network.model.state_dict().items() if k not in head}
    return SourceModel(state, accuracy, numerics)


def source_numerics(network: Backbone, *, image_size: int) -> Numerics:
    """bf16 where the CPU computes in it, the family gains by it and its gradients are sound at
    this size, else fp32. Leaves the network as it was, but not torch's generator.

    A rule and not a timing: the same machine must make the same weights again.
    """
    capable = torch.cpu.get_capabilities()
    in_hardware = capable.get("avx512_bf16") or capable.get("amx_bf16")
    if not in_hardware or network.facts.family not in _BF16_FAMILIES:
        return FP32
    trial = copy.deepcopy(network.model).train()  # BatchNorm's statistics move
    sound = bf16_is_sound(trial, image_size=image_size, device=CPU)
    return BF16 if sound else FP32


def lr_fraction(step: int, *, num_steps: int, warmup_share: float) -> float:
    """Part of the peak rate in step 0 … num_steps - 1: linear warm-up, half a cosine towards 0."""
    warmup_steps = max(1, round(warmup_share * num_steps))
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(1, num_steps - warmup_steps)
    return (1 + math.cos(math.pi * done)) / 2


def _train(
    network: Backbone,
    recipe: Recipe,
    image_size: int,
    numerics: Numerics,
    on_progress: OnProgress,
) -> None:
    batches = _batches(network, recipe, recipe.faces, image_size, "images")
    model = network.model.train()
    optimizer = _optimizer(model, recipe)
    num_steps = max(1, recipe.num_images // recipe.batch_size)
    fraction = partial(lr_fraction, num_steps=num_steps, warmup_share=recipe.warmup_share)
    schedule = LambdaLR(optimizer, fraction)
    started = reported = time.monotonic()
    for step in range(num_steps):
        images, labels = next(batches)
        with numerics.autocast(CPU):
            logits = model(images)
        loss = F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
        optimizer.step()
        schedule.step()
        now = time.monotonic()
        if now - reported >= _REPORT_SECONDS or step + 1 == num_steps:
            reported = now
            if not torch.isfinite(loss):
                raise WorkError(
                    f"source model of {network.name}: training diverged — use backbone.weights of "
                    "torchvision, a file of weights, or another backbone"
                )
            left = (now - started) / (step + 1) * (num_steps - step - 1)
            rate = recipe.batch_size * (step + 1) / max(now - started, 1e-9)
            text = f"source model: {rate:,.0f} images/s, {left:.0f} s left"
            on_progress((step + 1) / (num_steps + 1), text)


def _batches(
    network: Backbone, recipe: Recipe, faces: tuple[str, ...], image_size: int, part: str
) -> Iterator[tuple[Tensor, Tensor]]:
    """Jittered characters without end, normalised (B, 3, H, W), and their classes (B,)."""
    mean, std = (torch.tensor(of).view(1, 3, 1, 1) for of in network.facts.normalisation)
    for grey, labels in draw_batches(recipe, faces, size=image_size, purpose=part):
        yield ((grey - mean) / std).contiguous(memory_format=torch.channels_last), labels


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """What the recipe says for this kind of network; what decays is as in fine-tuning."""
    rows: list[dict[str, Any]] = [
        {"params": [p for n, p in model.named_parameters() if is_decayed(n, p)]},
        {
            "params": [p for n, p in model.named_parameters() if not is_decayed(n, p)],
            "weight_decay": 0.0,
        },
    ]
    if any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
        return torch.optim.SGD(
            rows,
            lr=recipe.sgd_lr,
            momentum=recipe.momentum,
            nesterov=True,
            weight_decay=recipe.sgd_weight_decay,
        )
    return torch.optim.AdamW(rows, lr=recipe.adamw_lr, weight_decay=recipe.adamw_weight_decay)


@torch.no_grad()
def _unseen_font_accuracy(network: Backbone, recipe: Recipe, image_size: int) -> float:
    """Share of jittered characters read rightly, in fonts that training has not seen."""
    model = network.model.eval()
    right = total = 0
    for images, labels in _batches(network, recipe, recipe.unseen_faces, image_size, "unseen"):
        right += int((model(images).argmax(1) == labels).sum())
        total += len(labels)
        if total >= min(_UNSEEN_IMAGES, recipe.num_images):
            break
    return right / total


def glyph_weights(
    recipe: Recipe,
    *,
    backbone: str,
    image_size: int,
    cache: Path,
    threads: int,
    on_progress: OnProgress,
) -> Path:
    """The .safetensors file with all of `backbone` but its head, trained on printed characters.

    Made if it is not in `cache` or is damaged there; a second process that wants the same file
    waits for the first. `on_progress` gets the part done, 0 … 1, and a line of text.

    Raises:
        WorkError: the folder cannot be written, the disk is full, or training left the finite
            numbers.
        RequestError: the backbone is unknown, or cannot take images of this size.
    """
    file = glyph_file(recipe, backbone=backbone, image_size=image_size, cache=cache)
    if damage(file) is None:
        return file

    def wait() -> None:
        on_progress(0.0, "source model: another process is making it; waiting")

    with made_once(file.with_suffix(".safetensors.lock"), remedy=_REMEDY, on_wait=wait):
        problem = damage(file)  # again: whoever held the lock may have made it
        if problem is None:
            return file
        if file.exists():
            on_progress(0.0, f"source model: {file} is damaged ({problem}); making it again")
        trained = train_source(
            recipe,
            backbone=backbone,
            image_size=image_size,
            threads=threads,
            on_progress=on_progress,
        )
        metadata = {
            "source": "tlsearch glyphs",
            "backbone": backbone,
            "image_size": str(image_size),
            "unseen_font_accuracy": f"{trained.unseen_font_accuracy:.4f}",
            "precision": trained.numerics.precision,
            "recipe": repr(recipe),
        }
        remove_drafts(file)  # the lock is held
        try:
            with atomic_write(file) as draft:
                save_file(trained.state, draft, metadata=metadata)
        except SafetensorError as error:  # how it reports a full disk
            raise OSError(str(error)) from error
    on_progress(1.0, f"source model: {trained.unseen_font_accuracy:.1%} on unseen fonts")
    return file
