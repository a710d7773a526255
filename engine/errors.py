"""Errors, as sentences with fields.

::

    VMFerryError
    +-- Refused            bad request; nothing happened, nothing was changed (exit 2)
    |   +-- UsageError     the words are wrong: which word, and what to type instead
    +-- StoreError         the database cannot be used (exit 4)
    |   +-- StoreNewer     written by a newer VMFerry
    |   +-- StoreCorrupt   not a database, or a damaged one
    |   +-- StoreLocked    another engine advances it
    |   +-- StoreBusy      somebody held it for too long; nothing was written, try again
    |   +-- StoreUnwritable  a full or broken disk; nothing was written, try again
    |   +-- StoreConflict  a row that the tables forbid: a bug, or the last fence against one
    |   +-- Overtaken      a person decided while we planned; nothing was written, plan again
    |   +-- Fenced         our lease was taken over: what we wanted to write is void
    +-- IllegalTransition  a bug: a state change that the tables do not allow
    +-- VmmError           the world said no, or nothing
        +-- VmmUnavailable did it happen: unknown     may I retry: only after a look
        +-- VmmLocked      did it happen: no          may I retry: later, not charged
        +-- VmmBusy        did it happen: no          may I retry: later, not charged
        +-- VmmStale       did it happen: no          may I retry: after a new look, not charged
        +-- VmmRefused     did it happen: no          may I retry: charged
        +-- ContractError  did it happen: unknown     may I retry: no, versions differ
"""

from __future__ import annotations


class VMFerryError(Exception):
    """Base of all; never raised itself."""


class Refused(VMFerryError):
    """A request that cannot be carried out. ``what`` is the wrong word, ``hint`` the way out."""

    def __init__(self, sentence: str, *, what: str = "", hint: str = "") -> None:
        super().__init__(sentence)
        self.sentence, self.what, self.hint = sentence, what, hint

    def __str__(self) -> str:
        return f"{self.sentence} {self.hint}".strip()


class UsageError(Refused):
    """Words that the grammar does not know. ``at`` is where the wrong word stands in ``text``."""

    def __init__(
        self, sentence: str, *, what: str = "", hint: str = "", text: str = "", at: int = -1
    ) -> None:
        super().__init__(sentence, what=what, hint=hint)
        self.text, self.at = text, at

    def pointed(self) -> str:
        """Three lines for a terminal: the text, a caret under the wrong word, the sentence."""
        if self.at < 0:
            return str(self)
        return f"{self.text}\n{' ' * self.at}{'^' * max(1, len(self.what))}\n{self}"


class StoreError(VMFerryError):
    """The database cannot be used; nothing was changed."""


class StoreNewer(StoreError):
    """The database was written by a newer VMFerry; nothing was touched."""


class StoreCorrupt(StoreError):
    """Not a database of ours, or a damaged one; nothing was touched."""


class StoreLocked(StoreError):
    """Another engine advances this database; reading and asking work beside it."""


class StoreBusy(StoreError):
    """Somebody else held the database for too long. Nothing was written; try again."""


class StoreUnwritable(StoreError):
    """The disk is full or broken, or the file is read-only. Nothing was written; try again."""


class StoreConflict(StoreError):
    """The tables forbid a row, such as a second move of a VM in flight. Nothing was written."""


class Fenced(StoreError):
    """Another engine took the lease; the write was rolled back."""


class Overtaken(StoreError):
    """A row changed between the plan and its writing; nothing was written. Plan again."""


class IllegalTransition(VMFerryError):
    """A state change that the tables of ``policy/states.py`` do not allow: a bug."""

    def __init__(self, noun: str, old: str, new: str) -> None:
        super().__init__(f"A {noun} never goes from {old} to {new}.")
        self.noun, self.old, self.new = noun, old, new


class VmmError(VMFerryError):
    """The world said no, or nothing. ``code`` is VMM's error number where there is one."""

    happened: bool | None = None

    def __init__(self, text: str, *, code: str = "") -> None:
        super().__init__(text)
        self.text, self.code = text, code

    def __str__(self) -> str:
        """The text, with VMM's number; our own words for a cause are for programs."""
        return f"{self.text} ({self.code})" if self.code.isdigit() else self.text


class VmmUnavailable(VmmError):
    """No answer. Whether it happened is unknown: look before trying again."""


class VmmLocked(VmmError):
    """VMM error 2606: an object is locked by another job. It did not happen; try later."""

    happened = False


class VmmBusy(VmmError):
    """A host has no free migration slot. It did not happen; try later, nothing is charged."""

    happened = False


class VmmStale(VmmError):
    """The compare-and-start guard found another world than the one we decided on.

    It did not happen; look again, nothing is charged.
    """

    happened = False


class VmmRefused(VmmError):
    """VMM or Hyper-V said no. It did not happen; another try is charged."""

    happened = False


class ContractError(VmmError):
    """The answer is not of the contract we speak; somebody has to install the same version."""
