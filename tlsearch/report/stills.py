"""A figure of the report as a PNG, for places that show pictures but run no script of ours.

What `draw` made for plotly is drawn again by matplotlib: what the report's figures use of plotly is
known here, and a figure with anything else has no still. Plotly's own export needs a browser.
"""

import json
import warnings
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlsearch.comparison.answers import Tables
from tlsearch.config.paths import Layout, evaluation_path
from tlsearch.execution.runs import RunRow
from tlsearch.report.comparison_gallery import answer_picture, reasons
from tlsearch.report.context import Evaluation, ReportData, of_validation, read_report
from tlsearch.report.figures import confusion
from tlsearch.report.figures.canvas import Picture
from tlsearch.report.figures.gallery import pictures
from tlsearch.report.still_traces import DRAWN, colour, spoken
from tlsearch.search.champion import Stills
from tlsearch.search.ledger import Ledger

if TYPE_CHECKING:
    from matplotlib.axes import Axes


WIDTH = 900
"""Pixels of a figure of the report; its height is its own."""
_DOTS_PER_INCH = 100
_INK, _GRID = "#1c2430", "#e3e6ea"
_HEAD, _LEFT, _RIGHT = 80, 110, 20  # pixels kept for title and legend, and beside the axes


def still(picture: Picture, *, width: int = WIDTH, sharpness: float = 2.0) -> bytes | None:
    """The picture as a PNG on white, with `sharpness` dots a pixel; None where there is no figure,
    or one of another kind.
    """
    if picture.plot is None:
        return None
    plot = json.loads(picture.plot)
    traces, layout = plot["data"], plot["layout"]
    if not traces or any(trace["type"] not in DRAWN for trace in traces):
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(
        figsize=(width / _DOTS_PER_INCH, (picture.height + _HEAD) / _DOTS_PER_INCH),
        dpi=_DOTS_PER_INCH,
        facecolor="white",
    )
    FigureCanvasAgg(figure)
    panels: dict[tuple[str, str], Axes] = {}
    for trace in traces:
        place = trace.get("xaxis", "x"), trace.get("yaxis", "y")
        if place not in panels:
            panels[place] = figure.add_axes(_box(*place, layout, (width, picture.height)))
        DRAWN[trace["type"]](panels[place], trace)
    for (x, y), axes in panels.items():
        _dress(axes, _axis(layout, x), _axis(layout, y))
        _lines(axes, x, y, layout)
        _words(axes, x, y, layout)
    figure.suptitle(spoken(picture.title), x=0.02, y=0.985, ha="left", color=_INK, fontsize=13)
    told = (axes.get_legend_handles_labels() for axes in panels.values())
    named = {name: handle for pair in told for handle, name in zip(*pair, strict=True)}
    if named and layout.get("showlegend") is not False:
        figure.legend(
            named.values(),
            named.keys(),
            loc="upper left",
            bbox_to_anchor=(0.01, 1 - 32 / (picture.height + _HEAD)),
            ncols=6,
            frameon=False,
            fontsize=9,
        )
    file = BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a class's name in a script that
        # matplotlib's font lacks; tight, since long names at an axis need more room.
        figure.savefig(file, format="png", dpi=sharpness * _DOTS_PER_INCH, bbox_inches="tight")
    return file.getvalue()


def _axis(layout: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = layout.get(f"{name[0]}axis{name[1:]}", {})
    return found


def _box(
    x: str, y: str, layout: dict[str, Any], size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Where a panel lies on the whole picture: left, bottom, width and height as shares."""
    width, height = size
    total = height + _HEAD
    across, up = (_axis(layout, name).get("domain", (0.0, 1.0)) for name in (x, y))
    wide, high, foot = (width - _LEFT - _RIGHT) / width, (height - 60) / total, 50 / total
    left = _LEFT / width + across[0] * wide
    return left, foot + up[0] * high, (across[1] - across[0]) * wide, (up[1] - up[0]) * high


def _dress(axes: "Axes", x: dict[str, Any], y: dict[str, Any]) -> None:
    """Names, ends, ticks and scales of both axes."""
    from matplotlib.ticker import MultipleLocator, NullFormatter, PercentFormatter

    axes.set_axisbelow(True)
    axes.tick_params(colors=_INK, labelsize=9, length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_GRID)
    for which, found in (("x", x), ("y", y)):
        line = axes.xaxis if which == "x" else axes.yaxis
        line.label.set_text(spoken(found.get("title", {}).get("text")))
        line.label.set_color(_INK)
        if found.get("type") == "log":
            axes.set(**{f"{which}scale": "log"})
        if "range" in found:
            ends = found["range"]
            ends = [10**end for end in ends] if found.get("type") == "log" else ends
            axes.set(**{f"{which}lim": ends})
        if found.get("autorange") == "reversed" and not line.get_inverted():
            line.set_inverted(True)
        line.set_minor_formatter(NullFormatter())
        if found.get("visible") is False or found.get("showticklabels") is False:
            line.set_ticks([])
        elif "tickvals" in found:
            names = found.get("ticktext", found["tickvals"])
            line.set_ticks(found["tickvals"], [spoken(name) for name in names])
        elif "dtick" in found and found.get("type") != "log":
            line.set_major_locator(MultipleLocator(found["dtick"]))
        elif found.get("tickformat", "").endswith(("%", "p")):  # d3's formats of shares
            line.set_major_formatter(PercentFormatter(xmax=1))
        if found.get("showgrid") is not False and found.get("visible") is not False:
            axes.grid(axis=which, color=_GRID, linewidth=0.8)  # type: ignore[arg-type]
    if y.get("scaleanchor"):
        axes.set_aspect("equal")


def _lines(axes: "Axes", x: str, y: str, layout: dict[str, Any]) -> None:
    """The straight lines across a panel that `add_hline` and `add_vline` leave in the layout."""
    for shape in layout.get("shapes", ()):
        line = shape.get("line", {})
        look = {
            "color": colour(line.get("color", _INK)),
            "linewidth": line.get("width", 1),
            "linestyle": "--" if line.get("dash") else "-",
        }
        if shape.get("type") != "line":
            continue
        if shape.get("yref") == y and shape.get("y0") == shape.get("y1"):
            axes.axhline(shape["y0"], **look)
        elif shape.get("xref") == x and shape.get("x0") == shape.get("x1"):
            axes.axvline(shape["x0"], **look)


def _words(axes: "Axes", x: str, y: str, layout: dict[str, Any]) -> None:
    """Annotations that stand at a place of the panel's own axes."""
    for told in layout.get("annotations", ()):
        if told.get("xref") != x or told.get("yref") != y:
            continue
        axes.annotate(
            spoken(told["text"]),
            (told["x"], told["y"]),
            xytext=(0.72 * told.get("xshift", 0), 0.72 * told.get("yshift", 0)),
            textcoords="offset points",
            ha="center",
            va="center",
            size=8,
            color=_INK,
        )


# The stills of a study: its figures, and the confusion matrices of its best trials.


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
    files = ((row.run.key, _confusion(row, folder)) for row in data.ranked[:BEST_TRIALS])
    return {key: content for key, content in files if content is not None}


def _confusion(row: RunRow, folder: Path) -> bytes | None:
    found = of_validation(evaluation_path(folder, row.run.key), row.run.label)
    if not isinstance(found, Evaluation):
        return None
    counts = confusion.counted(found)
    title = f"{row.run.label[:1].upper()}{row.run.label[1:]}, validation part"
    plot = confusion.draw(counts).to_json()
    picture = Picture("confusion", title, "", "", plot, NOTE_HEIGHT)
    return still(picture, width=NOTE_WIDTH, sharpness=1.0)
