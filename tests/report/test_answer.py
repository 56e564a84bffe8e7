"""What a search found, in words."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.report.fake import (
    BASELINE_ACCURACIES,
    DIGITS,
    STUDY,
    Fake,
    baselines,
    confirm,
    fake_study,
    finished,
    know_data,
    search,
    train,
)
from tlsearch.comparison.variance import Effect
from tlsearch.config.search_options import METRICS
from tlsearch.metrics.curves import ClassBalance
from tlsearch.report.answer import Answer, Gain
from tlsearch.report.build import build_report
from tlsearch.report.context import SearchReport, read_search
from tlsearch.report.html import render_html
from tlsearch.report.markdown import render_markdown
from tlsearch.report.wording import (
    accuracy_text,
    gain_text,
    setting_text,
)
from tlsearch.search.mirroring import keep_evaluation
from tlsearch.search.store import FACTS, NETWORKS, SIMILARITY
from tlsearch.training.results import FoldResult


def answer_of(fake: Fake) -> Answer:
    return read_search(fake.store, fake.layout).answer


def test_a_confirmed_study_says_what_the_test_part_said(tmp_path: Path) -> None:
    fake = finished(tmp_path)
    answer = answer_of(fake)
    record = fake.store.noted("test")
    assert answer.score == Effect(**record["accuracy"])
    assert [g.baseline for g in answer.gains] == [
        "linear probe (one fixed recipe)",
        "full fine-tuning (one fixed recipe)",
        "training from scratch (one fixed recipe)",
    ]
    for gain, name in zip(answer.gains, BASELINE_ACCURACIES, strict=True):
        assert gain.gain == Effect(**record["baselines"][name]["gain"])
        if gain.score.num_seeds == answer.score.num_seeds:
            assert gain.gain.mean == pytest.approx(answer.score.mean - gain.score.mean)
    # Who fell behind was trained on two seeds; the probe costs nothing.
    assert [gain.gain.num_seeds for gain in answer.gains] == [3, 3, 3]
    assert f"Trial {record['winner']} reaches" in answer.result
    assert "n = 270 test images, 3 seeds" in answer.result
    # Beside the mean over seeds stands what the exported model itself reaches, and of which it is.
    own = Effect(**record["champion_accuracy"])
    assert answer.exported == own != answer.score
    assert f"is exported, the first, and reaches {accuracy_text(own)}" in answer.result
    names = [name for name, *_ in answer.rows]
    assert names[:2] == ["the winner, mean over 3 seeds", "the exported model alone"]
    assert not answer.warnings


def test_what_more_trials_would_gain_stands_in_every_format(tmp_path: Path) -> None:
    fake = finished(tmp_path)
    outlook = read_search(fake.store, fake.layout).summary.outlook
    assert outlook is not None
    assert outlook.trials == fake.store.num_begun()
    (note,) = [note for note in answer_of(fake).notes if "more trial" in note]
    assert f"{outlook.more} more trial" in note
    assert note[:6] in render_markdown(read_search(fake.store, fake.layout))
    assert note in render_html(read_search(fake.store, fake.layout))
    told = json.loads(build_report(fake.store, fake.layout, format="json"))
    assert told["outlook"] == outlook._asdict()


def test_the_recipe_is_said_in_words_and_numbers(tmp_path: Path) -> None:
    fake = finished(tmp_path)
    data = read_search(fake.store, fake.layout)
    assert data.summary.best is not None
    params = data.summary.best.run.params
    answer = data.answer
    assert setting_text(params["lr"]) in answer.headline
    told = {p.name: (p.value, p.searched) for p in answer.parameters}
    assert told["lr"] == (setting_text(params["lr"]), "0.0001 to 0.1, logarithmic")
    assert told["batch_size"] == (str(params["batch_size"]), "16, 32, 64")
    assert told["clip_norm"] == ("none", None)
    names = list(told)
    assert names.index("batch_size") < names.index("clip_norm"), "what was searched comes first"


def test_negative_transfer_and_a_better_baseline_are_flagged(tmp_path: Path) -> None:
    fake = fake_study(tmp_path, "budget.trials=4")
    search(fake, 4)
    confirm(fake, winner=0.90, references={**BASELINE_ACCURACIES, "linear_probe": 0.80})
    answer = answer_of(fake)
    assert any(text.startswith("Negative transfer") for text in answer.warnings)
    assert any(
        "full fine-tuning (one fixed recipe) is better than the winner in accuracy" in text
        for text in answer.warnings
    )
    assert [g.verdict for g in answer.gains] == ["better", "worse", "worse"]


def test_a_better_baseline_is_flagged_without_training_from_scratch(tmp_path: Path) -> None:
    fake = fake_study(tmp_path, "budget.trials=4", "baselines=[full_fine_tuning]")
    search(fake, 4)
    confirm(fake, winner=0.90)
    (text,) = answer_of(fake).warnings
    assert text.startswith("The baseline full fine-tuning (one fixed recipe) is better than")


def test_a_baseline_says_whether_it_was_tuned(tmp_path: Path) -> None:
    data = read_search(*finished(tmp_path, trials=4))
    recipes = {**data.summary.recipes, "from_scratch": {"recipe": "tuned", "trials": 5}}
    answer = replace(data, summary=replace(data.summary, recipes=recipes)).answer
    assert answer.gains[-1].baseline == "training from scratch (tuned, best of 5 trials)"


def test_where_classes_differ_in_size_the_result_says_what_its_accuracy_hides(
    tmp_path: Path,
) -> None:
    fake = finished(tmp_path, trials=4)
    assert "always answering" not in answer_of(fake).result
    record = fake.store.noted("test")
    uneven = ClassBalance("ok", 0.98, "scratched", 0.02, 0.25, "scratched", 0.25, 2)
    fake.store.note("test", {**record, "classes": uneven._asdict()})
    first = answer_of(fake).result.partition(", the mean over")[0]
    assert "not clearly more than the 98.0 % of always answering “ok”" in first
    assert "of the smallest class, “scratched”, 25.0 % are recognised" in first


def test_the_answer_speaks_in_the_studys_metric(tmp_path: Path) -> None:
    fake = finished(tmp_path, "search.metric=balanced_accuracy", trials=4)
    answer, record = answer_of(fake), fake.store.noted("test")
    assert answer.score == Effect(**record["scores"]["balanced_accuracy"])
    assert "balanced accuracy on the test part" in answer.result
    probe = record["baselines"]["linear_probe"]
    assert answer.gains[0].gain == Effect(**probe["gains"]["balanced_accuracy"])
    assert answer.scores is not None
    assert answer.scores.head == (
        "metric", "the winner", "always “0”", "linear probe", "full fine-tuning", "from scratch"
    )  # fmt: skip
    shown = {name: texts for name, *texts in answer.scores.rows}
    assert list(shown) == [*(m.label for m in METRICS.values()), "recall of the worst class"]
    assert shown["accuracy"][0] == accuracy_text(Effect(**record["accuracy"]))
    assert shown["balanced accuracy"][1] == "10.0\u00a0%"
    assert shown["log loss"][1] == "∞"
    worst = record["classes"]
    assert shown["recall of the worst class"][0].endswith(f"of “{worst['worst']}”")
    report = read_search(fake.store, fake.layout)
    for text in (render_html(report), render_markdown(report)):
        assert "macro AUROC" in text
        assert "test balanced accuracy" in text


def test_a_winner_that_is_no_better_than_one_class_is_said_to_be(tmp_path: Path) -> None:
    fake = finished(tmp_path, "search.metric=balanced_accuracy", trials=4)
    assert not any("always answering" in text for text in answer_of(fake).warnings)
    record = fake.store.noted("test")
    record["scores"]["balanced_accuracy"] |= {"mean": 0.12, "low": 0.09, "high": 0.15}
    fake.store.note("test", record)
    (text,) = (text for text in answer_of(fake).warnings if "always answering" in text)
    assert "no better than always answering “0”" in text
    assert "10.0 % balanced accuracy" in text


def test_a_record_of_accuracy_alone_is_still_read(tmp_path: Path) -> None:
    fake = finished(tmp_path, "search.metric=macro_f1", trials=4)
    record = fake.store.noted("test")
    for one in (record, *record["baselines"].values()):
        for name in ("scores", "gains", "classes", "champion_scores"):
            one.pop(name, None)
    fake.store.note("test", record)
    answer = answer_of(fake)
    assert (answer.score, answer.metric.name) == (Effect(**record["accuracy"]), "accuracy")
    assert answer.scores is None


def test_an_unconfirmed_result_says_it_of_the_validation_part(tmp_path: Path) -> None:
    fake = fake_study(tmp_path)
    search(fake, 1)
    counts = np.diag([90, *[1] * 9])
    keep_evaluation(fake.folder, "trial-0000", DIGITS, counts.tolist())
    assert "always answering “0”" in answer_of(fake).result


def test_a_test_part_scored_twice_is_flagged(tmp_path: Path) -> None:
    fake = finished(tmp_path, trials=4)
    record = fake.store.noted("test")
    fake.store.note("test", {**record, "scorings": 2})
    assert any("scored 2 times" in text for text in answer_of(fake).warnings)


def test_an_interval_across_zero_is_no_clear_difference() -> None:
    accuracy, gain = Effect(0.9, 0.8, 1.0, 3, 10), Effect(0.01, -0.01, 0.03, 3, 10)
    near = Gain("x", METRICS["val_accuracy"], accuracy, gain)
    assert near.verdict == "no clear difference"
    assert gain_text(near.gain) == "+1.0\u00a0points (−1.0\u00a0to\u00a0+3.0)"


def test_without_a_test_the_answer_is_unconfirmed(tmp_path: Path) -> None:
    fake = fake_study(tmp_path)
    baselines(fake)
    search(fake, 5)
    answer = answer_of(fake)
    assert answer.score is None
    assert answer.result.startswith("Unconfirmed: the study is not finished.")
    assert "without an interval" in answer.notes[0]
    assert "full fine-tuning 95.1" in answer.notes[0]
    fake.store.note(FACTS, {"networks": {"uncut": {"resnet18": "resnet18: cannot be cut here"}}})
    assert answer_of(fake).notes[-1] == "resnet18: cannot be cut here."


def test_a_study_without_confirmation_says_so(tmp_path: Path) -> None:
    fake = fake_study(tmp_path, "confirm.seeds=0", "budget.trials=2", "baselines=[]")
    search(fake, 2)
    answer = answer_of(fake)
    assert answer.result.startswith("Unconfirmed: confirmation is turned off.")


def test_nothing_is_an_answer_too(tmp_path: Path) -> None:
    fake = fake_study(tmp_path)
    assert "No trial has been started" in answer_of(fake).result
    for _ in range(2):
        train(fake, fake.store.ask(), 0.1, ending="diverged", reason="NaN")
    answer = answer_of(fake)
    assert answer.result.startswith("All trials diverged")
    assert answer_of(fake).status == ("not finished; 2 diverged of a budget of 30 trials")
    train(fake, fake.store.ask(), 0.1, ending="failed", reason="no memory")
    assert "table of trials" in answer_of(fake).result
    fake.store.ask()
    assert answer_of(fake).result == "No trial has been completed yet."


def test_an_unfinished_baseline_is_named(tmp_path: Path) -> None:
    fake = fake_study(tmp_path, "budget.trials=3")
    know_data(fake)
    search(fake, 3)
    confirm(fake)
    record = dict(fake.store.noted("test"))
    record["baselines"] = {k: v for k, v in record["baselines"].items() if k != "linear_probe"}
    fake.store.note("test", record)
    assert any(note.endswith("seeds: linear probe.") for note in answer_of(fake).notes)


# How hard the images are.


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SearchReport:
    fake = fake_study(tmp_path_factory.mktemp("study"))
    know_data(fake)
    baselines(fake)
    return read_search(fake.store, fake.layout)


def with_rows(data: SearchReport, **changed: Any) -> SearchReport:
    rows = tuple(replace(row, **changed) for row in data.summary.rows)
    return replace(data, summary=replace(data.summary, rows=rows))


def test_a_baseline_is_said_by_the_weights_it_kept_and_not_by_its_best_epoch(
    data: SearchReport,
) -> None:
    expected = (
        "by the validation part: a linear probe of the frozen features is right in "
        "88.5\u00a0%, a network from scratch in 93.8\u00a0% and always naming the commonest class "
        "in 10.0\u00a0%."
    )
    assert expected in data.answer.difficulty
    rows = data.summary.rows
    lucky = tuple(
        replace(row, epochs=(row.epochs[0]._replace(val_accuracy=0.99), *row.epochs[1:]))
        if len(row.epochs) > 1
        else row
        for row in rows
    )
    assert expected in replace(data, summary=replace(data.summary, rows=lucky)).answer.difficulty


def test_over_folds_their_mean_is_said(data: SearchReport) -> None:
    folds = (FoldResult(1, 2, 0.1, 0.9, 0.1, 0.9), FoldResult(2, 4, 0.3, 0.7, 0.2, 0.8))
    split = data.config.data.split.model_copy(update={"folds": 2})
    config = data.config.model_copy(
        update={"data": data.config.data.model_copy(update={"split": split})}
    )
    parts = [
        {"part": "train", "fold": 1, "class_counts": [9, 0]},
        {"part": "validation", "fold": 1, "class_counts": [3, 1]},
        {"part": "validation", "fold": 2, "class_counts": [1, 3]},
    ]
    facts = {"validation_counts": [3, 1], "split": {"parts": parts}}
    provenance = data.provenance._replace(facts={"facts": facts})
    crossed = replace(with_rows(data, folds=folds), config=config, provenance=provenance)
    assert (
        "by the validation part, mean over 2 folds: a linear probe of the frozen features is right "
        "in 80.0\u00a0%, a network from scratch in 80.0\u00a0% and always naming the commonest "
        "class in 50.0\u00a0%." in crossed.answer.difficulty
    )


def test_what_has_not_ended_says_nothing(data: SearchReport, tmp_path: Path) -> None:
    assert with_rows(data, state="running", value=None).answer.difficulty == ""
    fake = fake_study(tmp_path)
    assert read_search(fake.store, fake.layout).answer.difficulty == ""


# Of several networks.


SEVERAL = STUDY.replace("name: resnet18,", "name: [resnet10, resnet18, mobilenet_v2],")
REACHED = {"resnet10": 0.8, "resnet18": 0.9, "mobilenet_v2": 0.7}


def test_scores_stand_beside_what_was_reached(tmp_path: Path) -> None:
    fake = fake_study(tmp_path, study=SEVERAL)
    know_data(fake)
    scores = {
        name: {"log_me": value, "leep": None, "parameters": 5_000_000}
        for name, value in {"resnet10": 0.3, "resnet18": 0.2, "mobilenet_v2": 0.1}.items()
    }
    fake.store.note(NETWORKS, {"scores": scores})
    for _ in range(12):
        run = fake.store.ask()
        train(fake, run, REACHED[run.backbone])
    data = read_search(fake.store, fake.layout)
    networks = data.answer.networks
    assert networks is not None
    rows = networks.rows
    assert [row[0] for row in rows] == ["resnet18", "resnet10", "mobilenet_v2"]
    assert rows[0][1:5] == ("0.200", "–", "–", "–")
    assert rows[0][6] == "90.0\N{NO-BREAK SPACE}%"
    told = networks.verdict
    # Of three pairs one is the wrong way round.
    assert "LogME τ = +0.33" in told
    assert "n = 3" in told
    assert "once in 6" in told
    for text in (
        build_report(fake.store, fake.layout, format="md"),
        build_report(fake.store, fake.layout, format="html"),
    ):
        assert "LogME τ = +0.33" in text
    assert '"kendall": 0.3333' in build_report(fake.store, fake.layout, format="json")


def test_a_study_on_one_network_says_nothing_of_it(tmp_path: Path) -> None:
    fake = fake_study(tmp_path)
    know_data(fake)
    data = read_search(fake.store, fake.layout)
    assert data.networks is None
    assert data.answer.networks is None
    assert '"networks"' not in build_report(fake.store, fake.layout, format="json")


def test_before_any_score_there_is_nothing_to_say(tmp_path: Path) -> None:
    fake = fake_study(tmp_path, study=SEVERAL)
    data = read_search(fake.store, fake.layout)
    networks = data.answer.networks
    assert networks is not None
    assert len(networks.rows) == 3
    assert networks.verdict.startswith("Too few networks")


# How much the images look like the source's.


MEASURED = {
    "similarity": 0.764,
    "frechet_distance": 0.42,
    "domain_error": 0.031,
    "probe_accuracy": 0.9,
}


def test_every_format_says_what_was_measured(tmp_path: Path) -> None:
    fake = fake_study(tmp_path, "backbone.weights=glyphs")
    know_data(fake)
    fake.store.note(SIMILARITY, MEASURED)
    told = read_search(fake.store, fake.layout).answer.similarity
    assert told.startswith("Similarity to the source's images: 0.76, as resnet18 sees both")
    assert "Fréchet distance of the features: 0.42 per feature" in told
    assert "errs in 3.1\N{NO-BREAK SPACE}%" in told
    text = build_report(fake.store, fake.layout, format="md")
    assert told.replace("\N{NO-BREAK SPACE}", " ") in text
    assert "Similarity to the source&#39;s images: 0.76" in build_report(
        fake.store, fake.layout, format="html"
    )
    assert '"similarity": 0.764' in build_report(fake.store, fake.layout, format="json")


@pytest.mark.parametrize(
    ("weights", "measured", "words"),
    [
        ("none", {}, ""),
        ("own.safetensors", {}, "is not known: backbone.source names none."),
        ("glyphs", {}, "was not measured."),
        ("glyphs", {**MEASURED, "domain_error": None}, "with their pixels in disorder)."),
    ],
)
def test_what_is_missing_is_said(
    weights: str, measured: dict[str, float | None], words: str, tmp_path: Path
) -> None:
    fake = fake_study(tmp_path, f"backbone.weights={weights}", study=STUDY)
    fake.store.note(SIMILARITY, measured)
    assert read_search(fake.store, fake.layout).answer.similarity.endswith(words)
