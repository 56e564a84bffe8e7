import pytest

from tests.report.fake import finished
from tlsearch.report.context import SearchReport, read_search


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> SearchReport:
    """A whole study: 30 trials, confirmed and scored."""
    fake = finished(tmp_path_factory.mktemp("figures"))
    return read_search(fake.store, fake.layout)
