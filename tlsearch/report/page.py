"""The frame of every page: one HTML file that asks no host for anything."""

from collections.abc import Iterable
from typing import Any

from tlsearch.report.figures.canvas import Picture
from tlsearch.report.wording import printable


def render_page(template: str, *, drawn: Iterable[Picture], **values: Any) -> str:
    """A page from a template that extends the frame, with the data of what is `drawn` in it; every
    text of a user is escaped.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=PackageLoader("tlsearch.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    plots = {p.id: Markup(_in_script(p.plot)) for p in drawn if p.plot}  # noqa: S704
    return environment.get_template(template).render(
        plots=plots,
        plotly=Markup(get_plotlyjs()),  # noqa: S704
        **values,
    )


def _shown(value: Any) -> Any:
    """What is put into a page: a user's text without what no reader sees."""
    return printable(value) if type(value) is str else value


def _in_script(json: str) -> str:
    """JSON that cannot end the script element that holds it."""
    return json.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
