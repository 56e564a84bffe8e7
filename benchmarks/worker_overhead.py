"""What a worker's training costs beside a bare torch loop of the same steps.

    OMP_NUM_THREADS=1 python benchmarks/worker_overhead.py              # about three minutes
    OMP_NUM_THREADS=1 python benchmarks/worker_overhead.py --rounds 2

ResNet-18 at 32 px in batches of 32, one thread, SGD with momentum, a validation pass an epoch, as
the quickstart has it: 200 images train, 360 validate. Ours is what a worker does for a job once
its network is built: trainer, epochs, checkpoints by their policy, result. The bare loop has its
images normalised beforehand and records nothing but loss and accuracy.

The two take turns, an epoch each, and what is compared is the sum over a training's epochs of each
one's fastest round, in processor time: what other processes on the machine disturb least. That
leaves out checkpoints, whose policy allows 1 % more. The target is a ratio of at most 1.05.
"head" trains the last layer alone, for information: ours on kept activations, whose making is told
apart, the bare loop on features that it has in memory.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tlsearch.config.space import with_defaults
from tlsearch.config.strategy import Strategy
from tlsearch.models.backbones import MEAN, STD, Backbone, build_backbone
from tlsearch.models.freezing import freeze, set_train_mode
from tlsearch.training.batches import Pixels, TrainingData, epoch_order, pixel_batch
from tlsearch.training.checkpoint import COST_SHARE, Checkpointer
from tlsearch.training.feature_cache import ActivationStore
from tlsearch.training.plan import make_plan
from tlsearch.training.precision import BF16, FP32
from tlsearch.training.trainer import Trainer

CPU = torch.device("cpu")
CLASSES, SIZE, BATCH_SIZE, LR, MOMENTUM = 10, 32, 32, 0.01, 0.9
TRAIN, VALIDATION, TEST = 200, 360, 1237
STEPS = -(-TRAIN // BATCH_SIZE)
NUMERICS = {"fp32": FP32, "bf16": BF16}
STRATEGY = Strategy.from_params(
    with_defaults(
        {
            "freeze_depth": 0,
            "lr": LR,
            "lr_ratio": 1.0,
            "schedule": "constant",
            "warmup_epochs": 0,
            "optimizer": "sgd",
            "optimizer.sgd.momentum": MOMENTUM,
            "optimizer.sgd.nesterov": False,
            "weight_decay": 0.0,
            "dropout": 0.0,
            "batch_size": BATCH_SIZE,
        }
    ),
    init="random",
)


def digits_like() -> TrainingData:
    """As many images as the quickstart has, of noise."""
    draw = np.random.default_rng(0)
    num_images = TRAIN + VALIDATION + TEST
    pixels = Pixels(
        images=draw.integers(0, 256, (num_images, SIZE, SIZE, 1), dtype=np.uint8),
        labels=draw.integers(0, CLASSES, num_images),
        mean=MEAN,
        std=STD,
    )
    rows = draw.permutation(num_images)
    train, validation = np.sort(rows[:TRAIN]), np.sort(rows[TRAIN : TRAIN + VALIDATION])
    return TrainingData(pixels, train, validation, CLASSES, None)


def network() -> Backbone:
    return build_backbone(
        name="resnet18", num_classes=CLASSES, image_size=SIZE, dropout=0.0, seed=0
    )


def ours(
    data: TrainingData, store: ActivationStore, folder: Path, *, depth: int, epochs: int, p: str
) -> Iterator[float]:
    """A training as a worker carries it out: the training loss of each epoch."""
    backbone = network()
    plan = make_plan(
        replace(STRATEGY, freeze_depth=depth),
        groups=backbone.groups,
        num_train_images=TRAIN,
        num_epochs=epochs,
    )
    yield 0.0  # so far for free: the bare loop has a network, too
    trainer = Trainer(
        backbone,
        plan=plan,
        data=data,
        activations=store,
        metric="val_accuracy",
        seed=0,
        numerics=NUMERICS[p],
        device=CPU,
        adaptation=None,
        second_task=None,
        measure_updates=False,
    )
    # Half the share, because the clock that it is a share of runs through the bare turns as well.
    keeper = Checkpointer(folder / "trial.ckpt", cost_share=COST_SHARE / 2)
    keeper.restore(trainer)
    for result in trainer.epochs():
        if trainer.finished:
            trainer.finish()
            keeper.remove()
        else:
            keeper.after_epoch(trainer)
        yield result.train_loss


def bare(data: TrainingData, *, depth: int, epochs: int, p: str) -> Iterator[float]:
    """The same steps as a script would write them."""
    backbone = network()
    model: nn.Module = backbone.model.to(memory_format=torch.channels_last)
    inputs = pixel_batch(data.pixels, np.arange(len(data.pixels.labels)), device=CPU)
    labels = torch.from_numpy(data.pixels.labels)
    if depth:
        freeze(backbone, backbone.groups[depth:], norms_alone=False)
        set_train_mode(backbone, backbone.groups[depth:])
        model, inputs = backbone.head, features(backbone, inputs, depth)
    yield 0.0

    def forward(rows: Tensor) -> Tensor:
        with NUMERICS[p].autocast(CPU):
            logits: Tensor = model(inputs[rows])
        return logits.float()

    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, fused=True)
    held_out = torch.from_numpy(data.validation)
    for epoch in range(1, epochs + 1):
        model.train()
        loss_sum, hits = 0.0, 0
        order = torch.from_numpy(epoch_order(data.train, seed=0, epoch=epoch))
        for rows in torch.tensor_split(order, STEPS):
            optimizer.zero_grad()
            logits = forward(rows)
            loss = F.cross_entropy(logits, labels[rows])
            torch.autograd.backward(loss)
            optimizer.step()
            loss_sum += loss.item() * len(rows)
            hits += int((logits.argmax(1) == labels[rows]).sum())
        model.eval()
        with torch.no_grad():
            logits = torch.cat([forward(rows) for rows in torch.split(held_out, 256)])
            F.cross_entropy(logits, labels[held_out]).item()
            (logits.argmax(1) == labels[held_out]).double().mean().item()
        yield loss_sum / TRAIN


@torch.no_grad()
def features(backbone: Backbone, images: Tensor, depth: int) -> Tensor:
    parts = []
    for part in torch.split(images, 256):
        batch = part
        for stage in backbone.stages[:depth]:
            batch = stage(batch)
        parts.append(batch)
    return torch.cat(parts)


def seconds(training: Iterator[float]) -> tuple[float, float]:
    """Processor seconds of the next epoch, and its training loss."""
    start = time.process_time()
    loss = next(training)
    return time.process_time() - start, loss


def race(mine: Iterator[float], plain: Iterator[float], *, epochs: int) -> np.ndarray:
    """Processor seconds of each epoch (2, epochs), ours and bare; they take turns."""
    next(mine), next(plain)
    taken = np.empty((2, epochs))
    for i in range(epochs):
        losses = [0.0, 0.0]
        for which in (0, 1) if i % 2 else (1, 0):
            taken[which, i], losses[which] = seconds((mine, plain)[which])
        # Kept features come from other batches than those in memory: the last bit may differ.
        assert abs(losses[0] - losses[1]) <= 1e-3 * losses[1], losses
    return taken


def compare(
    name: Literal["full", "head"], data: TrainingData, folder: Path, *, rounds: int, p: str
) -> None:
    depth, epochs = (0, 4) if name == "full" else (5, 100)
    store = ActivationStore(folder, pixels=data.pixels, data_key="", numerics=NUMERICS[p])
    if depth:
        backbone = network()
        backbone.model.to(memory_format=torch.channels_last)
        start = time.process_time()
        store.at_depth(backbone.stages[:depth], np.arange(len(data.pixels.images)), device=CPU)
        print(f"{name} {p}: activations made in {time.process_time() - start:.2f} s")
    rounds_taken = [
        race(
            ours(data, store, folder, depth=depth, epochs=epochs, p=p),
            bare(data, depth=depth, epochs=epochs, p=p),
            epochs=epochs,
        )
        for _ in range(rounds)
    ]
    mine, plain = np.min(rounds_taken, axis=0).sum(axis=1)
    steps = epochs * STEPS
    print(
        f"{name} {p}: {1e3 * mine / steps:7.2f} ms a step, bare {1e3 * plain / steps:7.2f}, "
        f"ratio {mine / plain:.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    data = digits_like()
    with tempfile.TemporaryDirectory() as folder:
        for p in NUMERICS:
            compare("full", data, Path(folder), rounds=rounds, p=p)
        compare("head", data, Path(folder), rounds=rounds, p="fp32")


if __name__ == "__main__":
    main()
