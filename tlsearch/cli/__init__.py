"""The commands; the only code that prints."""

import io
import sys


def main() -> None:
    """Entry point of the `tlsearch` command; heavy imports wait until a command needs them."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal or a redirected log that is no UTF-8 gets "?" instead of an error.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        from tlsearch.cli.app import app

        app()
    except KeyboardInterrupt:  # before a command could take care of it
        sys.exit(130)
