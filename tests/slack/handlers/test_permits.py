"""Permissions: who may use which verb, and where. A refusal gives its reason and loses nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.slack.people.roster import unfit
from engine.errors import StoreUnwritable
from engine.store import events, queries
from tests.slack.conftest import HURRIED

START = "host hv01 to hv02 now"


def runs(night):
    night.settled()
    return len(queries.runs(night.store))


def refusals(night):
    return [(e.by, e.text) for e in events.since(night.store) if e.kind == "refused"]


def test_slackbot_counts_as_a_bot_although_slack_does_not_mark_it():
    """It says what anybody, guests too, has it say: by a custom response, or a reminder."""
    slackbot = {"id": "USLACKBOT", "is_bot": False, "team_id": "T1"}

    assert unfit(slackbot, "T1", "") == "a bot"
    assert unfit(slackbot | {"id": "U0DANA"}, "T1", "") == ""


@pytest.mark.parametrize(
    ("profile", "why"),
    [
        ({"is_restricted": True}, "a guest"),
        ({"is_ultra_restricted": True}, "a guest"),
        ({"is_bot": True}, "a bot"),
        ({"deleted": True}, "deactivated"),
        ({"is_stranger": True}, "of another organisation"),
        ({"team_id": "T0OTHER"}, "of another organisation"),
    ],
)
@pytest.mark.parametrize("text", [START, "pause R1", "skip R1 web01"])
def test_guests_bots_and_strangers_cannot_start_or_change_anything(
    night, slack, profile, why, text
):
    eve = slack.user("eve", **profile)
    night.ask_for("vm web01 to hv03 now")

    night.say(text, by=eve)

    told = night.told(eve, "Only full members")
    assert f"Slack says that you are {why}. Nothing" in told
    assert runs(night) == 1
    assert night.run().state == "active"
    assert [by for by, _ in refusals(night)] == [f"slack:{eve}"]


def test_a_request_is_refused_if_slack_does_not_answer_before_the_patience_ends(make_night):
    night = make_night()
    night.side = night.new_side(replace(HURRIED, patience=0.05))
    night.start()
    night.settled()
    night.side.outbox.loop.stop()  # it alone asks Slack

    night.say(START)

    tables = night.side.tables
    night.slack.wait_for(lambda: tables.inbox.next_inbound() is None)
    [reply] = tables.outbound()
    assert "I cannot check" in reply.text
    assert queries.runs(night.store) == ()


def test_a_lookup_lost_to_a_full_disk_is_repeated(night, monkeypatch):
    roster, full = night.side.worker.roster, [StoreUnwritable("a full disk")]
    ask = roster.ask_about

    def ask_about(missing):
        if full:
            raise full.pop()
        ask(missing)

    monkeypatch.setattr(roster, "ask_about", ask_about)

    night.say(START)

    night.board_shows("Moving")
    assert not full
    assert refusals(night) == []


def test_a_guest_may_read_the_status_in_an_allowed_channel(night, slack):
    eve = slack.user("eve", is_restricted=True)

    night.say("status", by=eve)

    assert night.told(eve, "No run is in progress.")


def test_a_request_is_refused_until_slack_identifies_the_requester(night):
    night.slack.order("users.info", "internal_error", times=50)

    night.say(START)

    told = night.told(night.dana, "I cannot check who you are")
    assert told.endswith("Slack did not answer. Nothing started. Try again in a minute.")
    assert runs(night) == 0
    night.slack.workspace.orders.clear()
    night.say(START)
    night.board_shows("Moving")


def test_a_missing_scope_is_named(night):
    night.slack.order("conversations.info", "missing_scope", times=50)

    night.say(START)

    told = night.told(night.dana, "I cannot check this channel: Slack says missing_scope.")
    assert "add it and install the app again" in told
    assert runs(night) == 0


def test_recent_slack_answers_are_cached(night):
    night.ask_for("vm web01 to hv03 now")
    night.settled()
    before = len(night.slack.calls("conversations.info")), len(night.slack.calls("users.info"))

    night.say("vm web02 to hv03 now")
    night.board_shows("Moving", "R2")

    after = len(night.slack.calls("conversations.info")), len(night.slack.calls("users.info"))
    assert after == before


def test_only_members_of_the_starters_group_may_start_runs(make_night, slack):
    group = slack.group("movers", slack.user("ravi"))
    night = make_night(starters=(group,), approvers=(slack.user("mei"),))
    night.start()

    night.say(START)
    told = night.told(night.dana, "You are not allowed to start moves")
    assert f"these people may: <!subteam^{group}>." in told
    assert runs(night) == 0

    night.say(START, by=night.ravi)
    night.board_shows("Moving")


def test_a_listed_starter_may_start_without_a_group_lookup(make_night, slack):
    night = make_night(starters=("S0GONE", slack.user("dana")))
    night.start()

    assert night.ask_for(START)


def test_no_group_member_may_start_while_slack_does_not_list_the_group(make_night, slack):
    night = make_night(starters=("S0GONE",))
    night.start()

    night.say(START)

    told = night.told(night.dana, "I cannot check who may start: Slack says no_such_subteam.")
    assert "setting approval.starters" in told
    assert runs(night) == 0


def test_a_person_who_left_the_starters_group_may_not_start_a_minute_later(make_night, slack):
    group = slack.group("movers", slack.user("dana"))
    night = make_night(starters=(group,))
    night.start()
    night.ask_for("vm web01 to hv03 now")
    slack.group("movers", night.ravi)
    night.age_lookups(61)

    night.say("vm web02 to hv03 now")

    assert night.told(night.dana, "You are not allowed to start moves")
    assert runs(night) == 1


def test_every_full_member_may_pause_and_stop_even_if_starters_are_listed(make_night, slack):
    night = make_night(starters=(slack.user("dana"),))
    night.start()
    night.ask_for("vm web01 to hv03 now")

    night.say("pause R1", by=night.mei)
    night.board_shows("Paused")
    night.say("resume R1", by=night.mei)

    assert night.told(night.mei, "You are not allowed to use `resume`")


def test_a_guest_cannot_change_anything_with_a_button(night, slack):
    eve = slack.user("eve", is_restricted=True)
    board = night.ask_for("vm web01 to hv03 now")

    night.slack.click(eve, board.ts, "do.pause")

    assert night.told(eve, "Slack says that you are a guest. Nothing changed.")
    assert night.run().state == "active"


def test_nothing_starts_in_a_channel_shared_with_another_organisation(make_night, slack):
    night = make_night(channels=("C0OPS", "C0JOINT"))
    night.start()
    joint = slack.channel("joint")
    slack.share(joint)

    night.say(START, channel=joint)

    told = night.told(night.dana, "shared with another organisation")
    assert "VM names are customers' names. Nothing started. Type it in <#C0OPS>." in told
    assert runs(night) == 0
    assert [by for by, _ in refusals(night)] == [f"slack:{night.dana}"]


def test_nothing_starts_in_a_channel_ten_minutes_after_it_was_shared(night):
    night.ask_for("vm web01 to hv03 now")
    night.slack.share(night.ops)
    night.age_lookups(601)

    night.say("vm web02 to hv03 now")

    assert night.told(night.dana, "shared with another organisation")
    assert runs(night) == 1
    night.say("pause R1")
    night.board_shows("Paused")


def test_a_command_in_a_private_channel_without_the_bot_says_what_to_do(night, slack):
    den = slack.channel("den", bot=False, private=True)

    night.say(START, channel=den)

    told = night.told(night.dana, "I cannot see this channel")
    assert told.endswith(
        "Nothing started. Type here: /invite <@U0VMFERRY>, then repeat the request."
    )
    assert runs(night) == 0


def test_direct_messages_allow_status_and_say_where_to_start_a_run(make_night, slack):
    night = make_night(channels=("C0OPS",))
    night.start()
    alone = slack.direct(night.dana)

    night.say("status", channel=alone)
    assert night.told(night.dana, "No run is in progress.")
    night.say("help", channel=alone)
    assert night.told(night.dana, "/migrate host")
    night.say(START, channel=alone)

    told = night.told(night.dana, "Nobody else sees direct messages")
    assert told.endswith("Nothing started. Type it in <#C0OPS>.")
    assert runs(night) == 0


def test_a_full_member_may_pause_in_a_direct_message_and_a_guest_may_not(night, slack):
    eve = slack.user("eve", is_restricted=True)
    night.ask_for("vm web01 to hv03 now")

    night.say("pause R1", by=eve, channel=slack.direct(eve))
    assert night.told(eve, "Only full members")
    assert night.run().state == "active"

    night.say("pause R1", by=night.mei, channel=slack.direct(night.mei))
    night.board_shows("Paused")


def test_a_guest_sees_nothing_in_a_direct_message(make_night, slack):
    night = make_night(channels=("C0OPS",))
    eve = slack.user("eve", is_restricted=True)
    night.start()

    night.say("status", by=eve, channel=slack.direct(eve))

    assert night.told(eve, "Only full members")


def test_a_person_who_may_not_start_runs_may_not_confirm_a_preview(night):
    night.say("host hv01 to hv02")
    night.told(night.dana, "would move")
    night.slack.workspace.profiles[night.dana] = {"is_restricted": True}
    night.age_lookups(3_601)

    night.slack.click_private(night.dana, "draft.yes")

    assert night.told(night.dana, "Slack says that you are a guest. Nothing started.")
    assert runs(night) == 0


def test_a_stranger_in_a_shared_channel_learns_no_names_from_a_mention(night, slack):
    eve, gus = slack.user("eve", is_stranger=True), slack.user("gus", is_restricted=True)
    night.ask_for("vm web01 to hv03 now")
    night.slack.share(night.ops)

    night.slack.mention(eve, night.ops, "list")
    night.slack.mention(gus, night.ops, "list")

    told = night.told(eve, "Only full members")
    assert "Slack says that you are of another organisation." in told
    assert night.told(gus, "hv03")
    assert not [e for e in slack.ephemerals(eve) if "hv03" in e.text]
    night.settled()
