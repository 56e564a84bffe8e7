"""Each study of the advice asks what its name says, in places where it can be answered."""

import json
import re
from pathlib import Path

import pytest

from tlsearch.comparison.claims import advice_about
from tlsearch.config.cells import compared
from tlsearch.config.loader import read_study
from tlsearch.config.paths import layout_here
from tlsearch.search.collect import JSON_FILE
from tlsearch.search.runner import run_study

STUDIES = {path.stem: path for path in sorted(Path("studies").absolute().glob("c[01]*.yaml"))}
PRESETS = (None, "small")


def test_the_advice_on_training_has_a_study_each() -> None:
    rows = [name.split("_")[0].upper() for name in STUDIES]
    assert rows == [f"C{i:02}" for i in range(1, 16)]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", STUDIES)
def test_a_study_asks_the_advice_that_it_is_named_after(name: str, preset: str | None) -> None:
    comparison = compared(read_study(STUDIES[name], overrides=[], preset=preset))
    claims = advice_about(comparison.arms)
    assert {f"C{int(claim.id[1:]):02}" for claim in claims} == {name[:3].upper()}
    kinds = [comparison.scenarios[place].traits for place in comparison.used]
    for claim in claims:
        for wanted in (claim.scenario, claim.elsewhere):
            assert wanted is None or any(wanted.includes(kind) for kind in kinds)
        if claim.statistic == "divergence_share":
            rates = [s.values for s in comparison.sweeps.of if s.dimension == ("lr",)]
            assert len(rates) == len(comparison.arms)
            assert len(set(rates)) == 1


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_opens_with_its_command_and_is_known_by_its_name(name: str) -> None:
    path = STUDIES[name]
    assert path.read_text().startswith(f"# tlsearch run studies/{name}.yaml\n")
    whole, small = (read_study(path, overrides=[], preset=preset) for preset in PRESETS)
    assert (whole.name, small.name) == (name, f"{name}_small")
    # What tuning does not decide is the same for all arms.
    assert re.search(r"^  lr: ", path.read_text(), re.MULTILINE) or name.startswith("c15")


@pytest.mark.slow
def test_one_of_them_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TLSEARCH_CACHE", str(tmp_path / "cache"))
    tiny = [
        "backbone.name=resnet18",
        "backbone.weights=none",
        "data.labels_per_class=2",
        "workers=1",
        "precision=fp32",
        "comparison.tuning.trials=1",
        "comparison.tuning.epochs=1",
        "comparison.confirm.seeds=2",
    ]
    config = read_study(STUDIES["c03_l2_penalty"], overrides=tiny, preset="small")
    layout = layout_here()
    run_study(config, layout=layout, fresh=False, watch=lambda _event: None)
    told = json.loads((layout.study(config.name) / JSON_FILE).read_text())
    answers = {claim["statistic"]: claim for claim in told["claims"]}
    assert set(answers) == {"weight_norm", "generalisation_gap"}
    # Twice its input channels is the sum of squares of a convolution that starts as He et al. say;
    # all of ResNet-18's have 7,686, and one epoch hardly moves that.
    assert answers["weight_norm"]["reference_mean"] == pytest.approx(7686**0.5, rel=0.02)
    assert all(claim["effect"] is not None for claim in answers.values())
    assert all(claim["seeds"] == 2 for claim in answers.values())
