"""The commands; the only code that prints."""

import sys


def main() -> None:
    """Entry point of the `tlsearch` command; heavy imports wait until a command needs them."""
    try:
        from tlsearch.cli.app import app

        app()
    except KeyboardInterrupt:  # before a command could take care of it
        sys.exit(130)
