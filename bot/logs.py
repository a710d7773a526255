"""Logs for people: our own warnings, and no warning of a library.

A library warns its programmers. A person who runs a command can act on none of it, and it would
stand in the middle of a board.
"""

from __future__ import annotations

import logging
import sys

OURS = ("bot", "engine")


def _is_for_people(record: logging.LogRecord) -> bool:
    """Tell whether the record is ours, or a library failed."""
    return record.name.split(".")[0] in OURS or record.levelno >= logging.ERROR


def hide_library_warnings() -> None:
    """Print only our own warnings and everybody's errors on stderr. Idempotent.

    Warnings of the ``warnings`` module are library warnings, too, unless ``python -W`` or
    ``PYTHONWARNINGS`` asks for them.
    """
    if logging.lastResort is not None:
        logging.lastResort.addFilter(_is_for_people)
    if not sys.warnoptions:
        logging.captureWarnings(True)


def log_to_stderr() -> None:
    """Write a log for a service: our own news, and the errors of the libraries.

    Their news would show payloads.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_is_for_people)
    logging.basicConfig(
        handlers=[handler], level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s"
    )
    for ours in OURS:
        logging.getLogger(ours).setLevel(logging.INFO)
