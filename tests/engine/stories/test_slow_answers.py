"""Nights on hosts and VMMs that answer slowly or not at all, and still come to an end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.stories.story import Played, play

FLEET = """
format = 1
host = [{ name = "hv01" }, { name = "hv02" }]
[costs]
like = "vmm"
"""
VM = """
[[vm]]
name = "web01"
host = "hv01"
minutes = 8.0
[[vm.nic]]
vlan = 10
[[vm.nic.acl]]
action = "Deny"
direction = "Inbound"
weight = 1
"""
STORY = """
about = "A night"
until = "1h"
[people]
ann = ["operator"]
[[at]]
t = "0s"
do = "say"
by = "ann"
text = "host hv01 to hv02"
"""


def fault(call: str, how: str, **more: object) -> str:
    """A fault of a story: this call fails in this way."""
    words = {"do": "fault", "call": call, "how": how, **more}
    return "[[at]]\n" + "".join(f"{key} = {json.dumps(one)}\n" for key, one in words.items())


@pytest.fixture
def night(tmp_path: Path):
    def told(fleet: str, story: str = STORY) -> Played:
        (tmp_path / "fleet.toml").write_text(fleet, encoding="utf-8")
        (tmp_path / "story.toml").write_text(story, encoding="utf-8")
        return play(tmp_path)

    return told


@pytest.mark.parametrize("seconds", [6.5, 8.0, 11.0, 14.0])
def test_a_hyperv_that_takes_longer_than_a_tick_holds_up_no_start_and_no_end(seconds, night):
    text = night(f"{FLEET}pulse = {seconds}\n{VM}").text

    assert "R1 ended: 1 of 1 moved, hv01 is empty" in text


def test_a_lost_rule_is_put_back_though_vmm_does_not_answer_about_the_host(night):
    refusals = fault("known", "refused", t="2m", code="801", times=100_000)
    text = night(f"{FLEET}{VM}[lies]\nlose_acls_live = 1.0\n", STORY + refusals).text

    assert "put_ports 1," in text
    why = "VMM did not answer a question about it: VMM refused known (801)"
    assert f"web01 waits: {why}" in text
    asked = int(text.split("known ")[-1].split(",")[0])
    assert asked < 1800 / 5 * 2  # about once every three ticks, not as fast as VMM refuses


@pytest.mark.parametrize("minutes", [5.29, 5.31, 5.33, 5.35])
def test_a_failed_job_is_never_taken_for_a_lost_one_while_another_starts(minutes, night):
    lengths = {"web01": 5.3, "web02": minutes, "web03": 6.1, "web04": 8.0}
    vms = "".join(
        VM.replace("web01", name).replace("8.0", str(length)) for name, length in lengths.items()
    )
    fails = '[[at]]\nt = "1s"\ndo = "outcome"\nvm = "web02"\njob = "failed"\nat = "source"\n'
    lines = night(FLEET + vms, f"{STORY}{fails}times = 1\n").text.splitlines()

    first = next(one for one in lines if "attempt.ended      web02: live" in one)
    assert "live migration failed. " in first


def test_a_refresh_is_over_when_vmms_job_is(night):
    text = night(FLEET + VM.replace("minutes", 'status = "IncompleteVMConfig"\nminutes')).text

    assert "web01: refresh completed" in text
    assert "R1 ended: 1 of 1 moved, hv01 is empty" in text


@pytest.mark.parametrize("seconds", [1.0, 6.5, 14.0])
def test_a_start_that_vmm_never_carried_out_is_known_as_lost_though_hyperv_is_slow(seconds, night):
    silence = fault("start_move", "timeout_before", t="0s", times=1)
    text = night(f"{FLEET}pulse = {seconds}\n{VM}", STORY + silence).text

    lost = "web01: live migration lost. No VMM job was found and the VM did not move."
    (line,) = (one for one in text.splitlines() if lost in one)
    # The look-ups end at 97 s. Both hosts are asked then, and again 30 s after their answers.
    assert float(line.split()[0]) < 97 + 30 + 4 * (seconds + 5)
    assert "R1 ended: 1 of 1 moved, hv01 is empty" in text


def test_a_vmm_that_never_lists_its_jobs_in_time_starts_nothing_and_the_reason_is_told(night):
    text = night(f"{FLEET}jobs = 10.5\n{VM}", STORY.replace('"1h"', '"10m"')).text

    assert "web01 waits: VMM takes long to answer what runs now" in text
    assert "start_move" not in text
    assert int(text.split("pulse ")[-1].split(",")[0]) < 600 / 5 * 2 + 10  # both hosts, once a tick


LOSES = "[lies]\nlose_acls_live = 1.0\n"


def test_a_lost_rule_is_put_back_while_vmm_is_down(night):
    """The VM arrives, the first repair meets a lock, and then VMM is gone for two hours."""
    lock = fault("put_ports", "locked", t="0s", times=1)
    down = '[[at]]\non = "arrive:web01"\nt = "1s"\ndo = "down"\nvmm = true\nfor = "2h"\n'
    text = night(f"{FLEET}{VM}{LOSES}", STORY.replace('"1h"', '"4h"') + lock + down).text
    (line,) = (one for one in text.splitlines() if "restored: Inbound" in one)
    repairs = [one for one in text.splitlines() if "network restore completed" in one]

    assert float(repairs[0].split()[0]) < 700  # it arrives at about 500 s
    assert float(line.split()[0]) > 7200  # told at the end, which waits for VMM


@pytest.mark.parametrize("call", ["known", "models"])
def test_a_rule_that_cannot_be_put_back_is_told_though_vmm_does_not_answer(call, night):
    silence = fault(call, "refused", t="2m", code="801", times=100_000)
    broken = fault("put_ports", "refused", t="0s", code="5", times=3)
    text = night(f"{FLEET}{VM}{LOSES}", STORY + silence + broken).text
    (line,) = (one for one in text.splitlines() if "move.damaged" in one)

    assert "its network is not as saved" in line
    assert float(line.split()[0]) < 700


def test_a_reading_that_fails_is_repeated_at_intervals(night):
    unread = fault("models", "refused", t="2m", code="5", times=100_000)
    text = night(f"{FLEET}{VM}", STORY + unread).text
    (calls,) = (line for line in text.splitlines() if line.startswith("calls: "))

    assert int(calls.split("models ")[1].split(",")[0]) < 3600 / 15 + 10


@pytest.mark.parametrize("seconds", [8.0, 58.0, 90.0])
def test_a_bulletproof_run_goes_on_though_a_re_read_takes_as_long_as_a_pass(seconds, night):
    story = STORY.replace("host hv01 to hv02", "host hv01 to hv02 bulletproof")
    text = night(f"{FLEET}reread_vms = {seconds}\n{VM}", story).text

    assert "R1 is completed: 1 of 1 moved." in text
