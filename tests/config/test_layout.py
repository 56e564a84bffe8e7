from pathlib import Path

import pytest

from tlsearch.config.paths import expanded


def test_a_home_that_there_is_and_one_that_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert expanded("~/x.png") == Path("/home/me/x.png")
    assert expanded("~nobody of this name/x.png") == Path("~nobody of this name/x.png")
    assert expanded("a~b.png") == Path("a~b.png")
