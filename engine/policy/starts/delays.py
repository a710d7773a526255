"""Delays of a move that is ready: no slot, no room, a call or a look without an answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from engine.language.grammar import took
from engine.language.sentence import HostName, say
from engine.model import CallKind, Look, OpenCall, Outcome, PartKind, Wait
from engine.policy import freshness, waits
from engine.policy.freshness import BREATH
from engine.policy.starts.slots import Slots
from engine.policy.steps import CallOut, Hold
from engine.policy.verdict import Verdict, View, ended, hold, tell_delay


def for_slot(view: View, text: str, hosts: Sequence[str], ledger: Slots) -> Verdict:
    """Hold a move without a slot. People are told once if ``text``, the limit and its holders,
    stays the same for ``slot_notice`` seconds."""
    move, notice = view.move, view.rules.slot_notice
    looks = tuple(_doubtful_counts(view, hosts, ledger))
    if move.wait is not Wait.SLOT or move.wait_text != text:
        held = hold(view, Wait.SLOT, text, view.now + notice)
    elif move.wait_noted is None:  # called out already
        held = hold(view, Wait.SLOT, text)
    elif view.now - move.wait_noted < notice:
        held = hold(view, Wait.SLOT, text, move.wait_noted + notice)
    else:
        held = Verdict(CallOut(move, f"{text}, without change for {took(notice)}"))
    return Verdict(held.step, looks, held.due)


def _doubtful_counts(view: View, hosts: Sequence[str], ledger: Slots) -> Iterator[Look]:
    """Pulses of full hosts whose word on the migrations of others is old."""
    for host in hosts:
        at = view.fleet.age(PartKind.PULSE, host).asked_at
        is_unnamed = ledger.unnamed(host) > 0
        most = 2 * view.rules.tick if is_unnamed else BREATH
        if at is not None and not 0 <= view.now - at <= most:
            yield Look(PartKind.PULSE, host)


def for_room(view: View, hosts: Sequence[str], text: str, coming: bool, landed: float) -> Verdict:
    """Hold a move that fits on none of these hosts, as long as a migration to one is in flight
    (``coming``). Fail it after the limit (10 min by default) without one: a person has to make
    room. VMM re-reads the hosts meanwhile. ``landed``: when a move to one of them last ended."""
    move, limit = view.move, view.rules.limits[Wait.ROOM]
    rereads = (Look(PartKind.HOST, host) for host in hosts)
    may, options = freshness.may_reread, view.run.options
    looks = tuple(k for k in rereads if may(view.fleet, k, view.now, options))
    waited = min(waits.waited(move, Wait.ROOM, view.now), view.now - landed)
    if coming:
        return Verdict(Hold(move, Wait.ROOM, text), looks)
    if waited < limit:
        return Verdict(Hold(move, Wait.ROOM, text), looks, view.now + limit - waited)
    hint = "Make room or name another host, then: {retry}"
    return Verdict(ended(move, Outcome.NO_ROOM, "{vm} fits nowhere: {text}.", hint, text=text))


def for_call(view: View, source: str, ways: Sequence[str]) -> Verdict | None:
    """Hold a move while a call that changes something on its source, or on all of its ``ways``, has
    had no answer for long: no other may begin there. ``None``: a way is open."""
    stuck = _stuck(view)
    if not stuck:
        return None
    call = stuck.get(source.casefold())
    if call is None and not open_ways(view, ways):
        call = next((stuck[h.casefold()] for h in ways if h.casefold() in stuck), None)
    if call is None:
        return None
    who, host = HostName(call.server) if call.server else "VMM", HostName(call.hosts[0])
    is_reread = call.kind in (CallKind.VMS, CallKind.HOST)
    form = "{} re-reads {} first" if is_reread else "{} does not answer an earlier call about {}"
    text = say(form, who, host)
    return hold(view, Wait.SLOT, text, call.deadline)


def open_ways(view: View, ways: Sequence[str]) -> list[str]:
    """Those of these hosts on which no call hangs."""
    stuck = _stuck(view)
    return [host for host in ways if host.casefold() not in stuck] if stuck else list(ways)


def _stuck(view: View) -> Mapping[str, OpenCall]:
    """Calls that have been changing something for long, by host."""
    found: Mapping[str, OpenCall] | None = view.known.get("stuck calls")
    if found is None:
        long_ago = view.now - 3 * view.rules.tick
        changing = view.facts.changing.items()
        found = {host: call for host, call in changing if call.begun <= long_ago}
        view.known["stuck calls"] = found
    return found


def for_looks(view: View, source: str, target: str) -> Verdict | None:
    """Ask for what a start needs to know, and tell people if that fails or takes long. ``None``:
    all is fresh."""
    vm_id, options = view.move.vm_id, view.run.options
    looks = freshness.to_start(view.fleet, source, target, vm_id, view.now, view.rules, options)
    return tell_delay(view, Verdict(looks=looks)) if looks else None
