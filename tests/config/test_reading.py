"""Studies as users write them, right and wrong: what is read, and what exactly is said."""

import copy
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.config.conftest import MINIMAL, Read, Refused
from tlsearch.config.loader import read_study
from tlsearch.config.schema import StudyConfig
from tlsearch.config.search_options import Hyperband, Tpe
from tlsearch.errors import Problem, RequestError, StudyError


def test_the_least_study_and_its_defaults(read: Read) -> None:
    config = read("")
    assert config.data.split.strategy == "stratified"
    assert (config.data.size, config.data.labels_per_class) == (32, None)
    assert (config.budget.trials, config.budget.epochs, config.budget.timeout) == (30, 10, None)
    assert (config.workers, config.device, config.precision) == ("auto", "auto", "auto")
    assert config.search.sampler == Tpe()
    assert config.search.metric == "val_accuracy"
    assert (config.confirm.top, config.confirm.seeds) == (3, 3)
    assert config.baselines == dict.fromkeys(
        ("linear_probe", "full_fine_tuning", "from_scratch"), "fixed"
    )
    assert (config.storage, config.tracking_uri, config.presets) == (None, None, {})


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("budget: {timeout: 30m}", "budget.timeout", 1800.0),
        ("budget: {timeout: 1h30m}", "budget.timeout", 5400.0),
        ("budget: {timeout: 1.5d}", "budget.timeout", 129600.0),
        ("budget: {timeout: 90}", "budget.timeout", 90.0),
        ("workers: 3", "workers", 3),
        ("baselines: false", "baselines", {}),
        ("baselines: []", "baselines", {}),
        (
            "baselines: [from_scratch, linear_probe]",
            "baselines",
            {"linear_probe": "fixed", "from_scratch": "fixed"},
        ),
        (
            "baselines: {from_scratch: tuned, linear_probe: fixed}",
            "baselines",
            {"linear_probe": "fixed", "from_scratch": "tuned"},
        ),
        ("confirm: null", "confirm.seeds", 0),
        ("search: {sampler: {tpe: {n_startup_trials: 3}}}", "search.sampler.n_startup_trials", 3),
        ("search: {pruner: {hyperband: null}}", "search.pruner", Hyperband()),
        ("storage: sqlite:///a.db", "storage", "sqlite:///a.db"),
        ("tracking_uri: http://localhost:5000", "tracking_uri", "http://localhost:5000"),
    ],
)
def test_values_with_a_syntax_of_their_own(read: Read, line: str, field: str, value: Any) -> None:
    found: Any = read(line)
    for part in field.split("."):
        found = getattr(found, part)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("budgets: {}", "budgets = {}: unknown field — did you mean 'budget'?"),
        ("budget: 3", "budget = 3: must be a mapping of fields — write its fields below it"),
        ("budget:", "budget = null: must be a mapping of fields"),
        ("budget: {trails: 3}", "budget.trails = 3: unknown field — did you mean 'trials'?"),
        ("budget: {zzz: 3}", "budget.zzz = 3: unknown field — known: trials, epochs, timeout"),
        ("budget: {trials: 0}", "budget.trials = 0: must be at least 1"),
        ("budget: {trials: 3.0}", "budget.trials = 3.0: must be a whole number — write 3"),
        ("budget: {trials: true}", "budget.trials = true: must be a whole number"),
        ("budget: {trials: '3'}", 'budget.trials = "3": must be a whole number — this is text'),
        ("budget: {timeout: 5x}", 'budget.timeout = "5x": must be a duration above 0 — write'),
        ("budget: {timeout: 0}", "budget.timeout = 0: must be a duration above 0"),
        ("budget: {timeout: 0s}", 'budget.timeout = "0s": must be a duration above 0'),
        ("budget: {timeout: ''}", 'budget.timeout = "": must be a duration above 0'),
        ("budget: {timeout: .inf}", "budget.timeout = Infinity: must be a duration above 0"),
        ("workers: autp", 'workers = "autp": must be a whole number of at least 1, or auto — did'),
        ("workers: 0", "workers = 0: must be a whole number of at least 1, or auto"),
        ("workers: true", "workers = true: must be a whole number of at least 1, or auto"),
        ("device: gpu", 'device = "gpu": must be auto, cpu or cuda — did you mean'),
        ("precision: 16", "precision = 16: must be auto, fp32 or bf16"),
        ("search: {sampler: tpo}", 'search.sampler = "tpo": must be one of tpe, random, gp'),
        ("search: {sampler: null}", "search.sampler = null: must be one of tpe, random, gp"),
        ("search: {sampler: [tpe, gp]}", "search.sampler = [tpe, gp]: must be exactly one"),
        ("search: {sampler: {tpe: {}, gp: {}}}", "must be exactly one — keep one name"),
        ("search: {sampler: {}}", "search.sampler = {}: names no option — known: tpe"),
        (
            "search: {sampler: {tpe: {n_startup: 1}}}",
            "search.sampler.tpe.n_startup = 1: unknown field — did you mean 'n_startup_trials'?",
        ),
        (
            "search: {sampler: {tpe: {multivariate: on}}}",
            "search.sampler.tpe.multivariate = \"on\": must be true or false — 'on' is text in",
        ),
        ("search: {pruner: {median: 3}}", "search.pruner.median = 3: must be a mapping of fields"),
        (
            "search: {pruner: {percentile: {percentile: 101}}}",
            "search.pruner.percentile.percentile = 101: must be at most 100",
        ),
        (
            "search: {pruner: {hyperband: {max_resource: all}}}",
            'search.pruner.hyperband.max_resource = "all": must be a whole number of at least 1',
        ),
        ("search: {seed: -1}", "search.seed = -1: must be at least 0"),
        ("search: {seed: 4294967296}", "search.seed = 4294967296: must be at most 4294967295"),
        ("search: {metric: acc}", 'search.metric = "acc": must be val_accuracy, val_balanced_accu'),
        ("confirm: {seeds: -1}", "confirm.seeds = -1: must be at least 0"),
        ("confirm: 3", "confirm = 3: must be a mapping of fields"),
        (
            "baselines: yes",
            "baselines = \"yes\": must be true, false, a list or a mapping — 'yes' is text",
        ),
        ("baselines: [scratch]", 'baselines.scratch = "scratch": must be linear_probe, full'),
        ("baselines: [from_scratch, from_scratch]", "from_scratch is listed twice"),
        ("baselines: {scratch: tuned}", 'baselines.scratch = "scratch": must be linear_probe'),
        ("baselines: {from_scratch: tune}", "must be fixed or tuned — did you mean"),
        ("baselines: {linear_probe: tuned}", "must be fixed — only full_fine_tuning and from_scr"),
        ("storage: studies.db", 'storage = "studies.db": must be a database\'s address — write'),
        ("storage: sqlite://", 'storage = "sqlite://": is lost when the run ends'),
        ("storage: 'sqlite:///:memory:'", "is lost when the run ends"),
        ("tracking_uri: mlruns", 'tracking_uri = "mlruns": must be an MLflow server\'s'),
        ("tracking_uri: file:///mlruns", "MLflow closed its file store in 3.13 — write one such"),
        ("presets: small", 'presets = "small": must be a mapping of fields'),
        ("presets: {small: 8}", "presets.small = 8: must be a mapping of fields"),
        ("presets: {small: {}}", "presets.small = {}: must have at least 1"),
        ("space: {lr: {low: 1, high: 0.1}}", "space.lr = {low: 1, high: 0.1}: an empty range"),
        ("space: {optimizer: sdg}", 'space.optimizer = "sdg": must be one of sgd, adam, adamw'),
        ("space: {optimizer: [sgd, sgd]}", "sgd is listed twice"),
        ("space: {optimizer: []}", "space.optimizer = []: names no option — known: sgd"),
        ("space: {optimizer: 3}", "space.optimizer = 3: must be one of sgd"),
        (
            "space: {optimizer: {sgd: {momentun: 0.9}}}",
            "space.optimizer.sgd.momentun = 0.9: unknown field — did you mean 'momentum'?",
        ),
        (
            "space: {optimizer: {sgd: {momentum: {low: 0.8, high: 1}}}}",
            "space.optimizer.sgd.momentum.high = 1: must be below 1",
        ),
        (
            "space: {warmup_start_fraction: 1}",
            "space.warmup_start_fraction = 1: must be below 1",
        ),
    ],
)
def test_one_wrong_field_is_shown_with_its_line(refused: Refused, line: str, expected: str) -> None:
    (message,) = refused("\n" + line)
    assert message.startswith("line 5: ")
    assert expected in message


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("{}", ["name: is missing — add it, such as `name: my-study`", "`data: {source: digits}`"]),
        (
            "name: a/b\ndata: {source: digit}\nbackbone: {name: resnet19, weights: model.pkl}",
            [
                'line 1: name = "a/b": must be 1 to 64 letters, digits',
                'line 2: data.source = "digit": must be one of digits, glyphs, letters',
                "did you mean 'digits'?",
                'line 3: backbone.name = "resnet19": must be the name of a backbone — did you mean',
                'backbone.weights = "model.pkl": must be imagenet, glyphs',
            ],
        ),
        (
            "name: 3\ndata: {source: digits, size: 0}\nbackbone: {name: resnet18}",
            [
                "line 1: name = 3: must be 1 to 64 letters",
                "line 2: data.size = 0: must be at least 1",
                "line 3: backbone.weights: is missing — add it, such as `weights: glyphs`",
            ],
        ),
        (
            "name: .x\ndata: [digits]\nbackbone: resnet18",
            ["name = ", "data = [digits]: must be a mapping", 'backbone = "resnet18": must be a'],
        ),
    ],
)
def test_required_fields(refused: Refused, head: str, expected: list[str]) -> None:
    messages = "\n".join(refused("", head=head))
    for part in expected:
        assert part in messages


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ("glyph", "did you mean 'glyphs'?"),
        ("null", "for a random start write none"),
        ("DEFAULT", "DEFAULT changes with torchvision's versions"),
        ("IMAGENET1K_V3", "torchvision has no such weights for resnet18 — did you mean"),
        ("imagenet1k_v1", "did you mean 'IMAGENET1K_V1'?"),
        ("w.pkl", "or a file (.safetensors, .pt, .pth, .ckpt, .bin, .tar) — files are told by"),
        ("runs/best.h5", "files are told by their ending"),
    ],
)
def test_weights(refused: Refused, weights: str, expected: str) -> None:
    head = f"name: s\ndata: {{source: digits}}\nbackbone: {{name: resnet18, weights: {weights}}}\n"
    (message,) = refused("", head=head)
    assert message.startswith("line 3: backbone.weights = ")
    assert expected in message


def test_all_problems_at_once_in_the_order_of_the_lines(refused: Refused) -> None:
    text = """\
budget: {epochs: 3, trials: many}
space:
  lr: 0.1
  lr: 0.2
  freeze_depth: {low: 0, high: 7}
  dropout: [0.1, 2]
  warmup_epochs: 5
  weight_decay: {low: 0, high: 1, log: true}
  clip_norms: 1
"""
    messages = refused(text)
    assert [m.split(":")[0] for m in messages] == [
        "line 4",
        "line 7",
        "line 9",
        "line 11",
        "line 12",
    ]
    assert "space.lr: is set twice, first in line 6 — keep one of them" in messages[1]


def test_all_contradictions_at_once_when_all_fields_are_right(refused: Refused) -> None:
    text = "budget: {epochs: 3}\nspace:\n  freeze_depth: {low: 0, high: 7}\n  warmup_epochs: 5\n"
    depth, warmup = refused(text)
    assert depth.startswith("line 6: ")
    assert "resnet18 has 6 layer groups (stem, layer1" in depth
    assert "warm-up is as long as training, 3 epochs" in warmup


def test_no_contradiction_is_shown_of_a_field_that_is_wrong_itself(refused: Refused) -> None:
    (message,) = refused("budget: {epochs: x}\nspace: {warmup_epochs: 50}")
    assert "budget.epochs" in message
    messages = refused(
        "space: {freeze_depth: 9, lr: -1}", head=MINIMAL.replace("resnet18", "resnet17")
    )
    assert len(messages) == 2


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "study.yaml: is empty, not a mapping of fields — write at least `name`, `data` and"),
        (b"# only a comment\n", "study.yaml: is empty"),
        (b"- a\n- b\n", "study.yaml: holds a list, not a mapping"),
        (b"just text", 'study.yaml: holds the single value "just text", not a mapping'),
        (b"a: [1", "study.yaml: line 1: not valid YAML"),
        (b"name: s\nx: \xff\xfe", "study.yaml: line 2: not UTF-8 text — save it as UTF-8"),
        (b"a: &a 1", "study.yaml: line 1: anchors and aliases are not read"),
        (b"x" * 1_000_001, "study.yaml: is larger than 1 MB"),
    ],
)
def test_no_study_in_the_file(
    unreadable: Callable[..., str], content: bytes, expected: str
) -> None:
    message = unreadable(content)
    assert message.startswith(expected)
    assert "\n" not in message


def test_no_file(tmp_path: Path) -> None:
    (tmp_path / "quickstart.yaml").write_text(MINIMAL)
    for path, expected in (
        (tmp_path / "quickstrat.yaml", "no such file — did you mean 'quickstart.yaml'?"),
        (tmp_path / "no" / "x.yaml", "no such file — check the path"),
        (tmp_path, "is a folder — name a study file in it"),
        (tmp_path / "quickstart.yaml" / "x", "cannot be read: Not a directory"),
        (tmp_path / "\0", "cannot be read"),
    ):
        with pytest.raises(RequestError, match=expected.split("—")[0].strip()) as caught:
            read_study(path, overrides=[], preset=None)
        assert expected in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(MINIMAL)
    path.chmod(0)
    with pytest.raises(RequestError, match="Permission denied"):
        read_study(path, overrides=[], preset=None)


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert read_study(path, overrides=[], preset=None).name == "s"


def test_passwords_are_not_shown(refused: Refused) -> None:
    (message,) = refused("storage: Postgres://me:secret@host/db")
    assert "secret" not in message
    assert "me:***@host" in message


def test_garbled_studies_are_refused_and_never_crash(tmp_path: Path) -> None:
    """Hundreds of random changes to a full study: each is read, or refused in words of ours."""
    whole = Path("studies/quickstart.yaml").read_text()
    odd = [None, True, -1, 0, 1e400, 10**400, "", "x", "auto", [], {}, [[]], {"low": 1}, "1e-3"]
    rng = random.Random(0)
    path = tmp_path / "s.yaml"
    outcomes = {"read": 0, "refused": 0}
    expected: list[Problem] = []
    for _ in range(250):
        data = yaml.safe_load(whole)
        for _ in range(rng.choice((1, 1, 3))):
            here, key = data, rng.choice(list(data))
            while isinstance(here[key], dict) and here[key] and rng.random() < 0.8:
                here = here[key]
                key = rng.choice(list(here))
            if rng.random() < 0.3:
                here[key + rng.choice("xs_")] = here.pop(key)
            else:
                here[key] = copy.deepcopy(rng.choice(odd))
        path.write_text(yaml.safe_dump(data))
        try:
            assert isinstance(read_study(path, overrides=[], preset=None), StudyConfig)
            outcomes["read"] += 1
        except StudyError as error:
            outcomes["refused"] += 1
            expected += error.problems
    assert all(p.rule and p.field and p.line for p in expected)
    assert not any("is not accepted" in str(p) or "\n" in str(p) for p in expected)
    assert min(outcomes.values()) > 5


@pytest.mark.parametrize(
    ("written", "remedy"),
    [
        ("photos/", 'write {folder: "photos/"}'),
        ("letters/", 'write {folder: "letters/"}'),
        ("photos", 'write {folder: "photos"}'),
        ("~/My Photos", 'write {folder: "~/My Photos"}'),
        ("data/Labels.csv", 'write {manifest: "data/Labels.csv"}'),
        ("list.parquet", 'write {manifest: "list.parquet"}'),
        ("CIFAR10", 'write {torchvision: "CIFAR10"}'),
        ("digts", "did you mean 'digits'?"),
        ("Letter", "did you mean 'letters'?"),
    ],
)
def test_a_source_without_its_kind_is_shown_how_to_write_it(
    refused: Refused, written: str, remedy: str
) -> None:
    (message,) = refused("", head=MINIMAL.replace("source: digits", f'source: "{written}"'))
    assert message.startswith(f'line 2: data.source = "{written}": must be one of digits, ')
    assert message.endswith(f" — {remedy}")
