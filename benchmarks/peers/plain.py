"""A search over transfer-learning strategies with Optuna, MLflow and timm, as a good user would.

    python benchmarks/peers/plain.py TASK STATE --plan tpe-median --trials 60 --epochs 10

TASK holds images.npz, decoded, and weights.safetensors of ImageNet; STATE the stores that `create`
makes. To search in two processes start it twice, with `--rank 0 --of 2` and `--rank 1 --of 2`.
benchmarks/versus.py does all of this. The space is that of `tlsearch init`, of whose code only the
linear probe is used here, so that heads start alike.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import numpy as np
import optuna
import timm
import torch
import torch.nn.functional as F
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import MaxTrialsCallback
from optuna.trial import TrialState
from safetensors.torch import load_file
from torch import Tensor, nn

from tlsearch.metrics.linear_probe import fit_probe

NETWORK = "tf_efficientnet_lite0"
SEARCH, FULL = "search", "full"  # studies; the second is of the best after one epoch
BEST = 6
PLANS = ("tpe-median", "given", "one-epoch-first", "no-training")
BEGUN = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING)


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    found: dict[str, Any] = {
        "freeze_depth": trial.suggest_int("freeze_depth", 0, 9),
        "lr": trial.suggest_float("lr", 1e-4, 1e-1, log=True),
        "lr_ratio": trial.suggest_float("lr_ratio", 0.3, 1.0, log=True),
        "warmup_fraction": trial.suggest_float("warmup_fraction", 0.0, 0.3),
        "optimizer": trial.suggest_categorical("optimizer", ["sgd", "adam"]),
    }
    if found["optimizer"] == "sgd":
        found["momentum"] = trial.suggest_float("optimizer.sgd.momentum", 0.8, 0.99)
    found["weight_decay"] = trial.suggest_float("weight_decay", 1e-6, 1e-2, log=True)
    found["dropout"] = trial.suggest_float("dropout", 0.0, 0.5)
    found["batch_size"] = trial.suggest_categorical("batch_size", [16, 32])
    found["head_init"] = trial.suggest_categorical("head_init", ["random", "probe"])
    statistics = ["batch", "pretrained"]
    found["norm_statistics"] = trial.suggest_categorical("norm_statistics", statistics)
    return found


# Images and network.


class Numbers(NamedTuple):
    """How to compute."""

    channels_last: bool
    bf16: bool

    @property
    def layout(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format


class Images(NamedTuple):
    """Normalised images (N, 3, H, W), labels (N,): the first `train` train, the others validate."""

    pixels: Tensor
    labels: Tensor
    train: int
    num_classes: int


def read(task: Path, layout: torch.memory_format) -> Images:
    with np.load(task / "images.npz") as found:
        pixels = torch.from_numpy(found["images"]).permute(0, 3, 1, 2).expand(-1, 3, -1, -1)
        mean, std = (torch.from_numpy(found[n]).view(1, 3, 1, 1) for n in ("mean", "std"))
        pixels = ((pixels.float() / 255 - mean) / std).contiguous(memory_format=layout)
        labels = torch.from_numpy(found["labels"])
        return Images(pixels, labels, int(found["train"]), int(found["num_classes"]))


@cache
def pretrained(task: Path) -> nn.Module:
    model = timm.create_model(NETWORK, num_classes=0)
    missing, _ = model.load_state_dict(load_file(task / "weights.safetensors"), strict=False)
    assert not missing, missing  # what is left over is ImageNet's head
    frozen: nn.Module = model.eval()
    return frozen


def stages_of(model: Any) -> list[nn.Module]:
    """The parts that can be frozen, from the input on."""
    first, last = (model.conv_stem, model.bn1), (model.conv_head, model.bn2)
    return [nn.Sequential(*first), *model.blocks, nn.Sequential(*last)]


def forward(model: Any, stages: Sequence[nn.Module], images: Tensor, *, depth: int) -> Tensor:
    """Logits in fp32; of the frozen stages no graph is kept."""
    with torch.no_grad():
        for stage in stages[:depth]:
            images = stage(images)
    for stage in stages[depth:]:
        images = stage(images)
    logits: Tensor = model.forward_head(images)
    return logits.float()


@cache
def probe(task: Path, layout: torch.memory_format) -> tuple[Tensor, Tensor]:
    """Weight and bias of a linear probe of the frozen features, which all trials share."""
    images, model = read(task, layout), pretrained(task)
    with torch.no_grad():
        parts = torch.split(images.pixels[: images.train], 256)
        features = torch.cat([model(part) for part in parts]).double().numpy()
    found = fit_probe(features, images.labels[: images.train].numpy())
    return torch.from_numpy(found.weight).float(), torch.from_numpy(found.bias).float()


# A training.


def train(
    task: Path,
    images: Images,
    params: Mapping[str, Any],
    *,
    num_epochs: int,
    numbers: Numbers,
    seed: int,
) -> Iterator[dict[str, float]]:
    """Loss and accuracy of each epoch, those of the validation images, too."""
    torch.manual_seed(seed)
    model: Any = deepcopy(pretrained(task))
    model.reset_classifier(images.num_classes)
    model.drop_rate = params["dropout"]
    if params["head_init"] == "probe":
        with torch.no_grad():
            for of, value in zip(
                (model.classifier.weight, model.classifier.bias),
                probe(task, numbers.layout),
                strict=True,
            ):
                of.copy_(value)
    model.to(memory_format=numbers.layout)
    stages, depth = stages_of(model), params["freeze_depth"]
    optimizer = optimizer_of([*stages, model.classifier], params)
    size = params["batch_size"]
    starts = list(range(0, images.train, size))
    if images.train - starts[-1] < max(2, size / 4) and len(starts) > 1:
        starts.pop()  # a few images upset BatchNorm: they join the batch before
    steps = num_epochs * len(starts)
    warmup = int(min(round(params["warmup_fraction"] * steps), steps - 1))
    factor = partial(lr_factor, warmup=warmup, steps=steps)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=numbers.bf16)
    for _ in range(num_epochs):
        model.train()
        for stage in stages[:depth]:
            stage.eval()
        for module in model.modules() if params["norm_statistics"] == "pretrained" else ():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        loss_sum, hits = 0.0, 0
        for rows in torch.tensor_split(torch.randperm(images.train), starts[1:]):
            batch = images.pixels[rows].contiguous(memory_format=numbers.layout)
            labels = images.labels[rows]
            optimizer.zero_grad()
            with autocast:
                logits = forward(model, stages, batch, depth=depth)
            loss = F.cross_entropy(logits, labels)
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            loss_sum += loss.item() * len(rows)
            hits += int((logits.argmax(1) == labels).sum())
        model.eval()
        labels = images.labels[images.train :]
        with torch.no_grad(), autocast:
            parts = torch.split(images.pixels[images.train :], 256)
            logits = torch.cat([forward(model, stages, part, depth=depth) for part in parts])
        found = {
            "train_loss": loss_sum / images.train,
            "train_accuracy": hits / images.train,
            "val_loss": F.cross_entropy(logits, labels).item(),
            "val_accuracy": (logits.argmax(1) == labels).double().mean().item(),
        }
        if not all(map(math.isfinite, found.values())):
            raise optuna.TrialPruned
        yield found


def optimizer_of(parts: Sequence[nn.Module], params: Mapping[str, Any]) -> torch.optim.Optimizer:
    """Over the parts, the head last, that are not frozen: each has a rate, biases no decay."""
    groups = []
    for place, part in enumerate(parts):
        part.requires_grad_(place >= params["freeze_depth"])
        if place < params["freeze_depth"]:
            continue
        rate = params["lr"] * params["lr_ratio"] ** (len(parts) - 1 - place)
        for decay, is_matrix in ((params["weight_decay"], True), (0.0, False)):
            chosen = [p for p in part.parameters() if (p.ndim > 1) is is_matrix]
            groups.append({"params": chosen, "lr": rate, "weight_decay": decay})
    if params["optimizer"] == "sgd":
        return torch.optim.SGD(groups, momentum=params["momentum"], fused=True)
    return torch.optim.Adam(groups, fused=True)


def lr_factor(step: int, *, warmup: int, steps: int) -> float:
    """Linear warm-up, then half a cosine."""
    share = min(max(0, step - warmup) / max(1, steps - warmup), 1)
    return min(1.0, (step + 1) / (warmup + 1)) * 0.5 * (1 + math.cos(math.pi * share))


def fastest(task: Path) -> Numbers:
    """The way of computing in which an epoch is fastest, the best of three in turn."""
    params: dict[str, Any] = {
        "freeze_depth": 0,
        "lr": 1e-4,
        "lr_ratio": 1.0,
        "warmup_fraction": 0.0,
    }
    params |= {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 1e-4, "dropout": 0.0}
    params |= {"batch_size": 32, "head_init": "random", "norm_statistics": "batch"}
    ways = [Numbers(last, bf16) for last in (True, False) for bf16 in (False, True)]
    epochs = {
        way: train(task, read(task, way.layout), params, num_epochs=4, numbers=way, seed=0)
        for way in ways
    }
    least = dict.fromkeys(ways, math.inf)
    for turn in range(4):
        for way, training in epochs.items():
            start = time.perf_counter()
            next(training)
            if turn:  # the first warms up
                least[way] = min(least[way], time.perf_counter() - start)
    return min(ways, key=lambda way: least[way])


def no_training(num_epochs: int) -> Iterator[dict[str, float]]:
    """In place of `train`, to see what is spent beside it."""
    for n in range(1, num_epochs + 1):
        loss = {"train_loss": 1 / n, "val_loss": 1 / n}
        yield {**loss, "train_accuracy": 1 - 0.5 / n, "val_accuracy": 1 - 0.6 / n}


# The search.


def journal(state: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(state / "optuna.journal")))


def tracking(state: Path) -> str:
    return f"sqlite:///{state}/mlflow.db"


def create(state: Path, given: Sequence[Mapping[str, Any]]) -> None:
    """The studies and the experiment, before any process writes; `given` are trials to run."""
    study = optuna.create_study(study_name=SEARCH, storage=journal(state), direction="maximize")
    for params in given:
        study.enqueue_trial(dict(params))
    optuna.create_study(study_name=FULL, storage=journal(state), direction="maximize")
    client = mlflow.MlflowClient(tracking(state))  # the global address would go to other processes
    client.create_experiment(SEARCH, (state / "artifacts").as_uri())


class Search:
    """One process of a search."""

    def __init__(self, given: argparse.Namespace, numbers: Numbers) -> None:
        self._given, self._numbers = given, numbers
        self._images = read(given.task, numbers.layout)
        mlflow.set_tracking_uri(tracking(given.state))
        mlflow.set_experiment(SEARCH)

    def run(self, name: str, trials: int, epochs: int) -> optuna.Study:
        """Carry out trials until there are as many in all processes together."""
        given = self._given
        seed, by_model = given.seed * given.of + given.rank, given.plan == "tpe-median"
        samplers, pruners = optuna.samplers, optuna.pruners
        study = optuna.load_study(
            study_name=name,
            storage=journal(given.state),
            sampler=(samplers.TPESampler if by_model else samplers.RandomSampler)(seed=seed),
            pruner=pruners.MedianPruner() if by_model else pruners.NopPruner(),
        )
        if sum(trial.state in BEGUN for trial in study.get_trials(deepcopy=False)) < trials:
            stop = MaxTrialsCallback(trials, states=BEGUN)
            study.optimize(lambda trial: self._objective(trial, epochs), callbacks=[stop])
        return study

    def _objective(self, trial: optuna.Trial, epochs: int) -> float:
        given, params, value = self._given, suggest(trial), 0.0
        if given.plan == "no-training":
            training = no_training(given.epochs)
        else:
            numbers, seed = self._numbers, given.seed
            training = train(
                given.task,
                self._images,
                params,
                num_epochs=given.epochs,
                numbers=numbers,
                seed=seed,
            )
        with mlflow.start_run(run_name=f"trial-{trial.number}"):
            mlflow.log_params(params)
            for epoch, figures in enumerate(islice(training, epochs), 1):
                mlflow.log_metrics(figures, step=epoch)
                value = figures["val_accuracy"]
                trial.report(value, epoch)
                if trial.should_prune():
                    raise optuna.TrialPruned
        return value

    def one_epoch_first(self) -> None:
        """An epoch for all, then the best anew and in full."""
        given = self._given
        study = self.run(SEARCH, given.trials, 1)
        full = optuna.load_study(study_name=FULL, storage=journal(given.state))
        wanted = min(BEST, given.trials)
        if given.rank:
            while len(full.get_trials(deepcopy=False)) < wanted:
                time.sleep(0.02)
        else:
            while any(t.state == TrialState.RUNNING for t in study.get_trials(deepcopy=False)):
                time.sleep(0.02)
            ended = [t for t in study.get_trials() if t.state == TrialState.COMPLETE]
            for trial in sorted(ended, key=lambda t: -(t.value or 0.0))[:wanted]:
                full.enqueue_trial(trial.params)
        self.run(FULL, wanted, given.epochs)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("task", type=Path)
    parser.add_argument("state", type=Path)
    parser.add_argument("--plan", choices=(*PLANS, "fastest"), default="tpe-median")
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rank", type=int, default=0)
    parser.add_argument("--of", type=int, default=1, help="processes")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--bf16", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if given.plan == "fastest":
        print(json.dumps(fastest(given.task)._asdict()))
        return
    search = Search(given, Numbers(given.channels_last, given.bf16))
    if given.plan == "one-epoch-first":
        search.one_epoch_first()
    else:
        search.run(SEARCH, given.trials, given.epochs)


if __name__ == "__main__":
    main()
