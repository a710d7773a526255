"""Errors, as sentences with fields.

::

    VMFerryError
    +-- Refused            bad request; nothing happened, nothing was changed (exit 2)
    |   +-- UsageError     invalid words: which word, and what to type instead
    +-- StoreError         the database cannot be used (exit 4)
    |   +-- StoreNewer     written by a newer VMFerry
    |   +-- StoreCorrupt   not a database, or a damaged one
    |   +-- StoreLocked    another engine advances it
    |   +-- StoreBusy      locked by another process for too long; nothing was written, retry
    |   +-- StoreUnwritable  a full or broken disk; nothing was written, retry
    |   +-- StoreConflict  a row that the tables forbid: a bug, stopped by the last safeguard
    |   +-- Overtaken      a row changed during planning; nothing was written, plan again
    |   +-- Fenced         another engine took over our lease; nothing was written
    +-- IllegalTransition  a bug: a state change that the tables do not allow
    +-- VmmError           VMM or a host refused or did not answer
        +-- VmmUnavailable did it happen: unknown     may I retry: only after an observation
        +-- VmmLocked      did it happen: no          may I retry: later, not charged
        +-- VmmBusy        did it happen: no          may I retry: later, not charged
        +-- VmmStale       did it happen: no          may I retry: after an observation, not charged
        +-- VmmRefused     did it happen: no          may I retry: charged
        +-- ContractError  did it happen: unknown     may I retry: no, versions differ
"""

from __future__ import annotations


class VMFerryError(Exception):
    """Base class of all errors. Never raised itself."""


class Refused(VMFerryError):
    """A request that cannot be carried out. ``what`` is the wrong word, ``hint`` the remedy;
    ``says_nothing``: the words say already that nothing happened."""

    def __init__(
        self, sentence: str, *, what: str = "", hint: str = "", says_nothing: bool = False
    ) -> None:
        super().__init__(sentence)
        self.sentence, self.what, self.hint = sentence, what, hint
        self.says_nothing = says_nothing

    def __str__(self) -> str:
        return f"{self.sentence} {self.hint}".strip()


class UsageError(Refused):
    """Words that the grammar does not know. ``at`` is the index of the wrong word in ``text``."""

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
        """Two lines for a terminal: the text, and a caret under the wrong word."""
        if self.at < 0:
            return ()
        return (self.text, f"{' ' * self.at}{'^' * max(1, len(self.what))}")


class StoreError(VMFerryError):
    """The database cannot be used. Nothing was changed."""


class StoreNewer(StoreError):
    """The database was written by a newer VMFerry. Nothing was changed."""


class StoreCorrupt(StoreError):
    """Not a VMFerry database, or a damaged one. Nothing was changed."""


class StoreLocked(StoreError):
    """Another engine advances this database. Other commands can still read it and send requests."""


class StoreBusy(StoreError):
    """Another process locked the database for too long. Nothing was written; retry."""


class StoreUnwritable(StoreError):
    """The disk is full or broken, or the file is read-only. Nothing was written; retry."""


class StoreConflict(StoreError):
    """The tables forbid a row, such as a second move of a VM in flight. Nothing was written."""


class Fenced(StoreError):
    """Another engine took the lease; the write was rolled back."""


class Overtaken(StoreError):
    """A row changed between planning and writing. Nothing was written; plan again."""


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
        """The text with VMM's number. Codes that are words of ours are for programs only."""
        return f"{self.text} ({self.code})" if self.code.isdigit() else self.text


class VmmUnavailable(VmmError):
    """No answer. It may have happened: observe before a retry."""


class VmmLocked(VmmError):
    """VMM error 2606: another job locks an object. It did not happen; retry later."""

    happened = False


class VmmBusy(VmmError):
    """A host has no free migration slot. It did not happen; retry later, nothing is charged."""

    happened = False


class VmmStale(VmmError):
    """The compare-and-start guard found that the world has changed since the decision.

    It did not happen; observe again, nothing is charged.
    """

    happened = False


class VmmRefused(VmmError):
    """VMM or Hyper-V refused. It did not happen; a retry is charged."""

    happened = False


class ContractError(VmmError):
    """The answer does not follow our contract. Both sides need the same version."""
