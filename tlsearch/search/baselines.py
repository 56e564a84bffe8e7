"""The runs of a study: of its cells, and of fixed recipes that every search is measured against."""

from collections.abc import Mapping
from typing import Any

from tlsearch.config.catalog import CATALOGUE, groups
from tlsearch.config.cells import Cell
from tlsearch.config.schema import BACKBONE, StudyConfig
from tlsearch.config.space import Fixed, with_defaults
from tlsearch.config.strategy import ALL
from tlsearch.execution.runs import Role, Run

_COMMON: Mapping[str, Any] = {
    "unfreeze_every_epochs": 0,
    "lr_ratio": 1.0,
    "schedule": "cosine",
    "schedule.cosine.final_lr_fraction": 0.0,
    "warmup_epochs": 0,
    "warmup_steps": 0,
    "warmup_fraction": 0.0,
    "warmup_start_fraction": 0.0,
    "decay_norm_and_bias": False,
    "l1": 0.0,
    "dropout": 0.0,
    "clip_norm": None,
    "label_smoothing": 0.0,
    "patience_epochs": None,
}
_SGD: Mapping[str, Any] = {
    "optimizer": "sgd",
    "optimizer.sgd.momentum": 0.9,
    "optimizer.sgd.nesterov": True,
}
_ADAM: Mapping[str, Any] = {
    "optimizer": "adam",
    "optimizer.adam.beta1": 0.9,
    "optimizer.adam.beta2": 0.999,
}
# The linear probe is solved, as logistic regression, which needs no rate that suits the scale of a
# network's features; one epoch at next to no rate leaves it as it is, and scores it like any run.
# Full fine-tuning is the recipe of Kornblith et al. (arXiv:1805.08974). From scratch takes Adam and
# small batches because that served it better than SGD in a small sweep on the embedded data: no
# baseline is set up to lose. The sweep is not kept, so these rates are well-meant guesses.
BASELINES: Mapping[str, Mapping[str, Any]] = {
    "linear_probe": {
        **_SGD,
        "lr": 1e-9,
        "batch_size": 32,
        "weight_decay": 0.0,
        "head_init": "probe",
    },
    "full_fine_tuning": {
        **_SGD,
        "lr": 0.01,
        "batch_size": 32,
        "weight_decay": 1e-4,
        "freeze_depth": 0,
    },
    "from_scratch": {
        **_ADAM,
        "lr": 2e-3,
        "batch_size": 16,
        "weight_decay": 0.0,
        "freeze_depth": 0,
    },
}
_TRANSFER_ONLY: Mapping[str, Any] = {
    "lr_ratio": 1.0,
    "layer_decay": 1.0,
    "l2_sp": 0.0,
    "head_init": "random",
    "norm_momentum": None,
    "norm_statistics": "batch",
    "source_task_weight": 0.0,
}
"""What a network without pretrained weights has no use for."""


def baseline_run(config: StudyConfig, name: str, *, seed: int) -> Run:
    """One fixed baseline on one draw: seed 0 is the search's own split with all its folds, as a
    trial has them, for studies that confirm nothing; others redraw it and hold out one. Of several
    networks it takes the first.
    """
    network = config.backbone.names[0]
    head_only = len(groups(CATALOGUE[network])) - 1
    scratch = name == "from_scratch" or config.backbone.weights_of(network) == "none"
    return Run(
        study=config.name,
        scenario="",
        arm="",
        role="baseline",
        name=name,
        trial=None,
        params=with_defaults({**_COMMON, "freeze_depth": head_only, **BASELINES[name]}),
        init="random" if scratch else "pretrained",
        seed=config.search.seed + seed,
        redraw=seed,
        folds=folds_of(config, seed),
        num_epochs=1 if name == "linear_probe" else config.budget.epochs,
        backbone=network,
    )


def tuned_config(config: StudyConfig, name: str) -> StudyConfig:
    """The settings of a baseline that is tuned: the study's own space and budget on its first
    network, with every layer trained, and from scratch without what only transfer has.
    """
    fixed: dict[str, Any] = {"freeze_depth": 0, "trained": ALL, "unfreeze_every_epochs": 0}
    if name == "from_scratch":
        fixed |= _TRANSFER_ONLY
    space = config.space.model_copy(update={field: Fixed(value) for field, value in fixed.items()})
    one = config.with_backbone(config.backbone.names[0])
    return one.model_copy(update={"space": space, "baselines": {}})


def run_of(
    config: StudyConfig,
    cell: Cell,
    trial: int | None,
    params: Mapping[str, Any],
    *,
    seed: int = 0,
    setting: str = "",
) -> Run:
    """A configuration of a cell, whose settings `config` are, on one draw: `seed` 0 is that of its
    trials, others repeat one; `setting` is what a sweep sets.
    """
    baseline = cell.arm if not cell.scenario else ""
    network = params.get(BACKBONE) or config.backbone.name
    scratch = baseline == "from_scratch" or config.backbone.weights_of(network) == "none"
    repeated: Role = "sweep" if setting else "confirm"
    return Run(
        study=config.name,
        scenario=cell.scenario,
        arm="" if baseline else cell.arm,
        role="baseline" if baseline else repeated if seed else "trial",
        name=baseline or setting,
        trial=trial,
        params=params,
        init="random" if scratch else "pretrained",
        seed=config.search.seed + seed,
        redraw=seed,
        folds=folds_of(config, seed),
        num_epochs=config.budget.epochs,
        backbone=network,
    )


def folds_of(config: StudyConfig, seed: int) -> tuple[int, ...]:
    """The folds that a run trains: for seed 0 all of them, or the one holdout. A confirmation's
    seed, counted from 1, holds one out of its own redraw: seeds take turns, so that as many seeds
    as folds validate on every image. In time the folds are no equals: the last one trains on all
    that came before it.
    """
    num_folds = config.data.split.folds or 1
    if not seed:
        return tuple(range(num_folds))
    in_time = config.data.split.strategy == "time"
    return (num_folds - 1 if in_time else (seed - 1) % num_folds,)
