"""Stub PowerShell modules with documented signatures, whose cmdlets ask a simulated world.

``write(folder)`` makes four modules from ``cmdlets.json``: ``virtualmachinemanager``, ``Hyper-V``,
``CimCmdlets`` and ``WorldClock`` (``Get-Date`` by the world's clock). A stub binds its parameters
exactly as documented: names, aliases, sets, mandatory, position, pipeline input, accepted values,
and the products' types. So a call that the real cmdlet would refuse is refused here too, even with
splatting. The behaviour of stubs is in ``handlers/``; the other side is ``world_server.py``.
``environment(...)`` and ``opening(...)`` prepare a shell of the world.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
COMMANDS = HERE / "cmdlets.json"
HANDLERS = HERE / "handlers"
VMM = "vmm"
"""How the VMM server is called as a shell; hosts are called by their full names."""

_VMM_TYPES = "Microsoft.SystemCenter.VirtualMachineManager."
_HV_TYPES = "Microsoft.HyperV.PowerShell."
TYPES = {
    **{
        name: _VMM_TYPES + name
        for name in (
            *("VM", "Host", "Task", "VirtualNetworkAdapter", "ServerConnection"),
            *("VMNetwork", "VMSubnet", "PortClassification", "PortACL"),
        )
    },
    **{
        name: _HV_TYPES + name
        for name in (
            *("VirtualMachine", "VMNetworkAdapter", "VMNetworkAdapterBase"),
            *("VMNetworkAdapterExtendedAclAction", "VMNetworkAdapterExtendedAclDirection"),
        )
    },
    **{
        name: name
        for name in (
            *("String", "Int32", "Int64", "UInt16", "UInt32", "Boolean", "DateTime", "Decimal"),
            *("Guid", "Uri", "Version", "Object", "PSObject", "PSCredential"),
        )
    },
}

_PARAMETER = re.compile(
    r"\[\[-(?P<optional_place>\w+)\](?: <(?P<t1>[^>]+)>)?\]"
    r"|\[-(?P<place>\w+)\] <(?P<t2>[^>]+)>"
    r"|\[-(?P<switch>\w+)\]"
    r"|\[-(?P<optional>\w+) <(?P<t3>[^>]+)>\]"
    r"|-(?P<mandatory>\w+)(?: <(?P<t4>[^>]+)>)?"
)


@dataclass
class Parameter:
    """One parameter: its type (``None``: a switch) and, by set, [mandatory, position]."""

    kind: str | None
    sets: dict[str, tuple[bool, int | None]] = field(default_factory=dict)


def commands() -> dict[str, dict[str, object]]:
    """The documented cmdlets that VMFerry uses. Keys that begin with ``_`` are remarks."""
    found = json.loads(COMMANDS.read_text(encoding="utf-8"))
    return {name: spec for name, spec in found.items() if not name.startswith("_")}


def write(folder: Path) -> Path:
    """Write the four modules into a folder for ``PSModulePath``."""
    known = commands()
    for module in ("virtualmachinemanager", "Hyper-V", "CimCmdlets"):
        names = [name for name, spec in known.items() if spec["module"] == module]
        _write_module(folder, module, known, names)
    _write_module(folder, "WorldClock", known, ["Get-Date"])
    return folder


def environment(stubs: Path, port: int, shell: str) -> dict[str, str]:
    """The environment of a shell on this computer (``VMM`` or a host's full name)."""
    world = {"VMFERRY_WORLD": f"127.0.0.1:{port}", "VMFERRY_SHELL": shell}
    return {"PSModulePath": str(stubs), **world}


def opening(shell: str, *, both: bool = False) -> str:
    """Text that a new runspace on this computer runs first. ``both`` is a machine with VMM's
    console and Hyper-V, where VMM's aliases shadow Hyper-V's cmdlets."""
    modules = ["virtualmachinemanager"] if shell == VMM or both else []
    modules += ["Hyper-V", "CimCmdlets"] if shell != VMM or both else []
    return "; ".join(f"Import-Module {name} -Global" for name in ["WorldClock", *modules])


def _write_module(
    folder: Path, module: str, known: Mapping[str, Mapping[str, object]], names: Sequence[str]
) -> None:
    place = folder / module
    place.mkdir(parents=True, exist_ok=True)
    own = HANDLERS / f"{module}.ps1"
    load = [HANDLERS / "types.ps1", HANDLERS / "world.ps1", *([own] if own.exists() else [])]
    text = _PRELUDE % "\n".join(f". '{str(path).replace(chr(39), chr(39) * 2)}'" for path in load)
    text += "\n".join(_function(name, known[name]) for name in names)
    text += (
        "\nExport-ModuleMember -Function @(" + ", ".join(f"'{n}'" for n in names) + ") -Alias *\n"
    )
    (place / f"{module}.psm1").write_text(text, encoding="utf-8")
    (place / f"{module}.psd1").write_text(
        f"@{{ ModuleVersion = '1.0'; RootModule = '{module}.psm1' }}\n", encoding="utf-8"
    )


_PRELUDE = """\
$ErrorActionPreference = 'Stop'
$script:Handlers = @{}
%s
function Invoke-StubHandler([string] $Name, $Bound, $Cmdlet) {
    if ($script:Handlers.ContainsKey($Name)) { & $script:Handlers[$Name] $Bound $Cmdlet }
    else { Invoke-World $Name $Bound $Cmdlet }
}
"""


def _parameters(sets: Mapping[str, str]) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {}
    for heading, syntax in sets.items():
        place = 0
        for one in _PARAMETER.finditer(syntax):
            kind = next(k for k in one.groupdict() if not k.startswith("t") and one[k])
            if one[kind] in ("WhatIf", "Confirm"):
                continue
            declared = next((one[t] for t in ("t1", "t2", "t3", "t4") if one[t]), None)
            at = None
            if kind.endswith("place"):
                at, place = place, place + 1
            parameter = found.setdefault(one[kind], Parameter(declared))
            parameter.sets[_bare(heading)] = (kind in ("place", "mandatory"), at)
    return found


def _bare(heading: str) -> str:
    return heading.removesuffix(" (Default)")


def _type(declared: str | None) -> str:
    if declared is None:
        return "switch"
    bare = declared.removesuffix("[]").removeprefix("System.")
    found = TYPES.get(bare[0].upper() + bare[1:], "object")
    return found + ("[]" if declared.endswith("[]") else "")


def _function(name: str, spec: Mapping[str, object]) -> str:
    sets: Mapping[str, str] = spec["sets"]
    binding = []
    if any("[-WhatIf]" in syntax for syntax in sets.values()):
        binding.append("SupportsShouldProcess")
    default = next((_bare(h) for h in sets if h.endswith(" (Default)")), None)
    if default and len(sets) > 1:
        binding.append(f"DefaultParameterSetName = '{default}'")
    lines = [
        f"        {' '.join(_attributes(parameter, one, spec, single=len(sets) == 1))} ${parameter}"
        for parameter, one in _parameters(sets).items()
    ]
    return "\n".join(
        (
            f"function {name} {{",
            f"    [CmdletBinding({', '.join(binding)})]",
            "    param(",
            ",\n".join(lines),
            "    )",
            f"    process {{ Invoke-StubHandler '{name}' $PSBoundParameters $PSCmdlet }}",
            "}\n",
        )
    )


def _attributes(
    name: str, parameter: Parameter, spec: Mapping[str, object], *, single: bool
) -> Iterator[str]:
    pipeline = spec.get("pipeline", {}).get(name)
    for heading, (mandatory, place) in parameter.sets.items():
        arguments = [] if single else [f"ParameterSetName = '{heading}'"]
        arguments += ["Mandatory"] if mandatory else []
        arguments += [] if place is None else [f"Position = {place}"]
        arguments += ["ValueFromPipeline"] if pipeline in ("value", "both") else []
        arguments += ["ValueFromPipelineByPropertyName"] if pipeline in ("property", "both") else []
        yield f"[Parameter({', '.join(arguments)})]"
    if aliases := spec.get("aliases", {}).get(name):
        yield "[Alias(" + ", ".join(f"'{alias}'" for alias in aliases) + ")]"
    kind = _type(parameter.kind)
    values = spec.get("values", {}).get(name)
    if values and kind in ("object", "String"):
        yield "[ValidateSet(" + ", ".join(f"'{value}'" for value in values) + ")]"
    if kind == "String" and parameter.kind == "String":
        yield "[ValidateNotNullOrEmpty()]"
    yield f"[{kind}]"
