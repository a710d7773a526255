"""Checks before every start: VMs that can never move, and hosts that a VM never fits.

Each finding holds until a person changes something. Conditions that pass by themselves are waits.
"""

from __future__ import annotations

import re

from engine.language.sentence import Sentence, VmName, join, say
from engine.model import Host, Vm, short

#: Properties that prevent every move between stand-alone hosts: the short name, a clause about
#: the VM, and the remedy.
_BLOCKS = {
    "replica": (
        "replica copy",
        "it is a replica copy",
        "Move the primary VM, then set up replication anew.",
    ),
    "ha": ("highly available", "it is highly available", "Remove it from its cluster first."),
    "pass_through": (
        "pass-through disk",
        "it has a pass-through disk",
        "Convert the disk to a virtual one.",
    ),
    "shared_disk": ("shared disk", "it shares a virtual disk", "Detach the shared disk."),
    "fibre_channel": (
        "virtual fibre channel adapter",
        "it has a virtual fibre channel adapter",
        "Remove that adapter.",
    ),
}


def block(vm: Vm) -> tuple[Sentence, Sentence]:
    """Reason why a VM with ``blocks`` can never move as it is, and the remedy."""
    known = [_known(word) for word in vm.blocks]
    why = ", ".join(reason for _, reason, _ in known)
    text = say("{} cannot be moved between stand-alone hosts: {}.", VmName(vm.name), why)
    return text, join(" ", [hint for _, _, hint in known])


def block_in_short(vm: Vm) -> str:
    """Short names of what blocks a VM, for one VM or many: ``replica copy, pass-through disk``."""
    return ", ".join(_known(word)[0] for word in vm.blocks)


def _known(word: str) -> tuple[str, str, str]:
    return _BLOCKS.get(word, (word, word, f"Remove: {word}."))


def misfit(vm: Vm, host: Host, path: str | None) -> str:
    """Requirement of the VM that this host lacks, in words; empty: none is known."""
    if host.switches is not None:
        there = {name.casefold() for name in host.switches}
        lacking = [name for name in dict.fromkeys(vm.switches) if name.casefold() not in there]
        if lacking:
            names = ", ".join(f'"{name}"' for name in lacking)
            return f"{short(host.name)} has no switch {names}"
    drive = drive_of(path or host.path)
    volumes = None if host.volumes is None else {v.name.casefold() for v in host.volumes}
    if drive and volumes is not None and drive.casefold() not in volumes:
        return f"{short(host.name)} has no volume {drive}"
    return ""


def drive_of(path: str | None) -> str:
    r"""Drive of a path: ``D:`` of ``D:\VMs``; empty: the path names none."""
    found = re.match(r"[A-Za-z]:", path or "")
    return found[0].upper() if found else ""
