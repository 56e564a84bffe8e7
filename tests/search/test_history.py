"""What a search takes from earlier ones, and what it leaves to later ones."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.config.test_history import PARAMS, TASK, WON
from tests.report.fake import finished
from tests.search.conftest import Study
from tests.search.fakes import setting_of
from tests.search.scenes import Scene, steady
from tlsearch.config.history import Record, read_record
from tlsearch.config.portfolio import MOST, entries
from tlsearch.errors import WorkError
from tlsearch.execution.messages import Remark
from tlsearch.search import history
from tlsearch.search.confirm import choose
from tlsearch.search.history import TAG, record_tags, settle_start, start_record, tasks_of
from tlsearch.search.runner import Queue
from tlsearch.search.store import SEARCH, SIMILARITY
from tlsearch.tracking.history import Earlier

FITTING: dict[float, Any] = {}
"""Of the portfolio what fits the only optimizer here, by the only thing searched: the rate, of
which the space's least is 0.001.
"""
for _entry in entries():
    if _entry["optimizer"] == "sgd":
        FITTING.setdefault(max(_entry["lr"], 0.001), _entry)
RATES, OF_SGD = list(FITTING), list(FITTING.values())
HISTORY = (
    "search.start=history",
    "backbone.weights=glyphs",
    "budget.trials=10",
    "baselines=false",
    "confirm=null",
)


def told(name: str, *, age: int = 0, text: str | None = None, **changes: Any) -> Earlier:
    """An earlier study; `age` tells which is older."""
    params = {**PARAMS, **changes.pop("params", {})}
    record = {**TASK, **WON, "params": params, "study": name, **changes}
    tags = {TAG: json.dumps(record) if text is None else text}
    return Earlier(f"run-of-{name}", name, f"key of {name}", 1000 - age, tags)


@pytest.fixture
def scene(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Scene]:
    """A search from history among these earlier studies."""

    def make(
        *earlier: Earlier | WorkError, overrides: tuple[str, ...] = (), workers: int = 1
    ) -> Scene:
        config = study(*HISTORY, *overrides)
        found = Scene(config, tmp_path / "study", steady, workers=workers)
        found.mirror.tracking_uri = "sqlite:///mlflow.db"  # type: ignore[attr-defined]
        found.folder.mkdir(exist_ok=True)
        setting = setting_of(config, found.folder)
        setting.split_file.parent.mkdir(parents=True, exist_ok=True)
        setting.split_file.write_text(json.dumps({"test": ["a.png", "b.png"]}))

        def read(_address: str) -> list[Earlier]:
            for one in earlier:
                if isinstance(one, WorkError):
                    raise one
            return list(earlier)  # type: ignore[arg-type]

        monkeypatch.setattr(history, "earlier_searches", read)
        settle_start(found.coordinator, setting)
        return found

    return make


def remarks(scene: Scene) -> list[str]:
    return [remark.text for remark in scene.watched.of(Remark)]


def run(scene: Scene) -> list[float]:
    """The rates of all trials, in their order."""
    queue = Queue(scene.coordinator)
    scene.coordinator.carry_out(lambda: queue.next_run([SEARCH]))
    return [row.run.params["lr"] for row in scene.store.trials()]


Make = Callable[..., Scene]


def test_the_first_trials_are_what_won_the_nearest_first(scene: Make) -> None:
    far = told("far", params={"lr": 0.03}, data="d3", classes=100)
    near = told("near", params={"lr": 0.04}, data="d4", classes=2, train_images=8)
    made = scene(far, near)
    said = remarks(made)
    number = min(len(OF_SGD), MOST - 2)
    words = f"first {2 + number} trials are 2 of earlier studies and {number} of the portfolio"
    assert said[0].endswith(words)
    assert "trial 0: trial 7 of study near, MLflow run run-of-near (resnet18 on 8" in said[1]
    assert "study far" in said[2]
    rates = run(made)
    assert rates[:2] == [0.04, 0.03]
    first, *others = made.store.trials()
    assert first.start == "trial 7 of study near, MLflow run run-of-near"
    assert [row.start for row in others[1 : 2 + number]] == [
        *(str(entry["origin"]) for entry in OF_SGD[:number]),
        "",
    ]
    assert made.mirror.tags["trial-0000"]["tlsearch.start"] == first.start
    (zeroth, *_) = start_record(made.store)
    assert zeroth["values"] == {"lr": 0.04}
    assert "resnet18 on 8 images" in zeroth["about"]


def test_the_same_history_gives_the_same_trials_with_any_workers(scene: Make) -> None:
    earlier = [
        told(f"s{n}", age=n % 3, params={"lr": 0.01 + n / 1000}, data=f"d{n}") for n in range(12)
    ]
    one, three = run(scene(*earlier)), run(scene(*reversed(earlier), workers=3))
    assert one == three
    assert one[:4] == pytest.approx([0.01, 0.013, 0.016, 0.019])  # of those alike the latest
    assert one[4:MOST] == RATES[: MOST - 4]


def test_without_a_portfolio_the_next_nearest_follow(scene: Make) -> None:
    bare: dict[str, Any] = {"weights": "none", "init": "random"}
    earlier = [
        told(f"s{n}", age=n, params={"lr": 0.01 + n / 1000}, data=f"d{n}", **bare)
        for n in range(12)
    ]
    made = scene(*earlier, overrides=("backbone.weights=none",))
    assert run(made)[:8] == [0.01 + n / 1000 for n in range(8)]
    assert len(made.store.starts) == 8


def test_a_search_that_has_begun_reads_nothing_again(
    scene: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = scene(told("one", params={"lr": 0.04}))
    before = made.store.starts
    made.store.ask()

    def refuse(_address: str) -> Any:
        raise AssertionError("history is read once")

    monkeypatch.setattr(history, "earlier_searches", refuse)
    settle_start(made.coordinator, setting_of(made.store.config, made.folder))
    assert made.store.starts == before
    assert len(remarks(made)) == 2


def test_before_its_first_run_a_search_reads_again(
    scene: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = scene(told("one", params={"lr": 0.04}))
    monkeypatch.setattr(history, "earlier_searches", lambda _: [told("two", params={"lr": 0.05})])
    settle_start(made.coordinator, setting_of(made.store.config, made.folder))
    assert made.store.starts[0].values["lr"] == 0.05


def test_without_earlier_studies_the_portfolio_is_tried(scene: Make) -> None:
    made = scene()
    (text,) = remarks(made)
    count = len(made.store.starts)
    assert "no earlier study found in MLflow at sqlite:///mlflow.db" in text
    assert text.endswith(f"the first trials are {count} of the portfolio")
    assert [start.values["lr"] for start in made.store.starts] == RATES


def test_nor_is_the_portfolio_for_a_network_without_weights(scene: Make) -> None:
    made = scene(overrides=("backbone.weights=none",))
    assert remarks(made)[0].endswith("the sampler begins")
    assert made.store.starts == []
    assert len(run(made)) == 10


def test_an_mlflow_that_cannot_be_read_stops_nothing(scene: Make) -> None:
    made = scene(WorkError("MLflow at sqlite:///mlflow.db cannot be read (database is locked)"))
    first, second = remarks(made)
    assert first.endswith("cannot be read (database is locked)")
    assert "of the portfolio" in second
    assert made.store.starts


def test_what_cannot_be_used_is_left_out_with_its_reason(scene: Make) -> None:
    old = Earlier("r", "old", "k", 1, {"tlsearch.winner": "3"})
    begun = [Earlier("r", f"begun{n}", "k", 1, {}) for n in range(5)]
    made = scene(
        told("good"),
        told("broken", text="{"),
        told("strange", params={"lr": "fast"}),
        told("scratch", init="random", baseline="from_scratch"),
        told("probe", baseline="linear_probe"),
        told("leak", data="f" * 16, test="another"),
        old,
        *begun,
    )
    assert len([s for s in made.store.starts if "about" in s.entry]) == 1
    left = [text for text in remarks(made) if text.startswith("left out: ")]
    assert any('"broken": whose tag tlsearch.history cannot be read' in text for text in left)
    assert any(text.startswith('left out: "strange":') and "lr" in text for text in left)
    assert any(text.startswith('left out: "scratch": training from scratch') for text in left)
    assert any(text.startswith('left out: "probe": the linear probe') for text in left)
    assert any("another test part" in text and '"leak"' in text for text in left)
    assert 'left out: "old": of a version that kept no history' in left
    assert 'left out: "begun0", "begun1", "begun2", …: without a confirmed winner' in left


def test_neither_itself_nor_the_same_images_twice(
    scene: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = scene()
    (here,) = tasks_of(made.store, setting_of(made.store.config, made.folder))
    again = {"data": here.data, "test": here.test, "source": here.source}
    before = told("s", params={"lr": 0.02}, **again)
    own = told("s", params={"lr": 0.03})._replace(study_key=made.store.key)
    twice = told("other", age=1, params={"lr": 0.04}, **again)
    grown = told("grown", age=2, params={"lr": 0.05}, data="more", source=here.source, size=64)

    monkeypatch.setattr(history, "earlier_searches", lambda _: [own, before, twice, grown])
    settle_start(made.coordinator, setting_of(made.store.config, made.folder))
    first, second, *_ = made.store.starts
    assert first.values["lr"] == 0.02
    assert "the same test part" in first.entry["about"]
    assert "an earlier beginning of this study" in first.entry["about"]
    assert second.values["lr"] == 0.05
    assert "the same source" in second.entry["about"]


def test_what_lies_outside_is_clipped_and_another_metric_is_said(scene: Make) -> None:
    made = scene(told("hot", params={"lr": 3.0}, metric="val_loss", depth=9))
    assert made.store.starts[0].values["lr"] == 0.1
    text = remarks(made)[1]
    assert "clipped into this space: lr" in text
    assert "chosen by val_loss" in text
    assert "depths of 9 layer groups as shares of 5" in text


def test_a_finished_search_leaves_a_record_that_a_later_one_reads(tmp_path: Path) -> None:
    fake = finished(tmp_path, trials=4)
    setting = setting_of(fake.store.config, tmp_path)
    setting.split_file.parent.mkdir(parents=True, exist_ok=True)
    setting.split_file.write_text(json.dumps({"test": [1, 2]}))
    fake.store.note(SIMILARITY, {"similarity": 0.7, "frechet_distance": 0.1})
    choice = choose(fake.store)
    assert choice is not None
    (text,) = record_tags(fake.store, setting, choice).values()
    found = read_record(text)
    assert isinstance(found, Record), found
    row = next(row for row in fake.store.fixed_rows() if row.run.key == choice.champion)
    assert found.params == row.run.params
    assert (found.study, found.run, found.similarity) == ("quickstart", choice.champion, 0.7)
    assert found.trained == row.run.num_epochs
