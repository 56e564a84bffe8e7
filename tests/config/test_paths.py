import os
import pwd
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tlsearch.config.paths import (
    atomic_write,
    downloads_cache,
    draft_of,
    expanded,
    remove_drafts,
    user_cache,
    write_text,
)


@pytest.mark.parametrize("text", ["half \ud800", "for a full disk"])
def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, text: str) -> None:
    path = tmp_path / "new" / "report.html"
    write_text(path, "first é")
    assert path.read_text(encoding="utf-8") == "first é"
    if text.isascii():
        draft_of(path, os.getpid()).symlink_to("/dev/full")
    with pytest.raises((UnicodeEncodeError, OSError)):
        write_text(path, text)
    assert path.read_text(encoding="utf-8") == "first é"
    assert list(path.parent.iterdir()) == [path]


def test_a_killed_process_leaves_a_draft_that_can_be_removed(tmp_path: Path) -> None:
    path, other = tmp_path / "a[1].npz", tmp_path / "other.npz"
    for draft in (draft_of(path, 1), draft_of(path, 22), draft_of(other, 1)):
        draft.write_bytes(b"half")
    with atomic_write(path) as draft:
        assert (draft.parent, draft.suffix) == (path.parent, path.suffix)
        draft.write_bytes(b"whole")
    remove_drafts(path)
    assert sorted(tmp_path.iterdir()) == sorted([path, draft_of(other, 1)])


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as readers:
        read = readers.submit(pipe.read_text)
        write_text(pipe, "the report")
        assert read.result(timeout=10) == "the report"
    assert pipe.is_fifo()


def test_a_home_that_there_is_and_one_that_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert expanded("~/x.png") == Path("/home/me/x.png")
    assert expanded("~nobody of this name/x.png") == Path("~nobody of this name/x.png")
    assert expanded("a~b.png") == Path("a~b.png")


def test_who_has_no_home_keeps_everything_in_the_state_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.write_text("no folder")
    monkeypatch.chdir(tmp_path)
    for name in ("TLSEARCH_CACHE", "XDG_CACHE_HOME", "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)

    def nobody(_number: int) -> None:
        raise KeyError("no such user")

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for nowhere in (str(home), None):
        if nowhere is None:
            monkeypatch.delenv("HOME")
        else:
            monkeypatch.setenv("HOME", nowhere)
        assert user_cache() == tmp_path / "mlruns/cache"
        assert downloads_cache() == tmp_path / "mlruns/cache/torch"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_cache().is_relative_to(tmp_path)
    assert downloads_cache() == tmp_path / ".cache/torch"
