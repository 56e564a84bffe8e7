"""The stills of a study: its figures, and the confusion matrices of its best trials."""

from collections.abc import Iterable
from pathlib import Path

from tlsearch.evidence.answers import Tables
from tlsearch.report.comparison.gallery import answer_picture, reasons
from tlsearch.report.evaluation import Evaluation, of_validation
from tlsearch.report.figures import confusion
from tlsearch.report.figures.canvas import Picture
from tlsearch.report.figures.gallery import pictures
from tlsearch.report.rows import ReportData, read_report
from tlsearch.report.stills.render import still
from tlsearch.search.folder import evaluation_path
from tlsearch.search.ledger import Ledger
from tlsearch.search.publishing import Stills
from tlsearch.search.runs import RunRow
from tlsearch.study.layout import Layout

BEST_TRIALS = 10
"""So many trials get a confusion matrix of their own: drawing one takes a tenth of a second."""
NOTE_WIDTH, NOTE_HEIGHT = 560, 460
"""Pixels of a picture in a note, where a browser shows one dot a pixel."""


def search_stills(ledger: Ledger, layout: Layout) -> Stills:
    """What the dashboards show of a search."""
    data = read_report(ledger, layout)
    shown = [picture for section in pictures(data).values() for picture in section.values()]
    folder = layout.study(ledger.config.name)
    return Stills(study=drawn(shown), trials=_trials(data, folder))


def comparison_stills(tables: Tables) -> Stills:
    """What the dashboards show of a comparison."""
    return Stills(study=drawn((answer_picture(tables), *reasons(tables))), trials={})


def drawn(shown: Iterable[Picture]) -> dict[str, bytes]:
    """Pictures as PNG files by name; those that have no figure are left out."""
    files = {f"{picture.id}.png": still(picture) for picture in shown}
    return {name: content for name, content in files.items() if content is not None}


def _trials(data: ReportData, folder: Path) -> dict[str, bytes]:
    """Confusion matrices by the key of the run, the best first."""
    files = ((row.spec.key, _confusion(row, folder)) for row in data.ranked[:BEST_TRIALS])
    return {key: content for key, content in files if content is not None}


def _confusion(row: RunRow, folder: Path) -> bytes | None:
    found = of_validation(evaluation_path(folder, row.spec.key), row.spec.label)
    if not isinstance(found, Evaluation):
        return None
    counts = confusion.counted(found)
    title = f"{row.spec.label[:1].upper()}{row.spec.label[1:]}, validation part"
    plot = confusion.draw(counts).to_json()
    picture = Picture("confusion", title, "", "", plot, NOTE_HEIGHT)
    return still(picture, width=NOTE_WIDTH, sharpness=1.0)
