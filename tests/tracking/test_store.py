"""The columns of MLflow's table of runs, in the words of MLflow's own page."""

import json

from tests.search.conftest import Study
from tlsearch.tracking.store import experiment_view, view_of


def test_the_best_run_is_on_top_and_every_column_has_its_kind(study: Study) -> None:
    tags = experiment_view(study("search.metric=val_loss", "space.dropout=[0.0, 0.5]"))
    assert tags["mlflow.experiment.primaryMetric.name"] == "val_loss"
    state = json.loads(tags["mlflow.sharedViewState.tlsearch"])
    assert state["selectedColumns"] == [
        "metrics.`val_loss`",
        "metrics.`val_accuracy`",
        "params.`lr`",
        "params.`dropout`",
        "tags.`tlsearch.kind`",
        "tags.`tlsearch.state`",
        "attributes.`Duration`",
    ]
    assert state["columnOrder"] == ["attributes.`Run Name`", *state["selectedColumns"]]
    assert set(state["columnWidths"]) == set(state["columnOrder"])
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`val_loss`", True)


def test_an_address_names_a_view_that_is_there(study: Study) -> None:
    tags = experiment_view(study())
    assert view_of(tags.keys()) == "tlsearch"
    assert view_of({"mlflow.note.content"}) is None
