"""Markdown and figure of each comparison in studies/results/, from its JSON.

    uv run python benchmarks/kept_results.py [STUDY …]      # all of them unless some are named

A comparison's JSON holds all that the others show. So what is written about results, or drawn of
them, may change without running a comparison again.
"""

import argparse
import json
from pathlib import Path

from tlsearch.comparison.answers import tables_of
from tlsearch.report.comparison import ComparisonReport
from tlsearch.report.markdown import render_markdown
from tlsearch.report.stills import answer_still

RESULTS = Path(__file__).parents[1] / "studies" / "results"
SCHEMA = "tables.schema"
DOTS = 100
"""Dots an inch: what is kept in git stays small."""


def render(path: Path) -> None:
    tables = tables_of(json.loads(path.read_text(encoding="utf-8")))
    path.with_suffix(".md").write_text(render_markdown(ComparisonReport(tables)))
    picture = answer_still(ComparisonReport(tables), dots=DOTS)
    if picture is not None:
        path.with_name(f"{path.stem}_gains.png").write_bytes(picture)
    print(path.stem, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", nargs="*", help="such as c01_batch_size")
    names = parser.parse_args().study
    for path in sorted(RESULTS.glob("*.json")):
        if path.stem != SCHEMA and (not names or path.stem in names):
            render(path)


if __name__ == "__main__":
    main()
