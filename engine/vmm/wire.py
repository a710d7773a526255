"""The port to a real VMM server and its hosts: changes. Looks are in ``looking``.

VMM is asked for what VMM knows and changes, and each host directly for what Hyper-V shows and
changes. Nothing is kept between calls, except sessions.
"""

from __future__ import annotations

from engine.clock import Clock
from engine.model import Expected, MoveOrder, Repair, Reread
from engine.settings import Settings
from engine.vmm import answers, values
from engine.vmm.answers import ScriptAnswer
from engine.vmm.looking import Looks
from engine.vmm.psrp import Parameters
from engine.vmm.sessions import Sessions


class WirePort(Looks):
    """``VmmPort`` over PSRP. Thread-safe; call ``close`` at the end."""

    def __init__(
        self, settings: Settings, clock: Clock, *, sessions: Sessions | None = None
    ) -> None:
        super().__init__(settings, sessions)
        self.clock = clock

    def close(self) -> None:
        """Close all sessions. Calls that hang are left to their deadlines."""
        self.sessions.close()

    def start_move(self, order: MoveOrder) -> str | None:
        """See ``VmmPort``. ``Start-VmfMove`` makes the comparison, on VMM's server."""
        parameters: Parameters = {
            "VmId": order.vm_id,
            "Source": order.source,
            "Destination": order.destination,
            "Path": order.path,
            "Power": order.power,
            "Pin": None
            if order.pin is None
            else values.rows(map(values.pinned, order.pin.adapters)),
            "NotAfter": values.iso(order.not_after),
            "NotBefore": None if order.not_before is None else values.iso(order.not_before),
        }
        return self._vmm(answers.Started, "Start-VmfMove", parameters, self.limits.limit_change).job

    # --- changes of one side, each with what it expects -----------------------------------

    def reread(self, what: Reread, name: str, not_after: float) -> str | None:
        """See ``VmmPort``."""
        wanted = {"What": what.value, "Name": name, "NotAfter": values.iso(not_after)}
        limit = self.limits.limit_change
        return self._vmm(answers.Started, "Start-VmfReread", wanted, limit).job

    def put_ports(self, vm_id: str, repair: Repair, expected: Expected) -> None:
        """See ``VmmPort``."""
        if rows := _ports(repair):
            until = values.iso(expected.not_after)
            wanted = {"VmId": vm_id, "Adapters": rows, "NotAfter": until}
            self._host_asks(
                ScriptAnswer, expected.host, "Add-VmfHostPort", wanted, self.limits.limit_change
            )

    def put_models(self, vm_id: str, repair: Repair, expected: Expected) -> None:
        """See ``VmmPort``."""
        if rows := _connections(repair):
            wanted = {**_expected(vm_id, expected), "Adapters": rows}
            self._vmm(ScriptAnswer, "Repair-VmfModel", wanted, self.limits.limit_change)

    def clear(self, vm_id: str, expected: Expected) -> None:
        """See ``VmmPort``."""
        wanted = _expected(vm_id, expected)
        self._vmm(ScriptAnswer, "Clear-VmfFailure", wanted, self.limits.limit_change)

    def stop(self, job_id: str, not_after: float) -> None:
        """See ``VmmPort``."""
        wanted = {"JobId": job_id, "NotAfter": values.iso(not_after)}
        self._vmm(ScriptAnswer, "Stop-VmfMove", wanted, self.limits.limit_quick)


# --- values to parameters -----------------------------------------------------------------------


def _connections(repair: Repair) -> str | None:
    """Rows that VMM has to restore, or ``None``."""
    wanted = [values.connection(one) for one in repair.adapters if one.is_modelled]
    return values.rows(wanted) if wanted else None


def _ports(repair: Repair) -> str | None:
    """Rows that the host has to restore, or ``None``."""
    wanted = [values.port(one) for one in repair.adapters if one.is_port]
    return values.rows(wanted) if wanted else None


def _expected(vm_id: str, expected: Expected) -> dict[str, str]:
    until = values.iso(expected.not_after)
    return {"VmId": vm_id, "HostName": expected.host, "NotAfter": until}
