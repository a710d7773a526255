"""The terminal: a live board, questions with y/n, the told night of the demo."""

from pathlib import Path

DEFAULT_DB = Path("vmferry.db")
