"""The two PowerShell modules that run on the other side of the wire, as package data.

Their text is brought along and run in a runspace, or NAME.psm1 and NAME.psd1 are copied to a
folder NAME among the server's modules and named by a constrained endpoint.
"""

from __future__ import annotations

from importlib import resources

MODULES = ("VMFerry.Vmm", "VMFerry.Host")


def module_text(name: str) -> str:
    """The text of one of ``MODULES``, complete: run in a runspace it defines its functions."""
    if name not in MODULES:
        raise ValueError(f"{name} is none of {', '.join(MODULES)}")
    file = resources.files(__package__) / f"{name}.psm1"
    return file.read_text(encoding="ascii")
