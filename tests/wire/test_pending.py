"""Calls for which nobody waits: one of a key at a time, and no answer of an earlier one."""

import threading

from engine.clock import SystemClock
from engine.vmm.pending import PendingCalls
from tests.hangs import HANGS


def test_a_key_has_one_call_at_a_time():
    calls, over = PendingCalls[int](SystemClock()), threading.Event()

    assert calls.begin("hv01", lambda: over.wait(HANGS) and 1)
    assert not calls.begin("hv01", lambda: 2)
    assert calls.begin("hv02", lambda: 3)
    calls.wait(["hv02"])
    assert calls.running() == {"hv01"}
    over.set()
    calls.wait()

    assert (calls.running(), calls.ended(), calls.ended()) == (set(), {"hv01": 1, "hv02": 3}, {})


def test_a_new_call_drops_the_answer_to_an_earlier_one():
    calls, over = PendingCalls[int](SystemClock()), threading.Event()
    calls.begin("hv01", lambda: 1)
    calls.wait()

    calls.begin("hv01", lambda: over.wait(HANGS) and 2)
    assert calls.ended() == {}
    over.set()
    calls.wait()

    assert calls.ended() == {"hv01": 2}


def test_waiting_ends_after_its_time():
    calls, over = PendingCalls[int](SystemClock()), threading.Event()
    calls.begin("hv01", lambda: over.wait(HANGS) and 1)

    calls.wait(seconds=0.01)

    assert calls.running() == {"hv01"}
    over.set()
    calls.wait()
