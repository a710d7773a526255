"""Confirmations: before a large request, and before anything that waited too long."""

from __future__ import annotations

import pytest

from bot.slack.kit.buttons import NO, YES
from engine.commands import verbs
from engine.commands.service import Service
from engine.language import grammar
from engine.language.grammar import Ask
from engine.model import Run
from engine.store import events, queries

LATE = 42 * 60.0


def started(night):
    return [run.request for run in queries.runs(night.store)]


def preview(night, words="would move", text="host hv01 to hv02,hv03"):
    """Request a large run and return the preview, which only Dana sees."""
    assert night.say(text) == ""
    return night.told(night.dana, words)


def value(night, user=None):
    """The value of the buttons in the newest question to this person."""
    seen = [e for e in night.slack.ephemerals(user or night.dana) if len(e.blocks) > 1]
    return seen[-1].blocks[-1]["elements"][0]["value"]


def age_questions(night, seconds=LATE):
    with night.store.transaction() as db:
        db.execute("UPDATE slack_confirmations SET made = made - ?", [seconds])


def kept_waiting(night, say, seconds=LATE):
    """Deliver what ``say`` sends while the worker is down, and let it wait for this long."""
    night.side.worker.loop.stop()
    say()
    with night.store.transaction() as db:
        db.execute("UPDATE slack_inbox SET heard = heard - ? WHERE done IS NULL", [seconds])


def next_start(night):
    """Start the bot again on the same rows."""
    night.side.stop()
    night.side = night.new_side()
    night.start()


# --- previews ------------------------------------------------------------------------------------


def test_a_host_request_first_shows_a_preview_to_its_requester_only(night):
    told = preview(night)

    assert told.startswith("hv01 → hv02, hv03 would move 3 VMs (")
    assert "about " in told
    assert (
        f"1 is powered down and needs approval (approvers now: <@{night.ravi}>): old-crm." in told
    )
    assert "Nothing has started yet." in told
    night.settled()
    assert started(night) == []
    assert night.slack.messages(night.ops) == ()
    assert night.slack.ephemerals(night.ravi) == ()


def test_the_start_button_does_not_contain_the_request_text(night):
    preview(night)

    number, _, digest = value(night).partition(".")

    assert number.isdigit()
    assert len(digest) == 16
    assert int(digest, 16) >= 0


def test_start_starts_the_run_and_removes_the_buttons(night):
    preview(night)

    night.slack.click_private(night.dana, YES)

    night.board_shows("Moving")
    assert night.told(night.dana, "R1 is starting")
    last = night.slack.calls("response_url")[-1].args
    assert last["replace_original"] is True
    assert "blocks" not in last
    assert started(night) == ["host hv01 to hv02,hv03"]


def test_a_second_start_starts_nothing_and_names_the_existing_run(night):
    preview(night)
    shown = value(night)

    night.slack.click_private(night.dana, YES, shown)
    night.slack.click_private(night.dana, YES, shown)

    told = night.told(night.dana, "already started as R1")
    assert told.endswith(". Nothing changed.")  # with a link, where the board stands already
    night.settled()
    assert len(started(night)) == 1


def test_cancel_starts_nothing_and_neither_does_a_later_start(night):
    preview(night)
    shown = value(night)

    night.slack.click_private(night.dana, NO)
    assert night.told(night.dana, "Dropped. Nothing changed.")
    night.slack.click_private(night.dana, YES, shown)

    assert night.told(night.dana, "You already dropped this.")
    night.settled()
    assert started(night) == []


def test_only_the_requester_can_start_a_preview(night):
    preview(night)
    night.say("host hv02 to hv03", by=night.ravi)
    night.told(night.ravi, "would move")

    night.slack.click_private(night.ravi, YES, value(night))

    assert night.told(night.ravi, f"Only the requester, <@{night.dana}>, can answer this.")
    night.settled()
    assert started(night) == []
    refused = [e for e in events.since(night.store) if e.kind == "refused"]
    assert [(e.by, e.detail["text"]) for e in refused] == [
        (f"slack:{night.ravi}", "answer question 1")
    ]


class EndsMeanwhile(Service):
    """A service that ends the existing run right after finding it."""

    def foresee(self, request):
        found = super().foresee(request)
        if isinstance(found, Run):
            self.reject(found.id, "its board cannot be posted")
        return found


def test_a_duplicate_request_starts_nothing_even_if_the_first_run_ends_meanwhile(night):
    request = "host hv01 to hv02,hv03"
    night.service.submit(grammar.parse(request), by="terminal:ann", scheduled=True)
    night.side.worker.service = EndsMeanwhile(night.store, night.clock, night.settings)

    night.say(request)

    assert night.told(night.dana, "R1 is already doing this").endswith("Nothing started.")
    night.settled()
    assert started(night) == [request]


@pytest.mark.parametrize("shown", ["77.0123456789abcdef", "1.0123456789abcdef", "x", ""])
def test_a_forged_button_starts_nothing(night, shown):
    preview(night)

    night.slack.click_private(night.dana, YES, shown)

    assert night.told(night.dana, "another version")
    night.settled()
    assert started(night) == []


def test_an_expired_preview_is_shown_again_and_only_the_new_one_starts(night):
    preview(night)
    old = value(night)
    age_questions(night)

    night.slack.click_private(night.dana, YES, old)
    assert night.told(night.dana, "more than 15 min old")
    night.settled()
    assert started(night) == []

    night.slack.click_private(night.dana, YES, old)
    assert night.told(night.dana, "This question has a newer version")
    night.slack.click_private(night.dana, YES)
    night.board_shows("Moving")
    assert len(started(night)) == 1


def test_a_preview_is_shown_again_if_its_vms_have_changed(night):
    preview(night)
    night.world.delete(night.clock.now(), "web02")
    night.engine.look()

    night.slack.click_private(night.dana, YES)

    told = night.told(night.dana, "have changed since that preview")
    assert "would move 2 VMs" in told
    night.settled()
    assert started(night) == []


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("vm web01 to hv02", False),
        ("vm web* to hv02", True),
        ("host hv01 to hv02 now", False),
        ("vm web* to hv02 now", False),
    ],
)
def test_host_and_wildcard_requests_need_confirmation_unless_now_is_given(night, text, asked):
    night.say(text)

    if asked:
        night.told(night.dana, "would move")
        night.settled()
        assert started(night) == []
    else:
        night.board_shows("Moving")


@pytest.mark.parametrize(("confirm", "asked"), [(False, False), (2, True), (3, False)])
def test_a_setting_defines_how_many_vms_require_confirmation(make_night, confirm, asked):
    night = make_night(confirm=confirm)
    night.start()

    night.say("host hv01 to hv02")

    if asked:
        assert night.told(night.dana, "would move")
    else:
        assert night.board_shows("Moving")


def test_the_preview_gives_the_reason_why_a_vm_cannot_move(make_night):
    fleet = """
format = 1
[[host]]
name = "hv01"
switches = ["Tenant-A", "Tenant-B"]
[[host]]
name = "hv02"
switches = ["Tenant-A"]
[[vm]]
name = "web01"
host = "hv01"
[[vm.nic]]
switch = "Tenant-A"
[[vm]]
name = "<!channel>"
host = "hv01"
[[vm.nic]]
switch = "Tenant-B"
"""
    night = make_night(fleet=fleet)
    night.start()

    told = preview(night, text="host hv01 to hv02")

    assert "would move 1 VM (" in told
    assert '1 (&lt;!channel&gt;) cannot move: hv02 has no switch "Tenant-B".' in told
    assert "<!channel>" not in told


def test_a_vm_in_another_run_is_shown_as_waiting_not_as_left_out(night):
    night.ask_for("vm web01 to hv02 now")

    told = preview(night, text="vm web* to hv03")

    assert "1 (web01) would wait: already in R1." in told


def test_a_refused_retry_says_that_nothing_changed(night):
    night.ask_for("vm web01 to hv02 now")

    night.say("retry R1")

    assert night.told(night.dana, "to retry") == ("R1 has no VM to retry. Nothing changed.")


def test_the_preview_says_if_nobody_may_approve(make_night):
    night = make_night(approvers=("U0DANA",))
    night.start()

    assert "nobody may decide now; check the settings approval.oncall" in preview(night)


def test_an_impossible_request_is_refused_without_a_confirmation(night):
    night.say("host hv01 to hv09")

    assert night.told(night.dana, "No host hv09")
    assert rows_of(night, "slack_confirmations") == []


def rows_of(night, table):
    return night.store.query(f"SELECT * FROM {table}")


def test_a_start_interrupted_by_a_kill_starts_one_run(make_night):
    """Killed between the engine's transaction and the one that ends the row."""
    night = make_night()
    night.start()
    preview(night)
    night.side.worker.loop.stop()
    night.slack.click_private(night.dana, YES)
    row = night.side.tables.inbox.next_inbound()
    night.side.tables.inbox.begin(row.id, night.clock.now())
    request = grammar.parse("host hv01 to hv02,hv03")
    night.service.because(row.cause).submit(request, by=row.by, scheduled=True)

    next_start(night)

    night.board_shows("Moving")
    night.settled()
    assert len(started(night)) == 1
    assert rows_of(night, "slack_confirmations")[0]["state"] == "done"


# --- what waited for too long --------------------------------------------------------------------


def test_a_late_request_shows_a_preview_and_does_not_start(night):
    kept_waiting(night, lambda: night.say("vm web01 to hv02 now"))

    next_start(night)

    told = night.told(night.dana, "You requested this 42 min ago")
    assert "would move 1 VM (" in told
    assert started(night) == []
    night.slack.click_private(night.dana, YES)
    night.board_shows("Moving")
    night.settled()
    assert len(started(night)) == 1


def test_a_late_verb_needs_confirmation_and_runs_once(night):
    night.ask_for()
    kept_waiting(night, lambda: night.say("pause R1", by=night.mei))

    next_start(night)

    told = night.told(night.mei, "You requested this 42 min ago: `/migrate pause R1`.")
    assert "Nothing has happened yet. Should I still do it?" in told
    assert night.run().state == "active"
    shown = value(night, night.mei)
    next_start(night)
    night.slack.click_private(night.mei, YES, shown)
    night.slack.click_private(night.mei, YES, shown)
    night.board_shows("Paused")
    assert night.told(night.mei, "This was already done. Nothing changed.")
    paused = [e for e in events.since(night.store) if e.kind == "run.paused"]
    assert [e.by for e in paused] == [f"slack:{night.mei}"]


@pytest.mark.parametrize("who", ["a guest", "not a starter"])
def test_a_late_command_without_permission_is_refused_without_a_confirmation(make_night, who):
    night = make_night(starters=("U0DANA",))
    night.start()
    night.ask_for("vm web01 to hv02 now")
    by = night.slack.user("eve", is_restricted=True) if who == "a guest" else night.mei
    kept_waiting(night, lambda: night.say("retry R1", by=by))

    next_start(night)

    night.settled()
    [told] = [e.text for e in night.slack.ephemerals(by)]
    assert "Should I still do it?" not in told
    refused = [e for e in events.since(night.store) if e.kind == "refused"]
    assert [e.by for e in refused] == [f"slack:{by}"]
    assert "This person is not allowed to use this here." in refused[0].text


def test_a_dropped_command_is_not_carried_out(night):
    night.ask_for()
    kept_waiting(night, lambda: night.say("stop R1"))
    next_start(night)
    night.told(night.dana, "Should I still do it?")

    night.slack.click_private(night.dana, NO)

    assert night.told(night.dana, "Dropped.")
    night.settled()
    assert night.run().state == "active"


def test_a_late_decision_needs_confirmation(night):
    board = night.ask_for()
    card = night.card(board)
    kept_waiting(night, lambda: night.slack.click(night.ravi, card.ts, "approve"))

    next_start(night)

    assert night.told(night.ravi, "You requested this 42 min ago: approve A1.")
    assert queries.open_approvals(night.store)
    night.slack.click_private(night.ravi, YES)
    assert night.reply_with("Approved by", board)


def test_a_late_run_button_needs_confirmation(night):
    board = night.ask_for()
    kept_waiting(night, lambda: night.slack.click(night.mei, board.ts, "do.pause"))

    next_start(night)

    assert night.told(night.mei, "You requested this 42 min ago: pause R1.")
    assert night.run().state == "active"
    night.slack.click_private(night.mei, YES)
    night.board_shows("Paused")


def test_a_late_status_command_is_answered_without_confirmation(night):
    night.ask_for()
    kept_waiting(night, lambda: night.say("status"))

    next_start(night)

    assert night.told(night.dana, "R1 · hv01")


def test_a_late_confirmation_must_be_confirmed_again(night):
    night.ask_for()
    kept_waiting(night, lambda: night.say("pause R1"))
    next_start(night)
    night.told(night.dana, "Should I still do it?")
    first = value(night)
    kept_waiting(night, lambda: night.slack.click_private(night.dana, YES))

    next_start(night)

    night.slack.wait_for(lambda: value(night) != first)
    assert night.run().state == "active"


def test_an_expired_confirmation_is_asked_again(night):
    """A word that named one run then may name another one now."""
    night.ask_for("vm web01 to hv02 now")
    kept_waiting(night, lambda: night.say("stop hv02"))
    next_start(night)
    night.told(night.dana, "You requested this 42 min ago: `/migrate stop hv02`.")
    first = value(night)
    night.to_the_end()
    night.say("vm web02 to hv02 now")
    night.board_shows("Moving", "R2")
    age_questions(night)

    night.slack.click_private(night.dana, YES, first)

    assert night.told(night.dana, "You were asked about this 42 min ago: `/migrate stop hv02`.")
    assert night.run(2).state == "active"
    night.slack.click_private(night.dana, YES)
    night.board_shows("Stop", "R2")


def test_an_expired_stop_confirmation_in_a_thread_is_asked_again(night):
    board = night.ask_for()
    night.slack.mention(night.dana, night.ops, "stop", board.ts)
    night.told(night.dana, "Nothing changed yet.")
    age_questions(night)

    night.slack.click_private(night.dana, YES)

    assert night.told(night.dana, "You were asked about this 42 min ago: <@U0VMFERRY> `stop R1`.")
    assert night.run().state == "active"
    night.slack.click_private(night.dana, YES)
    night.board_shows("Stop")


def test_a_command_completed_before_a_kill_needs_no_late_confirmation(night):
    night.ask_for()
    kept_waiting(night, lambda: night.say("pause R1"))
    row = night.side.tables.inbox.next_inbound()
    night.side.tables.inbox.begin(row.id, night.clock.now())
    service = night.service.because(row.cause)
    verbs.carry_out_verb(service, Ask("pause", ("R1",)), by=row.by, approvers=None)

    next_start(night)

    assert "paused" in night.told(night.dana, "paused")
    night.settled()
    assert not [e for e in night.slack.ephemerals(night.dana) if "Should I" in e.text]
