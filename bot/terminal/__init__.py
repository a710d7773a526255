"""The terminal: live board, approvals, reports, steering."""

from pathlib import Path

DEFAULT_DB = Path("vmferry.db")
