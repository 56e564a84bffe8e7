from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tlsearch.config.loader import read_study
from tlsearch.config.schema import StudyConfig
from tlsearch.errors import RequestError, StudyError

MINIMAL = "name: s\ndata: {source: digits}\nbackbone: {name: resnet18, weights: none}\n"

Read = Callable[..., StudyConfig]
Refused = Callable[..., list[str]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read a study from lines that follow the three required ones."""

    def reading(
        lines: str, *overrides: str, preset: str | None = None, head: str = MINIMAL
    ) -> StudyConfig:
        path = tmp_path / "study.yaml"
        path.write_text(head + lines, encoding="utf-8")
        return read_study(path, overrides=overrides, preset=preset)

    return reading


@pytest.fixture
def refused(read: Read) -> Refused:
    """The messages of all problems of a study that must not be read."""

    def refusing(lines: str, *overrides: str, **options: Any) -> list[str]:
        with pytest.raises(StudyError) as caught:
            read(lines, *overrides, **options)
        assert "pydantic" not in str(caught.value)
        return [str(p) for p in caught.value.problems]

    return refusing


@pytest.fixture
def unreadable(tmp_path: Path) -> Callable[[bytes, Sequence[str]], str]:
    """The one message about a file that holds no study, without the file's folder."""

    def refusing(content: bytes, overrides: Sequence[str] = ()) -> str:
        path = tmp_path / "study.yaml"
        path.write_bytes(content)
        with pytest.raises(RequestError) as caught:
            read_study(path, overrides=overrides, preset=None)
        assert not isinstance(caught.value, StudyError)
        assert caught.value.exit_code == 2
        return str(caught.value).removeprefix(f"{tmp_path}/")

    return refusing
