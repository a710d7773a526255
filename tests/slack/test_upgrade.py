"""Runs of an older version: after an upgrade nothing is posted again and no text changes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from engine.store import events
from tests.slack.conftest import Night

DATABASES = Path(__file__).parent / "databases"
"""A night as the version wrote it that knew neither doors nor parts of sentences: two VMs damaged
for one reason, one lost, two failed. In one file the run was paused after a gap, in the other it
has ended."""


def opened(make_night, tmp_path, name, **options):
    with closing(sqlite3.connect(tmp_path / "vmferry.db")) as db:
        db.executescript((DATABASES / f"{name}.sql").read_text(encoding="utf-8"))
    return make_night(**options)


def keys(night: Night, table: str) -> set[str]:
    return {row["key"] for row in night.store.query(f"SELECT key FROM {table}")}


@pytest.mark.parametrize("name", ["before_doors_paused", "before_doors_ended"])
def test_an_upgrade_repeats_no_post_and_no_page(make_night, tmp_path, name):
    night = opened(make_night, tmp_path, name, pager_url="https://127.0.0.1:9/x")
    posted, paged = keys(night, "slack_messages"), keys(night, "slack_pages")

    night.start()
    night.say("status R1")
    night.told(night.dana, "R1")
    night.settled()

    news = {key for key in keys(night, "slack_messages") - posted if not key.startswith("reply:")}
    assert {key for key in news if not key.startswith("report:R1")} == set()
    assert keys(night, "slack_pages") == paged


@pytest.mark.parametrize("name", ["before_doors_paused", "before_doors_ended"])
def test_commands_and_people_are_shown_as_before(make_night, tmp_path, name):
    night = opened(make_night, tmp_path, name)
    night.start()

    for said in ("status R1", "report R1", "events R1", "list"):
        night.say(said)
        night.settled()

    answers = [one.text for one in night.slack.ephemerals(night.dana)]
    shown = "\n".join([*answers, *(one.text for one in night.slack.workspace.in_order())])
    for command in ("go-on R1 hv02", "retry R1 bad1"):
        spelled = [f"{door} {command}" for door in ("/migrate", "<@U0VMFERRY>")]
        assert shown.count(command) == sum(map(shown.count, spelled)) > 0
    assert "@U0" not in shown.replace("<@U0", "").replace("&lt;@U0EVE", "")
    assert events.verify(night.store) > 50


def test_the_command_to_continue_is_shown_once(make_night, tmp_path):
    night = opened(make_night, tmp_path, "before_doors_paused")
    night.start()

    night.say("status R1")

    assert night.told(night.dana, "To resume").count("resume R1") == 1
