"""The winner as a model that others can load: logged to MLflow from a process of its own.

It needs torch and mlflow together, which neither the coordinator nor a worker carries.
"""

import multiprocessing
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tlsearch.errors import TlsearchError, WorkError
from tlsearch.search.errand import POLL_SECONDS
from tlsearch.search.interrupts import Interrupted, Interrupts
from tlsearch.search.jobs import Setting
from tlsearch.search.worker import ignore_interrupts, leave_with_parent
from tlsearch.study.values import hidden


@dataclass(frozen=True, kw_only=True)
class Champion:
    """Which weights to log, and where."""

    setting: Setting
    weights: Path
    tracking_uri: str
    run_id: str
    metadata: Mapping[str, Any]


def log_champion(champion: Champion, *, interrupts: Interrupts) -> str:
    """The address of the logged model.

    Raises:
        WorkError: MLflow could not take it, with MLflow's own words.
        Interrupted: the user asked to leave; the next run deletes what is half logged.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_log, args=(theirs, champion), daemon=True)
    process.start()
    theirs.close()
    while not ours.poll(POLL_SECONDS):
        if interrupts.stopping:
            process.kill()
            process.join()
            raise Interrupted("stopped as asked; run again to log the model")
    try:
        answer: tuple[str, str] = ours.recv()
    except EOFError:
        answer = ("error", f"the process ended with exit code {process.exitcode}")
    process.join()
    if answer[0] == "error":
        raise WorkError(
            f"the model could not be logged to MLflow at {hidden(champion.tracking_uri)}: "
            f"{answer[1]} — "
            f"the weights are kept in {champion.weights}; run again to try once more"
        )
    return answer[1]


def _log(pipe: "Connection[Any, Any]", champion: Champion) -> None:
    ignore_interrupts()
    leave_with_parent()
    try:
        pipe.send(("model", _write(champion)))
    except TlsearchError as error:
        pipe.send(("error", str(error)))
    except Exception as error:  # whatever MLflow or torch raise: the parent words it
        pipe.send(("error", f"{type(error).__name__}: {error}"))


def _write(champion: Champion) -> str:
    import numpy as np
    from safetensors.torch import load_file

    from tlsearch.search.provenance import requirements
    from tlsearch.tracking.model import log_model
    from tlsearch.transfer.backbones import build_backbone
    from tlsearch.transfer.deployment import Classifier

    setting = champion.setting
    config = setting.config
    backbone = build_backbone(
        name=config.backbone.name,
        num_classes=setting.data.num_classes,
        image_size=config.data.size,
        dropout=0.0,
        seed=0,
    )
    backbone.model.load_state_dict(load_file(champion.weights))
    size = config.data.size
    return log_model(
        tracking_uri=champion.tracking_uri,
        run_id=champion.run_id,
        model_key=champion.weights.stem,
        module=Classifier(backbone).eval(),
        example=np.zeros((2, 3, size, size), dtype=np.float32),
        class_names=setting.data.class_names,
        metadata=dict(champion.metadata),
        pip_requirements=requirements(),
    )
