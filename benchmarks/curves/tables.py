"""The kept curves as Parquet: a table of trainings, one of their epochs, one of measured times.

`trainings` has a row for each training, its configuration in columns named as in a study; `epochs`
a row for each of its epochs; both name it by `training`. `times` has what an epoch costs.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

TRAININGS, EPOCHS, TIMES = "trainings.parquet", "epochs.parquet", "times.parquet"
ALL = (TRAININGS, EPOCHS, TIMES)
PARAMS: Mapping[str, pa.DataType] = {
    "freeze_depth": pa.int8(),
    "lr": pa.float32(),
    "lr_ratio": pa.float32(),
    "warmup_fraction": pa.float32(),
    "weight_decay": pa.float32(),
    "dropout": pa.float32(),
    "batch_size": pa.int16(),
    "optimizer": pa.string(),
    "optimizer.sgd.momentum": pa.float32(),
    "head_init": pa.string(),
    "norm_statistics": pa.string(),
}
"""What the default space searches; all else is the same in every trial."""
_TRAINING: Mapping[str, pa.DataType] = {
    "task": pa.string(),
    "training": pa.int16(),
    "configuration": pa.int16(),
    "baseline": pa.string(),
    "redraw": pa.int8(),
    **PARAMS,
    "ending": pa.string(),
    "test_accuracy": pa.float32(),
    "test_log_loss": pa.float32(),
}
FIGURES = (
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "val_balanced_accuracy",
    "val_macro_f1",
    "val_macro_auroc",
    "max_grad_norm",
    "seconds",
)
"""Columns of epochs, as `EpochResult` has them."""
_EPOCH: Mapping[str, pa.DataType] = {
    "task": pa.string(),
    "training": pa.int16(),
    "epoch": pa.int8(),
    **dict.fromkeys(FIGURES, pa.float32()),
}
_PLACE = ("task", "training")
_TIME: Mapping[str, pa.DataType] = {
    "task": pa.string(),
    "freeze_depth": pa.int8(),
    "batch_size": pa.int16(),
    "start_seconds": pa.float32(),
    "step_seconds": pa.float32(),
    "validation_seconds": pa.float32(),
    "kept_seconds": pa.float32(),
}


def key_of(params: Mapping[str, Any]) -> tuple[Any, ...]:
    """The same for a configuration that was drawn and for its row in the tables."""
    values = (params.get(name) for name in PARAMS)
    return tuple(f"{np.float32(v):.6g}" if isinstance(v, float) else v for v in values)


def identity(record: Mapping[str, Any]) -> tuple[str, int, int]:
    """Which of a task's trainings a record is of: a baseline or a configuration, and its redraw."""
    number = record["configuration"]
    return record["name"], -1 if number is None else number, record["redraw"]


def trainings_of(task: str, records: Sequence[Mapping[str, Any]]) -> tuple[list[Any], list[Any]]:
    """Rows of `trainings` and `epochs` from the lines that the recording keeps of a task."""
    rows, epochs = [], []
    for number, record in enumerate(sorted(records, key=identity)):
        named = {"task": task, "training": number}
        known = {name: record["params"].get(name) for name in PARAMS}
        plain = {name: record.get(name) for name in _TRAINING if name not in known}
        rows.append({**plain, **known, **named, "baseline": record["name"] or None})
        epochs += [{**epoch, **named} for epoch in record.get("epochs", ())]
    return rows, epochs


def records_of(task: str, folder: Path) -> list[dict[str, Any]]:
    """What the tables hold of a task, as recordings keep it; of parameters those of `PARAMS`."""
    epochs: dict[int, list[Any]] = defaultdict(list)
    for row in read(folder, EPOCHS):
        if row["task"] == task:
            epochs[row["training"]].append({k: v for k, v in row.items() if k not in _PLACE})
    found = []
    for row in read(folder, TRAININGS):
        if row["task"] == task:
            params = {name: row[name] for name in PARAMS if row.get(name) is not None}
            plain = {name: value for name, value in row.items() if name not in PARAMS}
            named = {"name": row["baseline"] or "", "params": params}
            found.append({**plain, **named, "epochs": epochs[row["training"]]})
    return found


def write(folder: Path, name: str, rows: Sequence[Any], *, about: Mapping[str, str]) -> None:
    """Write a table, with what is to be known about it in its metadata."""
    fields = {TRAININGS: _TRAINING, EPOCHS: _EPOCH, TIMES: _TIME}[name]
    schema = pa.schema(list(fields.items()), metadata=dict(about))
    columns = {key: [row.get(key) for row in rows] for key in fields}
    table = pa.table(columns, schema=schema)
    pq.write_table(table, folder / name, compression="zstd", use_dictionary=True)


def read(folder: Path, name: str) -> list[dict[str, Any]]:
    """The rows of a table; none where it is not there."""
    path = folder / name
    found: list[dict[str, Any]] = pq.read_table(path).to_pylist() if path.exists() else []
    return found


def about(folder: Path, name: str) -> dict[str, str]:
    """What is to be known about a table."""
    metadata = pq.read_schema(folder / name).metadata or {}
    return {key.decode(): value.decode() for key, value in metadata.items()}
