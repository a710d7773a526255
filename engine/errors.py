"""Errors: a sentence for people, and fields for programs.

::

    VMFerryError
    +-- Refused            bad request; nothing was changed (exit 2)
    |   +-- UsageError     invalid words: which word, and what to type instead
    +-- StoreError         the database cannot be used (exit 4)
    |   +-- StoreNewer     written by a newer VMFerry
    |   +-- StoreCorrupt   not a database, or a damaged one
    |   +-- StoreLocked    another engine holds the lock
    |   +-- StoreBusy      locked by another process for too long; nothing was written, retry
    |   +-- StoreUnwritable  a full or broken disk; nothing was written, retry
    |   +-- StoreConflict  the tables forbid a row: a bug; nothing was written
    |   +-- Overtaken      a row changed during planning; nothing was written, plan again
    |   +-- Fenced         another engine took the lease; nothing was written
    +-- IllegalTransition  a state change that ``policy/states.py`` does not allow: a bug
    +-- VmmError           VMM or a host refused or did not answer
        +-- VmmUnavailable call carried out: unknown  retry: only after an observation
        +-- VmmLocked      call carried out: no       retry: later, not charged
        +-- VmmBusy        call carried out: no       retry: later, not charged
        +-- VmmStale       call carried out: no       retry: after an observation, not charged
        +-- VmmRefused     call carried out: no       retry: charged
        +-- ContractError  call carried out: unknown  retry: no, the versions differ
"""

from __future__ import annotations


class VMFerryError(Exception):
    """Base class of all errors. Never raised directly."""


class Refused(VMFerryError):
    """Bad request; nothing was changed. ``what`` is the wrong word and ``hint`` the remedy.
    ``says_nothing``: the text already says that nothing happened."""

    def __init__(
        self, sentence: str, *, what: str = "", hint: str = "", says_nothing: bool = False
    ) -> None:
        super().__init__(sentence)
        self.sentence, self.what, self.hint = sentence, what, hint
        self.says_nothing = says_nothing

    def __str__(self) -> str:
        return f"{self.sentence} {self.hint}".strip()


class UsageError(Refused):
    """Words that do not parse. ``at`` is the index of the wrong word in ``text``, -1 if unknown."""

    def __init__(
        self,
        sentence: str,
        *,
        what: str = "",
        hint: str = "",
        says_nothing: bool = False,
        text: str = "",
        at: int = -1,
    ) -> None:
        super().__init__(sentence, what=what, hint=hint, says_nothing=says_nothing)
        self.text, self.at = text, at

    def pointer(self) -> tuple[str, ...]:
        """Return two lines for a terminal, the text and a caret under the wrong word, or none."""
        if self.at < 0:
            return ()
        return (self.text, f"{' ' * self.at}{'^' * max(1, len(self.what))}")


class StoreError(VMFerryError):
    """The database cannot be used. Nothing was changed."""


class StoreNewer(StoreError):
    """The database was written by a newer VMFerry. Nothing was changed."""


class StoreCorrupt(StoreError):
    """The file is not a VMFerry database, or is damaged. Nothing was changed."""


class StoreLocked(StoreError):
    """Another engine holds this database. Other commands can still read it and send requests."""


class StoreBusy(StoreError):
    """Another process locked the database for too long. Nothing was written; retry."""


class StoreUnwritable(StoreError):
    """The disk is full or broken, or the file is read-only. Nothing was written; retry."""


class StoreConflict(StoreError):
    """The tables forbid a row, such as a second move of a VM in flight. Nothing was written."""


class Fenced(StoreError):
    """Another engine took the lease. Nothing was written."""


class Overtaken(StoreError):
    """A row changed between planning and writing. Nothing was written; plan again."""


CLOSED = (StoreBusy, StoreUnwritable, StoreCorrupt)
"""Errors of the file, not of what was to be written: it can be written again later."""


class IllegalTransition(VMFerryError):
    """A state change that the tables of ``policy/states.py`` do not allow: a bug."""

    def __init__(self, noun: str, old: str, new: str) -> None:
        super().__init__(f"A {noun} never goes from {old} to {new}.")
        self.noun, self.old, self.new = noun, old, new


class VmmError(VMFerryError):
    """VMM or a host refused or did not answer. ``code`` is VMM's error number, if there is one."""

    happened: bool | None = None

    def __init__(self, text: str, *, code: str = "") -> None:
        super().__init__(text)
        self.text, self.code = text, code

    def __str__(self) -> str:
        """Text with VMM's error number. VMFerry's own codes are words and are left out."""
        return f"{self.text} ({self.code})" if self.code.isdigit() else self.text


class VmmUnavailable(VmmError):
    """No answer. The call may have been carried out: observe before a retry. ``may_pass``: false
    if only a person can change it, such as a wrong password."""

    may_pass = True


class VmmLocked(VmmError):
    """VMM error 2606: another job locks an object. Nothing happened; retry later, not charged."""

    happened = False


class VmmBusy(VmmError):
    """A host has no free migration slot. Nothing happened; retry later, not charged."""

    happened = False


class VmmStale(VmmError):
    """The compare-and-start guard found that the world has changed since the decision.

    Nothing happened; observe, then retry, not charged.
    """

    happened = False


class VmmRefused(VmmError):
    """VMM or Hyper-V refused. Nothing happened; the attempt is charged."""

    happened = False


class ContractError(VmmError):
    """The answer does not follow the contract. Both sides need the same version."""
