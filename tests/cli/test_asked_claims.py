"""Which claims a comparison answers: told by `check`, and refused where there are none."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Files, Invoke

STUDY = """\
name: s
data: {source: digits}
backbone: {name: resnet10, weights: glyphs}
workers: 1
comparison:
  table: C
  arms: {none: {}, mixed: {space.mixing: mixup}}
  scenarios: {few: {traits: {labels: few}, set: {data.labels_per_class: 5}}}
"""
_UNASKED = "which is trained without a verdict"


@pytest.fixture
def study(here: Path) -> Path:
    path = here / "study.yaml"
    path.write_text(STUDY)
    return path


@pytest.mark.parametrize(
    "arms",
    [
        "{none: {}, cutmix: {space.mixing: cutmix}}",
        "{resnet10: {}, resnet18: {backbone.name: resnet18}}",
        "{none: {}, fgsm: {space.adversarial: fgsm}}",
    ],
)
@pytest.mark.parametrize("command", ["check", "run"])
def test_arms_that_no_claim_is_about_are_refused(
    study: Path, tlsearch: Invoke, files: Files, command: str, arms: str
) -> None:
    before = files()
    option = f"comparison.arms={arms}"
    done = tlsearch(command, str(study), "--set", option, code=2)
    assert files() == before
    assert "no claim of table C is about these arms — write comparison.table: own" in done.stderr
    tlsearch("check", str(study), "--set", option, "--set", "comparison.table=own")


def test_the_claims_are_told(study: Path, tlsearch: Invoke) -> None:
    text = tlsearch("check", str(study)).stdout
    told = "  C8: mixing two images raises accuracy; mixing two images narrows the gap\n"
    assert f"claims to be answered\n{told}" in text
    assert _UNASKED not in text
    found = json.loads(tlsearch("check", str(study), "--json").stdout)
    assert found["claims"] == [
        {"id": "C8", "says": "mixing two images raises accuracy"},
        {"id": "C8", "says": "mixing two images narrows the gap"},
    ]


def test_an_arm_beside_that_no_claim_is_about_is_named(study: Path, tlsearch: Invoke) -> None:
    option = "comparison.arms.cutmix={space.mixing: cutmix}"
    text = tlsearch("check", str(study), "--set", option).stdout
    assert f"note: no claim is about 'cutmix', {_UNASKED}" in text


def test_every_network_counts_where_scores_are_judged(study: Path, tlsearch: Invoke) -> None:
    arms = "{network resnet10: {}, network resnet18: {backbone.name: resnet18}, %s}"
    option = "comparison.arms=" + arms % "mobile: {backbone.name: mobilenet_v2}"
    assert _UNASKED not in tlsearch("check", str(study), "--set", option).stdout


def test_claims_for_which_no_scenario_is_right(study: Path, tlsearch: Invoke) -> None:
    arms = "{from scratch: {backbone.weights: none}, transfer: {}}"
    option = f"comparison.arms={arms}"
    told = "note: C7 (transfer may do worse than no transfer) will not be answered: no scenario is "
    text = tlsearch("check", str(study), "--set", option).stdout
    assert f"{told}declared dissimilar, with few labels (comparison.scenarios.NAME.traits)" in text
    there = "comparison.scenarios.few.traits.similarity=dissimilar"
    assert told not in tlsearch("check", str(study), "--set", option, "--set", there).stdout


def test_claims_for_which_there_is_no_source(study: Path, tlsearch: Invoke) -> None:
    gradual = "{space.freeze_depth: 5, space.unfreeze_every_epochs: 1}"
    arms = f"comparison.arms={{all at once: {{}}, gradual: {gradual}}}"
    told = "C6 (unfreezing by stages keeps what the source taught) will not be answered: no images"
    assert told not in tlsearch("check", str(study), "--set", arms).stdout
    more = ("--set", "backbone.name=resnet18", "--set", "backbone.weights=IMAGENET1K_V1")
    assert told in tlsearch("check", str(study), "--set", arms, *more).stdout
