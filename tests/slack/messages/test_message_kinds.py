"""Keys of messages: one parser, one printer, and a row for every kind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.slack.kit import message_kinds
from bot.slack.kit.message_kinds import BOARD, CARD, KINDS, LIST, REPORT, Key, Kind

PARTS = st.one_of(st.none(), st.text("0123456789abcdef:", max_size=12))
ABOUT = st.from_regex(r"[RA][0-9]{1,6}", fullmatch=True)
PLACES = st.sampled_from(["", "C0OPS", "D0RAVI"])


def test_every_message_kind_is_registered_by_its_word_and_has_a_name():
    made = {kind for kind in vars(message_kinds).values() if isinstance(kind, Kind)}

    assert made == set(KINDS.values())
    assert all(kind.word == word for word, kind in KINDS.items())
    assert all(kind.name and kind.verb for kind in made)


@given(st.sampled_from(sorted(KINDS)), ABOUT, PARTS, PLACES)
def test_a_printed_key_is_read_back_unchanged(word, about, part, place):
    key = Key(KINDS[word], about, part, place)

    assert Key.read(str(key)) == key


@pytest.mark.parametrize(
    ("text", "parent", "broadcast"),
    [
        ("board:R1", None, False),
        ("card:A3", "board:R1", False),
        ("card:A3@D0RAVI", None, False),
        ("list:A3:0@C0APPROVALS", "card:A3@C0APPROVALS", False),
        ("escalate:A3:", "board:R1", False),
        ("remind:A3:900@D0RAVI", "card:A3@D0RAVI", True),
        ("failure:R1:5d41402a:1767", "board:R1", False),
        ("report:R1", "board:R1", True),
    ],
)
def test_a_message_key_tells_its_parent_and_whether_it_is_broadcast(text, parent, broadcast):
    key, above = Key.read(text), Key.read(text).parent("R1")

    assert (str(above) if above else None, key.is_broadcast) == (parent, broadcast)


def test_a_key_names_its_subject():
    assert (Key(BOARD, "R12").run, Key(BOARD, "R12").approval) == (12, None)
    assert (Key(CARD, "A3").run, Key(LIST, "A3", "0").approval) == (None, 3)
    assert Key(REPORT, "R²").run is None


def test_a_key_of_an_unknown_kind_is_read_and_named_as_another_version():
    key = Key.read("ferry:R1:x")

    assert str(key) == "ferry:R1:x"
    assert key.kind.name == "a message of another version"
