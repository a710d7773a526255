"""Verbs as commands: their effects, who may use them, and the messages in the channel."""

from __future__ import annotations

import pytest
from slack_bolt import BoltRequest

from bot.slack.handlers.verbs import FOR_STARTERS, LISTED
from engine.commands import verbs
from engine.language import grammar
from engine.language.vocabulary import OPTIONS
from engine.model import ApprovalState, MoveState, RunState
from engine.store import events, queries

PAIR = """
format = 1
[[host]]
name = "hv01"
[[host]]
name = "hv02"
"""


def vms(*names, status="Running"):
    return PAIR + "".join(
        f"[[vm]]\nname = '{name}'\nhost = 'hv01'\nminutes = 2.0\nstatus = '{status}'\n"
        for name in names
    )


def of_kind(night, kind):
    return [e for e in events.since(night.store) if e.kind == kind]


def state_of(night, vm):
    moves = queries.record(night.store, 1).moves
    return next(m.move.state for m in moves if m.move.vm == vm)


# --- changing ------------------------------------------------------------------------------------


def test_pause_and_resume_are_answered_and_the_board_says_who_and_how_to_resume(night):
    night.ask_for()

    night.say("pause R1", by=night.mei)

    assert "R1 is paused." in night.told(night.mei, "To resume: /migrate resume R1")
    shown = night.board_shows("Paused").shown
    assert f"R1 was paused by <@{night.mei}>. To resume: /migrate resume R1" in shown
    night.say("resume hv01")
    assert night.told(night.dana, "R1 is resumed.") == "R1 is resumed."
    night.board_shows("Moving")
    assert night.run().state is RunState.ACTIVE


def test_a_command_without_effect_is_answered_and_a_refused_command_is_also_audited(night):
    night.ask_for()

    night.say("resume 1")
    night.say("settle R1 web01")
    night.say("pause R9")

    assert night.told(night.dana, "not paused") == "R1 is not paused. Nothing changed."
    assert "There is nothing to settle" in night.told(night.dana, "settle")
    assert night.told(night.dana, "no run R9") == (
        "There is no run R9. Nothing changed. The newest run is R1."
    )
    assert [e.detail["text"] for e in of_kind(night, "refused")] == ["settle R1 web01", "pause R9"]
    assert {e.by for e in of_kind(night, "refused")} == {f"slack:{night.dana}"}


def test_set_skip_and_stop_take_effect(night):
    night.ask_for()

    night.say("set R1 parallel 1")
    night.say("skip R1 old-crm")
    night.say("stop R1", by=night.mei)

    assert night.told(night.dana, "parallel") == "parallel of R1 is now 1."
    assert night.told(night.dana, "old-crm") == "old-crm stays where it is."
    assert "R1 starts nothing more." in night.told(night.mei, "R1")
    assert night.run().options.parallel == 1
    assert state_of(night, "old-crm") is MoveState.SKIPPED
    night.board_shows("Stopping")


def test_abort_needs_a_confirmation_word_and_shows_how_to_type_it(night):
    night.ask_for()

    night.say("abort R1")
    assert "type: /migrate abort R1 yes" in night.told(night.dana, "cancels the migrations")
    assert night.run().state is RunState.ACTIVE

    night.say("abort R1 yes")
    assert night.told(night.dana, "R1 is aborted.")
    assert night.run().aborting


def test_a_name_in_an_answer_pings_nobody(make_night):
    night = make_night(fleet=vms("<!channel>", "slack:U0RAVI"))
    night.start()
    night.ask_for("host hv01 to hv02 now")

    night.say("skip R1", by=night.ravi)
    night.say("events R1")

    assert "&lt;!channel&gt;, slack:U0RAVI stay where they are." in night.told(
        night.ravi, "stay where"
    )
    lines = night.told(night.dana, "skipped by").splitlines()
    assert any("&lt;!channel&gt; stays where it is: skipped by <@U0RAVI>" in li for li in lines)
    assert any("slack:U0RAVI stays where it is: skipped by <@U0RAVI>" in li for li in lines)


# --- who may -------------------------------------------------------------------------------------


def test_verbs_for_starters_are_refused_to_others_and_audited(make_night):
    night = make_night(starters=("U0DANA",))
    night.start()
    night.ask_for()
    said = {"set": "set R1 parallel 3", "settle": "settle R1 web01", "go-on": "go-on R1 hv02"}

    for verb in sorted(FOR_STARTERS):
        night.say(said.get(verb, f"{verb} R1"), by=night.mei)
        assert night.told(night.mei, f"use `{verb}`;") == (
            f"You are not allowed to use `{verb}`; these people may: <@{night.dana}>. "
            "Everybody may pause and stop. Nothing changed."
        )

    assert {"retry", "resume", "abort", "set", "own", "skip", "settle", "go-on"} == FOR_STARTERS
    assert len(of_kind(night, "refused")) == len(FOR_STARTERS)
    assert night.run().contact == f"slack:{night.dana}"


def test_the_help_of_a_verb_shows_an_example_and_a_request_explains_its_options(make_night):
    night = make_night()
    night.start()

    night.say("help retry")
    assert night.told(night.dana, "RUN [VM...]").splitlines()[1] == (
        "Example: `/migrate retry R2 db01 db02`"
    )
    night.say("help host")
    told = night.told(night.dana, "H[,H] to H[,H]")
    for option in OPTIONS:
        assert (f"`{option.word}`  " in told) is not option.terminal_only


@pytest.mark.parametrize(
    ("typed", "first"),
    [
        ("help rerty", 'I do not know the verb "rerty". Did you mean retry?'),
        ("help <!here>", 'I do not know the verb "&lt;!here&gt;".'),
    ],
)
def test_help_on_an_unknown_verb_says_so_and_then_lists_all_verbs(night, typed, first):
    night.say(typed)

    lines = night.told(night.dana, "I do not know the verb").splitlines()
    assert lines[0] == first
    assert any(line.startswith("`/migrate retry RUN [VM...]`") for line in lines)


def test_everybody_in_the_channel_may_pause_stop_and_view_runs(make_night):
    night = make_night(starters=("U0DANA",), channels=("C0OPS",))
    night.start()
    night.ask_for()
    other = night.slack.channel("random")

    night.say("stop R1", by=night.mei, channel=other)
    assert "I work only in <#C0OPS>. Nothing changed." in night.told(night.mei, "work only")
    assert night.run().state is RunState.ACTIVE
    assert [e.by for e in of_kind(night, "refused")] == [f"slack:{night.mei}"]

    for text in ("pause R1", "list", "events", "approvals", "report R1", "status"):
        night.say(text, by=night.mei)
    night.settled()
    assert len(night.slack.ephemerals(night.mei)) == 7
    assert not any("You are not allowed" in e.text for e in night.slack.ephemerals(night.mei))
    assert night.run().state is RunState.PAUSED


# --- decisions -----------------------------------------------------------------------------------


@pytest.fixture
def asked(make_night):
    night = make_night(
        fleet=vms("old-a", "old-b", "old-c", status="PowerOff"), starters=("U0DANA",)
    )
    night.start()
    board = night.ask_for("host hv01 to hv02 now")
    night.card(board)
    return night, board


def test_approving_some_vms_by_name_leaves_the_others_as_the_card_says(asked):
    night, board = asked

    night.say("approve A1 old-a old-c", by=night.ravi)

    assert night.told(night.ravi, "A1") == "A1 is approved: 2 of 3 VMs may move."
    shown = night.reply_with("Approved 2 of 3 by", board).shown
    assert f"Approved 2 of 3 by <@{night.ravi}>" in shown
    assert "R1 · old-a, old-c\n" in shown
    assert "old-b stays on hv01." in shown


def test_the_card_shows_the_reason_for_a_denial(asked):
    night, board = asked

    night.say("deny 1 not <!here>, tonight", by=night.ravi)

    assert night.told(night.ravi, "A1") == "A1 is denied: 3 VMs stay where they are."
    assert ': "not &lt;!here&gt;, tonight"' in night.reply_with("Denied by", board).shown


def test_a_withdrawn_card_says_who_withdrew_the_approval_and_why(asked):
    night, board = asked
    night.say("pause R1")
    night.say("approve A1", by=night.ravi)
    night.reply_with("Approved by", board)

    night.say("withdraw A1 wrong night", by=night.ravi)

    assert "A1 is withdrawn" in night.told(night.ravi, "withdrawn")
    shown = night.reply_with("Withdrawn by", board).shown
    assert f"Withdrawn by <@{night.ravi}>" in shown
    assert ': "wrong night"' in shown
    assert "3 VMs stay on hv01." in shown


def test_a_person_who_may_not_approve_is_told_who_may_and_it_is_audited_once(asked):
    night, _ = asked

    night.say("approve A1", by=night.mei)
    night.say("approve A1", by=night.dana)

    assert night.told(night.mei, "A1") == (
        f"Nothing changed on A1: only approvers may decide. May decide: <@{night.ravi}>."
    )
    assert "people who requested" in night.told(night.dana, "A1")
    assert [e.by for e in of_kind(night, "refused")] == [
        f"slack:{night.mei}",
        f"slack:{night.dana}",
    ]
    assert queries.open_approvals(night.store)


def test_the_answer_to_a_second_decision_says_who_made_the_first(asked):
    night, _ = asked
    night.say("deny A1", by=night.ravi)

    night.say("approve A1", by=night.ravi)

    assert f"It was denied by <@{night.ravi}>" in night.told(night.ravi, "already decided")
    assert queries.approval(night.store, 1).state is ApprovalState.DENIED


def test_a_person_who_resumed_the_run_is_no_longer_listed_as_approver(make_night):
    night = make_night(fleet=vms("old-a", status="PowerOff"))
    night.start()
    board = night.ask_for("host hv01 to hv02 now")
    night.say("pause R1")
    night.say("resume R1", by=night.ravi)
    night.told(night.ravi, "is resumed")

    card = night.card(board)

    shown = night.slack.wait_for(lambda: night.slack.message(card.ts).shown)
    assert f"who cannot decide, nor can <@{night.ravi}>, who resumed or retried it." in shown
    assert "May decide" not in shown
    night.slack.click(night.ravi, card.ts, "approve")
    assert "You resumed or retried R1, so you cannot decide on its approvals." in night.told(
        night.ravi, "You resumed"
    )


# --- looking -------------------------------------------------------------------------------------


def test_list_shows_runs_that_need_a_person_first_and_counts_omitted_runs(night):
    night.ask_for("vm web01 to hv02 now")
    for number in range(2, LISTED + 2):
        night.say("vm web02 to hv03 now")
        night.board_shows("Moving", f"R{number} ")
        night.say(f"stop R{number}")
        night.told(night.dana, f"R{number} starts nothing more")
        night.step(until=lambda: all(run.over for run in queries.runs(night.store)[1:]))
    night.say("pause R1", by=night.ravi)
    night.board_shows("Paused", "R1 ")

    night.say("list", by=night.mei)

    lines = night.told(night.mei, "more").splitlines()
    assert len(lines) == LISTED + 1
    assert lines[0].startswith("R1 · hv01 → hv02 · Paused")
    assert lines[0].endswith("needs a person")
    assert lines[1].startswith(f"R{LISTED + 1} · ")
    assert lines[-1] == "… and 1 run more"


def test_a_run_with_failed_vms_needs_a_person_until_another_run_takes_them(night):
    night.ask_for("vm web02 to hv03 now")
    night.say("stop R1")
    night.step(until=lambda: queries.run(night.store, 1).over)
    with night.store.transaction() as db:
        db.execute("UPDATE moves SET state = 'failed' WHERE run = 1")
    night.say("vm web01 to hv02 now")
    night.board_shows("Moving", "R2")

    night.say("list", by=night.mei)
    first = night.told(night.mei, "R2 · ").splitlines()[0]
    night.say("vm web02 to hv03 now")
    night.board_shows("Moving", "R3")
    night.say("list", by=night.ravi)

    assert first.startswith("R1 · ")
    assert "needs a person" in first
    assert "needs a person" not in night.told(night.ravi, "R3 · ")


def test_open_approvals_are_listed_with_their_approvers_and_commands(asked):
    night, _ = asked

    night.say("approvals", by=night.mei)

    first, how = night.told(night.mei, "A1").splitlines()
    assert first.startswith("A1 · R1 · hv01 → hv02 · old-a, old-b, old-c · needed by <!date^")
    assert first.endswith(f"may decide: <@{night.ravi}>")
    assert how == "Click on the card, or type: /migrate approve A1"


def test_lists_without_approvals_or_runs_say_so(night):
    night.say("approvals")
    night.say("list")

    assert night.told(night.dana, "No approval is open.")
    assert night.told(night.dana, "There is no run yet. Start with: /migrate host")


def test_recent_events_show_people_as_mentions(night):
    night.ask_for()
    night.say("pause R1", by=night.mei)
    night.say("resume R1")
    night.told(night.dana, "is resumed")

    night.say("events R1")
    night.say("events", by=night.mei)

    lines = night.told(night.dana, "was paused").splitlines()
    assert f"R1 was resumed by <@{night.dana}>." in lines[-1]
    assert f"R1 was paused by <@{night.mei}>." in lines[-2]
    assert len(night.told(night.mei, "was paused").splitlines()) <= 15


def test_events_that_follow_from_a_decision_show_people_as_mentions(night):
    night.card(night.ask_for())
    night.service.decide(1, "deny", by=f"slack:{night.ravi}", reason="vendor")
    night.step(until=lambda: state_of(night, "old-crm") is MoveState.SKIPPED)

    night.say("events R1")

    told = night.told(night.dana, "old-crm stays")
    assert f'old-crm stays where it is: denied by <@{night.ravi}>: "vendor".' in told


def test_status_accepts_a_host_name_and_an_unknown_run_name_gets_a_hint(night):
    night.ask_for()

    night.say("status hv03")
    night.say("report nonsense")

    assert "R1 · hv01 → hv02, hv03 · Moving" in night.told(night.dana, "as of")
    assert night.told(night.dana, "nonsense") == (
        '"nonsense" is not a run. Write a run as R214 or 214. To see the runs: /migrate list'
    )


# --- what stands in the channel ------------------------------------------------------------------


def test_a_run_retried_after_its_end_is_reported_again_until_its_new_end(make_night):
    night = make_night(fleet=vms("web01"))
    night.start()
    night.world.outcome(night.clock.now(), "web01", job="failed", at="source", times=2)
    board = night.ask_for("host hv01 to hv02 attempts 1 now")
    night.to_the_end()
    night.reply_with("0 of 1 moved", board)
    night.settled()
    assert night.side.tables.runs.watched() == ()

    night.say("retry R1", by=night.ravi)
    night.board_shows("Moving")
    night.to_the_end()
    night.board_shows("Incomplete")
    night.settled()
    night.say("retry R1", by=night.ravi)
    night.board_shows("Moving")
    night.to_the_end()
    night.board_shows("Completed")
    night.settled()

    shown = [m.shown for m in night.slack.thread(night.ops, board.ts)]
    assert len([text for text in shown if text.startswith("❌")]) == 2
    ends = [m for m in night.slack.thread(night.ops, board.ts) if "R1 ended" in m.shown]
    assert [("0 of 1 moved" in m.shown, "1 of 1 moved" in m.shown) for m in ends] == [
        (True, False),
        (True, False),
        (False, True),
    ]
    assert all(m.broadcast for m in ends)
    assert len([m for m in night.slack.messages(night.ops) if m.thread_ts is None]) == 1


def test_the_new_owner_is_mentioned_instead_of_the_requester(make_night):
    night = make_night(fleet=vms("web01"))
    night.start()
    night.world.outcome(night.clock.now(), "web01", job="failed", at="source", times=1)
    board = night.ask_for("host hv01 to hv02 attempts 1 now")

    night.say("own R1", by=night.mei)

    assert night.told(night.mei, "R1") == f"<@{night.mei}> is now the owner of R1."
    night.board_shows(f"taken over by <@{night.mei}>")
    night.to_the_end()
    assert night.reply_with("❌", board).shown.startswith(f"❌ <@{night.mei}> web01 did not move")
    assert "<@U0VMFERRY> retry R1 web01" in night.reply_with("❌", board).shown
    last = night.reply_with("R1 ended", board).text
    assert last.startswith(f"⚠️ <@{night.mei}> R1 ended")
    assert f"Asked by <@{night.dana}>" in last


def test_a_run_stopped_before_its_board_is_posted_never_starts(night):
    night.slack.order("chat.postMessage", "internal_error", times=10_000)
    night.say("host hv01 to hv02 now")
    night.slack.wait_for(lambda: night.side.tables.runs.watched())

    night.say("stop R1", by=night.mei)

    assert night.told(night.mei, "R1") == "R1 was stopped before it began."
    assert night.run().state is RunState.REJECTED


DAMAGE = """
format = 1
[[host]]
name = "hv01"
networks = ["VM-Net-10", "Tenant-B"]
[[host]]
name = "hv02"
[[vm]]
name = "web03"
host = "hv01"
minutes = 2.0
[[vm.nic]]
network = "Tenant-B"
"""


def test_the_thread_shows_commands_and_list_shows_the_run_first_after_damage(make_night):
    night = make_night(fleet=DAMAGE)
    night.start()
    night.world.lose(night.clock.now(), "web03", nics=True)
    board = night.ask_for("host hv01 to hv02 now")
    night.to_the_end()
    shown = night.reply_with("🛑", board).shown
    assert "then: <@U0VMFERRY> retry R1 web03." in shown
    assert "<@U0VMFERRY> go-on R1 hv02" in shown
    night.say("list")
    assert "needs a person · 1 damaged" in night.told(night.dana, "R1 · ")

    night.say("go-on R1 hv02", by=night.ravi)
    assert night.told(night.ravi, "hv02") == "hv02 receives VMs again."
    night.say("retry R1", by=night.ravi)
    assert night.told(night.ravi, "web03") == "Checking the network of web03 again."

    night.to_the_end()

    def called():
        return [m for m in night.slack.thread(night.ops, board.ts) if m.shown.startswith("🛑")]

    night.slack.wait_for(lambda: len(called()) == 2)


# --- after a kill --------------------------------------------------------------------------------


def interrupted(night, text, by):
    """A command that was accepted and begun before the bot went down."""
    night.settled()
    night.side.stop()
    payload = night.slack.command_payload(by, night.ops, text)
    night.side.app.dispatch(BoltRequest(mode="socket_mode", body=payload))
    row = night.side.tables.inbox.next_inbound()
    night.side.tables.inbox.begin(row.id, night.clock.now())
    return row


def carried_out(night, row, approvers=frozenset()):
    ask = grammar.parse(row.body["text"])
    service = night.service.because(row.cause)
    verbs.carry_out_verb(service, ask, by=row.by, approvers=approvers)


def again(night):
    night.side = night.new_side()
    night.start()


def test_a_pause_carried_out_before_a_kill_is_not_repeated(night):
    night.ask_for()
    row = interrupted(night, "pause hv02", night.mei)
    carried_out(night, row)
    verbs.carry_out_verb(
        night.service, grammar.parse("resume R1"), by="terminal:ann", approvers=None
    )

    again(night)

    assert night.told(night.mei, "R1") == f"R1 was paused by <@{night.mei}>."
    assert night.run().state is RunState.ACTIVE
    assert len(of_kind(night, "run.paused")) == 1


def test_a_verb_that_had_no_effect_before_a_kill_is_carried_out_after_it(night):
    night.ask_for()
    night.say("pause R1", by=night.mei)
    night.say("resume R1", by=night.mei)
    night.told(night.mei, "is resumed")
    night.clock.jump(night.clock.now() + 1)
    interrupted(night, "pause R1", night.mei)

    again(night)

    night.slack.wait_for(lambda: night.run().state is RunState.PAUSED)
    assert len(of_kind(night, "run.paused")) == 2


def test_a_change_by_another_person_is_not_credited_to_the_killed_command(night):
    night.ask_for()
    interrupted(night, "pause R1", night.mei)
    verbs.carry_out_verb(
        night.service, grammar.parse("pause R1"), by="terminal:ann", approvers=None
    )

    again(night)

    assert night.told(night.mei, "R1") == "R1 is paused already. Nothing changed."


def test_a_stop_a_skip_and_a_decision_are_answered_from_the_audit_after_a_kill(make_night):
    night = make_night(fleet=vms("old-a", "old-b", status="PowerOff"))
    night.start()
    board = night.ask_for("host hv01 to hv02 now")
    night.card(board)
    people = frozenset({f"slack:{night.ravi}"})
    for text, by, answer in (
        ("skip R1 old-b", night.mei, f"old-b stays where it is: skipped by <@{night.mei}>."),
        ("approve A1 old-a", night.ravi, f"A1 approved for 1 of 2 VMs by <@{night.ravi}>"),
        ("stop R1", night.mei, f"R1 was stopped by <@{night.mei}>."),
    ):
        carried_out(night, interrupted(night, text, by), people)
        again(night)
        assert answer in night.told(by, answer)
        night.settled()
    assert of_kind(night, "refused") == []


def test_a_command_carried_out_before_a_kill_is_answered_even_if_now_forbidden(night):
    board = night.ask_for()
    card = night.card(board)
    for text, by, answer in (
        ("pause R1", night.mei, f"R1 was paused by <@{night.mei}>."),
        ("approve A1", night.ravi, f"A1 approved by <@{night.ravi}>"),
    ):
        row = interrupted(night, text, by)
        carried_out(night, row, frozenset({f"slack:{night.ravi}"}))
        night.slack.workspace.profiles[by] = {"is_restricted": True}
        with night.store.transaction() as db:
            db.execute("DELETE FROM slack_lookups")
        again(night)
        assert answer in night.told(by, "1")
        night.settled()
    assert "Approved" in night.slack.message(card.ts).shown
    assert of_kind(night, "refused") == []
