"""What cannot be planted is refused before anything is drawn."""

import pytest

from tests.config.conftest import Read
from tlsearch.errors import StudyError

GIVEN = "data.split.strategy=given"
PLANT = "data.planted.label_noise=0.1"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((PLANT,), "write data.split.strategy: given"),
        ((PLANT, GIVEN, "data.split.folds=5"), "would validate once"),
        ((PLANT, GIVEN, "data.source={folder: photos}"), "into no images of yours"),
        (("data.planted.seed=1", GIVEN), "plants nothing"),
        (("data.planted.label_noise=1", GIVEN), "must be below 1"),
        (("data.planted.duplicates=-1", GIVEN), "must be at least 0"),
        (("data.planted.duplicate=1", GIVEN), "did you mean 'duplicates'"),
        ((GIVEN,), "tells no parts"),
    ],
)
def test_what_cannot_be_planted_is_refused(read: Read, options: tuple[str, ...], told: str) -> None:
    with pytest.raises(StudyError, match="1 problem") as caught:
        read("", *options)
    assert told in str(caught.value)


def test_planting_needs_parts_that_stand(read: Read) -> None:
    assert read("", PLANT, GIVEN).data.planted is not None
