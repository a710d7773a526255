"""A look at everything through the port, composed as the engine composes what it knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from engine.errors import VmmError, VmmLocked, VmmUnavailable
from engine.model import (
    Body,
    Expected,
    Fleet,
    Look,
    Network,
    Part,
    PartKind,
    Repair,
    Reread,
    compose,
    join_halves,
)
from engine.vmm.port import VmmPort

PATIENCE = 60.0
"""Seconds that a changing call may take to arrive."""


def observe(
    port: VmmPort,
    now: float,
    hosts: Sequence[str] = (),
    jobs: Sequence[str] = (),
    refresh: Sequence[str] = (),
) -> Fleet:
    """Let VMM re-read the VMs of ``refresh``, ask VMM for everything and Hyper-V for ``hosts``.

    A re-read that has not ended stays unanswered. Raises ``VmmUnavailable`` if VMM does not answer.
    """
    asked = _Asked(now)
    for host in refresh:
        asked.reread(port, host)
    asked.ask(Look(PartKind.JOBS, ids=tuple(jobs)), lambda: port.jobs(jobs))
    site = port.site()
    asked.ask(Look(PartKind.SITE), lambda: site)
    for one in site.hosts:
        name = one.name
        asked.ask(Look(PartKind.KNOWN, name), partial(port.known, name))
    names = {one.name.casefold(): one.name for one in site.hosts}
    for host in hosts:
        name = names.get(host.casefold(), host)
        asked.ask_host(Look(PartKind.SHOWN, name), partial(port.shown, name))
    return compose("vmm01", asked.parts)


class _Asked:
    """Parts of one look. Every question has the next number, and is answered at once."""

    def __init__(self, now: float) -> None:
        self.now, self.parts = now, list[Part]()

    def ask(self, look: Look, question: Callable[[], Body | None]) -> None:
        body, number = question(), len(self.parts) + 1
        part = Part(look.kind, look.name, body=body)
        self.parts.append(part.answered(look, number, number, self.now, self.now))

    def ask_host(self, look: Look, question: Callable[[], Body | None]) -> None:
        try:
            self.ask(look, question)
        except VmmUnavailable as error:
            self._fail(look, str(error), False)

    def reread(self, port: VmmPort, host: str) -> None:
        look = Look(PartKind.VMS, host)
        try:
            job = port.reread(Reread.VMS, host, port.jobs().server_time + PATIENCE)
        except VmmUnavailable:
            raise
        except VmmError as error:
            self._fail(look, str(error), isinstance(error, VmmLocked))
            return
        ended = next(one for one in port.jobs((job or "",)).jobs if one.id == job)
        if ended.state == "completed":
            self.ask(look, lambda: None)
        elif ended.state == "failed":
            self._fail(look, ended.error or "", "2606" in (ended.error or ""))

    def _fail(self, look: Look, why: str, locked: bool) -> None:
        part = Part(look.kind, look.name)
        self.parts.append(part.failed(len(self.parts) + 1, self.now, why, locked))


def networks_of(port: VmmPort, host: str, vm_ids: Sequence[str]) -> Mapping[str, Network]:
    """Read both halves of the networks of those of these VMs that are on the host."""
    ports = port.ports(host, vm_ids)
    models = port.models(list(ports)) if ports else {}
    return {one: join_halves(half, models.get(one, Network())) for one, half in ports.items()}


def put_back(port: VmmPort, now: float, vm_id: str, repair: Repair, skew: float = 0.0) -> None:
    """Restore both halves of a VM's network, Hyper-V's first. ``skew``: VMM's clock minus ours."""
    port.put_ports(vm_id, repair, Expected(repair.host, now + PATIENCE))
    port.put_models(vm_id, repair, Expected(repair.host, now + skew + PATIENCE))
