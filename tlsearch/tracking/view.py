"""How MLflow's table of runs opens: which columns it has, and what it is sorted by.

MLflow 3 keeps views that are shared as tags of the experiment, and opens the one that an address
names; there is no other way to choose columns for somebody who has never looked at an experiment.
"""

import json
from collections.abc import Collection, Mapping, Sequence

_KEY = "tlsearch"
_VIEW = f"mlflow.sharedViewState.{_KEY}"
_PRIMARY_METRIC = "mlflow.experiment.primaryMetric.name"
_NAME = "attributes.`Run Name`"
_NAME_PIXELS, _COLUMN_PIXELS = 340, 110
"""Room for `trial-0007 · freeze 3 · lr 2e-03`, and for a name and six digits."""


def experiment_view(
    *, metrics: Sequence[str], params: Sequence[str], tags: Sequence[str], maximise: bool
) -> Mapping[str, str]:
    """An experiment's tags that show these columns, the best run by the first metric on top."""
    named = {"metrics": metrics, "params": params, "tags": tags}
    columns = [f"{kind}.`{name}`" for kind, names in named.items() for name in names]
    shown = [*columns, "attributes.`Duration`"]
    state = {
        "selectedColumns": shown,
        "columnOrder": [_NAME, *shown],  # else by the alphabet
        "columnWidths": {_NAME: _NAME_PIXELS} | dict.fromkeys(shown, _COLUMN_PIXELS),
        "orderByKey": columns[0],
        "orderByAsc": not maximise,
    }
    return {_VIEW: json.dumps(state), _PRIMARY_METRIC: metrics[0]}


def view_of(tags: Collection[str]) -> str | None:
    """What an address calls the view, if an experiment with these tags has it."""
    return _KEY if _VIEW in tags else None
