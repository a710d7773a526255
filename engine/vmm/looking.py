"""Looks at VMM and at the hosts, each a call of its own.

A look at VMM's jobs never waits for other calls: one session with the VMM server is kept for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.model import HostInventory, JobList, Network, Pulse, Site, VmmInventory
from engine.settings import Settings
from engine.vmm import answers, values
from engine.vmm.answers import Shape
from engine.vmm.psrp import Parameters
from engine.vmm.sessions import Sessions


class Looks:
    """The looks of ``VmmPort`` over PSRP. Thread-safe."""

    def __init__(self, settings: Settings, sessions: Sessions | None) -> None:
        self.vmm, self.limits = settings.vmm.server, settings.vmm
        self.sessions = sessions or Sessions(settings.vmm, settings.hosts)

    def version(self) -> str:
        """See ``VmmPort``."""
        said = self._vmm(answers.Version, "Get-VmfVersion", {}, self.limits.limit_quick)
        return f"VMM {said.vmm} on {self.vmm}, PowerShell {said.powershell}, module {said.module}"

    def jobs(self, ids: Sequence[str] = ()) -> JobList:
        """See ``VmmPort``."""
        answer = self._vmm(
            answers.JobsAnswer,
            "Get-VmfJobs",
            {"Ids": list(ids) or None},
            self.limits.limit_quick,
            reserved=True,
        )
        return values.job_list(answer)

    def pulse(self, host: str, vm_ids: Sequence[str] = ()) -> Pulse:
        """See ``VmmPort``."""
        wanted: Parameters = {"VmIds": list(vm_ids) or None}
        answer = self._host_asks(
            answers.PulseAnswer, host, "Get-VmfPulse", wanted, self.limits.limit_quick
        )
        return values.pulse(host, answer)

    def shown(self, host: str) -> HostInventory:
        """See ``VmmPort``."""
        answer = self._host_asks(
            answers.StateAnswer, host, "Get-VmfHostState", {}, self.limits.limit_read
        )
        return values.inventory(host, answer)

    def known(self, host: str) -> VmmInventory:
        """See ``VmmPort``."""
        answer = self._vmm(
            answers.InventoryAnswer,
            "Get-VmfInventory",
            {"HostName": host},
            self.limits.limit_read,
        )
        return VmmInventory(values.known_host(answer.host), values.known_vms(answer.vms))

    def site(self) -> Site:
        """See ``VmmPort``."""
        answer = self._vmm(answers.SiteAnswer, "Get-VmfSite", {}, self.limits.limit_read)
        return Site(tuple(map(values.known_host, answer.hosts)), values.known_vms(answer.vms))

    def ports(self, host: str, vm_ids: Sequence[str]) -> Mapping[str, Network]:
        """See ``VmmPort``."""
        wanted: Parameters = {"VmIds": list(vm_ids)}
        answer = self._host_asks(
            answers.PortAnswer, host, "Get-VmfHostNetwork", wanted, self.limits.limit_read
        )
        return {vm.id: values.ports(vm.adapters) for vm in answer.vms}

    def models(self, vm_ids: Sequence[str]) -> Mapping[str, Network]:
        """See ``VmmPort``."""
        wanted: Parameters = {"VmIds": list(vm_ids)}
        answer = self._vmm(answers.ModelAnswer, "Get-VmfNetwork", wanted, self.limits.limit_read)
        return {vm.id: values.models(vm.adapters) for vm in answer.vms}

    def rights(self, host: str) -> str | None:
        """See ``VmmPort``."""
        said = self._host_asks(
            answers.RightsAnswer, host, "Test-VmfRights", {}, self.limits.limit_quick
        )
        if said.readable and said.writable:
            return None
        return said.why or f"The extended ACLs of {host} cannot be read and written"

    # --- asking ---------------------------------------------------------------------------

    def _vmm(
        self,
        shape: type[Shape],
        function: str,
        parameters: Parameters,
        seconds: float,
        *,
        reserved: bool = False,
    ) -> Shape:
        """Call a function on the VMM server, which finds VMM on its own machine."""
        there: Parameters = {"VmmServer": "localhost", "Port": self.limits.vmm_port}
        asked = {**parameters, **there}
        data = self.sessions.ask_vmm(function, asked, seconds, reserved=reserved)
        return answers.read(shape, data, function)

    def _host_asks(
        self, shape: type[Shape], host: str, function: str, parameters: Parameters, seconds: float
    ) -> Shape:
        data = self.sessions.ask_host(host, function, parameters, seconds)
        return answers.read(shape, data, f"{function} on {host}")
