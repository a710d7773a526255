"""Whoever asks is asked back: before a large request, and before what waited for too long."""

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
    """Ask for a large request; returns what is shown to dana alone."""
    assert night.say(text) == ""
    return night.told(night.dana, words)


def value(night, user=None):
    """What the buttons of the newest question to this person carry."""
    seen = [e for e in night.slack.ephemerals(user or night.dana) if len(e.blocks) > 1]
    return seen[-1].blocks[-1]["elements"][0]["value"]


def age_questions(night, seconds=LATE):
    with night.store.transaction() as db:
        db.execute("UPDATE slack_confirmations SET made = made - ?", [seconds])


def kept_waiting(night, say, seconds=LATE):
    """What ``say`` delivers comes in while the worker is down, and waits so long."""
    night.side.worker.loop.stop()
    say()
    with night.store.transaction() as db:
        db.execute("UPDATE slack_inbox SET heard = heard - ? WHERE done IS NULL", [seconds])


def next_start(night):
    """The bot is started again, over the same rows."""
    night.side.stop()
    night.side = night.new_side()
    night.start()


# --- previews ------------------------------------------------------------------------------------


def test_a_host_request_first_shows_its_requester_alone_what_it_would_do(night):
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


def test_the_button_carries_no_word_of_the_request(night):
    preview(night)

    number, _, digest = value(night).partition(".")

    assert number.isdigit()
    assert len(digest) == 16
    assert int(digest, 16) >= 0


def test_start_starts_it_and_takes_the_buttons_away(night):
    preview(night)

    night.slack.click_private(night.dana, YES)

    night.board_shows("Moving")
    assert night.told(night.dana, "R1 is starting")
    last = night.slack.calls("response_url")[-1].args
    assert last["replace_original"] is True
    assert "blocks" not in last
    assert started(night) == ["host hv01 to hv02,hv03"]


def test_start_twice_starts_once_and_the_second_is_told_which_run_it_was(night):
    preview(night)
    shown = value(night)

    night.slack.click_private(night.dana, YES, shown)
    night.slack.click_private(night.dana, YES, shown)

    told = night.told(night.dana, "started before, as R1")
    assert told.endswith(". Nothing changed.")  # with a link, where the board stands already
    night.settled()
    assert len(started(night)) == 1


def test_cancel_starts_nothing_and_a_start_after_it_neither(night):
    preview(night)
    shown = value(night)

    night.slack.click_private(night.dana, NO)
    assert night.told(night.dana, "Dropped. Nothing changed.")
    night.slack.click_private(night.dana, YES, shown)

    assert night.told(night.dana, "You dropped this before.")
    night.settled()
    assert started(night) == []


def test_only_the_requester_can_start_a_preview(night):
    preview(night)
    night.say("host hv02 to hv03", by=night.ravi)
    night.told(night.ravi, "would move")

    night.slack.click_private(night.ravi, YES, value(night))

    assert night.told(night.ravi, f"Only <@{night.dana}>, who asked, can answer this.")
    night.settled()
    assert started(night) == []
    refused = [e for e in events.since(night.store) if e.kind == "refused"]
    assert [(e.by, e.detail["text"]) for e in refused] == [
        (f"slack:{night.ravi}", "answer question 1")
    ]


class EndsMeanwhile(Service):
    """The run that does it already ends right after it was found."""

    def foresee(self, request):
        found = super().foresee(request)
        if isinstance(found, Run):
            self.reject(found.id, "its board cannot be posted")
        return found


def test_what_a_run_did_already_is_not_started_unseen_when_that_run_ends_meanwhile(night):
    request = "host hv01 to hv02,hv03"
    night.service.submit(grammar.parse(request), by="terminal:ann", scheduled=True)
    night.side.worker.service = EndsMeanwhile(night.store, night.clock, night.settings)

    night.say(request)

    assert night.told(night.dana, "R1 does this already").endswith("Nothing started.")
    night.settled()
    assert started(night) == [request]


@pytest.mark.parametrize("shown", ["77.0123456789abcdef", "1.0123456789abcdef", "x", ""])
def test_a_button_that_we_did_not_make_starts_nothing(night, shown):
    preview(night)

    night.slack.click_private(night.dana, YES, shown)

    assert night.told(night.dana, "another version")
    night.settled()
    assert started(night) == []


def test_a_preview_that_is_too_old_is_shown_anew_and_only_the_new_one_starts(night):
    preview(night)
    old = value(night)
    age_questions(night)

    night.slack.click_private(night.dana, YES, old)
    assert night.told(night.dana, "more than 15 min old")
    night.settled()
    assert started(night) == []

    night.slack.click_private(night.dana, YES, old)
    assert night.told(night.dana, "newer version of this question")
    night.slack.click_private(night.dana, YES)
    night.board_shows("Moving")
    assert len(started(night)) == 1


def test_a_preview_whose_vms_are_others_now_is_shown_anew(night):
    preview(night)
    night.world.delete(night.clock.now(), "web02")
    night.engine.look()

    night.slack.click_private(night.dana, YES)

    told = night.told(night.dana, "not those of that preview")
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
def test_hosts_and_wildcards_are_asked_about_unless_now_is_said(night, text, asked):
    night.say(text)

    if asked:
        night.told(night.dana, "would move")
        night.settled()
        assert started(night) == []
    else:
        night.board_shows("Moving")


@pytest.mark.parametrize(("confirm", "asked"), [(False, False), (2, True), (3, False)])
def test_the_setting_says_from_how_many_vms_on_it_is_asked(make_night, confirm, asked):
    night = make_night(confirm=confirm)
    night.start()

    night.say("host hv01 to hv02")

    if asked:
        assert night.told(night.dana, "would move")
    else:
        assert night.board_shows("Moving")


def test_what_cannot_move_is_said_with_the_reason(make_night):
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


def test_what_another_run_moves_waits_for_it_and_is_not_said_to_be_left_out(night):
    night.ask_for("vm web01 to hv02 now")

    told = preview(night, text="vm web* to hv03")

    assert "1 (web01) would wait: already in R1." in told


def test_a_refusal_always_says_that_nothing_changed(night):
    night.ask_for("vm web01 to hv02 now")

    night.say("retry R1")

    assert night.told(night.dana, "tried again") == (
        "Nothing of R1 can be tried again. Nothing changed."
    )


def test_where_nobody_may_decide_the_preview_says_so(make_night):
    night = make_night(approvers=("U0DANA",))
    night.start()

    assert "at present nobody may decide; settings approval.oncall" in preview(night)


def test_a_request_that_cannot_be_is_refused_without_a_question(night):
    night.say("host hv01 to hv09")

    assert night.told(night.dana, "No host hv09")
    assert rows_of(night, "slack_confirmations") == []


def rows_of(night, table):
    return night.store.query(f"SELECT * FROM {table}")


def test_a_start_that_was_interrupted_by_a_kill_starts_once(make_night):
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


def test_a_request_that_waited_too_long_is_shown_and_not_started(night):
    kept_waiting(night, lambda: night.say("vm web01 to hv02 now"))

    next_start(night)

    told = night.told(night.dana, "You asked for this 42 min ago")
    assert "would move 1 VM (" in told
    assert started(night) == []
    night.slack.click_private(night.dana, YES)
    night.board_shows("Moving")
    night.settled()
    assert len(started(night)) == 1


def test_a_verb_that_waited_too_long_asks_and_is_carried_out_once(night):
    night.ask_for()
    kept_waiting(night, lambda: night.say("pause R1", by=night.mei))

    next_start(night)

    told = night.told(night.mei, "You asked 42 min ago for: `/migrate pause R1`.")
    assert "Nothing has happened. Shall I still do it?" in told
    assert night.run().state == "active"
    shown = value(night, night.mei)
    next_start(night)
    night.slack.click_private(night.mei, YES, shown)
    night.slack.click_private(night.mei, YES, shown)
    night.board_shows("Paused")
    assert night.told(night.mei, "This was done before. Nothing changed.")
    paused = [e for e in events.since(night.store) if e.kind == "run.paused"]
    assert [e.by for e in paused] == [f"slack:{night.mei}"]


@pytest.mark.parametrize("who", ["a guest", "not a starter"])
def test_who_may_not_do_it_is_refused_at_once_however_long_it_waited(make_night, who):
    night = make_night(starters=("U0DANA",))
    night.start()
    night.ask_for("vm web01 to hv02 now")
    by = night.slack.user("eve", is_restricted=True) if who == "a guest" else night.mei
    kept_waiting(night, lambda: night.say("retry R1", by=by))

    next_start(night)

    night.settled()
    [told] = [e.text for e in night.slack.ephemerals(by)]
    assert "Shall I still do it?" not in told
    refused = [e for e in events.since(night.store) if e.kind == "refused"]
    assert [e.by for e in refused] == [f"slack:{by}"]
    assert "This person is not allowed to use this here." in refused[0].text


def test_what_is_dropped_is_not_carried_out(night):
    night.ask_for()
    kept_waiting(night, lambda: night.say("stop R1"))
    next_start(night)
    night.told(night.dana, "Shall I still do it?")

    night.slack.click_private(night.dana, NO)

    assert night.told(night.dana, "Dropped.")
    night.settled()
    assert night.run().state == "active"


def test_a_decision_that_waited_too_long_asks_before_it_counts(night):
    board = night.ask_for()
    card = night.card(board)
    kept_waiting(night, lambda: night.slack.click(night.ravi, card.ts, "approve"))

    next_start(night)

    assert night.told(night.ravi, "You asked 42 min ago for: approve A1.")
    assert queries.open_approvals(night.store)
    night.slack.click_private(night.ravi, YES)
    assert night.reply_with("Approved by", board)


def test_a_button_of_a_run_that_was_clicked_too_long_ago_asks_before_it_acts(night):
    board = night.ask_for()
    kept_waiting(night, lambda: night.slack.click(night.mei, board.ts, "do.pause"))

    next_start(night)

    assert night.told(night.mei, "You asked 42 min ago for: pause R1.")
    assert night.run().state == "active"
    night.slack.click_private(night.mei, YES)
    night.board_shows("Paused")


def test_a_look_that_waited_too_long_is_simply_answered(night):
    night.ask_for()
    kept_waiting(night, lambda: night.say("status"))

    next_start(night)

    assert night.told(night.dana, "R1 · hv01")


def test_a_yes_that_itself_waited_too_long_asks_anew(night):
    night.ask_for()
    kept_waiting(night, lambda: night.say("pause R1"))
    next_start(night)
    night.told(night.dana, "Shall I still do it?")
    first = value(night)
    kept_waiting(night, lambda: night.slack.click_private(night.dana, YES))

    next_start(night)

    night.slack.wait_for(lambda: value(night) != first)
    assert night.run().state == "active"


def test_a_question_that_stood_for_too_long_is_asked_anew_before_its_yes_counts(night):
    """A word that named one run then may name another now."""
    night.ask_for("vm web01 to hv02 now")
    kept_waiting(night, lambda: night.say("stop hv02"))
    next_start(night)
    night.told(night.dana, "You asked 42 min ago for: `/migrate stop hv02`.")
    first = value(night)
    night.to_the_end()
    night.say("vm web02 to hv02 now")
    night.board_shows("Moving", "R2")
    age_questions(night)

    night.slack.click_private(night.dana, YES, first)

    assert night.told(night.dana, "You were asked 42 min ago about: `/migrate stop hv02`.")
    assert night.run(2).state == "active"
    night.slack.click_private(night.dana, YES)
    night.board_shows("Stop", "R2")


def test_a_stop_in_a_thread_that_was_asked_about_long_ago_is_asked_about_anew(night):
    board = night.ask_for()
    night.slack.mention(night.dana, night.ops, "stop", board.ts)
    night.told(night.dana, "Nothing changed yet.")
    age_questions(night)

    night.slack.click_private(night.dana, YES)

    assert night.told(night.dana, "You were asked 42 min ago about: `@vmferry stop R1`.")
    assert night.run().state == "active"
    night.slack.click_private(night.dana, YES)
    night.board_shows("Stop")


def test_what_was_done_before_a_kill_and_a_long_night_is_not_asked_about(night):
    night.ask_for()
    kept_waiting(night, lambda: night.say("pause R1"))
    row = night.side.tables.inbox.next_inbound()
    night.side.tables.inbox.begin(row.id, night.clock.now())
    service = night.service.because(row.cause)
    verbs.carry_out_verb(service, Ask("pause", ("R1",)), by=row.by, approvers=None)

    next_start(night)

    assert "paused" in night.told(night.dana, "paused")
    night.settled()
    assert not [e for e in night.slack.ephemerals(night.dana) if "Shall I" in e.text]
