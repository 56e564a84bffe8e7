"""With other labels on the test images a study samples, trains and chooses as before, to the bit.

Of a comparison the same is tested in tests/cli/test_comparison.py.
"""

from pathlib import Path

import numpy as np
import pytest

from tests.faults.running import Place
from tests.faults.stores import told
from tests.search.comparison.places import STUDY, make_place, relabelled, scores

SEARCH = """\
budget: {trials: 2, epochs: 2}
search: {sampler: tpe, pruner: none}
baselines: [linear_probe]
confirm: {top: 2, seeds: 1}
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    found = make_place(tmp_path, cache=tmp_path / "cache")
    found.file.write_text(STUDY.partition("comparison:")[0] + SEARCH)
    return found


@pytest.mark.slow
@pytest.mark.ci
def test_the_test_part_decides_on_nothing(place: Place) -> None:
    place.finish()
    before, known = told(place), scores(place)
    (rows,) = {tuple(one["rows"]) for one in known.values()}
    relabelled(place.folder, np.array(rows))
    place.finish("--fresh")
    assert told(place) == before
    found = scores(place)
    assert found.keys() == known.keys()
    for key, one in found.items():
        assert (one["probabilities"] == known[key]["probabilities"]).all()
        assert (one["labels"] != known[key]["labels"]).any()
