"""Pages to be opened, made from studies that nobody trained."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from tests.comparison.compared import KINDS, table_a
from tests.report.comparison.test_splits import ORIGIN, time_table
from tests.report.fake import fake_study, finished
from tlsearch.comparison.tables import make_tables
from tlsearch.report.build import build_report
from tlsearch.report.comparison import ComparisonReport
from tlsearch.report.html import render_html


def search(folder: Path) -> str:
    """A whole search, confirmed and scored."""
    fake = finished(folder)
    return build_report(fake.store, fake.layout, format="html")


def empty(folder: Path) -> str:
    """A search that has not been run yet."""
    fake = fake_study(folder)
    return build_report(fake.store, fake.layout, format="html")


def comparison(_folder: Path) -> str:
    """Table 1 in four scenarios with all that can be measured."""
    results = table_a(0, gains={"A2": 0.04, "A3": -0.04}, kinds=KINDS[:4])
    rng = np.random.default_rng(0)
    places = []
    for place in results.scenarios:
        arms = {}
        for name, arm in place.arms.items():
            groups = ("stem", "layer1", "layer2", "layer3", "layer4")
            parts = {f"cka_drift.{g}": rng.uniform(0, 0.5, len(arm.seeds)) for g in groups}
            arms[name] = arm._replace(values={**arm.values, **parts})
        places.append(place._replace(arms=arms))
    results = results._replace(scenarios=tuple(places))
    return render_html(
        ComparisonReport(make_tables(results, resamples=0, seed=0, provenance=ORIGIN))
    )


def splits(_folder: Path) -> str:
    """Table 2 in one scenario."""
    return render_html(ComparisonReport(time_table()))


PAGES: Mapping[str, Callable[[Path], str]] = {
    "search": search,
    "empty": empty,
    "comparison": comparison,
    "splits": splits,
}
