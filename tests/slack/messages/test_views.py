"""Messages as functions of state: within Slack's limits for any fleet, readable without blocks."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.slack.kit import blocks
from bot.slack.kit.blocks import escape
from bot.slack.kit.mentions import render
from bot.slack.messages.board import board_view
from bot.slack.messages.card import Question, card_view, list_views
from bot.slack.messages.failures import cause, failure_view, stalled, stalled_view
from bot.slack.messages.pages import for_stalled
from bot.slack.messages.report import report_view
from bot.slack.people.approvers import Approvers
from bot.standin.refusals import refusal
from bot.standin.values import words
from engine.language.sentence import Command, Person, Quote, Turn, VmName, say
from engine.model import (
    Approval,
    ApprovalState,
    Move,
    MoveRecord,
    MoveState,
    Options,
    Outcome,
    Run,
    RunRecord,
    RunState,
    Wait,
)
from engine.views.board import STATES, Board, Moving, Stuck, WaitGroup

RUN = Run(
    id=214,
    vmm="vmm01",
    kind="host",
    request="host hv01 to hv02",
    sources=("hv01.corp.example",),
    destinations=("hv02.corp.example", "hv03.corp.example"),
    options=Options(path="D:\\VMs"),
    by="slack:U1",
    state=RunState.ACTIVE,
    created=0.0,
)
LISTED = Approvers(("slack:U1", "slack:U2"))
AWKWARD = ("<!channel>", "a&b" * 85, "🚚" * 120, "\u202eמכונה" * 40, "`x` *y* @here")


def name_of(number):
    return f"{AWKWARD[number % len(AWKWARD)][:250]}{number}"


def board_of(number, **change):
    names = [name_of(n) for n in range(number)]
    stuck = tuple(
        Stuck(n, n, MoveState.FAILED, Outcome.ATTEMPTS, f"{n} did not move. Why: x", "Do y", "hv01")
        for n in names[: number // 4]
    )
    board = Board(
        run=RUN,
        total=number,
        moved=number // 2,
        moving=tuple(Moving(n, "hv02", 61, "live") for n in names[:16]),
        waiting=tuple(
            WaitGroup(wait, number, "2 of 2 on hv01: " + ", ".join(names[:30]), 0.0, tuple(names))
            for wait in Wait
        ),
        restoring=tuple(names[:200]),
        failed=stuck,
        skipped=1,
        questions=(Approval(1, 214, ApprovalState.REQUESTED, "d", tuple(names), 0.0),),
        needed_by=7200.0,
        progress=0.45,
        done_about=9000.0,
        as_of=60.0,
    )
    return replace(board, **change)


def question_of(number, state=ApprovalState.REQUESTED, **change):
    ids = tuple(f"id-{n}" for n in range(number))
    moves = tuple(
        MoveRecord(Move(n, 214, vm_id, name_of(n), "hv01")) for n, vm_id in enumerate(ids)
    )
    if state is ApprovalState.GRANTED:
        change.setdefault("granted", ids)
    approval = Approval(7, 214, state, "0123456789abcdef", ids, 0.0, decided=60.0, **change)
    return Question(approval, RunRecord(RUN, moves, (approval,)), None, 7200.0)


def stalled_record(number, since=lambda _: 600.0):
    """A run in which so many migrations stand still."""
    form = "the migration of {} to hv02 has stood at 40 % for 30 min"
    moves = tuple(
        Move(
            n,
            214,
            f"id-{n}",
            name_of(n),
            "hv01",
            state=MoveState.MOVING,
            wait=Wait.STALLED,
            wait_text=say(form, VmName(name_of(n))),
            wait_since=since(n),
        )
        for n in range(number)
    )
    return RunRecord(RUN, tuple(map(MoveRecord, moves)))


def messages_about(number):
    board = board_of(number)
    yield board_view(board, LISTED)
    for state in ApprovalState:
        yield card_view(question_of(number, state), LISTED)
    yield from list_views(question_of(number), LISTED)
    if board.failed:
        yield failure_view(RUN, board.failed, LISTED)
    for group in stalled(stalled_record(number)).values():
        yield stalled_view(RUN, group, LISTED)
    lines = ["R214 ended: 1 of 2 moved", *(f"Not moved: {name_of(n)}" for n in range(number))]
    yield report_view(RunRecord(RUN), lines, "7f3a91c2")


@pytest.mark.parametrize("number", [1, 3, 120, 1000, 10_000])
def test_every_message_fits_within_slack_limits_for_any_number_of_vms(number):
    for rendered in messages_about(number):
        args = {"text": rendered.text, "blocks": list(rendered.blocks)}
        assert refusal("chat.update", args) is None
        assert len(json.dumps(args["blocks"], ensure_ascii=False)) <= blocks.MESSAGE
        assert "<!channel" not in str(args)


def test_the_board_matches_the_reference_text():
    board = board_of(
        42,
        moved=19,
        moving=(Moving("web07", "hv02.corp.example", 61, "live"),),
        waiting=(
            WaitGroup(Wait.SLOT, 15, "2 of 2 on hv01: web07, sql02", 0.0, ("a",)),
            WaitGroup(Wait.APPROVAL, 4, "powered down; A1 awaits a decision", 0.0, ("b",)),
            WaitGroup(Wait.BACKUP, 1, "in backup", 60.0, ("c",)),
        ),
        restoring=(),
        failed=(Stuck("erp01", "i", MoveState.FAILED, Outcome.BLOCKED, "s", "n", "hv01"),),
        skipped=0,
        questions=(Approval(1, 214, ApprovalState.REQUESTED, "d", ("i",) * 4, 0.0),),
    )

    lines = board_view(board, LISTED).text.splitlines()

    assert lines == [
        "R214 · hv01 → hv02, hv03 · Moving",
        "19 of 42 moved · 1 moving · 20 waiting · 1 failed",
        "Needs a person: approve 4 powered-down VMs by <!date^7200^{time}|02:00 UTC>, "
        "see the card in the thread",
        "Moving: web07 → hv02 61 %",
        "Waiting: 15 no slot (2 of 2 on hv01: web07, sql02) · 4 powered down, approval needed · "
        "1 in backup since <!date^60^{time}|00:01 UTC>",
        "Failed: erp01, see the thread",
        "Asked by <@U1> <!date^0^{time}|00:00 UTC> · as of <!date^60^{time_secs}|00:01 UTC>",
    ]
    assert "▓▓▓▓░░░░░░ 45 % · done about" in str(board_view(board, LISTED).blocks)


def test_neither_time_alone_nor_small_progress_updates_the_board():
    board = board_of(3)
    first = board_view(board, LISTED)

    later = board_view(replace(board, as_of=290.0, progress=0.46, done_about=9100.0), LISTED)

    assert later.blocks != first.blocks
    assert later.fingerprint == first.fingerprint
    assert board_view(replace(board, progress=0.51), LISTED).fingerprint != first.fingerprint
    assert board_view(replace(board, moved=2), LISTED).fingerprint != first.fingerprint


def test_a_board_is_refreshed_every_five_minutes_unless_its_run_is_paused_or_stopped():
    def fingerprints(**change):
        board = board_of(3, run=replace(RUN, **change))
        return {board_view(replace(board, as_of=at), LISTED).fingerprint for at in (60.0, 700.0)}

    assert len(fingerprints()) == 2
    assert len(fingerprints(state=RunState.PAUSED)) == 1
    assert len(fingerprints(state=RunState.STOPPED)) == 1


def test_a_large_board_updates_in_one_percent_steps_but_shows_needs_at_once():
    board = board_of(1_000, moved=500, failed=(), skipped=0)
    first = board_view(board, LISTED).fingerprint

    for same in ({"moved": 509}, {"moving": ()}, {"waiting": board.waiting}, {"progress": 0.51}):
        assert board_view(replace(board, **same), LISTED).fingerprint == first, same
    one = board_of(4).failed
    for news in ({"moved": 510}, {"failed": one}, {"questions": ()}, {"needs": ("Say so.",)}):
        assert board_view(replace(board, **news), LISTED).fingerprint != first, news


def test_a_card_offers_a_decision_only_while_it_is_open():
    for state in ApprovalState:
        shown = card_view(question_of(3, state), LISTED).blocks
        buttons = [e["action_id"] for b in shown if b["type"] == "actions" for e in b["elements"]]
        if state is ApprovalState.REQUESTED:
            assert buttons == ["approve", "deny", "choose"]
        else:
            assert buttons == (["withdraw"] if state is ApprovalState.GRANTED else [])
    over = question_of(3)
    over = replace(over, record=replace(over.record, run=replace(RUN, state=RunState.STOPPED)))
    assert "Nobody decided in time" in card_view(over, LISTED).text


@pytest.mark.parametrize("number", [1, 30, 120, 1000, 10_000])
def test_an_approver_can_read_every_vm_name_in_the_card_or_above_it(number):
    question = question_of(number)
    card, lists = card_view(question, LISTED), list_views(question, LISTED)

    told = "".join(map(words, card.blocks if not lists else [b for v in lists for b in v.blocks]))

    for n in range(number):
        assert blocks.escape(name_of(n))[:250] in told, n
    assert ("all listed in the thread" in str(card.blocks)) == bool(lists)
    assert not lists or f"part 1 of {len(lists)}" in lists[0].text


def test_a_denial_shows_its_reason_escaped():
    card = card_view(
        question_of(2, ApprovalState.DENIED, by="slack:U2", reason="<!here> no"), LISTED
    )

    assert '"&lt;!here&gt; no"' in card.text
    assert "2 VMs stay on hv01." in card.text


def test_a_partial_approval_shows_how_many_vms_move_and_which_stay():
    some = question_of(4, ApprovalState.GRANTED, by="slack:U2", granted=("id-1", "id-2", "id-3"))

    head, rest = card_view(some, LISTED).text.splitlines()

    assert head.startswith("✅ Approved 3 of 4 by <@U2> <!date^60^")
    assert name_of(0)[:20].replace("<", "&lt;").replace(">", "&gt;") not in head
    assert rest == "They move after the running VMs. &lt;!channel&gt;0 stays on hv01."
    whole = card_view(question_of(4, ApprovalState.GRANTED, by="slack:U2"), LISTED).text
    assert whole.startswith("✅ Approved by <@U2>")
    assert "stay" not in whole


def test_a_decided_card_shows_nothing_outdated():
    some = question_of(3, ApprovalState.GRANTED, by="slack:U2", granted=("id-1", "id-2"))
    later = replace(some.approval, id=8, state=ApprovalState.REQUESTED, vms=("id-0",))
    record = replace(some.record, approvals=(some.approval, later))
    over = replace(record, run=replace(record.run, state=RunState.INCOMPLETE))

    asked = card_view(replace(some, record=record), LISTED).text
    ended = card_view(replace(some, record=over), LISTED).text

    assert asked.endswith("They move after the running VMs. New approval requested: A8.")
    assert ended.endswith("\nNew approval requested: A8.")


def test_a_withdrawn_card_says_who_withdrew_it_and_why():
    taken = question_of(2, ApprovalState.WITHDRAWN, by="slack:U2", reason="<!here> wrong night")

    text = card_view(taken, LISTED).text

    assert text.startswith("↩️ Withdrawn by <@U2>")
    assert '"&lt;!here&gt; wrong night"' in text
    assert "2 VMs stay on hv01." in text


def test_an_expired_grant_is_not_shown_as_undecided():
    ended = replace(question_of(2, ApprovalState.EXPIRED), granter="slack:U2")

    text = card_view(ended, LISTED).text

    assert text.startswith("⌛ The approval by <@U2> ended <!date^60^")
    assert "Nobody" not in text


def test_a_person_who_resumed_a_run_is_not_asked_to_approve_it():
    question = question_of(2)
    run = replace(RUN, steered=("slack:U2",))
    question = replace(question, record=replace(question.record, run=run))

    text = card_view(question, LISTED).text

    assert "who cannot decide, nor can <@U2>, who resumed or retried it." in text
    assert "nobody except <@U1>, <@U2> is listed to decide" in text


@pytest.mark.parametrize("state", RunState)
def test_every_state_of_a_run_has_a_word_on_the_board_and_a_report_text(state):
    run = replace(RUN, state=state)

    head = board_view(board_of(4, run=run), LISTED).text.splitlines()[0]

    assert head.split(" · ")[-1] == STATES[state]
    assert report_view(RunRecord(run), ["R214 ended"]).text


def test_the_person_who_paused_is_mentioned_and_other_needs_are_escaped():
    needs = (
        say("R214 was paused by {}. To resume: {}", Person("slack:U2"), Command("resume R214")),
        say("No way by {}. Fix <that>, then: {}", Quote("slack:U2"), Command("resume R214")),
    )

    text = board_view(board_of(4, needs=needs), LISTED, "/move").text

    assert "R214 was paused by <@U2>. To resume: /move resume R214" in text
    assert "No way by slack:U2. Fix &lt;that&gt;, then: /move resume R214" in text


def test_the_command_for_a_damaged_vm_is_shown_as_typed_in_slack():
    form = "Put it back by hand, then: {}. No further VM goes: {}"
    way = say(form, Command("retry R214 web03"), Command("go-on R214 hv02"))
    stuck = Stuck("web03", "i", MoveState.DAMAGED, Outcome.NETWORK, "web03 is on hv02.", way, "h")

    text = failure_view(RUN, [stuck], LISTED, "/move").text

    assert "then: /move retry R214 web03. No further VM goes: /move go-on R214 hv02" in text


def test_failures_and_reports_mention_the_new_owner():
    taken = replace(RUN, owner="slack:U3")
    stuck = Stuck("web03", "i", MoveState.FAILED, Outcome.ATTEMPTS, "web03 did not move.", "", "h")

    assert failure_view(taken, [stuck], LISTED).text.startswith("❌ <@U3> web03")
    told = report_view(RunRecord(taken), ["R214 ended"]).text
    assert told.startswith("⚠️ <@U3> R214 ended")
    assert "Asked by <@U1>" in told
    assert "taken over by <@U3>" in told


def test_failures_with_the_same_cause_are_grouped_despite_different_vm_names():
    one, other = (
        Stuck(n, f"id-{n}", MoveState.FAILED, Outcome.ATTEMPTS, f"{n} did not move", "", "h", "no")
        for n in ("web01", "db 01")
    )

    assert cause(one) == cause(other)
    assert cause(one) != cause(replace(other, cause="another"))


def test_a_damaged_vm_mentions_the_approvers():
    told = say("{} is on hv02.{}Missing: x.", VmName("web03"), Turn())
    stuck = Stuck("web03", "i", MoveState.DAMAGED, Outcome.NETWORK, told, "y", "h")

    text = failure_view(RUN, [stuck], LISTED).text

    assert text == "🛑 <@U1>, <@U2> web03 is on hv02.\nMissing: x.\nNext: y"


def test_an_estimate_that_shifts_by_seconds_does_not_update_the_card():
    question = question_of(3)
    first = card_view(question, LISTED)

    later = card_view(replace(question, needed_by=7290.0), LISTED)

    assert later.text != first.text
    assert later.fingerprint == first.fingerprint
    assert card_view(replace(question, needed_by=7900.0), LISTED).fingerprint != first.fingerprint


def test_a_long_failure_does_not_hide_the_others_or_the_next_step():
    told = "web01 did not move. Why: " + "VMM said & said. " * 900
    first = Stuck("web01", "i", MoveState.FAILED, Outcome.ATTEMPTS, told, "Free disk.", "hv01")
    others = [replace(first, vm=name_of(n)) for n in range(100)]

    rendered = failure_view(RUN, [first, *others], LISTED)

    for shown in (rendered.text, str(rendered.blocks)):
        assert "web01 did not move" in shown
        assert "and 92 more." in shown
        assert "Next: Free disk." in shown


def test_an_overlong_line_is_shortened_and_the_next_lines_are_shown():
    told = blocks.fit_lines(["first", "x" * 9_000, "last"], 1_000)

    assert [line[:5] for line in told.splitlines()] == ["first", "xxxxx", "last"]
    assert len(told) <= 1_000


def test_a_report_with_many_repairs_still_names_the_vm_that_needs_a_person():
    repaired = ", ".join(f"web{n:03} (extended ACLs of a long name)" for n in range(300))
    damaged = (
        "Damaged: sql07 is on hv02. Missing: VLAN 7. Restore the missing settings on hv02 by hand."
    )
    lines = ["R214 ended: 301 of 301 moved", damaged, "301 live", f"Network: restored {repaired}"]

    rendered = report_view(RunRecord(RUN), lines, "7f3a91c2")

    for shown in (rendered.text, str(rendered.blocks)):
        assert damaged in shown
        assert "audit 7f3a91c2" in shown
    assert rendered.text.splitlines()[1] == damaged


def test_a_report_shortens_the_vms_left_in_place_before_the_failed_vms():
    left = [f"Left: vm{n} stays on hv01: excluded." for n in range(1_000)]
    urgent = ["Damaged: a.", "Needs a person: b.", "Not moved: c."]

    rendered = report_view(RunRecord(RUN), ["R214 ended", *urgent, *left])

    assert rendered.text.splitlines()[1:4] == urgent
    assert "more" in rendered.text.splitlines()[-2]


@pytest.mark.parametrize("number", [1, 120, 1000, 10_000])
def test_a_shortened_card_keeps_rules_and_buttons_and_counts_hidden_vms(number):
    crowd = Approvers(tuple(f"U{n:09}" for n in range(300)))
    question = question_of(number)
    run = replace(RUN, options=Options(path='"' * 2_900))
    question = replace(question, record=replace(question.record, run=run))

    card = card_view(question, crowd).blocks

    assert len(json.dumps(card, ensure_ascii=False)) <= blocks.MESSAGE
    assert [b["type"] for b in card[-3:]] == ["section", "context", "actions"]
    assert "Without approval" in str(card[-3])
    shown = "\n".join(b["text"]["text"] for b in card[1:-3])
    hidden = int(shown.rpartition("… and ")[2].split()[0]) if "… and " in shown else 0
    assert shown.count("• ") + hidden == number
    assert shown.count("• ") >= 1


@given(st.text(max_size=300), st.integers(min_value=8, max_value=400))
def test_shortening_a_text_never_splits_an_entity_mention_or_link(text, longest):
    link = f"<https://corp.slack.com/archives/C0OPS/p1?thread_ts={'1' * 90};cid=2|here>"
    cut = blocks.fit(f"{blocks.escape(text)}<@U1> <!date^1^{{time}}|x> {link}", longest)

    assert len(cut) <= longest
    assert cut.count("<") == cut.count(">")
    for piece in cut.split("&")[1:]:
        assert piece.split(";")[0] in ("amp", "lt", "gt")


@pytest.mark.parametrize(
    ("by", "shown"),
    [
        ("terminal:ann", "ann (terminal)"),
        ("terminal:CORP\\sue", "CORP\\sue (terminal)"),
        ("terminal:r&d", "r&amp;d (terminal)"),
        ("slack:U1", "<@U1>"),
        ("ann", "ann"),
    ],
)
def test_only_people_become_mentions(by, shown):
    said = say("{} was paused by {}. {}", Quote(by), Person(by), f"It is {by}.")

    assert render(said, "/migrate") == f"{escape(by)} was paused by {shown}. It is {escape(by)}."


def test_only_commands_get_the_local_prefix():
    said = say('"{}". To resume: {}', Quote("see: resume R1"), Command("resume R1"))

    assert render(said, "@vmferry") == '"see: resume R1". To resume: @vmferry resume R1'


def test_migrations_that_come_to_a_halt_together_have_one_message_and_one_page():
    """A network that fails stops many: at 3 a.m. one call is enough."""
    record = stalled_record(64, since=lambda n: 600.0 + 10 * n)
    apart = stalled_record(2, since=lambda n: 600.0 + 3600 * n)
    (page,) = for_stalled(record)
    (group,) = stalled(record).values()
    text = stalled_view(RUN, group, LISTED).text

    assert page.text.endswith("Look for its job in VMM. The same holds for 63 more VMs.")
    assert "Look for its job in VMM. The same holds for " in text
    assert text.endswith(" and 55 more.")
    assert len(list(for_stalled(apart))) == len(stalled(apart)) == 2
