"""`tlsearch check --views`: what a study's augmentations do to its own images."""

from pathlib import Path

from tlsearch.cli.auditing import reading_progress
from tlsearch.report.views import Block, check_ending, write_views
from tlsearch.study.config import StudyConfig
from tlsearch.study.layout import user_cache

__all__ = ["check_ending", "write"]


def write(config: StudyConfig, path: Path) -> None:
    """Draw the views into a picture or a page.

    Raises:
        RequestError: the study augments nothing, or its images or weights do not fit it.
        WorkError: something cannot be read or fetched.
        OSError: the file cannot be written.
    """
    with reading_progress() as on_progress:
        from tlsearch.search.work.views import views_of

        shown = views_of(config, cache=user_cache(), on_progress=on_progress)
    write_views(path, [Block(*one) for one in shown], name=config.name)
