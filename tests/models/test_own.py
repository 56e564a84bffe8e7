"""A user's own network, from its file to a study's facts, and what is said of a wrong one."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tlsearch.config.catalog import CATALOGUE, NetworkError, NetworkSpec, group_of, groups
from tlsearch.config.loader import read_study
from tlsearch.errors import StudyError
from tlsearch.models.backbones import build_backbone
from tlsearch.models.describe import describe
from tlsearch.training.feature_cache import run_stages

CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4)
        self.trunk = nn.Sequential(nn.Conv2d(4, 6, 3, 2), nn.ReLU())
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(6, num_classes)
    def forward(self, x):
        x = self.trunk(torch.relu(self.bn1(self.conv1(x))))
        return self.fc(self.drop(x.mean((2, 3))))

class Looking(Net):
    def forward(self, x):
        return super().forward(x if x.sum() < 1e9 else -x)

class Scored(Net):
    def forward(self, x):
        return super().forward(x).log_softmax(1)

class Flat(Net):
    def forward(self, x):
        return super().forward(x.flatten(1))

def raising(num_classes):
    raise KeyError("no such file")

def ten(num_classes):
    return Net(10)

def number(num_classes):
    return 3
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "ownnets.py").write_text(CODE)
    monkeypatch.setattr(CATALOGUE, "_specs", {})
    monkeypatch.setattr(CATALOGUE, "_describe", describe)


def spec(name: str, **settings: object) -> NetworkSpec:
    return NetworkSpec(f"ownnets:{name}", 16)._replace(**settings)


def test_children_are_the_groups_and_a_norm_goes_with_the_one_before() -> None:
    facts = describe(spec("Net"))
    assert groups(facts) == ("conv1", "trunk", "head")
    assert group_of(facts, "bn1.running_mean") == "conv1"
    assert (facts.head, facts.num_features, facts.cuts) == ("fc", 6, (1, 2))
    assert facts.source


@pytest.mark.parametrize(("name", "cuts"), [("Looking", (2,)), ("Scored", ())])
def test_it_is_cut_where_cut_and_uncut_are_the_same_bits(name: str, cuts: tuple[int, ...]) -> None:
    facts = describe(spec(name))
    assert facts.cuts == cuts
    CATALOGUE.add(facts)
    built = build_backbone(name=facts.name, num_classes=3, image_size=16, dropout=0.1, seed=0)
    images = torch.randn(2, 3, 16, 16)
    built.model.eval()
    assert torch.equal(run_stages(built.stages, images), built.model(images))
    assert run_stages(built.body, images).shape == (2, 6)


@pytest.mark.parametrize(
    ("of", "field", "rule"),
    [
        (lambda: spec("raising"), "module", r"raises KeyError: 'no such file' \(ownnets.py, line"),
        (lambda: spec("number"), "module", "returns a int, no torch.nn.Module"),
        (lambda: spec("ten"), "module", "no linear layer of it gives num_classes = 7"),
        (
            lambda: spec("Flat"),
            "module",
            r"forward pass raises RuntimeError: .* line \d+\) for 1 im",
        ),
        (lambda: spec("Nett"), "module", "ownnets has no function Nett — did you mean 'Net'"),
        (lambda: NetworkSpec("nothere.x:f", 16), "module", "there is no module nothere, seen from"),
        (lambda: spec("Net", head="trunk.0"), "head", "is a Conv2d, no linear layer"),
        (
            lambda: spec("Net", layer_groups={"stem": "^conv1|^bn1", "rest": "^trank"}),
            "layer_groups.rest",
            "matches no parameter .* — names of parameters begin with conv1, bn1, trunk, fc",
        ),
        (
            lambda: spec("Net", layer_groups={"stem": "^conv1"}),
            "layer_groups",
            r"leave 4 parameters over: bn1.weight, bn1.bias, trunk.0.weight, … —",
        ),
        (lambda: spec("Net", layer_groups={"stem": "("}), "layer_groups.stem", "no regular expr"),
    ],
)
def test_what_is_wrong_is_one_message(of: Callable[[], NetworkSpec], field: str, rule: str) -> None:
    with pytest.raises(NetworkError, match=rule) as caught:
        describe(of())
    assert caught.value.field == field


def test_a_study_names_it_and_another_process_knows_it(tmp_path: Path) -> None:
    study = tmp_path / "study.yaml"
    study.write_text(
        "name: own\ndata: {source: digits, size: 16}\n"
        "backbone:\n  module: ownnets:Net\n  weights: none\n  mean: [0.5, 0.5, 0.5]\n"
        "  layer_groups: {stem: ^conv1|^bn1, rest: trunk}\n"
    )
    config = read_study(study, overrides=(), preset=None)
    assert config.backbone.name == "ownnets:Net"
    assert config.backbone.normalisation_of("ownnets:Net")[0] == (0.5, 0.5, 0.5)
    assert groups(config.backbone.facts) == ("stem", "rest", "head")
    sent = pickle.dumps(config)
    del CATALOGUE._known["ownnets:Net"]
    assert pickle.loads(sent).backbone.facts.cuts == (1, 2)
    study.write_text(study.read_text().replace("rest: trunk", "rest: trank"))
    with pytest.raises(
        StudyError, match=r"line 7: backbone.layer_groups.rest = \"trank\": matches"
    ):
        read_study(study, overrides=(), preset=None)
