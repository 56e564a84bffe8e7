"""What `tlsearch check --score` says of a study's networks."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tlsearch.cli.auditing import reading_progress
from tlsearch.study.cells import compared, scenario_config
from tlsearch.study.config import StudyConfig
from tlsearch.study.layout import user_cache

if TYPE_CHECKING:
    from tlsearch.search.work.scoring import NetworkScores

HERE = ""
"""The place of a study that compares nothing."""


def score(config: StudyConfig) -> Mapping[str, "Sequence[NetworkScores]"]:
    """The scores of a study's networks, by scenario; scenarios that share data and networks are
    scored once.

    Raises:
        RequestError: data or weights do not fit the study.
        WorkError: something cannot be read, written or fetched.
    """
    from tlsearch.search.work.scoring import score_study

    places = {HERE: config}
    if config.comparison is not None:
        places = {name: scenario_config(config, name) for name in compared(config).used}
    known: dict[str, Sequence[NetworkScores]] = {}
    found = {}
    with reading_progress() as on_progress:
        for name, ours in places.items():
            of = ours.model_dump_json(include={"data", "backbone", "device", "precision"})
            if of not in known:
                known[of] = score_study(ours, user_cache=user_cache(), on_progress=on_progress)
            found[name] = known[of]
    return found


def as_json(scored: Mapping[str, "Sequence[NetworkScores]"]) -> Any:
    """A list of the networks' figures; of a comparison one for each scenario."""
    found: dict[str, Any] = {
        name: [one.as_json() for one in networks] for name, networks in scored.items()
    }
    return found.get(HERE, found)


def show(console: Console, scored: Mapping[str, "Sequence[NetworkScores]"]) -> None:
    """A table for each place, and how to read it."""
    # A pipe has no width, and rich would cut the table at 80 columns.
    table_console = console if console.is_terminal else Console(highlight=False, width=120)
    shown: set[int] = set()
    for name, networks in scored.items():
        if id(networks) in shown:
            continue
        shown.add(id(networks))
        where = f"scenario {name}, " if name else ""
        images = f"{where}{networks[0].num_images:,} training images"
        console.print()
        table_console.print(_table(f"networks on {escape(images)}", networks))
    console.print(
        "LogME, H-score, LEEP and NCE rise with the accuracy that is expected: compare networks "
        "within a column, on the same images. They are hints; a study over several networks (a "
        "list in backbone.name) tells whether they came true. features: what the head sees. "
        "M: millions of parameters, and of multiply-adds of an image. /s: images a second forward "
        "and in training, of one thread in fp32.",
        soft_wrap=True,
    )


def _table(title: str, networks: Sequence["NetworkScores"]) -> Table:
    table = Table(
        title=title, title_justify="left", box=None, header_style="dim", padding=(0, 1, 0, 0)
    )
    table.add_column("backbone", no_wrap=True)
    columns = ("LogME", "H-score", "LEEP", "NCE", "features", "param. M", "mult. M")
    for name in (*columns, "images/s", "train/s"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in networks:
        scores = (one.log_me, one.h_score, one.leep, one.nce)
        table.add_row(
            one.backbone,
            *("–" if value is None else f"{value:.3f}" for value in scores),
            f"{one.features:,}",
            f"{one.parameters / 1e6:.1f}",
            f"{one.multiply_adds / 1e6:,.0f}",
            f"{one.inference_images_per_second:,.0f}",
            f"{one.training_images_per_second:,.0f}",
        )
    return table
