"""Logging for people: VMFerry's own records, and errors of libraries.

Users cannot act on the warnings of libraries, which would appear in the middle of a board.
"""

from __future__ import annotations

import logging
import sys

OURS = ("bot", "engine")


def _is_for_people(record: logging.LogRecord) -> bool:
    """Return whether the record is VMFerry's, or an error of a library."""
    return record.name.split(".")[0] in OURS or record.levelno >= logging.ERROR


def hide_library_warnings() -> None:
    """Print only VMFerry's warnings and all errors on stderr. Idempotent. Also hides warnings of
    the ``warnings`` module, unless ``python -W`` or ``PYTHONWARNINGS`` asks for them."""
    if logging.lastResort is not None:
        logging.lastResort.addFilter(_is_for_people)
    if not sys.warnoptions:
        logging.captureWarnings(True)


def log_to_stderr() -> None:
    """Log to stderr: VMFerry's records from INFO, and errors of libraries. Other records of
    libraries would show payloads."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_is_for_people)
    logging.basicConfig(
        handlers=[handler], level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s"
    )
    for ours in OURS:
        logging.getLogger(ours).setLevel(logging.INFO)
