"""The deadline of an approval: the same on the board, on the card, in reminders and in answers."""

from __future__ import annotations

import random
import re
from itertools import pairwise

from bot.slack.messages.board import STEP, coarse_time
from bot.slack.messages.snapshot import moment, take_snapshot
from engine.sim.fleet_file import parse
from tests.patient import patient_slack
from tests.slack.messages.test_reminders import LONG, looked_at
from tests.slack.stepped import Stepped, beginning

MOMENT = re.compile(r"(?:[Nn]eeded by|powered-down VMs? by) <!date\^(\d+)\^")
WAITS = LONG.replace("disk_gb = 4000\nminutes = 120.0", "disk_gb = 40\nminutes = 3.0")


def moments(text):
    return [int(at) for at in MOMENT.findall(text)]


def estimate(night):
    seen = take_snapshot(night.store, night.settings, 1, night.clock.now())
    return seen.board.needed_by


# --- the rule ----------------------------------------------------------------------------------


def test_the_shown_estimate_changes_only_in_steps_of_ten_minutes():
    assert moment(None, 7_200.5, 0.0) == 7_200.5
    assert moment(7_200.0, 7_799.0, 0.0) == 7_200.0
    assert moment(7_200.0, 6_601.0, 0.0) == 7_200.0
    assert moment(7_200.0, 7_800.0, 0.0) == 7_800.0
    assert moment(7_200.0, 6_600.0, 0.0) == 6_600.0
    assert moment(7_200.0, None, 0.0) is None


def test_a_deadline_that_has_passed_does_not_change_while_nobody_decides():
    said = 7_200.0
    for now in range(7_200, 7_200 + 8 * 3_600, 60):
        said = moment(said, float(now), float(now))

    assert said == 7_200.0
    assert moment(said, 50_000.0, 49_000.0) == 50_000.0  # more was found to move before


def test_an_estimate_never_causes_more_updates_than_ten_minute_steps():
    chance = random.Random(7)
    for _ in range(200):
        now, at, said, path = 0.0, chance.uniform(0, 9_000), None, []
        for _ in range(400):
            now += 30.0
            at = max(now, at + chance.choice((-900, -90, -5, 0, 5, 30, 90, 900)))
            said = moment(said, at, now)
            path.append((said, coarse_time(at)))
        anew = sum(a[0] != b[0] for a, b in pairwise(path))
        in_steps = sum(a[1] != b[1] for a, b in pairwise(path))
        assert anew <= in_steps
        assert all(abs(a[0] - b[0]) >= STEP for a, b in pairwise(path) if a[0] != b[0])


# --- what people read --------------------------------------------------------------------------


def test_board_card_reminder_escalation_and_answers_show_the_same_deadline(make_night, slack):
    """The estimate changes by far more than ten minutes between the card and the reminder."""
    group = slack.group("bosses", slack.user("boss"))
    night = make_night(fleet=LONG, escalation=(group,))
    night.start()
    board = night.ask_for("host hv01 to hv02 now")
    card = night.card(board)
    looked_at(night)
    [first] = moments(slack.message(card.ts).text)
    night.side.publisher.loop.stop()  # what is said depends on what was seen: each tick is, here

    def near(seconds):
        night.side.publisher.look_at(1)
        night.side.publisher.look()
        return estimate(night) - night.clock.now() <= seconds

    for before in (890, 290):
        night.step(until=lambda left=before: near(left))
        night.settled()

    said = [*moments(night.reply_with("⏰", board).text)]
    said += moments(night.reply_with("📣", board).text)
    said += moments(slack.message(card.ts).text) + moments(slack.message(board.ts).text)
    night.say("approvals")
    said += moments(night.told(night.dana, "needed by"))
    assert len(said) == 5
    assert len(set(said)) == 1
    assert abs(said[0] - first) > STEP


def versions_of_the_card(folder, fleet, hours):
    """The versions of the card in a night in which nobody decides for this many hours."""
    clock = beginning()
    with patient_slack(clock, limits=True) as slack:
        ravi = slack.user("ravi")
        night = Stepped(
            folder, slack, clock, parse(fleet), tick=30.0, approvers=(ravi,), reminders=()
        )
        night.say(slack.user("dana"), slack.channel("ops"), "host hv01 to hv02 now")
        end = clock.now() + hours * 3_600.0
        night.until(lambda: clock.now() >= end, hours * 3_600.0 + 60.0)
        [card] = [m for m in slack.workspace.in_order() if m.text.startswith("Approve moving")]
        night.drop()
    assert night.bugs == 0
    return card.versions


def test_a_card_that_waits_for_hours_is_updated_at_most_once(tmp_path):
    assert len(versions_of_the_card(tmp_path, WAITS, 2.0)) <= 2


def test_progress_of_a_long_copy_does_not_update_the_card_back_and_forth(tmp_path):
    """VMM reports whole percents, so an estimate varies by minutes around the true time."""
    versions = versions_of_the_card(tmp_path, LONG, 1.9)

    told = [moments(version.text)[0] for version in versions]
    assert len(told) <= 8
    assert len(set(told)) == len(told)
