"""Figures as PNG: what is drawn for plotly is drawn again, mark by mark."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from PIL import Image

from tests.report.fake import finished
from tlsearch.report.figures.canvas import Picture, canvas
from tlsearch.report.still_traces import colour, spoken, values
from tlsearch.report.stills import BEST_TRIALS, search_stills, still


def pixels(figure: go.Figure, *, height: int = 300) -> Any:
    made = still(Picture("made", "A title", "", "", figure.to_json(), height))
    assert made is not None
    return np.asarray(Image.open(BytesIO(made)).convert("RGB"))


def share(image: Any, red: int, green: int, blue: int) -> float:
    """The share of pixels of this colour."""
    return float((np.abs(image.astype(int) - (red, green, blue)).max(-1) < 12).mean())


def test_marks_lines_and_bars_have_their_colours() -> None:
    figure = canvas(x="x", y="y")
    figure.add_scatter(x=[1, 2], y=[1, None], mode="markers", marker={"color": "#ff0000"})
    figure.add_scatter(x=[1, 2], y=[2, 2], mode="lines", line={"color": "#00ff00", "width": 4})
    figure.add_bar(x=[3, 4], y=[1, 2], marker={"color": "#0000ff"})
    image = pixels(figure)
    assert share(image, 255, 0, 0) > 0
    assert share(image, 0, 255, 0) > 0.001
    assert share(image, 0, 0, 255) > 0.03


def test_a_heat_map_colours_its_cells_by_their_values() -> None:
    figure = canvas(x="", y="")
    scale = [[0, "rgba(255,0,0,1)"], [1, "rgba(0,0,255,1)"]]
    figure.add_heatmap(z=[[0, 1], [1, None]], colorscale=scale, zmin=0, zmax=1)
    image = pixels(figure)
    red, blue = share(image, 255, 0, 0), share(image, 0, 0, 255)
    assert blue == pytest.approx(2 * red, rel=0.05)
    assert red > 0.1


def test_two_panels_lie_side_by_side() -> None:
    figure = go.Figure(layout={"template": "none"})
    figure.add_bar(x=[1], y=[1], marker={"color": "#ff0000"})
    figure.add_bar(x=[1], y=[1], marker={"color": "#0000ff"}, xaxis="x2", yaxis="y2")
    figure.update_layout(
        xaxis={"domain": [0, 0.4]}, xaxis2={"domain": [0.6, 1]}, yaxis2={"anchor": "x2"}
    )
    image = pixels(figure)
    middle = image.shape[1] // 2
    assert share(image[:, :middle], 255, 0, 0) > 0.1
    assert share(image[:, middle:], 0, 0, 255) > 0.1
    assert share(image[:, middle:], 255, 0, 0) == 0


@pytest.mark.parametrize("name", ["<script>&lt;", "$\\frac{1$", "日本", ""])
def test_every_name_can_be_drawn(name: str) -> None:
    figure = canvas(x=name, y=name)
    figure.add_scatter(x=[1], y=[name], mode="markers", name=name)
    figure.update_xaxes(tickvals=[1], ticktext=[name])
    assert pixels(figure).size


@pytest.mark.parametrize("where", ["top left", ["bottom right", "middle center"]])
def test_words_stand_at_their_points(where: str | list[str]) -> None:
    figure = canvas(x="", y="")
    figure.add_scatter(x=[1, 2], y=[1, 2], mode="lines", line={"color": "#ffffff"})
    without = pixels(figure)
    figure.add_scatter(x=[1, 2], y=[1, 2], mode="text", text=["MMMM", "W"], textposition=where)
    figure.add_annotation(x=1.5, y=1.5, text="noted", yshift=-13, showarrow=False)
    assert share(pixels(figure), 0, 0, 0) > share(without, 0, 0, 0)


def test_what_has_no_figure_or_another_kind_of_figure_has_no_still() -> None:
    assert still(Picture("none", "", "why not", "", None, 0)) is None
    strange = go.Figure(go.Sankey()).to_json()
    assert still(Picture("strange", "", "", "", strange, 300)) is None


def test_texts_and_columns_of_plotly() -> None:
    assert spoken("a &lt;b&gt;<br>cost <b>5 $</b>") == "a <b>\ncost 5 \\$"
    assert colour("rgba(255, 0, 51, 0.5)") == (1.0, 0.0, 0.2, 0.5)
    assert colour("#123456") == "#123456"
    column = np.arange(6.0).reshape(2, 3)
    packed = json.loads(go.Figure(go.Heatmap(z=column)).to_json())["data"][0]["z"]
    np.testing.assert_array_equal(np.array(values(packed)), column)


@pytest.mark.slow
def test_a_study_has_its_figures_and_those_of_its_best_trials(tmp_path: Path) -> None:
    fake = finished(tmp_path, trials=14)
    made = search_stills(fake.ledger, fake.layout)
    assert {"history.png", "curves.png", "confusion.png"} <= made.study.keys()
    best = sorted(
        (row for row in fake.ledger.rows_of(fake.ledger.search) if row.value is not None),
        key=lambda row: -(row.value or 0),
    )
    assert set(made.trials) <= {row.run.key for row in best}
    assert best[0].run.key in made.trials
    assert len(made.trials) == min(BEST_TRIALS, len(best))
    for png in (*made.study.values(), *made.trials.values()):
        assert Image.open(BytesIO(png)).format == "PNG"
