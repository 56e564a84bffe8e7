"""`tlsearch check` of a comparison: arms, scenarios, their images and splits, cost."""

import csv
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Files, Invoke
from tests.data.made import photo
from tlsearch.comparison.claims import claims_of
from tlsearch.comparison.power import TYPICAL_ACCURACY, smallest_effect
from tlsearch.config.sources import source_name

COMPARISON = """\
name: s
data: {source: digits, split: {validation: 0.1, test: 0.5}}
backbone: {name: resnet18, weights: none}
workers: 1
space: {lr: {low: 1e-3, high: 0.1, log: true}}
comparison:
  arms:
    fixed: {space.schedule: constant}
    decay: {space.schedule: [step, cosine]}
    given: {space.lr: 0.01}
  scenarios:
    few:
      traits: {similarity: similar, labels: few}
      set: {data.labels_per_class: 5}
    many:
      set: {data.labels_per_class: 20}
    letters:
      set: {data.source: {letters: {images: 400, classes: 10}}}
  tuning: {trials: 3, epochs: 4}
  confirm: {seeds: 4}
  sweeps:
    seeds: 2
    scenarios: [few]
    of: [{arm: fixed, dimension: lr, values: [0.001, 0.01, 0.1]}]
"""


@pytest.fixture
def compared(here: Path) -> Path:
    path = here / "study.yaml"
    path.write_text(COMPARISON)
    return path


def test_what_a_user_reads(compared: Path, tlsearch: Invoke, files: Files) -> None:
    assert compared.exists()
    before = files()
    text = tlsearch("check", "study.yaml").stdout
    assert files() == before
    for lines in (
        "arm fixed\n  fixes schedule: constant\n  tunes lr: 0.001 to 0.1, logarithmic\n",
        "arm given\n  fixes lr: 0.01\n  tunes nothing\n",
        "scenario few: similar, with few labels\nimages: 1,797\n",
        # A tenth of 1,797 validates and half of them test.
        "50 to train on, 180 to validate, 898 to test",
        "200 to train on, 180 to validate, 898 to test",
        "160 to train on, 40 to validate, 200 to test",
        # Two arms tune, in three scenarios; 4 seeds of 9 cells; 3 values by 2 seeds.
        "at most 60 trainings: 18 to tune 9 cells, 36 to confirm each on 4 seeds, 6 for sweeps",
        "points of test accuracy should show in one scenario, of ",
    ):
        assert lines in text


def test_a_comparison_as_json(compared: Path, tlsearch: Invoke) -> None:
    assert compared.exists()
    result = json.loads(tlsearch("check", "study.yaml", "--json").stdout)
    assert result["searched"] == {
        "fixed": {"lr": {"low": 1e-3, "high": 0.1, "log": True}},
        "decay": {
            "lr": {"low": 1e-3, "high": 0.1, "log": True},
            "schedule": ["step", "cosine"],
        },
        "given": {},
    }
    assert list(result["scenarios"]) == ["few", "many", "letters"]
    assert result["scenarios"]["letters"]["audit"]["num_images"] == 400
    found = result["comparison"]
    assert (found["tuning"], found["confirmations"], found["swept"]) == (18, 36, 6)
    assert found["trainings"] == 60
    assert found["seconds"] > 0
    # Two arms are held against the first; the letters test on 200 images, the fewest, and the two
    # scenarios of digits on the same.
    noise = TYPICAL_ACCURACY._replace(num_images=200)
    for name, blocks in (("smallest_effect", 1), ("smallest_effect_pooled", 2)):
        known = smallest_effect(noise, seeds=4, claims=2, blocks=blocks)
        assert found[name] == pytest.approx(known)


def test_a_table_of_the_documents_tests_all_its_claims(compared: Path, tlsearch: Invoke) -> None:
    text = COMPARISON.replace("  arms:", "  table: A\n  arms:").replace("given", "A3")
    compared.write_text(text.replace("fixed", "A1").replace("decay", "A2"))
    result = json.loads(tlsearch("check", "study.yaml", "--json").stdout)
    tested = sum(claim.direction != "none" for claim in claims_of("A"))
    assert tested == 22
    noise = TYPICAL_ACCURACY._replace(num_images=200)
    known = smallest_effect(noise, seeds=4, claims=tested, blocks=1)
    assert result["comparison"]["smallest_effect"] == pytest.approx(known)


@pytest.mark.slow
def test_splits_are_not_judged_by_points_of_accuracy(compared: Path, tlsearch: Invoke) -> None:
    compared.write_text(
        "name: s\ndata: {source: digits}\nbackbone: {name: resnet18, weights: none}\n"
        "comparison:\n  table: B\n  future: 0.5\n  arms:\n"
        "    B1: {data.split.strategy: random}\n    B3: {data.split.strategy: time}\n"
    )
    result = json.loads(tlsearch("check", "study.yaml", "--json").stdout)
    assert result["comparison"]["smallest_effect"] is None
    assert result["comparison"]["trainings"] == 2 * 8
    sizes = result["scenarios"]["here"]["sizes"]
    assert sizes["train"] + sizes["validation"] + sizes["test"] == sizes["images"] == 898
    text = tlsearch("check", "study.yaml").stdout
    assert "points of test accuracy" not in text
    assert 'fixes data.split.strategy: "time"' in text
    assert text.count("note: time cannot be drawn again") == 1


@pytest.fixture
def photos_compared(compared: Path) -> Path:
    """Two classes of twelve, one of them with a file that cannot be read."""
    folder = compared.parent / "photos"
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
    for i in range(24):
        photo(i).save(folder / ("dog" if i % 2 else "cat") / f"{i:02}.png")
    (folder / "dog" / "empty.jpg").write_bytes(b"")
    text = COMPARISON.replace("source: digits", "source: {folder: photos}, size: 32")
    compared.write_text(text.replace("data.labels_per_class: 20", "data.fit: stretch"))
    return folder


def test_images_are_read_and_listed_by_scenario(
    photos_compared: Path, here: Path, tlsearch: Invoke
) -> None:
    assert photos_compared.exists()
    text = tlsearch("check", "study.yaml", "--files", "list.csv").stdout
    assert text.count("unreadable files: 1 file") == 1
    assert "scenario many\nthe images of few\n" in text
    assert "scenario letters\nimages: 400\n" in text
    rows = list(csv.DictReader((here / "list.csv").read_text().splitlines()))
    assert {(r["scenario"], r["kind"], r["file"]) for r in rows} == {
        ("few", "unreadable", "dog/empty.jpg"),
        ("many", "unreadable", "dog/empty.jpg"),
    }
    result = json.loads(tlsearch("check", "study.yaml", "--json").stdout)
    few = result["scenarios"]["few"]
    assert few["sizes"]["test"] == sum(few["audit"]["parts"]["test"]) == 12


def test_the_same_images_are_shown_once_and_their_parts_where_they_differ(
    photos_compared: Path, here: Path, tlsearch: Invoke
) -> None:
    assert photos_compared.exists()
    compared = here / "study.yaml"
    compared.write_text(
        compared.read_text().replace("data.fit: stretch", "data.labels_per_class: 2")
    )
    text = tlsearch("check", "study.yaml").stdout
    many = text.partition("scenario many\n")[2].partition("scenario letters\n")[0]
    assert many.startswith("the images of few\n")
    assert "images per class" in many
    assert "4 to train on" in many
    assert "not found:" not in many


def test_the_same_data_are_read_once(
    photos_compared: Path, here: Path, tlsearch: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tlsearch.search import preview

    assert photos_compared.exists()
    compared = here / "study.yaml"
    weights = "set: {backbone.weights: glyphs}"
    compared.write_text(compared.read_text().replace("set: {data.fit: stretch}", weights))
    looked = []
    original = preview.audit_images

    def counted(config, **options):
        looked.append(source_name(config.data.source))
        return original(config, **options)

    monkeypatch.setattr(preview, "audit_images", counted)
    text = tlsearch("check", "study.yaml").stdout
    assert looked == ["folder", "folder", "letters"]
    compared.write_text(compared.read_text().replace("set: {data.labels_per_class: 5}", "set: {}"))
    looked.clear()
    text = tlsearch("check", "study.yaml").stdout
    assert looked == ["folder", "letters"]
    assert "scenario many\nthe images of few\n" in text


def test_what_stops_one_scenario_is_shown_after_all_that_was_found(
    photos_compared: Path, here: Path, tlsearch: Invoke
) -> None:
    assert photos_compared.exists()
    compared = here / "study.yaml"
    strict = "data.labels_per_class: 5, data.audit.unreadable: error"
    compared.write_text(compared.read_text().replace("data.labels_per_class: 5", strict))
    done = tlsearch("check", "study.yaml", code=2)
    assert "scenario letters\n" in done.stdout
    assert "at most" not in done.stdout
    assert "tlsearch: scenario 'few': the images: 1 problem" in done.stderr
    done = tlsearch("check", "study.yaml", "--json", code=2)
    result = json.loads(done.stdout)
    assert result["comparison"] is None
    assert result["scenarios"]["few"]["sizes"] is None
    done = tlsearch("check", "study.yaml", "--set", "data.source.folder=none", code=2)
    assert done.stdout == ""
    assert done.stderr.startswith("tlsearch: scenario 'few': ")


def test_notes_on_dimensions_are_shown_of_arms_too(compared: Path, tlsearch: Invoke) -> None:
    compared.write_text(
        COMPARISON.replace("given: {space.lr: 0.01}", "average: {space.ema_decay: 0.999}")
    )
    text = tlsearch("check", "study.yaml").stdout
    assert "note: ema_decay = 0.999 is not reached" in text
    pulled = "pulled: {space.l2_sp: 0.1, space.weight_decay: 0.01}"
    compared.write_text(
        COMPARISON.replace("given: {space.lr: 0.01}", pulled).replace(
            "weights: none", "weights: glyphs"
        )
    )
    assert "note: with l2_sp above 0, weight_decay is the head's alone" in tlsearch(
        "check", "study.yaml"
    ).stdout.replace("\n", " ")


def test_source_models_that_are_not_there_are_shown(
    compared: Path, tlsearch: Invoke, files: Files
) -> None:
    networks = "given: {backbone.name: resnet10}"
    text = COMPARISON.replace("weights: none", "weights: glyphs")
    compared.write_text(text.replace("given: {space.lr: 0.01}", networks))
    before = files()
    result = tlsearch("check", "study.yaml").stdout
    assert files() == before
    line = "2 source models have to be trained, once for all studies: resnet18 at 32 px, resnet10"
    assert line in result
    found = json.loads(tlsearch("check", "study.yaml", "--json").stdout)
    assert found["comparison"]["source_models_to_train"] == [
        "resnet18 at 32 px",
        "resnet10 at 32 px",
    ]
    compared.write_text(COMPARISON)
    assert "to be trained" not in tlsearch("check", "study.yaml").stdout


SPLITS = """\
name: s
data:
  source: {letters: {images: 40, classes: 4}}
  split: {validation: 0.2, test: 0.2}
  audit: {min_class_images: 2, small_classes: keep}
backbone: {name: resnet10, weights: none}
workers: 1
comparison:
  table: B
  future: 0.8
  arms: {B2: {data.split.strategy: stratified}, B1: {data.split.strategy: random}}
  tuning: {epochs: 1}
  confirm: {seeds: 2}
"""


@pytest.fixture
def splits(here: Path) -> Path:
    path = here / "splits.yaml"
    path.write_text(SPLITS)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("base", "result"),
    [
        ("stratified", "data.split.strategy = stratified: class "),
        ("random", "B2, seed 1: data.split.strategy = stratified: class "),
    ],
)
def test_the_past_is_divided_as_every_arm_does_it(
    splits: Path, tlsearch: Invoke, files: Files, base: str, result: str
) -> None:
    splits.write_text(SPLITS.replace("split: {", f"split: {{strategy: {base}, "))
    before = files()
    checked = tlsearch("check", str(splits), code=2)
    assert files() == before
    result += '"A" has 2 images; each of the 3 parts needs one'
    assert checked.stderr.startswith(f"tlsearch: scenario 'here': {result}")
    ran = tlsearch("run", str(splits), code=2)
    assert ran.stderr.endswith(checked.stderr.partition("'here': ")[2])


def test_the_future_of_files_is_looked_at(splits: Path, tlsearch: Invoke) -> None:
    for i in range(40):
        path = splits.parent / "photos" / "ab"[i // 20] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo(i).save(path)
    options = ("--set", "data.source={folder: photos}", "--set", "comparison.future=0.25")
    done = tlsearch("check", str(splits), *options, code=2)
    assert "the latest 10 images are of one class only" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("study", ["study.yaml", "splits.yaml"])
def test_a_weights_file_must_be_there(splits: Path, tlsearch: Invoke, study: str) -> None:
    options = ("--set", "backbone.weights=nofile.safetensors", "--set", "comparison.future=0.2")
    options = options if study == splits.name else options[:2]
    checked = tlsearch("check", study, *options, code=2)
    result = f"backbone.weights = 'nofile.safetensors': no such file, seen from {Path.cwd()} — "
    result += "check the path\n"
    assert checked.stderr.endswith(result)
    assert result in tlsearch("run", study, *options, code=2).stderr
