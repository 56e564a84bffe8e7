from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.search.conftest import Study
from tests.search.fakes import drive, memory_store, setting_of
from tlsearch.config.cells import scenario_config
from tlsearch.config.schema import StudyConfig
from tlsearch.errors import StoreError
from tlsearch.execution.messages import Setting
from tlsearch.search.baselines import baseline_run
from tlsearch.search.confirm import runs_after
from tlsearch.search.jobs import train_job
from tlsearch.search.mirroring import run_name, run_params
from tlsearch.search.runner import Ready, _open_mirror, agreed
from tlsearch.search.store import FACTS, SEARCH, Store
from tlsearch.search.summary import rank_networks

TWO = ("backbone.name=[resnet10, mobilenet_v2]",)


def two_settings(config: StudyConfig, folder: Path) -> Setting:
    first, second = (
        replace(
            setting_of(config.with_backbone(name), folder),
            groups=groups,
            weights_fingerprint=f"of {name}",
            precision=precision,
        )
        for name, groups, precision in (
            ("resnet10", ("stem", "head"), "bf16"),
            ("mobilenet_v2", ("a", "b", "head"), "fp32"),
        )
    )
    return replace(first, others=(second,))


def test_a_trial_carries_its_network_to_the_worker(study: Study) -> None:
    config = study(*TWO)
    store = memory_store(config)
    seen = set()
    for _ in range(8):
        run = spec = store.ask()
        assert spec.backbone == spec.params["backbone"]
        assert train_job(config, spec).run == spec
        assert spec.backbone in run_name(spec)
        seen.add(spec.backbone)
        drive(store, run, [0.2, 0.4])
    assert seen == {"resnet10", "mobilenet_v2"}
    # So do its confirmations; baselines take the first network of the list.
    by_number = {row.number: row.run.backbone for row in store.rows()}
    for again in runs_after(store, SEARCH):
        wanted = "resnet10" if again.trial is None else by_number[again.trial]
        assert again.backbone == wanted
    assert baseline_run(config, "linear_probe", seed=0).params["freeze_depth"] == 5


def test_a_study_on_one_network_has_no_such_parameter(study: Study, tmp_path: Path) -> None:
    store = memory_store(study())
    spec = store.ask()
    assert "backbone" not in spec.params
    assert spec.backbone == "resnet18"
    assert run_params(spec, ("head",))["backbone"] == "resnet18"
    setting = setting_of(study(), tmp_path)
    assert setting.of("") == setting.of("resnet18") == setting


def test_each_network_has_a_setting_of_its_own(study: Study, tmp_path: Path) -> None:
    setting = two_settings(study(*TWO), tmp_path)
    assert setting.of("resnet10").groups == ("stem", "head")
    assert setting.of("mobilenet_v2").groups == ("a", "b", "head")
    assert setting.of("mobilenet_v2").others == ()
    other = setting.with_precisions({"mobilenet_v2": "bf16"})
    assert [one.precision for one in other.networks] == ["bf16", "bf16"]


def test_a_study_goes_on_with_its_weights_and_number_formats(study: Study, tmp_path: Path) -> None:
    config = study(*TWO)
    store = memory_store(config)
    setting = two_settings(config, tmp_path)
    setting = replace(setting, others=(replace(setting.others[0], origin="imagenet: theirs"),))
    assert agreed(store, setting) == setting
    facts = store.noted(FACTS)
    assert facts["precision"] == "resnet10 bf16, mobilenet_v2 fp32"
    drive(store, store.ask(), [0.5])
    found = agreed(store, setting.with_precisions({"resnet10": "fp32", "mobilenet_v2": "bf16"}))
    assert found == setting
    second = replace(setting.others[0], weights_fingerprint="others")
    with pytest.raises(StoreError, match=r"mobilenet_v2 → others; they were imagenet: th"):
        agreed(store, replace(setting, others=(second,)))


def run_all(study: Study, best: Mapping[str, float], *overrides: str) -> Any:
    config = study(f"backbone.name=[{', '.join(best)}]", *overrides)
    store = memory_store(config)
    for _ in range(20):
        run = store.ask()
        drive(store, run, [best[run.backbone]])
    return config, store.rows()


def test_what_was_promised_is_held_against_what_was_reached(study: Study) -> None:
    best = {"resnet10": 0.7, "resnet18": 0.9, "mobilenet_v2": 0.8}
    config, rows = run_all(study, best)
    scores = {
        "resnet10": {"log_me": 0.1, "leep": None},
        "resnet18": {"log_me": 0.5, "leep": -0.5},
        "mobilenet_v2": {"log_me": 0.2, "leep": -0.4},
    }
    found = rank_networks(config, rows, scores)
    assert found is not None
    assert {n.backbone: n.best for n in found.networks} == best
    assert sum(n.trials for n in found.networks) == 20
    log_me, leep = found.agreements["log_me"], found.agreements["leep"]
    assert log_me is not None
    assert (log_me.kendall, log_me.num) == (1, 3)
    assert leep is not None
    assert (leep.kendall, leep.num) == (-1, 2)
    assert found.agreements["nce"] is None


def test_a_loss_is_better_the_lower_it_is(study: Study) -> None:
    config, rows = run_all(study, {"resnet10": 0.7, "resnet18": 0.9}, "search.metric=val_loss")
    losses = {n.backbone: n.best for n in rank_networks(config, rows, {}).networks}  # type: ignore[union-attr]
    better = min(losses, key=lambda name: losses[name] or 0.0)
    scores = {name: {"log_me": float(name == better)} for name in losses}
    found = rank_networks(config, rows, scores)
    assert found is not None
    agreement = found.agreements["log_me"]
    assert agreement is not None
    assert np.isclose(agreement.kendall, 1)


def test_a_single_network_promises_nothing(study: Study) -> None:
    config = study()
    assert rank_networks(config, [], {}) is None


def test_an_arm_that_was_taken_out_of_a_comparison_with_its_network(
    study: Study, tmp_path: Path
) -> None:
    def config(*arms: str) -> StudyConfig:
        given = {"one": "schedule: constant", "other": "schedule: cosine"}
        lines = [f"    {arm}: {{space.{text}}}" for arm, text in given.items()]
        lines += [f"    {arm}: {{backbone.name: resnet10}}" for arm in arms]
        places = "  scenarios: {here: {traits: {labels: few}}}\n  tuning: {trials: 1, epochs: 2}"
        return study(body="comparison:\n  arms:\n" + "\n".join(lines) + f"\n{places}\n")

    store = memory_store(config("small"))
    store.enqueue(run for cell in store.cells for run in runs_after(store, cell))
    while (run := store.ask_fixed("here")) is not None:
        drive(store, run, [0.5] * 2)
    fewer = Store(config(), store.storage)
    setting = setting_of(scenario_config(fewer.config, "here"), tmp_path)
    setting.split_file.parent.mkdir(parents=True)
    setting.split_file.write_text("{}")
    shown: dict[str, Any] = {}
    mirror = SimpleNamespace(open=lambda _parent, **told: shown.update(told))
    work: Any = SimpleNamespace(store=fewer, mirror=mirror, folder=tmp_path)
    audit: Any = None  # that of a search is shown alone
    _open_mirror(work, {"here": Ready(setting.config, setting, audit)})
    assert {child.key.partition("@")[0] for child in shown["children"]} == {"one", "other"}
