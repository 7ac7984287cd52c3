"""`python -m streams`: the command line, for processes that start others of their own kind."""

from __future__ import annotations

from streams.cli import main

if __name__ == "__main__":
    main()
