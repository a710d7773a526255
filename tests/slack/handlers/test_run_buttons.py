"""Buttons that act on runs: shown only if they do something, carried out once, answered."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from slack_bolt import BoltRequest

from bot.slack.kit import buttons as buttons_
from bot.slack.kit.phrases import Rendered, rendered
from bot.slack.messages import controls
from bot.slack.messages.board import board_view
from bot.slack.messages.failures import failure_view
from bot.slack.messages.report import report_view
from bot.slack.people.approvers import Approvers
from bot.standin.refusals import refusal
from engine.commands.steering import DO, RULES, Steering
from engine.model import Move, MoveRecord, MoveState, Options, Outcome, Run, RunRecord, RunState
from engine.store import events, queries
from engine.views.board import board, failed

HOSTS = """
format = 1
[[host]]
name = "hv01"
[[host]]
name = "hv02"
"""


def fleet(*names, blocks=(), minutes=2.0):
    """Running VMs on hv01; those in ``blocks`` can never move."""
    return HOSTS + "".join(
        f"[[vm]]\nname = '{name}'\nhost = 'hv01'\nminutes = {minutes}\n"
        + ("blocks = ['replica']\n" if name in blocks else "")
        for name in names
    )


def buttons(message):
    """The buttons of a message: action ids, and the texts of menu items."""
    shown = []
    for block in message.blocks:
        for element in block["elements"] if block["type"] == "actions" else ():
            if element["type"] == "overflow":
                shown += [option["text"]["text"] for option in element["options"]]
            else:
                shown.append(element["action_id"])
    return shown


def element(message, action):
    elements = [e for b in message.blocks if b["type"] == "actions" for e in b["elements"]]
    return next(e for e in elements if e["action_id"] == action)


def choose(night, user, message, word):
    """Choose an item of the overflow menu."""
    night.slack.deliver("interactive", chosen(night, user, message, word))


def chosen(night, user, message, word):
    options = element(message, "more")["options"]
    option = next(o for o in options if o["text"]["text"] == word)
    payload = night.slack.click_payload(user, message.ts, "more", value="")
    pressed = payload["actions"][0]
    pressed.pop("value")
    pressed |= {"type": "overflow", "selected_option": option}
    return payload


def of_kind(night, *kinds):
    return [e for e in events.since(night.store) if e.kind in kinds]


def state_of(night, vm):
    return next(m.move.state for m in queries.record(night.store, 1).moves if m.move.vm == vm)


def stands(night, message, *shown):
    """The message once it has exactly these buttons."""
    return night.slack.wait_for(
        lambda: next(
            (m for m in [night.slack.message(message.ts)] if buttons(m) == list(shown)), None
        )
    )


ACTIVE = ("do.pause", "do.stop", "Details", "Abort…")


@pytest.fixture
def going(make_night):
    night = make_night(fleet=fleet("web01", "web02", minutes=30.0))
    night.start()
    return night, night.ask_for("host hv01 to hv02 now")


@pytest.fixture
def stuck(make_night):
    """A run in which web01 moved and erp01 cannot move."""
    night = make_night(fleet=fleet("web01", "erp01", blocks=("erp01",), minutes=30.0))
    night.start()
    board = night.ask_for("host hv01 to hv02 now")
    night.step(until=lambda: state_of(night, "erp01") is MoveState.FAILED)
    return night, board, night.reply_with("❌", board)


# --- the board ------------------------------------------------------------------------------


def test_the_board_shows_either_the_pause_button_or_the_resume_button(going):
    night, board = going
    assert buttons(stands(night, board, *ACTIVE)) == list(ACTIVE)

    night.slack.click(night.mei, board.ts, "do.pause")

    assert "R1 is paused." in night.told(night.mei, "To resume: /migrate resume R1")
    paused = stands(night, board, "do.resume", "do.stop", "Details", "Abort…")
    assert night.run().state is RunState.PAUSED
    night.slack.click(night.mei, paused.ts, "do.resume")
    assert night.told(night.mei, "R1 is resumed.")
    stands(night, board, *ACTIVE)


def test_stop_needs_confirmation_and_then_only_abort_and_details_remain(going):
    night, board = going
    shown = stands(night, board, *ACTIVE)
    sure = element(shown, "do.stop")["confirm"]
    assert sure["text"]["text"] == (
        "Nothing more is started. Migrations in flight are watched to their end."
    )
    assert sure["confirm"]["text"] == "Stop R1"

    night.slack.click(night.mei, board.ts, "do.stop")

    assert "R1 starts nothing more." in night.told(night.mei, "R1 starts")
    ending = stands(night, board, "do.abort", "do.status")
    assert (
        "cancel the migrations in flight" in element(ending, "do.abort")["confirm"]["text"]["text"]
    )
    night.slack.click(night.dana, board.ts, "do.abort")
    assert "R1 is aborted." in night.told(night.dana, "aborted")
    assert night.run().aborting


def test_the_board_of_an_ended_run_has_no_buttons(going):
    night, board = going
    night.to_the_end()

    stands(night, board)


def test_details_are_shown_only_to_the_person_who_clicked(going):
    night, board = going

    choose(night, night.ravi, stands(night, board, *ACTIVE), "Details")

    assert "0 of 2 moved" in night.told(night.ravi, "R1 · hv01 → hv02 · Moving")
    assert night.slack.ephemerals(night.mei) == ()
    assert of_kind(night, "refused") == []


def test_the_abort_form_names_the_vms_in_flight(going):
    night, board = going
    night.step(until=lambda: state_of(night, "web01") is MoveState.MOVING)

    choose(night, night.dana, stands(night, board, *ACTIVE), "Abort…")

    form = night.slack.form(night.dana)
    assert "web01" in form.shown
    assert "stay on their sources" in form.shown
    assert not night.run().aborting
    night.slack.submit(form)
    night.slack.submit(form)
    assert "R1 is aborted. VMM is asked to cancel" in night.told(night.dana, "is aborted")
    night.settled()
    assert len(of_kind(night, "run.stopping")) == 1


def test_the_answer_to_an_abort_form_that_does_not_open_shows_the_command(going):
    night, board = going
    night.slack.order("views.open", "internal_error")

    choose(night, night.dana, stands(night, board, *ACTIVE), "Abort…")

    assert night.told(night.dana, "did not open").endswith("or type: /migrate abort R1 yes")


def test_everybody_may_pause_a_run_but_only_starters_may_resume_it(make_night, slack):
    night = make_night(starters=(slack.user("dana"),), fleet=fleet("web01", minutes=30.0))
    night.start()
    board = night.ask_for("host hv01 to hv02 now")
    night.slack.click(night.mei, board.ts, "do.pause")
    paused = stands(night, board, "do.resume", "do.stop", "Details", "Abort…")

    night.slack.click(night.mei, paused.ts, "do.resume")

    assert "You are not allowed to use `resume`" in night.told(night.mei, "are not allowed to use")
    assert [(e.by, e.detail["text"]) for e in of_kind(night, "refused")] == [
        (f"slack:{night.mei}", "resume R1 (button)")
    ]
    assert night.run().state is RunState.PAUSED


# --- failures -------------------------------------------------------------------------------


def test_the_retry_button_retries_a_failure_and_then_disappears(stuck):
    night, board, post = stuck
    assert buttons(post) == ["do.retry", "do.skip"]
    assert element(post, "do.retry")["text"]["text"] == "Retry erp01"

    night.slack.click(night.ravi, post.ts, "do.retry")

    assert night.told(night.ravi, "Retrying") == "Retrying erp01."
    over = stands(night, post)
    assert "Resolved" in over.shown
    assert over.text.startswith("Resolved")
    night.step(until=lambda: state_of(night, "erp01") is MoveState.FAILED)
    second = night.slack.wait_for(
        lambda: [m for m in night.slack.thread(night.ops, board.ts) if m.shown.startswith("❌")][1:]
    )[0]
    assert buttons(second) == ["do.retry", "do.skip"]
    assert "do.retry" not in buttons(night.slack.message(post.ts))


def test_a_double_click_on_retry_retries_once_and_is_answered_correctly(stuck):
    night, _, post = stuck
    payloads = [night.slack.click_payload(night.ravi, post.ts, "do.retry") for _ in range(2)]

    for payload in payloads:
        night.slack.deliver("interactive", payload)
        night.slack.deliver("interactive", payload)
    night.settled()

    told = [e.text for e in night.slack.ephemerals(night.ravi)]
    assert told[0] == "Retrying erp01."
    assert told[1].startswith("This button no longer applies to R1. Nothing changed.")
    assert len(told) == 2
    assert len(of_kind(night, "move.pending")) == 1


def test_an_old_retry_button_does_not_retry_a_new_failure(stuck):
    night, _, post = stuck
    old = element(post, "do.retry")["value"]
    Steering(night.service).retry("R1", ["erp01"], by="slack:U0RAVI")
    night.step(until=lambda: state_of(night, "erp01") is MoveState.FAILED)
    before = len(of_kind(night, "move.pending"))

    night.slack.click(night.ravi, post.ts, "do.retry", value=old)

    assert "This button no longer applies to R1" in night.told(night.ravi, "no longer")
    assert len(of_kind(night, "move.pending")) == before


def test_a_button_for_three_vms_does_nothing_once_one_of_them_is_resolved(make_night):
    names = ("erp01", "erp02", "erp03")
    night = make_night(fleet=fleet("web01", *names, blocks=names, minutes=30.0))
    night.start()
    board = night.ask_for("host hv01 to hv02 now")
    night.step(until=lambda: state_of(night, "erp03") is MoveState.FAILED)
    post = night.slack.wait_for(
        lambda: next(
            (
                m
                for m in night.slack.thread(night.ops, board.ts)
                if any("Retry 3 VMs" in str(b) for b in m.blocks)
            ),
            None,
        )
    )
    Steering(night.service).skip("R1", ["erp02"], by="terminal:ann")
    shown = element(post, "do.skip")["value"]

    night.slack.click(night.ravi, post.ts, "do.skip", value=shown)

    assert "R1 has changed since this button was shown. Nothing changed." in night.told(
        night.ravi, "has changed"
    )
    assert state_of(night, "erp01") is MoveState.FAILED


def test_skip_leaves_the_vm_in_place_and_the_report_offers_the_remaining_actions(stuck):
    night, _, post = stuck
    night.slack.click(night.mei, post.ts, "do.skip")

    assert night.told(night.mei, "stays") == "erp01 stays where it is."
    stands(night, post)


def test_the_report_retries_failed_vms_and_then_says_that_the_run_continued(stuck):
    night, board, post = stuck
    night.to_the_end()
    report = night.reply_with("R1 ended", board)
    assert buttons(stands(night, report, "do.retry")) == ["do.retry"]
    assert element(report, "do.retry")["text"]["text"] == "Retry erp01"
    stands(night, post, "do.retry")

    night.slack.click(night.ravi, report.ts, "do.retry")

    assert night.told(night.ravi, "Retrying") == "Retrying erp01."
    stands(night, report)
    assert "Resumed" in night.slack.message(report.ts).shown
    stands(night, post)
    night.to_the_end()
    reports = night.slack.wait_for(
        lambda: [m for m in night.slack.thread(night.ops, board.ts) if "R1 ended" in m.text][1:]
    )
    assert len(reports) == 1


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
[[vm]]
name = "web04"
host = "hv01"
minutes = 30.0
"""


def test_a_damaged_vm_is_rechecked_or_accepted_after_a_confirmation(make_night):
    night = make_night(fleet=DAMAGE)
    night.start()
    night.world.lose(night.clock.now(), "web03", nics=True)
    board = night.ask_for("host hv01 to hv02 now")
    night.step(until=lambda: state_of(night, "web03") is MoveState.DAMAGED, most=20_000)
    post = night.reply_with("🛑", board)
    shown = night.board_shows("1 damaged").text
    assert "Damaged: web03, see the thread" in shown
    assert "failed" not in shown.casefold()
    assert buttons(post) == ["do.retry", "do.go-on"]
    assert element(post, "do.retry")["text"]["text"] == "Check again"
    assert element(post, "do.go-on")["text"]["text"] == "Go on with hv02"
    assert element(post, "do.go-on")["confirm"]["title"]["text"] == "Go on with hv02?"

    night.slack.click(night.ravi, post.ts, "do.go-on")

    assert night.told(night.ravi, "hv02") == "hv02 receives VMs again."
    shown = stands(night, post, "do.retry")
    assert "No further VM" in post.text
    assert "No further VM" not in shown.text
    assert shown.text.endswith(": <@U0VMFERRY> retry R1 web03.")
    night.slack.click(night.ravi, shown.ts, "do.retry")
    assert night.told(night.ravi, "web03") == "Checking the network of web03 again."
    stands(night, post)


def test_go_on_after_the_end_of_a_run_also_removes_its_button(make_night):
    night = make_night(fleet=DAMAGE.partition('[[vm]]\nname = "web04"')[0])
    night.start()
    night.world.lose(night.clock.now(), "web03", nics=True)
    board = night.ask_for("host hv01 to hv02 now")
    night.to_the_end()
    night.reply_with("R1 ended", board)
    post = stands(night, night.reply_with("🛑", board), "do.retry", "do.go-on")

    night.slack.click(night.ravi, post.ts, "do.go-on")

    stands(night, post, "do.retry")


# --- whatever is clicked --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "value"),
    [
        ("do.pause", "pause.1.run"),
        ("do.pause", "pause.x.run.0"),
        ("do.pause", "stop.1.run.0"),
        ("do.explode", "explode.1.run.0"),
        ("more", "explode.1.run.0"),
        ("more", ""),
        ("do.retry", ""),
    ],
)
def test_a_forged_button_is_answered(going, action, value):
    night, board = going

    night.slack.click(night.ravi, board.ts, action, value=value)

    assert night.told(night.ravi, "another version")
    assert night.run().state is RunState.ACTIVE


def test_a_button_of_a_run_that_no_longer_exists_is_answered(going):
    night, board = going

    night.slack.click(night.ravi, board.ts, "do.stop", value="stop.77.run.0123456789ab")

    assert night.told(night.ravi, "R77") == "R77 does not exist. Nothing changed."


VERBS = sorted(buttons_.VERBS - {buttons_.DETAILS})


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("subject", [buttons_.RUN, "0123abcd", "0123abcd:77"])
def test_every_old_or_new_button_is_answered_in_every_run_state(going, verb, subject):
    night, board = going
    states = {
        RunState.ACTIVE: lambda steering: None,
        RunState.PAUSED: lambda steering: steering.pause("R1", by="terminal:ann"),
        RunState.STOPPING: lambda steering: steering.stop("R1", by="terminal:ann"),
    }
    night.step(until=lambda: state_of(night, "web01") is MoveState.MOVING)
    for number, (state, reach) in enumerate(states.items(), 1):
        if not night.run().over and night.run().state not in (state, RunState.STOPPING):
            reach(Steering(night.service))
        before = night.run().state
        night.slack.click(night.ravi, board.ts, f"do.{verb}", value=f"{verb}.1.{subject}.old")
        told = night.slack.wait_for(lambda n=number: night.slack.ephemerals(night.ravi)[n - 1 :])
        assert told[-1].text
        if verb not in buttons_.ANYTIME and before is state:
            assert night.run().state is before
    night.to_the_end()
    night.slack.click(night.ravi, board.ts, f"do.{verb}", value=f"{verb}.1.{subject}.old")
    night.slack.wait_for(lambda: night.slack.ephemerals(night.ravi)[3:])


@pytest.mark.parametrize(
    ("verb", "setting"),
    [("pause", ""), ("stop", ""), ("resume", "pause"), ("abort", ""), ("retry", "fail")],
)
def test_a_click_carried_out_before_a_kill_is_answered_and_not_repeated(make_night, verb, setting):
    night = make_night(fleet=fleet("web01", "erp01", blocks=("erp01",), minutes=30.0))
    night.start()
    board = night.ask_for("host hv01 to hv02 now")
    steering = Steering(night.service)
    night.step(until=lambda: state_of(night, "erp01") is MoveState.FAILED)
    if setting == "pause":
        steering.pause("R1", by="terminal:ann")
    record = queries.record(night.store, 1)
    made = {
        e["action_id"]: e
        for block in [*controls.on_board(record), *failure_blocks(record)]
        for e in block["elements"]
    }
    value = made.get(f"do.{verb}", {}).get("value") or next(
        o["value"] for o in made["more"]["options"] if o["value"].startswith(verb)
    ).replace(".form.", ".run.")
    night.settled()
    night.side.stop()
    payload = night.slack.click_payload(night.ravi, board.ts, f"do.{verb}", value=value)
    night.side.app.dispatch(BoltRequest(mode="socket_mode", body=payload))
    row = night.side.tables.inbox.next_inbound()
    night.side.tables.inbox.begin(row.id, night.clock.now())
    steering = Steering(night.service.because(row.cause))
    if verb == "retry":
        steering.retry("R1", ["erp01"], by=row.by)
    else:
        getattr(steering, verb)("R1", by=row.by)
    before = [e.kind for e in events.since(night.store)]

    night.side = night.new_side()
    night.start()
    night.settled()

    [told] = night.slack.ephemerals(night.ravi)
    assert f"<@{night.ravi}>" in told.text
    assert [e.kind for e in events.since(night.store)] == before


def failure_blocks(record):
    groups = controls.by_cause(failed(record), record)
    return [b for name, group in groups.items() for b in controls.on_failure(record, name, group)]


# --- pure: what is shown, in every state, for any number of VMs ------------------------------

RUN = Run(
    id=214,
    vmm="vmm01",
    kind="host",
    request="host hv01 to hv02",
    sources=("hv01.corp.example",),
    destinations=("hv02.corp.example",),
    options=Options(),
    by="slack:U1",
    state=RunState.ACTIVE,
    created=0.0,
)


def move(number, state=MoveState.FAILED, **change):
    outcome = {MoveState.DAMAGED: Outcome.NETWORK, MoveState.UNKNOWN: Outcome.UNKNOWN}
    said = Move(
        id=number,
        run=214,
        vm_id=f"{number:036}",
        vm=f"<!channel>:smile:{'ü' * 200}{number}",
        source="hv01.corp.example",
        state=state,
        created=0.0,
        host="hv02.corp.example" if state is MoveState.DAMAGED else "hv01.corp.example",
        outcome=outcome.get(state, Outcome.ATTEMPTS),
        sentence="It did not move. Why: x" if state is MoveState.FAILED else "It is not well.",
        next="Do y",
    )
    return MoveRecord(replace(said, **change))


def record_of(*moves, **change):
    return RunRecord(replace(RUN, **change), tuple(moves))


def may_act(state):
    return any(controls.may(verb, replace(RUN, state=state)) for verb in VERBS)


def all_of(blocks):
    return [e for block in blocks for e in block["elements"]]


@pytest.mark.parametrize("state", list(RunState))
@pytest.mark.parametrize("kind", [MoveState.FAILED, MoveState.DAMAGED, MoveState.UNKNOWN])
def test_a_button_is_shown_only_if_its_verb_has_an_effect(state, kind):
    record = record_of(move(1, kind), move(2, MoveState.DONE), state=state)
    [(name, group)] = controls.by_cause(failed(record), record).items()
    shown = all_of(
        [
            *controls.on_board(record),
            *controls.on_failure(record, name, group),
            *controls.on_report(record),
        ]
    )

    values = [
        value
        for e in shown
        for value in ([o["value"] for o in e["options"]] if "options" in e else [e["value"]])
    ]
    for value in values:
        verb = value.partition(".")[0]
        assert verb == buttons_.DETAILS or RULES[verb][state] == DO
        read = buttons_.read(f"do.{verb}", value)
        assert read is not None
        assert not buttons_.is_stale(read, record.run, controls.aimed(read, record))
    assert values or not may_act(state)


def test_an_old_settle_button_is_stale_once_the_location_is_unknown_again():
    """Somebody looked where it was then, not where it is now."""
    before = record_of(move(1, MoveState.UNKNOWN))
    after = record_of(move(1, MoveState.UNKNOWN, settled=60.0))

    [button] = failure_blocks(before)[0]["elements"]
    control = buttons_.read(button["action_id"], button["value"])

    assert not buttons_.is_stale(control, before.run, controls.aimed(control, before))
    assert buttons_.is_stale(control, after.run, controls.aimed(control, after))


@pytest.mark.parametrize("kind", [MoveState.FAILED, MoveState.DAMAGED, MoveState.UNKNOWN])
def test_a_failure_has_at_most_two_buttons(kind):
    record = record_of(*(move(n, kind) for n in range(1, 4)))

    for name, group in controls.by_cause(failed(record), record).items():
        assert 1 <= len(all_of(controls.on_failure(record, name, group))) <= 2


@pytest.mark.parametrize("number", [1, 2, 100, 10_000])
@pytest.mark.parametrize("kind", [MoveState.FAILED, MoveState.DAMAGED, MoveState.UNKNOWN])
@pytest.mark.parametrize("state", [RunState.ACTIVE, RunState.STOPPED])
def test_messages_with_buttons_fit_within_slack_limits_for_any_number_of_vms(number, kind, state):
    record = record_of(*(move(n, kind) for n in range(1, number + 1)), state=state)
    shown = [
        controls.with_buttons(
            board_view(board(record, None, 0.0), Approvers()), controls.on_board(record)
        )
    ]
    for name, group in controls.by_cause(failed(record), record).items():
        told = failure_view(record.run, group, Approvers())
        shown.append(controls.with_buttons(told, controls.on_failure(record, name, group)))
    lines = [f"R214 ended {n} {'x' * 300}" for n in range(100)]
    shown.append(controls.with_buttons(report_view(record, lines), controls.on_report(record)))

    for message in shown:
        assert refusal("chat.update", {"text": message.text, "blocks": message.blocks}) is None
        assert buttons(message) or message is shown[-1] or message is shown[0]


def test_buttons_contain_neither_vm_names_nor_vm_ids():
    record = record_of(move(1), move(2, MoveState.DAMAGED), move(3, MoveState.UNKNOWN))

    for name, group in controls.by_cause(failed(record), record).items():
        for each in all_of(controls.on_failure(record, name, group)):
            assert "smile" not in each["value"]
            assert f"{1:034}"[:30] not in each["value"]
            assert len(each["value"]) < 60


def test_the_report_offers_to_retry_vms_without_calling_them_failed():
    """The VM may have been denied."""
    record = record_of(move(1), move(2), state=RunState.INCOMPLETE)

    [shown] = all_of(controls.on_report(record))

    assert shown["text"]["text"] == "Retry 2 VMs"


def test_a_message_is_updated_if_only_its_buttons_change():
    told = rendered("x", [])

    one = controls.with_buttons(told, controls.on_board(record_of(move(1))))
    other = controls.with_buttons(told, controls.on_board(record_of(move(1, retried=5.0))))

    assert len({told.fingerprint, one.fingerprint, other.fingerprint}) == 3
    assert isinstance(one, Rendered)


def test_every_button_verb_exists_in_the_engine():
    assert buttons_.VERBS - {buttons_.DETAILS} <= set(RULES)
    assert list(itertools.filterfalse(RULES.__contains__, VERBS)) == []
