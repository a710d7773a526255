"""Report of a run: the JSON document, its words for people, its rows for a spreadsheet."""

from __future__ import annotations

from engine.views.report.as_csv import spreadsheet
from engine.views.report.as_json import document, event_body, exit_of, tries
from engine.views.report.in_words import counted, headline, idle_line, lack, span_words, summary
from engine.views.report.lower_bound import lower_bound

__all__ = [
    "counted",
    "document",
    "event_body",
    "exit_of",
    "headline",
    "idle_line",
    "lack",
    "lower_bound",
    "span_words",
    "spreadsheet",
    "summary",
    "tries",
]
