import json

from tests.cli.conftest import Files, Invoke

TWO = ("--set", "backbone.name=[resnet10, mobilenet_v3_small]")


def test_networks_are_scored_side_by_side(tlsearch: Invoke, files: Files) -> None:
    before = files()
    told = tlsearch("check", "study.yaml", *TWO, "--score").stdout
    assert "networks on 20 training images" in told
    for name in ("LogME", "H-score", "LEEP", "NCE", "resnet10", "mobilenet_v3_small"):
        assert name in told
    assert "…" not in told.partition("networks on")[2]  # a pipe cuts nothing short
    after = files()
    # Nothing but the user's cache of images and of the number format is written.
    assert {name for name in after.keys() - before.keys() if not name.startswith("cache")} == set()
    assert {name: after[name] for name in before} == before


def test_as_json(tlsearch: Invoke) -> None:
    told = json.loads(tlsearch("check", "study.yaml", *TWO, "--score", "--json").stdout)
    first, second = told["scores"]
    assert (first["backbone"], second["backbone"]) == ("resnet10", "mobilenet_v3_small")
    assert first["multiply_adds"] > 5 * second["multiply_adds"]
    assert first["leep"] is None  # weights: none
    assert told["searched"]["backbone"] == ["resnet10", "mobilenet_v3_small"]


def test_without_the_option_nothing_is_scored(tlsearch: Invoke) -> None:
    assert "scores" not in json.loads(tlsearch("check", "study.yaml", *TWO, "--json").stdout)
