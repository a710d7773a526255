"""Every story folder plays to its end, gives the text in its ``expect.txt``, and violates nothing.

A changed text is a changed behaviour: read the difference, then `vmferry story DIR --update`.
"""

import re
from functools import cache
from pathlib import Path

import pytest

from engine.model import MoveState, Outcome, RunState, Wait
from engine.stories.story import Played, play

FOLDERS = sorted(path.parent for path in Path(__file__).parent.glob("*/story.toml"))
CONTRACT = Path(__file__).resolve().parents[2] / "docs" / "contract.md"


@cache
def told(folder: Path) -> Played:
    """Play each story once and share the result."""
    return play(folder)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_story_ends_without_violations_and_matches_its_expected_text(folder: Path):
    played = told(folder)

    assert played.document["ended"]
    assert played.document["violations"] == []
    assert played.expected is not None, f"vmferry story {folder} --update"
    assert played.text == played.expected


def test_the_same_seed_gives_the_same_text_and_another_seed_another_text():
    folder = next(f for f in FOLDERS if f.name.startswith("13_"))

    assert play(folder, seed=7).text == play(folder, seed=7).text
    assert play(folder, seed=7).text != play(folder, seed=8).text


def test_each_of_the_four_problems_has_a_story():
    texts = [(folder / "story.toml").read_text() for folder in FOLDERS]

    for number in (1, 2, 3, 4):
        assert any(f"Problem {number}:" in text for text in texts)


# --- the matrix: what no story tells is told by nobody --------------------------------------------

#: Events that only Slack causes, and the tables that show them.
IN_TABLES = {
    "run.scheduled": "tests/engine/commands/test_service.py",
    "run.rejected": "tests/engine/commands/test_steering_words.py",
    "run.noted": "tests/slack/outbox/test_outbox_under_trouble.py",
    "glass.broken": "tests/slack/handlers/test_review.py",
    "glass.reviewed": "tests/slack/handlers/test_review.py",
}


def happened() -> list[dict]:
    return [event for folder in FOLDERS for event in told(folder).document["events"]]


def unbuilt() -> set[str]:
    """Names that the contract marks as not built yet."""
    rows = re.findall(
        r"^\| `([^`]+)` \|.*\(not built yet\)", CONTRACT.read_text(encoding="utf-8"), re.M
    )
    return set(rows)


def test_every_wait_occurs_in_a_story():
    waits = {e["detail"]["wait"] for e in happened() if e["kind"] == "move.waiting"}

    assert set(map(str, Wait)) - waits == unbuilt() & set(map(str, Wait))


def test_every_outcome_occurs_in_a_story():
    outcomes = {e["detail"].get("outcome") for e in happened()}

    assert set(map(str, Outcome)) - outcomes == set()


def test_every_kind_of_event_occurs_in_a_story_or_in_a_table():
    rows = re.search(r"^## Events\n(.*?)^## ", CONTRACT.read_text(encoding="utf-8"), re.S | re.M)
    assert rows
    kinds = set(re.findall(r"^\| `([a-z.]+)` \|", rows[1], re.M))
    for kind, table in IN_TABLES.items():
        assert f'"{kind}"' in (CONTRACT.parents[1] / table).read_text(encoding="utf-8")

    assert len(kinds) > 30
    assert kinds - {e["kind"] for e in happened()} == set(IN_TABLES)


def test_every_state_of_a_run_and_of_a_move_occurs_in_a_story():
    kinds = {e["kind"] for e in happened()}
    ends = {f"move.{state}" for state in MoveState} | {f"run.{state}" for state in RunState}

    assert ends - kinds == ends & set(IN_TABLES)
