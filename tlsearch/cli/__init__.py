"""The commands; the only code that prints."""


def main() -> None:
    """Entry point of the `tlsearch` command; heavy imports wait until a command needs them."""
    from tlsearch.cli.app import app

    app()
