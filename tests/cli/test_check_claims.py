"""`tlsearch check`: which claims a comparison answers, and which not, and why."""

import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import Files, Invoke

CLAIMS = """\
name: s
data: {source: digits}
backbone: {name: resnet10, weights: glyphs}
workers: 1
comparison:
  table: C
  arms: {none: {}, mixed: {space.mixing: mixup}}
  scenarios: {few: {traits: {labels: few}, set: {data.labels_per_class: 5}}}
"""
_UNCLAIMED = "which is trained without a verdict"


@pytest.fixture
def claims_study(here: Path) -> Path:
    path = here / "study.yaml"
    path.write_text(CLAIMS)
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
    claims_study: Path, tlsearch: Invoke, files: Files, command: str, arms: str
) -> None:
    before = files()
    option = f"comparison.arms={arms}"
    done = tlsearch(command, str(claims_study), "--set", option, code=2)
    assert files() == before
    assert "no claim of table C is about these arms — write comparison.table: own" in done.stderr
    tlsearch("check", str(claims_study), "--set", option, "--set", "comparison.table=own")


def test_the_claims_are_listed(claims_study: Path, tlsearch: Invoke) -> None:
    text = tlsearch("check", str(claims_study)).stdout
    assert _UNCLAIMED not in text
    found = json.loads(tlsearch("check", str(claims_study), "--json").stdout)["claims"]
    assert [claim["id"] for claim in found] == ["C8", "C8"]
    line = f"  C8: {'; '.join(claim['says'] for claim in found)}"
    assert f"claims to be answered\n{line}\n" in text


def test_an_arm_beside_that_no_claim_is_about_is_named(
    claims_study: Path, tlsearch: Invoke
) -> None:
    option = "comparison.arms.cutmix={space.mixing: cutmix}"
    text = tlsearch("check", str(claims_study), "--set", option).stdout
    assert f"note: no claim is about 'cutmix', {_UNCLAIMED}" in text


def test_every_network_counts_where_scores_are_judged(claims_study: Path, tlsearch: Invoke) -> None:
    arms = "{network resnet10: {}, network resnet18: {backbone.name: resnet18}, %s}"
    option = "comparison.arms=" + arms % "mobile: {backbone.name: mobilenet_v2}"
    assert _UNCLAIMED not in tlsearch("check", str(claims_study), "--set", option).stdout


def test_claims_for_which_no_scenario_is_right(claims_study: Path, tlsearch: Invoke) -> None:
    option = "comparison.arms={from scratch: {backbone.weights: none}, transfer: {}}"
    note = re.compile(r"note: C7 \(.+\) will not be answered: no scenario is declared dissimilar, ")
    text = tlsearch("check", str(claims_study), "--set", option).stdout
    assert note.search(text)
    assert "with few labels (comparison.scenarios.NAME.traits)" in text
    there = "comparison.scenarios.few.traits.similarity=dissimilar"
    text = tlsearch("check", str(claims_study), "--set", option, "--set", there).stdout
    assert not note.search(text)


def test_claims_for_which_there_is_no_source(claims_study: Path, tlsearch: Invoke) -> None:
    gradual = "{space.freeze_depth: 5, space.unfreeze_every_epochs: 1}"
    arms = f"comparison.arms={{all at once: {{}}, gradual: {gradual}}}"
    note = re.compile(
        r"note: .*C6 \(.+\) will not be answered: no images of the source task are known"
    )
    assert not note.search(tlsearch("check", str(claims_study), "--set", arms).stdout)
    more = ("--set", "backbone.name=resnet18", "--set", "backbone.weights=IMAGENET1K_V1")
    assert note.search(tlsearch("check", str(claims_study), "--set", arms, *more).stdout)
