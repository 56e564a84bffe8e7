"""A user's own network, from its file to a study's facts, and what is said of a wrong one."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tlsearch.config.catalog import CATALOGUE, NetworkError, NetworkSpec, group_of, groups
from tlsearch.config.loader import read_study
from tlsearch.errors import StudyError, WeightsError
from tlsearch.models.backbones import Backbone, build_backbone
from tlsearch.models.describe import describe
from tlsearch.models.pretrained import load_pretrained
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

class Several(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.aux = nn.Linear(6, num_classes)
    def forward(self, x):
        if self.training:
            return super().forward(x), self.aux
        return super().forward(x)

class Added(Several):
    def forward(self, x):
        features = self.trunk(torch.relu(self.bn1(self.conv1(x)))).mean((2, 3))
        return self.fc(features) + self.aux(features)

class Unused(Several):
    def forward(self, x):
        return Net.forward(self, x)

class Twice(Net):
    def forward(self, x):
        return super().forward(x) + super().forward(x.flip(-1))

class Late(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.fc = nn.Conv2d(6, num_classes, 1)
    def forward(self, x):
        return self.fc(self.trunk(torch.relu(self.bn1(self.conv1(x))))).mean((2, 3))

class Pooled(Late):
    def forward(self, x):
        x = self.trunk(torch.relu(self.bn1(self.conv1(x))))
        return self.fc(x.mean((2, 3), keepdim=True)).flatten(1).log_softmax(1)

class Normed(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        nn.utils.parametrizations.weight_norm(self.fc)

class Cosine(nn.Linear):
    def forward(self, x):
        return super().forward(nn.functional.normalize(x))

class Angular(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.fc = Cosine(6, num_classes)

class Lazy(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.fc = nn.LazyLinear(num_classes)

class Broken(Net):
    def forward(self, x):
        return super().forward(x) * float("nan")

class Tall(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.stem, self.top = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.head = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, num_classes))
    def forward(self, x):
        return self.head(self.top(self.stem(x)).mean((2, 3)))

class Shared(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.again, self.norm = self.trunk, self.bn1

class Linear(nn.Sequential):
    def __init__(self, num_classes):
        norm = nn.BatchNorm2d(3, affine=False)
        super().__init__(norm, nn.Flatten(), nn.Linear(3 * 16 * 16, num_classes))

def talking(num_classes):
    print("a network is built")
    return Net(num_classes)

def leaving(num_classes):
    raise SystemExit("usage: train.py DATA")

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


def network(name: str) -> Backbone:
    CATALOGUE.add(describe(spec(name)))
    return build_backbone(name=f"ownnets:{name}", num_classes=3, image_size=16, dropout=0.0, seed=0)


def test_children_are_the_groups_and_a_norm_goes_with_the_one_before() -> None:
    facts = describe(spec("Net"))
    assert groups(facts) == ("conv1", "trunk", "head")
    assert group_of(facts, "bn1.running_mean") == "conv1"
    assert (facts.head, facts.num_features, facts.cuts) == ("fc", 6, (1, 2))
    assert facts.source


@pytest.mark.parametrize(("name", "cuts"), [("Looking", (2,)), ("Scored", ()), ("Pooled", ())])
def test_it_is_cut_where_cut_and_uncut_are_the_same_bits(name: str, cuts: tuple[int, ...]) -> None:
    facts = describe(spec(name))
    assert facts.cuts == cuts
    CATALOGUE.add(facts)
    built = build_backbone(name=facts.name, num_classes=3, image_size=16, dropout=0.1, seed=0)
    images = torch.randn(2, 3, 16, 16)
    built.model.eval()
    assert torch.equal(run_stages(built.stages, images), built.model(images))
    assert run_stages(built.body, images).shape == (2, 6)


@pytest.mark.parametrize(("name", "head"), [("Unused", "fc"), ("Added", "aux")])
def test_of_several_classifiers_the_last_that_runs_is_the_head(name: str, head: str) -> None:
    built, images = network(name), torch.randn(2, 3, 16, 16)
    assert built.facts.head == head
    assert run_stages(built.body, images).shape == (2, 6)
    assert built.model(images).shape == (2, 3)


def test_layers_in_the_module_of_the_head_are_the_group_top() -> None:
    facts = describe(spec("Tall"))
    assert groups(facts) == ("stem", "top", "head")
    assert group_of(facts, "top.weight") == group_of(facts, "head.0.weight") == "top"


def test_what_has_two_names_is_filled_by_both() -> None:
    built = network("Shared")
    state = {name: value + 1 for name, value in built.model.state_dict().items()}
    assert load_pretrained(built, state).missing == ()
    assert torch.equal(built.model.state_dict()["again.0.weight"], state["trunk.0.weight"])


def test_weights_of_a_head_alone_are_refused() -> None:
    built = network("Linear")
    with pytest.raises(WeightsError, match="is a head alone, and the head starts anew — write n"):
        load_pretrained(built, built.model.state_dict())


def test_what_its_code_prints_is_no_result(capsys: pytest.CaptureFixture[str]) -> None:
    describe(spec("talking"))
    printed = capsys.readouterr()
    assert (printed.out, printed.err.split("\n")[0]) == ("", "a network is built")


@pytest.mark.parametrize(
    ("of", "field", "rule"),
    [
        (lambda: spec("raising"), "module", r"raises KeyError: 'no such file' \(ownnets.py, line"),
        (lambda: spec("number"), "module", "returns a int, no torch.nn.Module"),
        (lambda: spec("leaving"), "module", r"raises SystemExit: usage: train.py DATA \(ownnets"),
        (
            lambda: spec("ten"),
            "module",
            r"no linear layer .* gives num_classes = 7 — build its last layer",
        ),
        (
            lambda: spec("Flat"),
            "module",
            r"forward pass of 2 images of 16 px raises RuntimeError: .*\(ownnets.py, line \d+\) —",
        ),
        (lambda: spec("Several"), "module", "gives a tuple for 2 images .* in training mode"),
        (lambda: spec("Twice"), "module", "fc runs 2 times in a pass, and a classifier does once"),
        (lambda: spec("Unused", head="aux"), "head", "aux runs 0 times in a pass"),
        (lambda: spec("Late"), "module", "fc gives 2×7×3×3 numbers for 2 images, one for"),
        (lambda: spec("Normed"), "module", "no linear layer .* gives num_classes"),
        (lambda: spec("Angular"), "module", "no linear layer .* gives num_classes"),
        (lambda: spec("Lazy"), "module", "has lazy layers, whose sizes are not known yet"),
        (lambda: spec("Broken"), "module", "gives scores for 2 images .* that are not fin"),
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
        (
            lambda: spec("Net", layer_groups={"stem": "^conv1|^bn1", "head": "^trunk"}),
            "layer_groups.head",
            "head, all and norms mean something else .* — give it another name",
        ),
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


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("module", "ownnets.Net", "must be package.file:function"),
        ("std", "[0, 0.5, 0.5]", "must be three numbers above 0, one per channel"),
        ("layer_groups", "{Stem: conv}", "must be a word in small letters"),
    ],
)
def test_a_wrong_field_is_one_problem(tmp_path: Path, field: str, value: str, rule: str) -> None:
    study = tmp_path / "study.yaml"
    fields = {"module": "ownnets:Net", "weights": "none"} | {field: value}
    backbone = ", ".join(f"{name}: {text}" for name, text in fields.items())
    study.write_text(f"name: own\ndata: {{source: digits, size: 16}}\nbackbone: {{{backbone}}}\n")
    with pytest.raises(StudyError) as caught:
        read_study(study, overrides=(), preset=None)
    (problem,) = caught.value.problems
    assert problem.field.startswith(f"backbone.{field}")
    assert rule in problem.rule
