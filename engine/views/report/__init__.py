"""Report of a run: the JSON document, its words for people, its rows for a spreadsheet."""

from __future__ import annotations

from engine.views.report.as_csv import spreadsheet as spreadsheet
from engine.views.report.as_json import document as document
from engine.views.report.as_json import event_body as event_body
from engine.views.report.as_json import exit_of as exit_of
from engine.views.report.as_json import tries as tries
from engine.views.report.in_words import counted as counted
from engine.views.report.in_words import headline as headline
from engine.views.report.in_words import idle_line as idle_line
from engine.views.report.in_words import lack as lack
from engine.views.report.in_words import span_words as span_words
from engine.views.report.in_words import summary as summary
from engine.views.report.lower_bound import lower_bound as lower_bound
