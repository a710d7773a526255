"""Causes of failed migrations, read from the errors of VMM and Hyper-V.

The number at the end of VMM's text decides first, then Hyper-V's codes (0x...), then words.
Numbers and texts come from Microsoft's support articles on VMM and live migration.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum

from engine.model import Result, is_called


class Cause(StrEnum):
    """Cause of a failed migration. Only ``OTHER`` and ``CONFIGURATION`` are charged."""

    SLOT = "slot"
    LOCK = "lock"
    BACKUP = "backup"
    CONNECTION = "connection"
    RESTART = "restart"
    CONFIGURATION = "configuration"
    OTHER = "other"


#: VMM error ids and Hyper-V event ids.
_NUMBERS_OF = {
    Cause.SLOT: ("23007", "21501"),
    Cause.LOCK: ("2606", "2602"),
    Cause.CONNECTION: ("2911", "2912", "2916", "2927", "20506"),
    Cause.RESTART: ("1700", "1711"),
    Cause.CONFIGURATION: ("406", "640", "11028", "12710", "21125", "33012"),
}
_NUMBERS = {number: cause for cause, numbers in _NUMBERS_OF.items() for number in numbers}

#: VMM passes on what the host's Hyper-V said, or has checked it before a job moved anything.
_ENDS = frozenset({"802", "1730", "2409", "2903", "10698", "12700"})

#: Something broke off (RPC, timeouts, a lost network name, an abort): the other side may go on.
_BROKEN_OFF = frozenset(
    {
        *("0X800703E3", "0X800705B4", "0X800706BE", "0X80070037", "0X80070040", "0X80070079"),
        "0X80004004",
    }
)

#: Credentials, logon type, service principal, path not found; sharing violation; WS-Management.
_CODES = {
    "0X8009030E": Cause.CONFIGURATION,
    "0X8009030D": Cause.CONFIGURATION,
    "0X80070569": Cause.CONFIGURATION,
    "0X80090322": Cause.CONFIGURATION,
    "0X80070003": Cause.CONFIGURATION,
    "0XC03A0014": Cause.CONFIGURATION,
    "0X80070020": Cause.BACKUP,
}

_WORDS = (
    (Cause.SLOT, r"limit \W?\d+\W? was reached"),
    (Cause.LOCK, r"locked by another job"),
    (Cause.BACKUP, r"being backed up|while the object is in use"),
    (Cause.CONFIGURATION, r"could not find ethernet switch|processor.{0,40}not compatible"),
    (Cause.CONFIGURATION, r"cannot find the (?:path|drive)|has no volume"),
)

_RESULTS = {
    Cause.SLOT: Result.BUSY,
    Cause.LOCK: Result.LOCKED,
    Cause.BACKUP: Result.LOCKED,
    Cause.CONNECTION: Result.STALE,
    Cause.RESTART: Result.STALE,
}


def cause_of(error: str, vm: str = "") -> Cause:
    """Cause that this error names. The name of ``vm`` is removed first: it may be any word."""
    text = _without(vm, error)
    number = _number(text)
    if number in _NUMBERS:
        return _NUMBERS[number]
    for code in _codes(text):
        if code in _CODES:
            return _CODES[code]
        if code.startswith("0X8033"):
            return Cause.CONNECTION
    for cause, words in _WORDS:
        if re.search(words, text, re.IGNORECASE):
            return cause
    return Cause.OTHER


def is_end(error: str) -> bool:
    """Tell whether a job that failed with this error has ended on the hosts, too: a cause that is
    known, a check before the move, or the word of the host's own Hyper-V. If VMM restarted or lost
    a host or its agent, if something broke off, or for an unknown cause, the hosts may go on."""
    cause = cause_of(error)
    if cause in (Cause.CONNECTION, Cause.RESTART) or not _BROKEN_OFF.isdisjoint(_codes(error)):
        return False
    return cause is not Cause.OTHER or _number(error) in _ENDS


def kind_of(error: str, vm: str, vm_id: str, hosts: Iterable[str]) -> str:
    """Error text without the VM's id and name, so that VMs with the same error compare as equal.
    If the VM has the name of one of ``hosts``, the name stays, because it may mean the host."""
    text = re.sub(re.escape(vm_id), "", error, flags=re.IGNORECASE)
    if any(is_called(host, vm) for host in hosts):
        return text
    return _without(vm, text)


def _without(vm: str, text: str) -> str:
    """Remove the VM's name, but not from inside a number or another word."""
    return re.sub(rf"(?<!\w){re.escape(vm)}(?!\w)", "", text) if vm else text


def _codes(text: str) -> list[str]:
    """HRESULTs in a text, in capitals."""
    return re.findall(r"0X[0-9A-F]{8}", text.upper())


def _number(text: str) -> str:
    found = re.search(r"\((\d{3,5})\)[.\s]*$", text)
    return found[1] if found else ""


def result_of(error: str, vm: str = "") -> Result:
    """Result of an attempt whose job failed with this error and left the VM where it was."""
    return _RESULTS.get(cause_of(error, vm), Result.FAILED)
