"""Plotly's traces as matplotlib draws them: scatters, bars and heat maps."""

import base64
import re
from collections.abc import Callable, Mapping
from html import unescape
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_DASHES = {"dash": "--", "dot": ":", "dashdot": "-.", "longdash": (0, (9, 3))}
_SYMBOLS = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "cross": "P",
    "x": "X",
    "x-thin": "x",
    "triangle-up": "^",
    "triangle-down": "v",
    "star": "*",
    "line-ew": "_",
    "line-ns": "|",
    "pentagon": "p",
    "hexagon": "h",
}
_STEPS = {"hv": "steps-post", "vh": "steps-pre"}
_TAG = re.compile(r"<br\s*/?>|<[^>]*>")
_POINTS_PER_PIXEL = 0.72


def colour(name: str) -> Any:
    """A colour as matplotlib takes it: `rgba(…)` becomes four shares."""
    found = re.fullmatch(r"rgba?\(([^)]*)\)", name)
    if found is None:
        return name
    red, green, blue, *opacity = map(float, found[1].split(","))
    return red / 255, green / 255, blue / 255, *(opacity or (1.0,))


def spoken(text: Any) -> str:
    """Plotly's text as matplotlib writes it: no markup, and a `$` that begins no formula."""
    plain = _TAG.sub(lambda tag: "\n" if tag[0].startswith("<br") else "", str(text or ""))
    return unescape(plain).replace("$", r"\$")


def values(column: Any) -> Any:
    """A column of a trace; plotly packs numpy's arrays as base64."""
    if isinstance(column, Mapping):
        flat = np.frombuffer(base64.b64decode(column["bdata"]), np.dtype(column["dtype"]))
        shape = column.get("shape")
        return flat.reshape([int(n) for n in shape.split(",")]) if shape else flat
    return column


def _scatter(axes: "Axes", trace: dict[str, Any]) -> None:
    x, y = _places(trace.get("x", ())), _places(trace.get("y", ()))
    mode, line = trace.get("mode", "lines"), trace.get("line", {})
    name = _name(trace)
    if "lines" in mode:
        width = line.get("width", 2)
        axes.plot(
            x,
            y,
            color=colour(line.get("color", "#3b82c4")),
            linewidth=_POINTS_PER_PIXEL * width,
            linestyle=_DASHES.get(line.get("dash", ""), "-"),
            drawstyle=_STEPS.get(line.get("shape", ""), "default"),
            label=name if "markers" not in mode else "_",
            alpha=trace.get("opacity"),
        )
    if trace.get("fill") == "toself":
        told = name if mode == "none" or line.get("width") == 0 else "_"
        axes.fill(x, y, color=colour(trace.get("fillcolor", "#3b82c4")), linewidth=0, label=told)
    if "markers" in mode:
        _marks(axes, trace, x, y, name)
    if "text" in mode:
        _words(axes, trace, x, y)
    _errors(axes, trace, x, y)


def _words(axes: "Axes", trace: dict[str, Any], x: Any, y: Any) -> None:
    """Words at points, above or below them, to one side or centred."""
    ways = _each(trace.get("textposition", "middle center"), len(y))
    words = _each(trace.get("text", ""), len(y))
    for at, up, way, word in zip(x, y, ways, words, strict=True):
        vertical, _, side = way.partition(" ")
        axes.annotate(
            spoken(word),
            (at, up),
            xytext=(
                {"left": -4, "right": 4}.get(side, 0),
                {"top": 4, "bottom": -4}.get(vertical, 0),
            ),
            textcoords="offset points",
            ha={"left": "right", "right": "left"}.get(side, "center"),
            va={"top": "bottom", "bottom": "top"}.get(vertical, "center"),
            size=8,
        )


def _marks(axes: "Axes", trace: dict[str, Any], x: Any, y: Any, name: str) -> None:
    """Marks one symbol at a time: matplotlib's scatter has one for all."""
    marker = trace.get("marker", {})
    count = len(y)
    symbols = _each(marker.get("symbol", "circle"), count)
    sizes = np.array(_each(marker.get("size", 6), count), dtype=float)
    shades = _each(marker.get("color", trace.get("line", {}).get("color", "#3b82c4")), count)
    if shades and not isinstance(shades[0], str):  # numbers on a scale of colours
        scale = _colours(marker.get("colorscale"))
        low, high = marker.get("cmin", min(shades)), marker.get("cmax", max(shades))
        shades = [scale((value - low) / ((high - low) or 1)) for value in shades]
    else:
        shades = [colour(shade) for shade in shades]
    for symbol in dict.fromkeys(symbols):
        kept = [i for i, one in enumerate(symbols) if one == symbol]
        hollow = "open" in symbol or "thin" in symbol or symbol.startswith("line")
        plain = symbol.removesuffix("-open")
        inks = [shades[i] for i in kept]
        filled = hollow and plain not in ("x-thin", "line-ew", "line-ns")
        axes.scatter(
            [x[i] for i in kept],
            [y[i] for i in kept],
            s=(_POINTS_PER_PIXEL * sizes[kept]) ** 2,
            marker=_SYMBOLS.get(plain, "o"),
            facecolors="none" if filled else inks,
            edgecolors=inks if filled else None,
            linewidths=marker.get("line", {}).get("width", 1 if hollow else 0),
            alpha=marker.get("opacity"),
            label=name,
            zorder=3,
        )
        name = "_"


def _bar(axes: "Axes", trace: dict[str, Any]) -> None:
    x, y = _places(trace["x"]), _places(trace["y"])
    marker = trace.get("marker", {})
    inks = [colour(c) for c in _each(marker.get("color", "#3b82c4"), len(y))]
    look = {"color": inks, "label": _name(trace), "alpha": marker.get("opacity")}
    base = values(trace.get("base"))
    if trace.get("orientation") == "h":
        axes.barh(y, x, height=0.7, left=0 if base is None else base, **look)
    else:
        axes.bar(x, y, width=0.7, bottom=0 if base is None else base, **look)
    _errors(axes, trace, x, y)


def _heatmap(axes: "Axes", trace: dict[str, Any]) -> None:
    rows = [[np.nan if v is None else v for v in row] for row in values(trace["z"])]
    z = np.ma.masked_invalid(np.array(rows, dtype=float))  # what is masked is not drawn
    finite = z.compressed()
    if finite.size == 0:
        return
    axes.imshow(
        z,
        cmap=_colours(trace.get("colorscale")),
        vmin=trace.get("zmin", finite.min()),
        vmax=trace.get("zmax", finite.max()),
        aspect="auto",
        origin="lower",
    )
    axes.set(xticks=range(z.shape[1]), yticks=range(z.shape[0]))
    for which in ("x", "y"):
        if which in trace:
            line = axes.xaxis if which == "x" else axes.yaxis
            line.set_ticklabels(_places(trace[which]))
    for i, row in enumerate(trace.get("text") or ()):
        for j, text in enumerate(row):
            if text and "texttemplate" in trace:
                axes.text(j, i, str(text).replace("<br>", "\n"), ha="center", va="center", size=8)


def _errors(axes: "Axes", trace: dict[str, Any], x: Any, y: Any) -> None:
    """Intervals: plotly's `array` upwards and `arrayminus` downwards, or one for both."""
    ink = trace.get("marker", {}).get("color", trace.get("line", {}).get("color", "#808890"))
    ink = colour(ink) if isinstance(ink, str) else "#808890"
    for which in ("x", "y"):
        told = trace.get(f"error_{which}", {})
        if told.get("array") is None:
            continue
        up = np.nan_to_num(np.array(values(told["array"]), dtype=float))
        down = values(told.get("arrayminus"))
        down = up if down is None else np.nan_to_num(np.array(down, dtype=float))
        bars: dict[str, Any] = {f"{which}err": np.array([down, up])}
        axes.errorbar(x, y, fmt="none", ecolor=ink, elinewidth=1.5, capsize=3, **bars)


def _places(column: Any) -> list[Any]:
    """Numbers, with a gap where there is none, or names as matplotlib writes them."""
    gap = float("nan")
    kept = (gap if value is None else value for value in values(column))
    return [spoken(value) if isinstance(value, str) else value for value in kept]


def _name(trace: dict[str, Any]) -> str:
    """What the legend says; nothing is said of a name that begins with an underscore."""
    return spoken(trace.get("name")) if trace.get("showlegend", True) else "_"


def _each(found: Any, count: int) -> list[Any]:
    found = values(found)
    return [found] * count if isinstance(found, str | int | float) else list(found)


def _colours(scale: Any) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    stops: list[Any] = scale if isinstance(scale, list) else [[0, "#eef3f9"], [1, "#3b82c4"]]
    return LinearSegmentedColormap.from_list("report", [(at, colour(name)) for at, name in stops])


DRAWN: Mapping[str, Callable[["Axes", dict[str, Any]], None]] = {
    "scatter": _scatter,
    "bar": _bar,
    "heatmap": _heatmap,
}
"""The kinds of traces that can be drawn."""
