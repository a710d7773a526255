"""The terminal: a live board, approvals by y/n, reports, steering."""

from pathlib import Path

DEFAULT_DB = Path("vmferry.db")
