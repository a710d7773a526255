"""The benchmark runs, and the page in the docs has its form. These tests do not judge speed."""

from __future__ import annotations

import re
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.bench.__main__ import PAGE, main, sections
from tests.bench.table import ABOUT, HEAD, TITLE, Row, at_most, exactly, page, quantile, table
from tests.served import ROOT


def test_every_section_measures_something(tmp_path: Path):
    known = sections(seconds=1.0, quick=True)
    rooms = [tmp_path / word for word in known]
    for room in rooms:
        room.mkdir()

    with ThreadPoolExecutor(len(known)) as all_at_once:
        measured = list(all_at_once.map(lambda one, room: one[1](room), known.values(), rooms))

    shown = table([(name, rows) for (name, _), rows in zip(known.values(), measured, strict=True)])
    assert not re.search(r"\binf\b", shown)
    for rows in measured:
        assert len(rows) > 0
        assert all(row.measured for row in rows)
    acks, economy, gaps, looks, _, ready = measured
    assert [row.met for row in looks if row.what.startswith("2 hosts emptied")][:1] == [True]
    assert [row.met for row in acks if row.what.startswith("Decisions acked")] == [True, True]
    assert next(row for row in economy if row.what == "answered with 429").met
    assert all("stock Bolt" in row.measured for row in gaps)
    assert any("an empty Bolt app" in row.what for row in ready)


def test_the_page_is_written_only_if_every_section_is_measured(tmp_path, capsys, monkeypatch):
    one = {"one": ("One thing", lambda _: [Row("it", "1 ms")])}
    monkeypatch.setattr("tests.bench.__main__.sections", lambda *_: one)

    assert main(["--only", "one", "--out", str(tmp_path / "page.md")]) == 0
    assert "| it | 1 ms |  |  |" in capsys.readouterr().out
    assert not (tmp_path / "page.md").exists()

    assert main(["--out", str(tmp_path / "page.md")]) == 0
    assert "| it | 1 ms |  |  |" in (tmp_path / "page.md").read_text()


def test_the_page_in_the_docs_has_the_sections_that_the_benchmark_writes():
    written = PAGE.read_text(encoding="utf-8")

    assert written.startswith(f"{TITLE}\n\n{ABOUT}\nMeasured on ")
    assert f"| {' | '.join(HEAD)} |\n|---|---|---|---|\n" in written
    titles = re.findall(r"^\| \*\*(.+?)\*\* \|", written, re.MULTILINE)
    assert titles == [name for name, _ in sections(60.0, quick=False).values()]


def test_the_page_names_no_machine():
    for text in (PAGE.read_text(encoding="utf-8"), page([], "1 May 2026", "make bench")):
        assert socket.gethostname() not in text
        assert str(ROOT) not in text
        assert str(Path.home()) not in text


@pytest.mark.parametrize(
    ("values", "part", "found"),
    [((3.0, 1.0, 2.0), 0.5, 2.0), (range(1, 101), 0.99, 99), ((5.0,), 0.99, 5.0), ((), 0.5, 0.0)],
)
def test_a_quantile_is_a_measured_value(values, part, found):
    assert quantile(list(values), part) == (found if values else float("inf"))


def test_a_missed_target_is_marked_as_missed():
    assert at_most("x", 51.0, 50.0, "ms").cells == ("x", "51.0 ms", "≤ 50 ms", "**missed**")
    assert exactly("x", 2, 2).cells == ("x", "2", "2", "met")
    assert exactly("x", 1, 2).cells[3] == "**missed**"
