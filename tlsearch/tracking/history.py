"""Earlier searches in a tracking store, by the tags of their parent runs; only reads."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from tlsearch.errors import WorkError, hidden
from tlsearch.tracking.address import look
from tlsearch.tracking.reconcile import STUDY_TAG
from tlsearch.tracking.store import first_line, hush, view_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

_PAGE = 1000
_SEARCHES = "tags.`tlsearch.kind` = 'study'"
"""Those of comparisons have another kind."""


class Earlier(NamedTuple):
    """The parent run of a search, however far it came. `study_key` tells beginnings of a study
    apart, which share their experiment.
    """

    run_id: str
    experiment: str
    study_key: str
    start_ms: int
    tags: Mapping[str, str]


def earlier_searches(address: str) -> list[Earlier]:
    """Those in the store, the latest first; none where nothing is at the address.

    Raises:
        WorkError: the store cannot be reached or read.
    """
    try:
        if look(address) is None:
            return []
    except OSError as error:
        raise _unreadable(address, error) from error
    hush()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        found = _found(MlflowClient(address))
    except (MlflowException, OSError) as error:
        raise _unreadable(address, error) from error
    return sorted(found, key=lambda one: (-one.start_ms, one.run_id))


def _unreadable(address: str, error: Exception) -> WorkError:
    return WorkError(f"MLflow at {hidden(address)} cannot be read ({first_line(error)})")


def _found(client: "MlflowClient") -> list[Earlier]:
    names = _experiments(client)
    found: list[Earlier] = []
    token: str | None = None
    while names:
        page = client.search_runs(
            list(names), filter_string=_SEARCHES, max_results=_PAGE, page_token=token
        )
        for run in page:
            tags, info = run.data.tags, run.info
            key = tags.get(STUDY_TAG, "")
            name = names[info.experiment_id]
            found.append(Earlier(info.run_id, name, key, info.start_time, tags))
        token = page.token
        if not token:
            break
    return found


def _experiments(client: "MlflowClient") -> dict[str, str]:
    """The experiments that tlsearch made, by id: it gives each a view of its own."""
    found: dict[str, str] = {}
    token: str | None = None
    while True:
        page = client.search_experiments(max_results=_PAGE, page_token=token)
        found |= {one.experiment_id: one.name for one in page if view_of(one.tags)}
        token = page.token
        if not token:
            return found
