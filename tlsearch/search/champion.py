"""The winner as a model that others can load: logged to MLflow and registered there, from a process
of its own.

It needs torch and mlflow together, which neither the coordinator nor a worker carries.
"""

import multiprocessing
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from tlsearch.errors import TlsearchError, WorkError
from tlsearch.search.errand import POLL_SECONDS
from tlsearch.search.interrupts import Interrupted, Interrupts
from tlsearch.search.work.worker import ignore_interrupts, leave_with_parent
from tlsearch.study.values import hidden
from tlsearch.transfer.model_facts import ModelFacts


@dataclass(frozen=True, kw_only=True)
class Champion:
    """Which weights to log, and where; `tags` are those of its version in the registry."""

    weights: Path
    tracking_uri: str
    run_id: str
    facts: ModelFacts
    tags: Mapping[str, str]


class Logged(NamedTuple):
    """The address of the model, and the one in the registry; None, and why, if it has none."""

    model: str
    registered: str | None
    remark: str


def log_champion(champion: Champion, *, interrupts: Interrupts) -> Logged:
    """Log and register the model, each once however often this is called or cut off.

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
        answer: Logged | str = ours.recv()
    except EOFError:
        answer = f"the process ended with exit code {process.exitcode}"
    process.join()
    if isinstance(answer, str):
        raise WorkError(
            f"the model could not be logged to MLflow at {hidden(champion.tracking_uri)}: "
            f"{answer} — "
            f"the weights are kept in {champion.weights}; run again to try once more"
        )
    return answer


def _log(pipe: "Connection[Any, Any]", champion: Champion) -> None:
    ignore_interrupts()
    leave_with_parent()
    try:
        model = _write(champion)
        pipe.send(Logged(model, *_register(champion, model)))
    except TlsearchError as error:
        pipe.send(str(error))
    except Exception as error:  # whatever MLflow or torch raise: the parent words it
        pipe.send(f"{type(error).__name__}: {error}")


def _register(champion: Champion, model: str) -> tuple[str | None, str]:
    """The address in the registry, or why there is none: a model that is logged is not lost."""
    from tlsearch.tracking.registry import register_model

    try:
        address = register_model(
            tracking_uri=champion.tracking_uri,
            name=champion.facts.study,
            model=model,
            run_id=champion.run_id,
            tags=champion.tags,
        )
    except Exception as error:  # a registry is a server's own affair: no kind of failure ends a run
        return None, f"{error} — it is logged all the same: {model}"
    return address, ""


def _write(champion: Champion) -> str:
    import numpy as np

    from tlsearch.search.provenance import requirements
    from tlsearch.tracking.model import log_model
    from tlsearch.transfer.deployment import load_classifier

    facts = champion.facts
    size = facts.image_size
    return log_model(
        tracking_uri=champion.tracking_uri,
        run_id=champion.run_id,
        model_key=champion.weights.stem,
        module=load_classifier(
            champion.weights,
            backbone=facts.backbone,
            num_classes=len(facts.class_names),
            image_size=size,
        ),
        example=np.zeros((2, 3, size, size), dtype=np.float32),
        class_names=facts.class_names,
        metadata=facts.as_json(),
        pip_requirements=requirements(),
    )
