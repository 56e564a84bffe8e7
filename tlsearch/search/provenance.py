"""Where a study comes from: versions, revision, fingerprints."""

import json
import platform
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import tlsearch
from tlsearch.comparison.answers import Provenance
from tlsearch.config.cells import compared
from tlsearch.config.resolved import redacted, to_yaml
from tlsearch.config.runtime import usable_cores
from tlsearch.config.schema import StudyConfig
from tlsearch.config.sources import source_name, source_text
from tlsearch.errors import hidden
from tlsearch.execution.messages import Setting
from tlsearch.search.store import FACTS, ORIGIN, Store
from tlsearch.tracking.reconcile import DatasetFacts

_PACKAGES = ("torch", "torchvision", "optuna", "timm", "mlflow", "numpy", "scikit-learn")


def versions() -> dict[str, str]:
    """Versions of what the figures depend on, read without importing it."""
    found = {"tlsearch": tlsearch.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def requirements() -> list[str]:
    """What the logged model needs to be loaded elsewhere, pinned; local build tags are dropped."""
    known = versions()
    return [f"{p}=={known[p].partition('+')[0]}" for p in ("mlflow", "numpy", "torch")]


def git_revision() -> str | None:
    """The commit of the folder where the command runs, marked if there are changes since."""
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None


def command_line() -> str:
    """How this process was asked, as a shell takes it; passwords are left out."""
    return shlex.join([str(hidden(word)) for word in ("tlsearch", *sys.argv[1:])])


def origin() -> dict[str, Any]:
    """How this process was asked, and with what it works."""
    return {
        "command": command_line(),
        "versions": versions(),
        "cores": usable_cores(),
        "revision": git_revision(),
    }


def setting_facts(setting: Setting) -> dict[str, Any]:
    """What a scenario is run on, as JSON: noted with it, compared when it goes on, and shown."""
    networks = {one.config.backbone.name: one for one in setting.networks}
    weights = {name: one.weights_fingerprint for name, one in networks.items()}
    precision = {name: one.precision for name, one in networks.items()}
    origins = {name: one.origin for name, one in networks.items() if one.origin}
    uncut = {name: one.uncut for name, one in networks.items() if one.uncut}
    found = {
        "data": setting.data.fingerprint,
        "split": setting.data.split.fingerprint,
        "source images": setting.source_fingerprint,
        "weights": _by_network(weights),
        "precision": _by_network(precision),
        "device": setting.device,
        "groups": setting.groups,
        "facts": asdict(setting.data),
        "networks": {"weights": weights, "precision": precision, "origin": origins}
        | ({"uncut": uncut} if uncut else {}),
    }
    as_read: dict[str, Any] = json.loads(json.dumps(found))
    return as_read


def validation_counts(found: Mapping[str, Any]) -> Sequence[int]:
    """Validation images of each class, over all folds, of noted facts; empty where they lack it."""
    facts = found.get("facts", {})
    parts = facts.get("split", {}).get("parts", ())
    counts = [part["class_counts"] for part in parts if part["part"] == "validation"]
    summed = [sum(column) for column in zip(*counts, strict=True)]
    return summed or facts.get("validation_counts", ())


def _by_network(facts: Mapping[str, str]) -> str:
    """A fact of the only network, or of each after its name."""
    (first, *others) = facts.values()
    return first if not others else ", ".join(f"{name} {fact}" for name, fact in facts.items())


def parent_tags(setting: Setting) -> dict[str, Any]:
    """Tags of the study's parent run."""
    facts = setting_facts(setting)
    shown = ("data", "split", "weights", "precision", "device")
    return {
        "tlsearch.kind": "study",
        "tlsearch.state": "running",
        **{f"tlsearch.{name}": facts[name] for name in shown},
        **{f"tlsearch.weights.{n}": text for n, text in facts["networks"]["origin"].items()},
        **what_and_where(setting.config),
    }


def what_and_where(config: StudyConfig) -> dict[str, str]:
    """Tags of a parent run: what the study says that it is about, and the code's revision."""
    known = {"tlsearch.about": config.about, "mlflow.source.git.commit": git_revision()}
    return {name: text for name, text in known.items() if text}


def parent_params(config: StudyConfig, setting: Setting) -> dict[str, Any]:
    """What a reader of the experiment wants to see at once."""
    return {
        "source": source_text(config.data.source),
        "image_size": config.data.size,
        "labels_per_class": config.data.labels_per_class,
        "split": config.data.split.strategy,
        "folds": config.data.split.folds,
        "train_images": sum(setting.data.train_counts),
        "validation_images": sum(setting.data.validation_counts),
        "test_images": sum(setting.data.test_counts),
        "backbone": ", ".join(config.backbone.names),
        "weights": ", ".join(dict.fromkeys(map(config.backbone.weights_of, config.backbone.names))),
        "trials": config.budget.trials,
        "epochs": config.budget.epochs,
        "sampler": type(config.search.sampler).__name__,
        "pruner": type(config.search.pruner).__name__,
        "start": config.search.start,
        "metric": config.search.metric,
        "seed": config.search.seed,
    }


def study_texts(config: StudyConfig) -> dict[str, Any]:
    """Files of every parent run: the resolved study, the versions and the command."""
    return {
        "study.yaml": to_yaml(redacted(config)),
        "versions.json": versions(),
        "command.txt": command_line() + "\n",
    }


def comparison_params(store: Store) -> dict[str, Any]:
    """What a reader of a comparison's experiment wants to see at once."""
    config = store.config
    comparison = compared(config)
    networks = dict.fromkeys(n for its in store.cells.values() for n in its.backbone.names)
    return {
        "table": comparison.table,
        "arms": ", ".join(comparison.arms),
        "scenarios": ", ".join(comparison.used),
        "trials": comparison.tuning.trials,
        "epochs": comparison.tuning.epochs,
        "seeds": comparison.confirm.seeds,
        "backbone": ", ".join(networks),
        "metric": config.search.metric,
        "seed": config.search.seed,
    }


def dataset_facts(config: StudyConfig, setting: Setting) -> DatasetFacts:
    """The data as an input of the parent run."""
    data = setting.data
    counts = {
        "train": data.train_counts,
        "validation": data.validation_counts,
        "test": data.test_counts,
    }
    return DatasetFacts(
        name=source_name(config.data.source),
        source=f"{source_text(config.data.source)} at {config.data.size} px",
        digest=data.fingerprint,
        num_images=data.num_images,
        num_classes=data.num_classes,
        class_counts={
            part: dict(zip(data.class_names, found, strict=True)) for part, found in counts.items()
        },
    )


# Where a comparison's figures come from, noted while it ran.


_ENDINGS = ("complete", "pruned", "diverged", "failed")


def provenance_of(store: Store) -> Provenance:
    """What was noted, and what all trainings that have ended took; the same whenever it is read."""
    noted = store.noted(ORIGIN) or {}
    rows = [row for row in store.rows() if row.state in _ENDINGS]
    states = Counter(row.state for row in rows)
    known = facts_by_scenario(store)
    facts = list(known.values())
    weights = ", ".join(dict.fromkeys(str(found["weights"]) for found in facts))
    ends = [row.ended for row in rows if row.ended is not None]
    return Provenance(
        command=noted.get("command"),
        date=f"{max(ends):%Y-%m-%d %H:%M}" if ends else None,
        versions=noted.get("versions", {}),
        trainings={state: states[state] for state in _ENDINGS if states[state]},
        seconds=sum(row.seconds for row in rows),
        precisions=tuple(sorted({found["precision"] for found in facts})),
        devices=tuple(sorted({found["device"] for found in facts})),
        cores=noted.get("cores"),
        revision=noted.get("revision"),
        study=to_yaml(redacted(store.config)),
        about=store.config.about,
        images_trained=sum(row.images_trained for row in rows),
        weights=tuple(dict.fromkeys(o for found in facts for o in _origins(found))),
        fingerprints={
            **{f"data of {name}": str(found["data"]) for name, found in known.items()},
            **({"weights": weights} if weights else {}),
        },
    )


def _origins(facts: Mapping[str, Any]) -> Iterable[str]:
    """What was said of each network's weights; nothing of an older study."""
    origins: dict[str, str] = facts.get("networks", {}).get("origin", {})
    return origins.values()


def facts_by_scenario(store: Store) -> dict[str, dict[str, Any]]:
    """What each scenario was started on, as far as it was read."""
    names = dict.fromkeys(cell.scenario for cell in store.cells)
    return {name: found for name in names if (found := store.noted(FACTS, name))}
