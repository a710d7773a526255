"""Choosing some of very many VMs: the form asks VMFerry for options while people type."""

from __future__ import annotations

import pytest

from bot.slack.modals.decision import offered
from bot.slack.modals.fields import OPTIONS
from engine.model import ApprovalState
from engine.store import queries
from tests.slack.handlers.test_decisions import actions_of, open_form

MANY = 1_200
FLEET = """
format = 1
[[host]]
name = "hv01.corp.example"
[[host]]
name = "hv02.corp.example"
""" + "\n".join(
    f'[[vm]]\nname = "crm{n:04}"\nhost = "hv01"\nstatus = "PowerOff"\ndisk_gb = 1'
    for n in range(MANY)
)


@pytest.fixture
def very_many(make_night):
    night = make_night(fleet=FLEET)
    night.start()
    board = night.ask_for("host hv01 to hv02 now")
    return night, board, night.card(board)


def test_vms_in_a_long_list_are_chosen_by_typing_part_of_their_names(very_many):
    night, board, card = very_many
    assert actions_of(card) == ["approve", "deny", "choose"]
    form = open_form(night, card, "choose")
    assert len(night.slack.type_into(form, "")) == OPTIONS
    assert night.slack.type_into(form, "CRM1150") == ["crm1150"]
    assert night.slack.type_into(form, "nowhere") == []

    night.slack.type_into(form, "crm00")
    night.slack.submit(form, chosen=["crm1150", "crm0007"])

    assert "crm0007, crm1150" in night.reply_with(f"Approved 2 of {MANY}", board).shown
    granted = queries.approval(night.store, 1)
    names = queries.names_on(night.store, 1)
    assert granted.state is ApprovalState.GRANTED
    assert [names[granted.vms.index(vm)] for vm in granted.granted] == ["crm0007", "crm1150"]


def test_search_text_is_not_stored(very_many):
    night, _, card = very_many
    form = open_form(night, card, "choose")
    night.settled()
    count = "SELECT count(*) AS n FROM slack_inbox"
    before = night.store.query(count)[0]["n"]

    night.slack.type_into(form, "crm1")

    assert night.store.query(count)[0]["n"] == before


NAMES = ["web01", "db-web", "WEB02", "crm", "*odd*"]


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("", ["web01", "db-web", "WEB02", "crm", "*odd*"]),
        ("web", ["web01", "WEB02", "db-web"]),
        ("WEB*", ["web01", "WEB02", "db-web"]),
        (" crm ", ["crm"]),
        ("x", []),
    ],
)
def test_names_that_start_with_the_search_text_come_first(typed, found):
    options = offered(NAMES, typed)

    assert [option["text"]["text"] for option in options] == found
    assert [NAMES[int(option["value"])] for option in options] == found


def test_options_never_exceed_the_slack_limit():
    assert len(offered([f"vm{n}" for n in range(10_000)], "vm")) == OPTIONS
