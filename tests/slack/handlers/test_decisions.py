"""Clicks on a card: one decision, and a correct answer to every other click."""

from __future__ import annotations

from dataclasses import replace

import pytest
from slack_bolt import BoltRequest

from bot.slack.inbox.rows import Inbound
from bot.slack.modals.decision import form
from bot.slack.modals.fields import FormPlace
from bot.standin.forms import view_refusal
from bot.standin.slack import NotAcked
from engine.commands.steering import Steering
from engine.model import ApprovalState
from engine.store import events, queries
from tests.patient import not_acked


@pytest.fixture
def asked(night):
    board = night.ask_for()
    return night, board, night.card(board)


def button(card, action):
    elements = [e for b in card.blocks if b["type"] == "actions" for e in b["elements"]]
    return next(e for e in elements if e["action_id"] == action)


def actions_of(card):
    return [e["action_id"] for b in card.blocks if b["type"] == "actions" for e in b["elements"]]


def refusals(night):
    return [e for e in events.since(night.store) if e.kind == "refused"]


def test_the_card_shows_the_vm_the_requester_the_approvers_and_the_deadline(asked):
    night, _, card = asked

    first = card.text.splitlines()[0]

    assert first.startswith("Approve moving 1 powered-down VM? Needed by <!date^")
    assert "• old-crm  Off  0 adapters  210 GB" in card.shown
    assert f"Asked by <@{night.dana}>, who cannot decide. May decide: <@{night.ravi}>" in card.shown
    assert "Without approval it stays on hv01; the others still move." in card.shown
    assert button(card, "approve")["confirm"]["text"]["text"] == (
        "Move 1 powered-down VM from hv01?"
    )
    approval = queries.open_approvals(night.store)[0]
    assert button(card, "approve")["value"] == f"{approval.id}.{approval.digest}"


def test_a_click_by_a_person_who_may_not_approve_is_refused_and_audited(asked):
    night, _, card = asked

    night.slack.click(night.mei, card.ts, "approve")

    told = night.told(night.mei, "not allowed to decide")
    assert told == (
        f"You are not allowed to decide on this approval (<@{night.ravi}> may decide). "
        "Your click is recorded. Nothing changed."
    )
    assert [e.by for e in refusals(night)] == [f"slack:{night.mei}"]
    assert queries.open_approvals(night.store)


def test_a_requester_cannot_approve_even_if_listed_as_approver(asked):
    night, _, card = asked

    night.slack.click(night.dana, card.ts, "approve")

    assert night.told(night.dana, "You requested R1") == (
        "You requested R1, so you cannot decide on its approvals. "
        f"These people may: <@{night.ravi}>. Nothing changed."
    )
    assert queries.open_approvals(night.store)


def test_an_approved_card_names_the_approver_and_loses_its_buttons(asked):
    night, board, card = asked

    night.slack.click(night.ravi, card.ts, "approve")

    shown = night.reply_with("Approved by", board)
    assert shown.ts == card.ts
    assert f"✅ Approved by <@{night.ravi}>" in shown.shown
    assert "R1 · old-crm" in shown.shown
    decided = [e for e in events.since(night.store) if e.kind == "approval.granted"]
    assert f"Audit {decided[0].hash[:8]}" in shown.shown
    assert actions_of(shown) == ["withdraw"]
    assert night.slack.ephemerals(night.ravi) == ()


def test_a_second_click_is_told_who_decided_first_and_when(asked):
    night, board, card = asked
    night.slack.click(night.ravi, card.ts, "approve")
    night.reply_with("Approved by", board)
    night.clock.jump(night.clock.now() + 12)

    old = button(card, "deny")["value"]
    night.slack.click(night.mei, card.ts, "deny", value=old)  # no form: it is decided

    assert night.told(night.mei, "approved this") == (
        f"<@{night.ravi}> approved this 12 s before your click. Nothing changed."
    )
    assert queries.approval(night.store, 1).state is ApprovalState.GRANTED


def test_a_denial_shows_its_reason_and_the_other_vms_still_move(asked):
    night, board, card = asked
    night.slack.click(night.ravi, card.ts, "deny")

    sent = night.slack.submit(night.slack.form(night.ravi), reason="vendor is <!here> until Monday")

    assert sent.payload == {}
    shown = night.reply_with("Denied by", board)
    assert f"⛔ Denied by <@{night.ravi}>" in shown.shown
    assert ': "vendor is &lt;!here&gt; until Monday"' in shown.shown
    assert "1 VM stays on hv01." in shown.shown
    night.to_the_end()
    assert "2 of 3 moved, hv01 is not empty" in night.reply_with("R1 ended", board).text


def test_a_button_of_a_different_approval_changes_nothing(asked):
    night, _, card = asked

    night.slack.click(night.ravi, card.ts, "approve", value="1.0123456789abcdef")

    assert "This card is out of date" in night.told(night.ravi, "card")
    assert queries.open_approvals(night.store)


def test_a_click_on_an_approval_that_never_existed_is_answered(asked):
    night, _, card = asked

    night.slack.click(night.ravi, card.ts, "approve", value="77.0123456789abcdef")

    assert "This approval does not exist" in night.told(night.ravi, "approval")


@pytest.mark.parametrize(
    ("action", "verb"),
    [("approve", "approve"), ("withdraw.said", "withdraw"), ("break.said", "approve")],
)
def test_a_decision_on_an_approval_that_never_existed_is_audited(asked, action, verb):
    night, _, _ = asked
    body = {"action": action, "value": "77.0123456789abcdef", "reason": "because I say so today"}
    row = Inbound(0, "click", f"slack:{night.ravi}", night.ops, body, night.clock.now())

    assert night.side.tables.inbox.accept(row, "invented") is not None
    night.side.worker.loop.knock()

    assert "This approval does not exist" in night.told(night.ravi, "approval")
    [refused] = refusals(night)
    assert refused.by == f"slack:{night.ravi}"
    assert refused.text.startswith(f"slack:{night.ravi} tried to {verb} A77. Nothing changed")


def test_repeated_clicks_at_once_make_one_decision(asked):
    night, board, card = asked
    payloads = [night.slack.click_payload(night.ravi, card.ts, "approve") for _ in range(5)]

    for payload in payloads:
        night.slack.deliver("interactive", payload)
        night.slack.deliver("interactive", payload)

    night.reply_with("Approved by", board)
    night.settled()
    granted = [e for e in events.since(night.store) if e.kind == "approval.granted"]
    assert len(granted) == 1
    assert len(night.slack.ephemerals(night.ravi)) == 4
    assert all("You approved this" in e.text for e in night.slack.ephemerals(night.ravi))
    assert not any(" 0 s before" in e.text for e in night.slack.ephemerals(night.ravi))


def test_a_refused_person_is_told_that_only_the_escalation_may_approve(make_night, slack):
    boss = slack.user("boss")
    duty, above = slack.group("oncall", slack.user("dana")), slack.group("above", boss)
    night = make_night(approvers=(), oncall=(duty,), escalation=(above,))
    night.start()
    card = night.card(night.ask_for())

    night.slack.click(night.mei, card.ts, "approve")
    night.slack.click(night.dana, card.ts, "approve")
    night.say("approvals", by=night.mei)

    assert "not on call now (<@U0BOSS> may decide)." in night.told(night.mei, "You are")
    assert "These people may: <@U0BOSS>." in night.told(night.dana, "You requested R1")
    assert "may decide: <@U0BOSS>" in night.told(night.mei, "A1 · R1")


@pytest.mark.parametrize(
    ("approvers", "nobody"), [((), "nobody"), (("U0DANA",), "nobody except <@U0DANA>")]
)
def test_the_requester_the_board_and_the_card_are_told_if_nobody_may_approve(
    make_night, approvers, nobody
):
    night = make_night(approvers=approvers)
    night.start()
    board = night.ask_for()

    card = night.card(board)

    words = f" {nobody} is listed to decide (setting approval.approvers)"
    assert words in night.told(night.dana, "R1 is starting, but")
    assert words in night.board_shows("Needs a person").text
    assert words in card.shown


def test_a_click_carried_out_before_a_kill_is_not_called_late(asked):
    night, board, card = asked
    payload = night.slack.click_payload(night.ravi, card.ts, "approve")
    night.side.stop()
    night.side.app.dispatch(BoltRequest(mode="socket_mode", body=payload))
    row = night.side.tables.inbox.next_inbound()
    night.side.tables.inbox.begin(row.id, night.clock.now())
    number, _, digest = row.body["value"].partition(".")
    people = frozenset({f"slack:{night.ravi}"})
    service = night.service.because(row.cause)
    service.decide(int(number), "approve", by=row.by, approvers=people, digest=digest)

    night.side = night.new_side()
    night.start()

    night.reply_with("Approved by", board)
    night.settled()
    assert night.slack.ephemerals(night.ravi) == ()


# --- forms ----------------------------------------------------------------------------------

SEVERAL = """
format = 1
[[host]]
name = "hv01.corp.example"
[[host]]
name = "hv02.corp.example"
[[vm]]
name = "web01"
host = "hv01"
minutes = 30.0
[[vm]]
name = "old-crm"
host = "hv01"
status = "PowerOff"
minutes = 3.0
[[vm]]
name = "db 01"
host = "hv01"
status = "PowerOff"
minutes = 3.0
[[vm]]
name = "test:smile:"
host = "hv01"
status = "PowerOff"
minutes = 3.0
"""


@pytest.fixture
def three(make_night):
    night = make_night(fleet=SEVERAL)
    night.start()
    board = night.ask_for("host hv01 to hv02 now")
    return night, board, night.card(board)


def open_form(night, card, action):
    night.slack.click(night.ravi, card.ts, action)
    return night.slack.form(night.ravi)


def wrong(acked):
    assert acked.payload["response_action"] == "errors"
    return acked.payload["errors"]


def test_a_card_of_one_vm_does_not_offer_a_choice(asked):
    assert actions_of(asked[2]) == ["approve", "deny"]


def test_a_card_of_several_vms_offers_a_choice(three):
    assert actions_of(three[2]) == ["approve", "deny", "choose"]


def test_a_denial_form_without_a_reason_shows_an_error_and_can_be_resubmitted(asked):
    night, board, card = asked
    form = open_form(night, card, "deny")

    assert wrong(night.slack.submit(form, reason="  ")) == {
        "reason": "Give a reason in a few words: the requester needs it."
    }
    assert queries.open_approvals(night.store)
    night.slack.submit(form, reason="no")
    night.reply_with("Denied by", board)


def test_only_the_chosen_vms_move(three):
    night, board, card = three
    form = open_form(night, card, "choose")
    assert wrong(night.slack.submit(form)) == {
        "vms": "Choose at least one VM, or go back and deny."
    }

    night.slack.submit(form, chosen=["db 01", "test:smile:"])

    shown = night.reply_with("Approved 2 of 3", board).shown
    assert "db 01, test:smile:" in shown
    night.to_the_end()
    assert "3 of 4 moved, hv01 is not empty" in night.reply_with("R1 ended", board).text


def test_a_click_that_took_effect_before_a_kill_needs_no_late_confirmation(asked):
    night, board, card = asked
    night.slack.click(night.ravi, card.ts, "approve")
    night.reply_with("Approved by", board)
    night.settled()
    night.side.stop()
    # As if the bot had been killed before the row was marked as done, and stood still for an hour.
    night.store.database().execute(
        "UPDATE slack_inbox SET done = NULL, heard = heard - 3600 WHERE body LIKE '%\"approve\"%'"
    )

    night.side = night.new_side()
    night.start()
    night.settled()

    assert night.slack.ephemerals(night.ravi) == ()
    assert queries.approval(night.store, 1).state is ApprovalState.GRANTED


def test_a_form_submitted_after_another_decision_says_so(asked):
    night, board, card = asked
    form = open_form(night, card, "deny")
    night.slack.click(night.ravi, card.ts, "approve")
    night.reply_with("Approved by", board)

    told = wrong(night.slack.submit(form, reason="too late"))

    assert told == {"reason": "A1 is granted already. Go back; the card says by whom."}
    assert queries.approval(night.store, 1).state is ApprovalState.GRANTED


def test_forms_open_only_for_approvers(asked):
    night, _, card = asked

    night.slack.click(night.mei, card.ts, "deny")

    assert "You are not allowed to decide" in night.told(night.mei, "not allowed to decide")
    assert night.slack.workspace.forms == []
    assert [e.by for e in refusals(night)] == [f"slack:{night.mei}"]


def test_a_form_that_did_not_open_in_time_is_reported_and_the_card_stays_open(asked):
    night, _, card = asked
    night.slack.order("views.open", "expired_trigger_id")

    night.slack.click(night.ravi, card.ts, "deny")

    told = night.told(night.ravi, "did not open")
    assert told.endswith("(expired_trigger_id). Nothing changed. Click again.")
    assert open_form(night, card, "deny")


def test_a_submitted_form_survives_a_kill_before_it_is_carried_out(asked):
    night, board, card = asked
    form = open_form(night, card, "deny")
    night.settled()
    night.side.worker.loop.stop()

    night.slack.submit(form, reason="month-end")
    night.slack.submit(form, reason="month-end")
    night.side.stop()
    night.side = night.new_side()
    night.start()

    assert "month-end" in night.reply_with("Denied by", board).shown
    denied = [e for e in events.since(night.store) if e.kind == "approval.denied"]
    assert len(denied) == 1


def test_a_form_that_cannot_be_stored_is_not_acked(asked, caplog):
    night, _, card = asked
    form = open_form(night, card, "deny")
    night.settled()
    db = night.store.database()
    db.execute("ALTER TABLE slack_inbox RENAME TO slack_inbox_away")

    with not_acked(night.slack), pytest.raises(NotAcked):
        night.slack.submit(form, reason="not tonight")

    night.slack.wait_for(lambda: "a form could not be accepted" in caplog.text)
    db.execute("ALTER TABLE slack_inbox_away RENAME TO slack_inbox")
    assert night.slack.submit(form, reason="not tonight").payload == {}
    night.slack.wait_for(lambda: not queries.open_approvals(night.store))


def test_a_form_delivered_twice_is_one_decision_and_is_not_called_late(asked):
    night, _, card = asked
    form = open_form(night, card, "deny")
    said = night.slack.submit_payload(form, "not tonight")

    for _ in range(2):
        assert night.slack.deliver("interactive", said, envelope="same").payload in ({}, None)
        night.settled()  # the second delivery comes when the first has counted

    assert queries.approval(night.store, 1).state is ApprovalState.DENIED
    assert night.slack.ephemerals(night.ravi) == ()


def test_a_form_without_an_approval_is_not_acked(asked):
    night, _, card = asked
    said = night.slack.submit_payload(open_form(night, card, "deny"), "not tonight")

    with not_acked(night.slack), pytest.raises(NotAcked):
        night.slack.deliver(
            "interactive", {**said, "view": {**said["view"], "private_metadata": ""}}
        )


def test_an_approval_can_be_withdrawn_before_the_first_start(three):
    night, board, card = three
    night.slack.click(night.ravi, card.ts, "approve")
    shown = night.reply_with("Approved by", board)

    night.slack.submit(open_form(night, shown, "withdraw"), reason="wait for the vendor")

    taken = night.reply_with("Withdrawn by", board)
    assert ': "wait for the vendor"' in taken.shown
    assert queries.approval(night.store, 1).state is ApprovalState.WITHDRAWN


def test_the_withdraw_button_is_removed_and_has_no_effect_after_the_first_start(asked):
    night, board, card = asked
    night.slack.click(night.ravi, card.ts, "approve")
    shown = night.reply_with("Approved by", board)
    form = open_form(night, shown, "withdraw")
    value = button(shown, "withdraw")["value"]
    night.step(until=lambda: "old-crm" in [m.vm for m in moving(night)], most=20_000)
    night.side.publisher.look_at(1)

    night.slack.wait_for(lambda: actions_of(night.slack.message(card.ts)) == [])
    night.slack.submit(form, reason="late")

    assert "One of its VMs has been started" in night.told(night.ravi, "started")
    night.slack.click(night.ravi, card.ts, "withdraw", value=value)
    assert queries.approval(night.store, 1).state is ApprovalState.GRANTED


def test_the_withdrawal_form_names_the_approved_vms(three):
    night, board, card = three
    chosen = open_form(night, card, "choose")
    names = [o["text"]["text"] for o in chosen.view["blocks"][1]["element"]["options"]]
    night.slack.submit(chosen, chosen=names[:1])
    shown = night.reply_with("Approved 1 of 3", board)

    night.slack.click(night.ravi, shown.ts, "withdraw")

    form = night.slack.wait_for(
        lambda: next((f for f in night.slack.workspace.forms if f is not chosen), None)
    )
    told = form.view["blocks"][0]["text"]["text"]
    assert names[0] in told
    assert names[1] not in told


def moving(night):
    return [m.move for m in queries.record(night.store, 1).moves if m.move.state == "moving"]


def denied(night, board, card):
    night.slack.submit(open_form(night, card, "deny"), reason="not now")
    night.reply_with("Denied by", board)
    night.step(until=lambda: "again" in actions_of(night.slack.message(card.ts)))
    return night.slack.message(card.ts)


def test_a_person_who_retries_denied_vms_cannot_approve_the_second_request(asked):
    night, board, card = asked
    shown = denied(night, board, card)

    night.slack.click(night.mei, shown.ts, "again")

    assert "Retrying old-crm." in night.told(night.mei, "Retrying")
    night.step(until=lambda: bool(queries.open_approvals(night.store)))
    second = night.reply_with("Approve moving", board)
    assert second.ts != card.ts
    assert f"nor can <@{night.mei}>, who resumed or retried it" in second.shown
    night.slack.wait_for(lambda: actions_of(night.slack.message(card.ts)) == [])


def test_only_starters_may_request_approval_again(make_night, slack):
    night = make_night(starters=(slack.user("dana"),))
    night.start()
    board = night.ask_for()
    shown = denied(night, board, night.card(board))

    night.slack.click(night.mei, shown.ts, "again")

    assert "You are not allowed to use `retry`" in night.told(night.mei, "are not allowed to use")
    assert queries.open_approvals(night.store) == ()
    assert [(e.by, e.detail["text"]) for e in refusals(night)] == [
        (f"slack:{night.mei}", "again A1")
    ]


def test_a_withdraw_button_of_a_different_approval_changes_nothing(three):
    night, board, card = three
    night.slack.click(night.ravi, card.ts, "approve")
    shown = night.reply_with("Approved by", board)

    night.slack.click(night.ravi, shown.ts, "withdraw", value="1.0123456789abcdef")

    assert "This card is out of date" in night.told(night.ravi, "out of date")
    assert night.slack.workspace.forms == []
    assert queries.approval(night.store, 1).state is ApprovalState.GRANTED
    assert [e.by for e in refusals(night)] == [f"slack:{night.ravi}"]
    assert [v["answer"] for v in queries.votes(night.store, 1)] == ["ok", "stale"]


@pytest.mark.parametrize("action", ["choose.said", "deny.said", "withdraw.said"])
def test_a_button_cannot_replace_a_form(action, three):
    night, _, card = three
    asked = queries.approval(night.store, 1)

    night.slack.click(night.ravi, card.ts, action, value=f"1.{asked.digest}")

    assert night.told(night.ravi, "another version")
    assert queries.approval(night.store, 1).state is ApprovalState.REQUESTED


def test_asking_again_is_neither_repeated_nor_refused_after_a_kill(asked):
    night, board, card = asked
    shown = denied(night, board, card)
    payload = night.slack.click_payload(night.mei, shown.ts, "again")
    night.side.stop()
    night.side.app.dispatch(BoltRequest(mode="socket_mode", body=payload))
    row = night.side.tables.inbox.next_inbound()
    night.side.tables.inbox.begin(row.id, night.clock.now())
    Steering(night.service.because(row.cause)).retry("R1", ["old-crm"], by=f"slack:{night.mei}")

    night.side = night.new_side()
    night.start()

    night.settled()
    assert night.slack.ephemerals(night.mei) == ()
    assert refusals(night) == []


@pytest.mark.parametrize("number", [2, 100, 101, 1000])
def test_forms_fit_within_slack_limits_for_any_card(asked, number):
    night, _, _ = asked
    approval = queries.open_approvals(night.store)[0]
    many = replace(approval, vms=tuple(f"{n:036}" for n in range(number)))
    names = ["<!channel> ünïcode " * 9] * number

    for kind in ("deny", "choose", "withdraw"):
        made = form(kind, many, names, night.run(), FormPlace("1.0123456789abcdef", night.ops))
        assert view_refusal(made) is None


def test_all_vm_names_are_in_the_thread_before_the_card_can_be_approved(make_night):
    cold = "".join(
        f"[[vm]]\nname = 'old{n:03}'\nhost = 'hv01'\nminutes = 2.0\nstatus = 'PowerOff'\n"
        for n in range(600)
    )
    night = make_night(fleet=f"format = 1\nhost = [{{name = 'hv01'}}, {{name = 'hv02'}}]\n{cold}")
    night.start()
    night.slack.order("chat.postMessage", "internal_error")
    board = night.ask_for("host hv01 to hv02 now")

    card = night.card(board)

    thread = night.slack.thread(night.ops, board.ts)
    lists, cards = thread[:-1], thread[-1:]
    assert [m.ts for m in cards] == [card.ts]
    told = "".join(m.shown for m in lists)
    assert all(f"old{n:03}" in told for n in range(600))
    assert f"All 600 VMs of A1, part 1 of {len(lists)}" in told
    assert "more, all listed in the thread" in card.shown
    night.slack.click(night.ravi, card.ts, "approve")
    night.reply_with("Approved by", board)


def test_a_reason_that_looks_like_a_command_is_shown_as_typed(asked):
    night, board, card = asked
    reason = "R2 goes first: pause R1, see: <@U0MEI>"

    night.slack.submit(open_form(night, card, "deny"), reason=reason)
    night.to_the_end()

    report = night.reply_with("R1 ended", board).text
    assert f'denied by <@{night.ravi}>: "R2 goes first: pause R1, see: &lt;@U0MEI&gt;".' in report
    assert "To request a new approval: <@U0VMFERRY> retry R1 old-crm" in report
