"""Logging for people: our own warnings, none of a library's.

Warnings of libraries are for programmers. Users cannot act on them, and they would appear in the
middle of a board.
"""

from __future__ import annotations

import logging
import sys

OURS = ("bot", "engine")


def _is_for_people(record: logging.LogRecord) -> bool:
    """Tell whether the record is ours, or an error of a library."""
    return record.name.split(".")[0] in OURS or record.levelno >= logging.ERROR


def hide_library_warnings() -> None:
    """Print only our own warnings and all errors on stderr. Idempotent. Warnings of the
    ``warnings`` module are hidden, too, unless ``python -W`` or ``PYTHONWARNINGS`` asks for
    them."""
    if logging.lastResort is not None:
        logging.lastResort.addFilter(_is_for_people)
    if not sys.warnoptions:
        logging.captureWarnings(True)


def log_to_stderr() -> None:
    """Write the log of a service: our own news, and errors of libraries. News of libraries would
    show payloads."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_is_for_people)
    logging.basicConfig(
        handlers=[handler], level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s"
    )
    for ours in OURS:
        logging.getLogger(ours).setLevel(logging.INFO)
