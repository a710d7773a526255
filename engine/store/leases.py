"""Leases: an operating-system lock on this machine, and an epoch that fences every write.

The lock keeps a second engine out of the same database. Its holder takes over the lease and
raises the epoch. Each write of an engine checks the epoch in its own transaction, so that an
engine that froze and was replaced cannot write its old decisions.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from engine.errors import Fenced, StoreLocked
from engine.store.database import Database
from engine.store.store import Store

_LEASE_SECONDS = 60.0
#: Seconds. ``is_advanced`` holds the lock for a moment, in `vmferry status` for example.
_PATIENCE = 1.0


@dataclass(frozen=True)
class Fence:
    """Right to write as the engine of ``vmm`` while ``epoch`` is the newest."""

    vmm: str
    epoch: int

    def check(self, db: Database) -> None:
        """Raise ``Fenced`` if another engine took over. Call this inside the transaction."""
        rows = db.query("SELECT epoch FROM leases WHERE vmm = ?", [self.vmm])
        newest = rows[0]["epoch"] if rows else None
        if newest != self.epoch:
            raise Fenced(
                f"Another engine took over {self.vmm} (epoch {newest}, ours "
                f"{self.epoch}). This engine wrote nothing more."
            )


class Advancing:
    """Lock file beside the database, locked from :meth:`acquire` to :meth:`release`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = FileLock(f"{store.path}.lock", thread_local=False)

    def acquire(self, vmm: str, now: float) -> Fence:
        """Lock the database and raise the epoch of ``vmm``. Raises ``StoreLocked``."""
        try:
            self._lock.acquire(timeout=_PATIENCE)
        except Timeout:
            raise StoreLocked(
                f"Another VMFerry is running on {self._store.path}. You can still read runs "
                "and send requests: try `vmferry status`. To start a second one, name another --db."
            ) from None
        holder = f"{socket.gethostname()}:{os.getpid()}"
        with self._store.transaction() as db:
            (lease,) = db.query(
                """INSERT INTO leases (vmm, epoch, holder, lease_until) VALUES (?, 1, ?, ?)
                   ON CONFLICT (vmm) DO UPDATE SET epoch = leases.epoch + 1,
                   holder = excluded.holder, lease_until = excluded.lease_until
                   RETURNING epoch""",
                [vmm, holder, now + _LEASE_SECONDS],
            )
        return Fence(vmm, lease["epoch"])

    def release(self) -> None:
        """Unlock the database for the next engine. Idempotent."""
        self._lock.release()


def is_advanced(store: Store) -> bool:
    """Return whether an engine works on this database. True also if the lock cannot be tested."""
    path = Path(f"{store.path}.lock")
    if not path.exists():
        return False
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        return True
    lock.release()
    return False
