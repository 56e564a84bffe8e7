"""`python -m tlsearch`."""

from tlsearch.cli import main

if __name__ == "__main__":
    main()
