import pytest

from tests.report.fake import finished
from tlsearch.report.context import ReportData, read_report


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    """A whole study: 30 trials, confirmed and scored."""
    fake = finished(tmp_path_factory.mktemp("figures"))
    return read_report(fake.store, fake.layout)
