import math

import numpy as np
import pytest

from tlsearch.data.table import MixedTimes, parse_times

DAY = 86_400.0
MARCH_4 = 19_786 * DAY  # 2024-03-04 in days since 1970: 54 years of 365 days, 13 leap days, 63 days


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["3", "2.5", "-1e3"], [3, 2.5, -1000]),
        (["2024", "1999"], [2024, 1999]),
        (["2024-03-04", "2024-03-05T12:00"], [MARCH_4, MARCH_4 + 1.5 * DAY]),
        (["2024-03-04 00:00:30.5"], [MARCH_4 + 30.5]),
        (["2024-03-04T02:00+02:00", "2024-03-04T01:00Z"], [MARCH_4, MARCH_4 + 3600]),
        (["04/03/2024", "25/03/2024"], [MARCH_4, MARCH_4 + 21 * DAY]),
        (["03/04/2024", "03/25/2024 12:00"], None),
        (["03/04/2024", "03/25/2024"], [MARCH_4, MARCH_4 + 21 * DAY]),
        (["03/03/2024", "02/02/2024"], [MARCH_4 - DAY, MARCH_4 - 31 * DAY]),
        (["4.3.2024", "5.3.2024"], [MARCH_4, MARCH_4 + DAY]),
        (["2024:03:04 06:00:00"], [MARCH_4 + DAY / 4]),
        (["4 Mar 2024", "05 Mar 2024"], [MARCH_4, MARCH_4 + DAY]),
        (["March 4, 2024"], [MARCH_4]),
        (["2024/03/04 6:00 PM"], [MARCH_4 + 0.75 * DAY]),
    ],
)
def test_times_are_numbers_that_order(texts: list[str], expected: list[float] | None) -> None:
    if expected is None:
        with pytest.raises(MixedTimes):
            parse_times(texts)
        return
    np.testing.assert_array_equal(parse_times(texts), expected)


def test_what_is_missing_is_not_a_number() -> None:
    found = parse_times(["", "2024-03-04", ""])
    assert [math.isnan(t) for t in found] == [True, False, True]
    assert np.isnan(parse_times(["", ""])).all()
    assert len(parse_times([])) == 0


@pytest.mark.parametrize(
    ("texts", "row", "reason"),
    [
        (["", "03/04/2024", "05/06/2024"], 1, "'03/04/2024' may be day before month"),
        (["2024-03-04", "03/04/2024"], 1, "'03/04/2024' is no date in a known format, unlike"),
        (["2024-03-04", "", "soon"], 2, "'soon' is no date"),
        (["13/14/2024"], 0, "'13/14/2024' is no date"),
        (["03/04/24"], 0, "'03/04/24' is no date"),
        (["17", "2024-03-04"], 1, "'2024-03-04' is no number, unlike '17'"),
        (["2024-03-04", "17"], 1, "'17' is no date"),
        (["1", "inf"], 1, "'inf' is no number"),
        (["2024-03-04T01:00Z", "2024-03-04T01:00"], 1, "has no time zone"),
        (["2024-03-04T01:00", "2024-03-04T01:00Z"], 1, "has a time zone"),
    ],
)
def test_mixed_and_ambiguous_times_are_refused(texts: list[str], row: int, reason: str) -> None:
    with pytest.raises(MixedTimes) as caught:
        parse_times(texts)
    assert caught.value.row == row
    assert reason in caught.value.reason
