from dataclasses import replace
from pathlib import Path

import pytest

from tests.report.fake import (
    BASELINE_ACCURACIES,
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
from tlsearch.report.answer import Answer, Gain
from tlsearch.report.context import read_search
from tlsearch.report.wording import (
    accuracy_text,
    gain_text,
    joined,
    points,
    setting_text,
    value_text,
)


def answer_of(fake: Fake) -> Answer:
    return read_search(fake.store, fake.layout).answer


def test_a_confirmed_study_says_what_the_test_part_said(tmp_path: Path) -> None:
    fake = finished(tmp_path)
    answer = answer_of(fake)
    record = fake.store.noted("test")
    assert answer.accuracy == Effect(**record["accuracy"])
    assert [g.baseline for g in answer.gains] == [
        "linear probe (one fixed recipe)",
        "full fine-tuning (one fixed recipe)",
        "training from scratch (one fixed recipe)",
    ]
    for gain, name in zip(answer.gains, BASELINE_ACCURACIES, strict=True):
        assert gain.gain == Effect(**record["baselines"][name]["gain"])
        assert gain.gain.mean == pytest.approx(answer.accuracy.mean - gain.accuracy.mean)
    assert f"Trial {record['winner']} reaches" in answer.result
    assert "n = 270 test images, 3 seeds" in answer.result
    # Beside the mean over seeds stands what the exported model itself reaches, and of which it is.
    own = Effect(**record["champion_accuracy"])
    assert answer.exported == own != answer.accuracy
    assert f"is exported, the first, and reaches {accuracy_text(own)}" in answer.result
    names = [name for name, *_ in answer.rows]
    assert names[:2] == ["the winner, mean over 3 seeds", "the exported model alone"]
    assert not answer.warnings


def test_the_recipe_is_told_in_words_and_numbers(tmp_path: Path) -> None:
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
        "full fine-tuning (one fixed recipe) is more accurate" in text for text in answer.warnings
    )
    assert [g.verdict for g in answer.gains] == ["better", "worse", "worse"]


def test_a_better_baseline_is_flagged_without_training_from_scratch(tmp_path: Path) -> None:
    fake = fake_study(tmp_path, "budget.trials=4", "baselines=[full_fine_tuning]")
    search(fake, 4)
    confirm(fake, winner=0.90)
    (text,) = answer_of(fake).warnings
    assert text.startswith("The baseline full fine-tuning (one fixed recipe) is more accurate")


def test_a_baseline_says_whether_it_was_tuned(tmp_path: Path) -> None:
    data = read_search(*finished(tmp_path, trials=4))
    recipes = {**data.summary.recipes, "from_scratch": {"recipe": "tuned", "trials": 5}}
    answer = replace(data, summary=replace(data.summary, recipes=recipes)).answer
    assert answer.gains[-1].baseline == "training from scratch (tuned, best of 5 trials)"


def test_a_test_part_scored_twice_is_flagged(tmp_path: Path) -> None:
    fake = finished(tmp_path, trials=4)
    record = fake.store.noted("test")
    fake.store.note("test", {**record, "scorings": 2})
    assert any("scored 2 times" in text for text in answer_of(fake).warnings)


def test_an_interval_across_zero_is_no_clear_difference() -> None:
    near = Gain("x", Effect(0.9, 0.8, 1.0, 3, 10), Effect(0.01, -0.01, 0.03, 3, 10))
    assert near.verdict == "no clear difference"
    assert gain_text(near.gain) == "+1.0\u00a0points (−1.0\u00a0to\u00a0+3.0)"


def test_without_a_test_the_answer_is_unconfirmed(tmp_path: Path) -> None:
    fake = fake_study(tmp_path)
    baselines(fake)
    search(fake, 5)
    answer = answer_of(fake)
    assert answer.accuracy is None
    assert answer.result.startswith("Unconfirmed: the study is not finished.")
    assert "one seed and no interval" in answer.notes[0]
    assert "full fine-tuning 95.1" in answer.notes[0]


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


def test_wording() -> None:
    # An interval that ends below 0 must not look as if it touched it.
    assert [points(x) for x in (-0.0001, -1e-15, 0.0, 0.0001)] == ["−0.0", "+0.0", "+0.0", "+0.0"]
    assert points(0.123) == "+12.3"
    assert value_text(None, "val_loss") == "–"
    assert value_text(0.12345, "val_loss") == "0.1235"
    assert joined(["a"]) == "a"
    assert joined(["a", "b", "c"]) == "a, b and c"
    assert setting_text(True) == "yes"
