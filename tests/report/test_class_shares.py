from pathlib import Path

import pytest

from tests.report.fake import fake_study, know_data
from tlsearch.report.context import read_report
from tlsearch.report.figures import class_shares
from tlsearch.report.wording import Absent
from tlsearch.search.ledger import FACTS


def found(folder: Path, train: list[int], test: list[int]) -> class_shares.ClassShares:
    fake = fake_study(folder)
    know_data(fake, [f"c{i}" for i in range(len(train))])
    told = fake.ledger.search.user_attrs[FACTS]
    told["facts"] |= {"train_counts": train, "validation_counts": train, "test_counts": test}
    fake.ledger.search.set_user_attr(FACTS, told)
    shares = class_shares.compute(read_report(fake.ledger, fake.layout))
    assert isinstance(shares, class_shares.ClassShares)
    return shares


def test_shares_are_of_each_part_and_uneven_ones_are_said(tmp_path: Path) -> None:
    shares = found(tmp_path, [10, 30], [2, 2])
    assert shares.parts == ("training", "validation", "test")
    assert [(r.name, r.shares) for r in shares.rows] == [
        ("c1", (0.75, 0.75, 0.5)),
        ("c0", (0.25, 0.25, 0.5)),
    ]
    assert shares.imbalance == (3.0, 3.0, 1.0)
    assert "training 3, validation 3, test 1." in class_shares.caption(shares)
    assert "uneven" in class_shares.caption(shares)
    figure = class_shares.draw(shares)
    assert len({trace.marker.symbol for trace in figure.data}) == 3
    assert list(figure.data[0].x) == [75, 25]


def test_a_part_without_images_is_not_drawn_and_an_empty_class_is_said(tmp_path: Path) -> None:
    shares = found(tmp_path, [5, 5, 0], [0, 0, 0])
    assert shares.parts == ("training", "validation")
    assert shares.imbalance == (None, None)
    assert "training a class without images" in class_shares.caption(shares)


def test_of_many_classes_both_ends_are_drawn(tmp_path: Path) -> None:
    shares = found(tmp_path, [100 + i for i in range(200)], [1] * 200)
    names = [row.name for row in shares.rows]
    assert len(names) == class_shares.MAX_CLASSES
    assert (names[0], names[-1]) == ("c199", "c0")
    assert "Of 200 classes the 15 largest and the 15 smallest" in class_shares.caption(shares)
    assert shares.imbalance[0] == pytest.approx(299 / 100)


def test_before_the_data_are_read_it_says_so(tmp_path: Path) -> None:
    fake = fake_study(tmp_path)
    absent = class_shares.compute(read_report(fake.ledger, fake.layout))
    assert isinstance(absent, Absent)
