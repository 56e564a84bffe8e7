"""Pictures beside the scores of the test part, for the report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlsearch.errors import RequestError, WorkError
from tlsearch.search.coordinator import Coordinator
from tlsearch.search.folder import examples_path, scores_path
from tlsearch.search.jobs import ExamplesJob
from tlsearch.search.runs import RunRow
from tlsearch.search.watching import Remark, Watcher


def has_examples(record: Mapping[str, Any], folder: Path) -> bool:
    """Whether the pictures of the champion are there, or none are due: `record` is what the test
    part said, empty before.
    """
    return not record or examples_path(folder, record["champion"]).exists()


def keep_examples(
    coordinator: Coordinator,
    rows: Sequence[RunRow],
    champion: str,
    *,
    folder: Path,
    watch: Watcher,
) -> None:
    """Keep the champion's pictures, unless they are there. A study does not fail for want of them:
    it says so, and the next run tries again.

    Raises:
        Interrupted: the user asked to leave.
    """
    path = examples_path(folder, champion)
    if path.exists():
        return
    spec = next(row.spec for row in rows if row.spec.key == champion)
    job = ExamplesJob(
        strategy=spec.strategy,
        seed=spec.seed,
        redraw=spec.redraw,
        fold=spec.folds[0],
        num_epochs=spec.num_epochs,
        scores=scores_path(folder, champion),
        examples_to=path,
        backbone=spec.backbone,
    )
    try:
        coordinator.errand(job)
    except (RequestError, WorkError) as error:
        watch(Remark(f"the report will be without pictures: {error}"))
