"""`tlsearch check` of a comparison: its arms, scenarios, what it takes and what it can show."""

import csv
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Files, Invoke
from tests.data.audit.made import photo
from tlsearch.comparison.claims import claims_of
from tlsearch.comparison.power import ALPHA, POWER, TYPICAL_ACCURACY, smallest_effect

STUDY = """\
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
def study(here: Path) -> Path:
    path = here / "study.yaml"
    path.write_text(STUDY)
    return path


def test_what_a_user_reads(study: Path, tlsearch: Invoke, files: Files) -> None:
    assert study.exists()
    before = files()
    text = tlsearch("check", "study.yaml").stdout
    assert files() == before
    for lines in (
        "arm fixed\n  fixes schedule: constant\n  tunes lr: 0.001 … 0.1, logarithmic\n",
        "arm given\n  fixes lr: 0.01\n  tunes nothing\n",
        "scenario few: similar, few labels\nimages: 1,797\n",
        # A tenth of 1,797 validates and half of them test.
        "50 to train on, 180 to validate, 898 to test",
        "200 to train on, 180 to validate, 898 to test",
        "160 to train on, 40 to validate, 200 to test",
        # Two arms tune, in three scenarios; 4 seeds of 9 cells; 3 values by 2 seeds.
        "at most 60 trainings: 18 to tune 9 cells, 36 to confirm each on 4 seeds, 6 for sweeps",
        "points of test accuracy should show in one scenario, of ",
    ):
        assert lines in text


def test_as_json(study: Path, tlsearch: Invoke) -> None:
    assert study.exists()
    told = json.loads(tlsearch("check", "study.yaml", "--json").stdout)
    assert told["searched"] == {
        "fixed": {"lr": {"low": 1e-3, "high": 0.1, "log": True}},
        "decay": {
            "lr": {"low": 1e-3, "high": 0.1, "log": True},
            "schedule": ["step", "cosine"],
        },
        "given": {},
    }
    assert list(told["scenarios"]) == ["few", "many", "letters"]
    assert told["scenarios"]["letters"]["audit"]["num_images"] == 400
    found = told["comparison"]
    assert (found["tuning"], found["confirmations"], found["swept"]) == (18, 36, 6)
    assert found["trainings"] == 60
    assert found["seconds"] > 0
    # Two arms are held against the first; the letters test on 200 images, the fewest, and the two
    # scenarios of digits on the same.
    noise = TYPICAL_ACCURACY._replace(num_images=200)
    for name, blocks in (("smallest_effect", 1), ("smallest_effect_pooled", 2)):
        known = smallest_effect(noise, seeds=4, claims=2, blocks=blocks, alpha=ALPHA, power=POWER)
        assert found[name] == pytest.approx(known)


def test_a_table_of_the_documents_tests_all_its_claims(study: Path, tlsearch: Invoke) -> None:
    text = STUDY.replace("  arms:", "  table: A\n  arms:").replace("given", "A3")
    study.write_text(text.replace("fixed", "A1").replace("decay", "A2"))
    told = json.loads(tlsearch("check", "study.yaml", "--json").stdout)
    tested = sum(claim.direction != "none" for claim in claims_of("A"))
    assert tested == 22
    noise = TYPICAL_ACCURACY._replace(num_images=200)
    known = smallest_effect(noise, seeds=4, claims=tested, blocks=1, alpha=ALPHA, power=POWER)
    assert told["comparison"]["smallest_effect"] == pytest.approx(known)


def test_splits_are_not_judged_by_points_of_accuracy(study: Path, tlsearch: Invoke) -> None:
    study.write_text(
        "name: s\ndata: {source: digits}\nbackbone: {name: resnet18, weights: none}\n"
        "comparison:\n  table: B\n  future: 0.5\n  arms:\n"
        "    B1: {data.split.strategy: random}\n    B3: {data.split.strategy: time}\n"
    )
    told = json.loads(tlsearch("check", "study.yaml", "--json").stdout)
    assert told["comparison"]["smallest_effect"] is None
    assert told["comparison"]["trainings"] == 2 * 8
    sizes = told["scenarios"]["here"]["sizes"]
    assert sizes["train"] + sizes["validation"] + sizes["test"] == sizes["images"] == 898
    text = tlsearch("check", "study.yaml").stdout
    assert "points of test accuracy" not in text
    assert 'fixes data.split.strategy: "time"' in text
    assert text.count("note: time cannot be drawn again") == 1


@pytest.fixture
def photos(study: Path) -> Path:
    """Two classes of twelve, one of them with a file that cannot be read."""
    folder = study.parent / "photos"
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
    for i in range(24):
        photo(i).save(folder / ("dog" if i % 2 else "cat") / f"{i:02}.png")
    (folder / "dog" / "empty.jpg").write_bytes(b"")
    text = STUDY.replace("source: digits", "source: {folder: photos}, size: 32")
    study.write_text(text.replace("data.labels_per_class: 20", "data.fit: stretch"))
    return folder


def test_images_are_read_and_listed_by_scenario(photos: Path, here: Path, tlsearch: Invoke) -> None:
    assert photos.exists()
    text = tlsearch("check", "study.yaml", "--files", "list.csv").stdout
    assert text.count("unreadable files: 1 file") == 1
    assert "scenario many\nthe images of few\n" in text
    assert "scenario letters\nimages: 400\n" in text
    rows = list(csv.DictReader((here / "list.csv").read_text().splitlines()))
    assert {(r["scenario"], r["kind"], r["file"]) for r in rows} == {
        ("few", "unreadable", "dog/empty.jpg"),
        ("many", "unreadable", "dog/empty.jpg"),
    }
    told = json.loads(tlsearch("check", "study.yaml", "--json").stdout)
    few = told["scenarios"]["few"]
    assert few["sizes"]["test"] == sum(few["audit"]["parts"]["test"]) == 12


def test_the_same_images_are_told_once_and_their_parts_where_they_differ(
    photos: Path, here: Path, tlsearch: Invoke
) -> None:
    assert photos.exists()
    study = here / "study.yaml"
    study.write_text(study.read_text().replace("data.fit: stretch", "data.labels_per_class: 2"))
    text = tlsearch("check", "study.yaml").stdout
    many = text.partition("scenario many\n")[2].partition("scenario letters\n")[0]
    assert many.startswith("the images of few\n")
    assert "images per class" in many
    assert "4 to train on" in many
    assert "not found:" not in many


def test_the_same_data_are_read_once(
    photos: Path, here: Path, tlsearch: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tlsearch.cli import check_images

    assert photos.exists()
    study = here / "study.yaml"
    weights = "set: {backbone.weights: glyphs}"
    study.write_text(study.read_text().replace("set: {data.fit: stretch}", weights))
    looked = []
    original = check_images.audit_images

    def counted(config, **options):
        looked.append(config.name)
        return original(config, **options)

    monkeypatch.setattr(check_images, "audit_images", counted)
    text = tlsearch("check", "study.yaml").stdout
    assert looked == ["s:few:", "s:many:", "s:letters:"]
    study.write_text(study.read_text().replace("set: {data.labels_per_class: 5}", "set: {}"))
    looked.clear()
    text = tlsearch("check", "study.yaml").stdout
    assert looked == ["s:few:", "s:letters:"]
    assert "scenario many\nthe images of few\n" in text


def test_what_stops_one_scenario_is_told_after_all_that_was_found(
    photos: Path, here: Path, tlsearch: Invoke
) -> None:
    assert photos.exists()
    study = here / "study.yaml"
    strict = "data.labels_per_class: 5, data.audit.unreadable: error"
    study.write_text(study.read_text().replace("data.labels_per_class: 5", strict))
    done = tlsearch("check", "study.yaml", code=2)
    assert "scenario letters\n" in done.stdout
    assert "at most" not in done.stdout
    assert "tlsearch: scenario 'few': the images: 1 problem" in done.stderr
    done = tlsearch("check", "study.yaml", "--json", code=2)
    told = json.loads(done.stdout)
    assert told["comparison"] is None
    assert told["scenarios"]["few"]["sizes"] is None
    done = tlsearch("check", "study.yaml", "--set", "data.source.folder=none", code=2)
    assert done.stdout == ""
    assert done.stderr.startswith("tlsearch: scenario 'few': ")


def test_what_a_search_would_be_told_of_its_dimensions_is_told_of_an_arms(
    study: Path, tlsearch: Invoke
) -> None:
    study.write_text(STUDY.replace("given: {space.lr: 0.01}", "average: {space.ema_decay: 0.999}"))
    text = tlsearch("check", "study.yaml").stdout
    assert "note: ema_decay = 0.999 is not reached" in text
    pulled = "pulled: {space.l2_sp: 0.1, space.weight_decay: 0.01}"
    study.write_text(
        STUDY.replace("given: {space.lr: 0.01}", pulled).replace("weights: none", "weights: glyphs")
    )
    assert "note: with l2_sp above 0, weight_decay is the head's alone" in tlsearch(
        "check", "study.yaml"
    ).stdout.replace("\n", " ")


def test_source_models_that_are_not_there_are_told(
    study: Path, tlsearch: Invoke, files: Files
) -> None:
    networks = "given: {backbone.name: resnet10}"
    text = STUDY.replace("weights: none", "weights: glyphs")
    study.write_text(text.replace("given: {space.lr: 0.01}", networks))
    before = files()
    told = tlsearch("check", "study.yaml").stdout
    assert files() == before
    line = "2 source models have to be trained, once for all studies: resnet18 at 32 px, resnet10"
    assert line in told
    found = json.loads(tlsearch("check", "study.yaml", "--json").stdout)
    assert found["comparison"]["source_models_to_train"] == [
        "resnet18 at 32 px",
        "resnet10 at 32 px",
    ]
    study.write_text(STUDY)
    assert "to be trained" not in tlsearch("check", "study.yaml").stdout
