"""Columns of rows as Python values."""

from __future__ import annotations

from collections.abc import Mapping

Row = Mapping[str, object]


def as_text(value: object) -> str | None:
    """A text that may be missing."""
    return None if value is None else str(value)


def as_int(value: object) -> int:
    """A whole number."""
    return int(str(value))


def as_float(value: object) -> float:
    """A number."""
    return float(str(value))
