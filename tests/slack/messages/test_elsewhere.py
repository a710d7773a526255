"""Approvers who only have a copy of a card: they are reminded, called and told in its thread."""

from __future__ import annotations

import pytest

from bot.slack.kit.buttons import BREAK, WITHDRAW
from bot.slack.kit.ids import in_slack
from bot.slack.kit.message_kinds import SECOND
from bot.slack.messages.snapshot import take_snapshot
from bot.slack.outbox.rows import Outbound
from bot.slack.people.rows import members
from engine.model import RunState
from engine.store import queries
from tests.slack.handlers.test_break_glass import fill, open_form
from tests.slack.handlers.test_decisions import actions_of
from tests.slack.messages.test_copies import copy_in, leave
from tests.slack.messages.test_reminders import LONG, asked_again, at, looked_at

COPY = "Decide on the card above."


def under(night, copy, mark):
    """The messages with this mark in the thread of a copy."""
    return [m for m in night.slack.thread(copy.channel, copy.ts) if mark in m.shown]


def said(night, copy, mark):
    return night.slack.wait_for(lambda: under(night, copy, mark))[0]


@pytest.fixture
def split(make_night):
    """A night in which Ravi and ``others`` may approve and are not in the run's channel, and Mei
    may approve and is."""

    def make(*others, **options):
        options.setdefault("approvers", ("U0RAVI", "U0MEI"))
        night = make_night(fleet=LONG, **options)
        for user in (night.ravi, *others):
            leave(night, user)
        night.start()
        board = night.ask_for("host hv01 to hv02 now")
        night.card(board)
        return night, board

    return make


def near(night, seconds_before):
    seen = take_snapshot(night.store, night.settings, 1, night.clock.now())
    return seen.estimate - night.clock.now() <= seconds_before


# --- reminders ---------------------------------------------------------------------------------


def test_a_copy_holder_is_reminded_once_under_the_copy_even_after_a_restart(split):
    night, board = split()
    copy = copy_in(night, night.slack.direct(night.ravi))
    at(night, 890)

    again = said(night, copy, "⏰")

    assert again.text.startswith(f"⏰ <@{night.ravi}> A1 awaits a decision: 1 powered-down VM")
    assert again.text.endswith(f". {COPY}")
    assert night.mei not in again.text
    assert again.broadcast, "nobody need follow a thread in a direct message"
    assert f"<@{night.ravi}>, <@{night.mei}>" in night.reply_with("⏰", board).text
    night.side.stop()
    night.side = night.new_side()
    night.start()
    at(night, 600)
    [only] = under(night, copy, "⏰")
    assert len(only.versions) == 1
    assert len(night.slack.messages(copy.channel)) == 2
    assert len(asked_again(night, board, "⏰")) == 1


def test_the_approvals_channel_mentions_approvers_outside_the_runs_channel(split, slack):
    place = slack.channel("approvals")
    night, _ = split(approvals_channel=place)
    copy = copy_in(night, place)
    at(night, 890)

    again = said(night, copy, "⏰")

    assert again.text.startswith(f"⏰ <@{night.ravi}> A1 awaits")
    assert again.text.endswith(COPY)
    assert night.mei not in again.text
    assert not again.broadcast


def test_no_reminder_goes_to_the_approvals_channel_if_all_read_the_runs_channel(split, slack):
    place = slack.channel("approvals")
    night, board = split(approvals_channel=place, approvers=("U0MEI",))
    copy = copy_in(night, place)

    at(night, 890)

    night.reply_with("⏰", board)
    looked_at(night)
    assert under(night, copy, "⏰") == []


def test_all_approvers_are_mentioned_if_slack_does_not_list_channel_members(split, slack):
    place = slack.channel("approvals")
    slack.order("conversations.members", "fatal_error", times=1_000)
    night, _ = split(approvals_channel=place)
    copy = copy_in(night, place)
    at(night, 890)

    again = said(night, copy, "⏰")

    assert again.text.startswith(f"⏰ <@{night.ravi}>, <@{night.mei}> A1 awaits")


def test_an_approver_who_joined_the_runs_channel_is_reminded_there_once(split):
    night, board = split()
    copy = copy_in(night, night.slack.direct(night.ravi))
    night.slack.invite(night.ops, night.ravi)
    lookups, name = night.side.publisher.roster.lookups, members(in_slack(night.ops))
    lookups.want([name])  # what is asked anew every ten minutes
    night.side.outbox.loop.knock()
    night.slack.wait_for(lambda: in_slack(night.ravi) in lookups.of([name])[name].users)

    at(night, 890)

    night.reply_with("⏰", board)
    looked_at(night)
    assert under(night, copy, "⏰") == []


def test_a_reminder_under_a_copy_is_not_sent_after_the_decision(split):
    night, _ = split()
    copy = copy_in(night, night.slack.direct(night.ravi))
    night.settled()
    night.side.outbox.loop.stop()
    tables = night.side.tables
    at_copy = f"remind:A1:900@slack:{copy.channel}"

    def waiting():
        return {out.key: out for out in tables.outbound()}

    night.side.publisher.loop.stop()  # its looks are ours from here on
    night.step(until=lambda: near(night, 890), most=20_000)
    night.side.publisher.look_at(1)
    night.side.publisher.look()
    assert waiting()[at_copy].priority == SECOND, "decisions go first"
    assert waiting()[at_copy].parent == f"card:A1@slack:{copy.channel}"

    night.service.decide(1, "approve", by="terminal:ann")
    night.side.publisher.look()

    assert at_copy not in waiting()
    assert f"card:A1@slack:{copy.channel}" in waiting()


def test_a_reminder_being_sent_under_a_copy_keeps_its_text(split):
    night, _ = split()
    copy = copy_in(night, night.slack.direct(night.ravi))
    night.settled()
    night.side.outbox.loop.stop()
    night.side.publisher.loop.stop()
    key = f"remind:A1:900@slack:{copy.channel}"
    first = Outbound(key, "message", copy.channel, "x", fingerprint="f", run=1)
    with night.store.transaction() as db:
        night.side.tables.put(db, first)

    night.step(until=lambda: near(night, 890), most=20_000)
    night.side.publisher.look_at(1)
    night.side.publisher.look()

    [waits] = [out for out in night.side.tables.outbound() if out.key == key]
    assert waits.text == "x"


def test_a_mention_in_the_thread_of_a_copy_refers_to_its_run(split, slack):
    place = slack.channel("approvals")
    night, _ = split(approvals_channel=place)
    copy = copy_in(night, place)
    night.settled()

    slack.mention(night.mei, place, "pause", copy.ts)

    assert "R1" in night.told(night.mei, "pause")
    assert night.run().state is RunState.PAUSED


def test_all_vm_names_are_posted_under_a_copy_before_it_can_be_approved(make_night):
    cold = "".join(
        f"[[vm]]\nname = 'old{n:03}'\nhost = 'hv01'\nminutes = 2.0\nstatus = 'PowerOff'\n"
        for n in range(600)
    )
    night = make_night(fleet=f"format = 1\nhost = [{{name = 'hv01'}}, {{name = 'hv02'}}]\n{cold}")
    leave(night, night.ravi)
    night.start()
    board = night.ask_for("host hv01 to hv02 now")
    night.card(board)

    copy = copy_in(night, night.slack.direct(night.ravi))
    night.slack.wait_for(lambda: actions_of(night.slack.message(copy.ts)))

    first, last = night.slack.message(copy.ts).versions
    assert [block for block in first.blocks if block["type"] == "actions"] == []
    assert "buttons follow" in first.text
    lists = under(night, copy, "VMs of A1")
    told = "".join(m.shown for m in lists)
    assert all(f"old{n:03}" in told for n in range(600))
    assert all(m.versions[0].at <= last.at and not m.broadcast for m in lists)
    night.slack.click(night.ravi, copy.ts, "approve")
    night.reply_with("Approved by", board)


# --- the escalation ----------------------------------------------------------------------------


def test_an_escalated_person_outside_the_channel_gets_a_copy_and_can_decide(split, slack):
    boss, chief = slack.user("boss"), slack.user("chief")
    group = slack.group("bosses", boss, chief)
    night, board = split(boss, escalation=(group,))
    at(night, 600)
    assert slack.messages(slack.direct(boss)) == ()

    at(night, 290)

    copy = copy_in(night, slack.direct(boss))
    call = said(night, copy, "📣")
    assert call.text.startswith(f"📣 <@{boss}> A1 awaits a decision")
    assert call.text.endswith(f"Nobody has decided yet. {COPY}")
    assert night.reply_with("📣", board).text.startswith(f"📣 <!subteam^{group}> A1")
    assert slack.messages(slack.direct(chief)) == ()
    other = copy_in(night, slack.direct(night.ravi))
    assert under(night, other, "📣") == [], "it calls others"
    slack.click(boss, copy.ts, "approve")
    night.reply_with("Approved by", board)
    assert copy_in(night, other.channel, "Approved by").ts == other.ts
    assert copy_in(night, copy.channel, "Approved by").ts == copy.ts


def test_the_copy_goes_to_the_escalation_at_once_if_nobody_else_may_approve(split, slack):
    boss = slack.user("boss")
    group = slack.group("bosses", boss)
    night, _ = split(boss, approvers=("U0DANA",), escalation=(group,))

    copy = copy_in(night, slack.direct(boss))

    call = said(night, copy, "📣").text
    assert f"Nobody except <@{night.dana}> is listed to decide" in call
    assert call.endswith(COPY)


def test_the_approvals_channel_mentions_a_group_whose_members_are_unknown(split, slack):
    place = slack.channel("approvals")
    group = slack.group("bosses", slack.user("boss"))
    slack.order("usergroups.users.list", "fatal_error", times=1_000)
    night, _ = split(approvals_channel=place, escalation=(group,))
    copy = copy_in(night, place)
    at(night, 290)

    call = said(night, copy, "📣")

    assert call.text.startswith(f"📣 <!subteam^{group}> A1 awaits")


# --- the broken glass --------------------------------------------------------------------------


def test_approvers_outside_the_channel_are_told_about_a_break_glass_approval(split, slack):
    boss = slack.user("boss")
    late = slack.group("late", boss)
    night, board = split(boss, approvers=("U0DANA", "U0RAVI"), escalation=(late,), break_glass=True)
    had = copy_in(night, slack.direct(night.ravi))
    card = night.reply_with("Approve moving", board)
    assert BREAK in actions_of(card)

    fill(night, open_form(night, night.dana, card))

    night.reply_with("broke the glass", board)
    assert "broke the glass and approved A1" in said(night, had, "🚨").shown
    new = copy_in(night, slack.direct(boss), "Approved by")
    assert actions_of(new) == [WITHDRAW]
    notice = said(night, new, "🚨")
    assert notice.broadcast
    slack.click(boss, new.ts, WITHDRAW)
    slack.form(boss)
    assert queries.approval(night.store, 1).glass


def test_a_break_glass_review_is_also_announced_under_a_copy(split, slack):
    night, board = split(approvers=("U0DANA", "U0RAVI"), break_glass=True)
    copy = copy_in(night, slack.direct(night.ravi))
    fill(night, open_form(night, night.dana, night.reply_with("Approve moving", board)))
    notice = said(night, copy, "🚨")
    night.to_the_end()
    night.reply_with("R1 ended", board)
    assert "/migrate reviewed R1" in notice.shown

    night.say("reviewed R1", by=night.ravi)

    said(night, copy, "🔎")
    slack.wait_for(lambda: "Review: in order" in slack.message(notice.ts).shown)
