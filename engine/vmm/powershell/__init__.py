"""The two PowerShell modules that run on the servers, as package data.

A module is ``VMFerry.Shared.ps1`` followed by its own ``NAME.ps1``. ``module_text`` joins them for
a session, which runs the text in its runspace. ``write_modules`` joins them for servers with an
installed module: NAME.psm1 and NAME.psd1 in a folder NAME, for a constrained endpoint. No file here
has the name of a module, so that nobody installs one without its shared part.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

MODULES = ("VMFerry.Vmm", "VMFerry.Host")
_SHARED = "VMFerry.Shared.ps1"


def module_text(name: str) -> str:
    """The complete text of one of ``MODULES``. Run in a runspace, it defines the functions."""
    if name not in MODULES:
        raise ValueError(f"{name} is not one of {', '.join(MODULES)}")
    return f"{_read(_SHARED)}\n{_read(f'{name}.ps1')}"


def write_modules(folder: Path) -> list[Path]:
    """Write each module into its own folder below ``folder``, as PowerShell finds modules.

    Existing files of the same names are replaced. Raises ``OSError``.
    """
    written = []
    for name in MODULES:
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        for file, text in (
            (f"{name}.psm1", module_text(name)),
            (f"{name}.psd1", _read(f"{name}.psd1")),
        ):
            (place / file).write_text(text, encoding="ascii")
            written.append(place / file)
    return written


def _read(file: str) -> str:
    return (resources.files(__package__) / file).read_text(encoding="ascii")
