from pathlib import Path

from tests.report.fake import STUDY, fake_study, know_data, train
from tlsearch.report.build import build_report
from tlsearch.report.context import read_search
from tlsearch.search.store import NETWORKS

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


def test_before_any_score_there_is_nothing_to_tell(tmp_path: Path) -> None:
    fake = fake_study(tmp_path, study=SEVERAL)
    data = read_search(fake.store, fake.layout)
    networks = data.answer.networks
    assert networks is not None
    assert len(networks.rows) == 3
    assert networks.verdict.startswith("Too few networks")
