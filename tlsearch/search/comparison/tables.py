"""The tables of a comparison as it stands, and the files that keep them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlsearch.evidence.answers import Tables
from tlsearch.evidence.planning import ALPHA, POWER
from tlsearch.evidence.table_formats import tables_csv, tables_json
from tlsearch.evidence.tables import make_tables
from tlsearch.search.comparison.board import Board
from tlsearch.search.comparison.collect import collect
from tlsearch.search.comparison.origin import provenance_of
from tlsearch.search.folder import write_whole

RESAMPLES = 9999
"""Draws of the second opinions."""
JSON_FILE, CSV_FILE = "tables.json", "tables.csv"


def tables_of(board: Board, folder: Path) -> Tables:
    """Every verdict that the runs so far allow."""
    return make_tables(
        collect(board, folder),
        alpha=ALPHA,
        power=POWER,
        resamples=RESAMPLES,
        seed=board.config.search.seed,
        provenance=provenance_of(board),
    )


def write_tables(board: Board, folder: Path) -> Mapping[str, Any]:
    """Keep the tables beside the study; the same as artifacts of MLflow's parent run."""
    tables = tables_of(board, folder)
    content, lines = tables_json(tables), tables_csv(tables)
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(folder / JSON_FILE, text)
    write_whole(folder / CSV_FILE, lines)
    return {JSON_FILE: content, CSV_FILE: lines}
