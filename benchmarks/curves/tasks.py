"""The tasks whose learning curves are kept, and the configurations that were trained on them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.stats import qmc

from tlsearch.config.catalog import CATALOGUE, groups
from tlsearch.config.schema import BASELINES, StudyConfig
from tlsearch.config.space import Choice, Dimension, Fixed, Range
from tlsearch.execution.runs import Run
from tlsearch.search.baselines import baseline_run, run_of
from tlsearch.search.store import SEARCH

HERE = Path(__file__).parent
EPOCHS = 10
CONFIGURATIONS = 150
TURNS = (40, 80, CONFIGURATIONS)
"""Configurations of a task that are trained before the next task's turn."""
SEEDS = 3
"""Redraws of a repetition, as a confirmation has them."""
DRAWN_WITH = 14
"""Seed of the quasi-random draw: all tasks train the same points in units of their space."""
LITE, LETTERS = "timm/tf_efficientnet_lite0", {"images": 900, "classes": 12, "difficulty": 0.4}
TEXTURES = {"images": 900, "classes": 8, "difficulty": 0.5}


class Task(NamedTuple):
    """Images and network of a task. `labels` are those of a class that train, None for all of the
    training part; `validation` and `test` are shares of the images.
    """

    source: Any
    backbone: str
    size: int
    labels: int | None
    validation: float
    test: float

    @property
    def weights(self) -> Literal["glyphs", "imagenet"]:
        return "imagenet" if self.backbone == LITE else "glyphs"


# Folders are those of benchmarks/real_images.py, below `real`. Cheap ones first.
TASKS: Mapping[str, Task] = {
    "letters-5-resnet10": Task({"letters": LETTERS}, "resnet10", 32, 5, 0.15, 0.4),
    "photographs-5-lite0": Task({"folder": "real/photographs"}, LITE, 48, 5, 0.2, 0.35),
    "textures-5-resnet18": Task({"textures": TEXTURES}, "resnet18", 32, 5, 0.15, 0.4),
    "fashion-5-lite0": Task({"folder": "real/fashion"}, LITE, 48, 5, 0.07, 0.2),
    "handwriting-5-lite0": Task({"folder": "real/handwriting"}, LITE, 48, 5, 0.07, 0.2),
    "digits-20-resnet10": Task("digits", "resnet10", 32, 20, 0.07, 0.2),
    "photographs-9-lite0": Task({"folder": "real/photographs"}, LITE, 48, 9, 0.2, 0.35),
    "fashion-20-lite0": Task({"folder": "real/fashion"}, LITE, 48, 20, 0.07, 0.2),
}


def study(name: str, **changes: Any) -> StudyConfig:
    """The study that `tlsearch init` would write for a task, with the space of batch sizes of the
    quickstart; `changes` are further sections.
    """
    task = TASKS[name]
    depth = len(groups(CATALOGUE[task.backbone])) - 1
    return StudyConfig.model_validate(
        {
            "name": name,
            "data": {
                "source": task.source,
                "size": task.size,
                "split": {"validation": task.validation, "test": task.test},
                "labels_per_class": task.labels,
            },
            "backbone": {"name": task.backbone, "weights": task.weights},
            "budget": {"trials": CONFIGURATIONS, "epochs": EPOCHS},
            "precision": "fp32",
            "confirm": {"seeds": SEEDS},
            "space": {
                "freeze_depth": {"low": 0, "high": depth},
                "lr": {"low": 1e-4, "high": 1e-1, "log": True},
                "lr_ratio": {"low": round(0.1 ** min(1, 5 / depth), 1), "high": 1.0, "log": True},
                "head_init": ["random", "probe"],
                "norm_statistics": ["batch", "pretrained"],
                "warmup_fraction": {"low": 0.0, "high": 0.3},
                "weight_decay": {"low": 1e-6, "high": 1e-2, "log": True},
                "dropout": {"low": 0.0, "high": 0.5},
                "batch_size": [16, 32],
                "optimizer": {"sgd": {"momentum": {"low": 0.8, "high": 0.99}}, "adam": {}},
            },
            **changes,
        }
    )


def configurations(config: StudyConfig, number: int = CONFIGURATIONS) -> list[dict[str, Any]]:
    """The first `number` points of a scrambled Sobol sequence over all searched dimensions, those
    that a choice opens among them: each part of the sequence is spread evenly.
    """
    names = list(config.searched())
    engine = qmc.Sobol(len(names), seed=DRAWN_WITH)
    points = engine.random_base2((number - 1).bit_length())[:number]

    def point(row: np.ndarray) -> dict[str, Any]:
        shares = dict(zip(names, row.tolist(), strict=True))
        return config.assign(lambda name, dimension: value_at(dimension, shares[name]))

    return [point(row) for row in points]


def value_at(dimension: Dimension, share: float) -> Any:
    """The value below which `share`, from 0 to below 1, of a dimension lies."""
    match dimension:
        case Choice(values):
            return values[int(share * len(values))]
        case Range(low, high, log) if dimension.whole and not log:
            return int(low + share * (high - low + 1))
        case Range(low, high, True) if not dimension.whole:
            return float(low * (high / low) ** share)
        case Range(low, high) if not dimension.whole:
            return low + share * (high - low)
        case Fixed(value):
            return value
    raise AssertionError(f"{dimension} is none of the default space")


def run(config: StudyConfig, number: int, params: Mapping[str, Any], *, redraw: int) -> Run:
    """A training of a configuration, as a trial or as a confirmation's repetition."""
    return run_of(config, SEARCH, number, params, seed=redraw)


def baseline_runs(config: StudyConfig, redraws: Sequence[int]) -> list[Run]:
    """Every fixed baseline on these redraws; 0 is the search's own split."""
    return [baseline_run(config, name, seed=s) for s in redraws for name in BASELINES]
