"""The two PowerShell modules that run on the other side of the wire, as package data."""

from __future__ import annotations

from importlib import resources

MODULES = ("VMFerry.Vmm", "VMFerry.Host")


def module_text(name: str) -> str:
    """The text of one of ``MODULES``, complete: run in a runspace it defines its functions."""
    if name not in MODULES:
        raise ValueError(f"{name} is none of {', '.join(MODULES)}")
    file = resources.files(__package__) / name / f"{name}.psm1"
    return file.read_text(encoding="ascii")
