"""Where a study comes from, what it cost, and how to repeat it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tlsearch.config.catalog import CATALOGUE
from tlsearch.config.cost import giga_macs
from tlsearch.config.resolved import redacted, to_yaml
from tlsearch.config.schema import StudyConfig
from tlsearch.report.wording import count, duration
from tlsearch.search.provenance import git_revision, versions
from tlsearch.search.store import FACTS, ORIGIN, Store
from tlsearch.search.summary import Summary

_PASSES = 3
"""Forward, and backward by weights and by inputs."""


class Provenance(NamedTuple):
    """Where the study comes from and what it cost.

    `command` is the command that was really given; `versions` and `revision` are of that moment if
    `is_noted`, else of the one when the report is made, and `cores` is None. `giga_macs` counts
    multiply-adds of all trainings in 10⁹ as if every layer were trained on every image. `seconds`
    are of training, added over workers; `as_of` is when the last run ended.
    """

    study_yaml: str
    command: str | None
    versions: Mapping[str, str]
    revision: str | None
    cores: int | None
    is_noted: bool
    facts: Mapping[str, Any]
    seeds: Mapping[str, str]
    image_size: int
    trainings: int
    images_trained: int
    giga_macs: float
    seconds: float
    as_of: str | None

    @property
    def cost(self) -> str:
        """What the trainings took, as far as it costs energy."""
        size = self.image_size
        return (
            f"{count(self.trainings, 'training')}, {self.images_trained:,} images of "
            f"{size}\u00a0×\u00a0{size} pixels seen, {duration(self.seconds)} of training added "
            f"over workers; at most {_macs(self.giga_macs)} multiply-adds, if every layer had been "
            "trained on every image"
        )

    @property
    def machine(self) -> str:
        """What it ran on, as far as it is known."""
        parts = [
            self.facts.get("device") and f"on {self.facts['device']}",
            self.cores and count(self.cores, "core"),
            self.facts.get("precision") and f"number format {self.facts['precision']}",
        ]
        return ", ".join(str(part) for part in parts if part)

    def as_json(self) -> dict[str, Any]:
        """The same for scripts, without the study itself."""
        facts = self.facts
        return {
            "command": self.command,
            "versions": dict(self.versions),
            "revision": self.revision,
            "noted_while_running": self.is_noted,
            "fingerprints": {n: facts[n] for n in ("data", "split", "weights") if n in facts},
            "device": facts.get("device"),
            "precision": facts.get("precision"),
            "cores": self.cores,
            "seeds": dict(self.seeds),
            "trainings": self.trainings,
            "images_trained": self.images_trained,
            "giga_macs_at_most": round(self.giga_macs, 3),
            "training_seconds": round(self.seconds, 3),
        }


def find_provenance(store: Store, summary: Summary) -> Provenance:
    """From what was noted while the study ran, and all its runs."""
    config = store.config
    origin = store.noted(ORIGIN) or {}
    ends = [row.ended for row in summary.rows if row.ended is not None]
    return Provenance(
        study_yaml=to_yaml(redacted(config)),
        command=origin.get("command"),
        versions=origin.get("versions") or versions(),
        revision=origin["revision"] if origin else git_revision(),
        cores=origin.get("cores"),
        is_noted=bool(origin),
        facts=store.noted(FACTS) or {},
        seeds=_seeds(config),
        image_size=config.data.size,
        trainings=sum(bool(row.epochs) for row in summary.rows),
        images_trained=sum(row.images_trained for row in summary.rows),
        giga_macs=_PASSES
        * sum(
            row.images_trained
            * giga_macs(CATALOGUE[row.run.backbone or config.backbone.name], config.data.size)
            for row in summary.rows
        ),
        seconds=sum(row.seconds for row in summary.rows),
        as_of=f"{max(ends):%Y-%m-%d %H:%M}" if ends else None,
    )


def _seeds(config: StudyConfig) -> dict[str, str]:
    first, number = config.search.seed, config.confirm.seeds
    found = {"split": str(config.data.split.seed), "search": str(first)}
    if number:
        found["confirmation"] = ", ".join(str(first + i) for i in range(1, number + 1))
    return found


def _macs(number: float) -> str:
    """`3.1 · 10¹²` in words that every reader knows."""
    for unit, name in ((1e6, "quadrillion"), (1e3, "trillion"), (1, "billion")):
        if number >= unit:
            return f"{number / unit:,.3g} {name}"
    return f"{1000 * number:,.3g} million"
