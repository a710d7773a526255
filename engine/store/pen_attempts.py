"""Pens for calls, for attempts and their results, and for networks and their repairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from engine.language.sentence import Quote, VmName, say
from engine.model import (
    CHARGED,
    MIGRATIONS,
    Attempt,
    AttemptKind,
    Move,
    Network,
    OpenCall,
    Result,
    short,
)
from engine.store import codec
from engine.store.transaction import Transaction

Role = Literal["baseline", "ports", "models"]
"""A saved network, or what was read last of Hyper-V's half or of VMM's."""

_NAMES = {kind: f"{kind} migration" if kind in MIGRATIONS else str(kind) for kind in AttemptKind}
_NAMES |= {AttemptKind.RESTORE: "network restore", AttemptKind.DISMISS: "dismissal"}


class AttemptPen(Transaction):
    """Writer of attempts. Each is written before it is made."""

    def begin(
        self,
        move: Move,
        kind: AttemptKind,
        source: str,
        destination: str | None = None,
        not_after: float | None = None,
        detail: Mapping[str, object] | None = None,
    ) -> int:
        """Write an attempt before it is made. Returns the attempt's number."""
        row = {
            "run": move.run,
            "move": move.id,
            "vm_id": move.vm_id,
            "kind": str(kind),
            "source": source,
            "destination": destination,
            "begun": self.now,
            "not_after": not_after,
            "opened": self._newest_call(move.run),
            "detail": codec.dumps(detail or {}),
        }
        attempt = self.db.insert("attempts", row)
        detail = {"attempt": attempt, "attempt_kind": str(kind), "destination": destination}
        where = (
            f" {short(source)} → {short(destination)}" if destination else f" on {short(source)}"
        )
        self.move_event(move, "attempt.begun", f"{move.vm}: {_NAMES[kind]}{where}", detail)
        return attempt

    def is_open(self, attempt: int) -> bool:
        """Tell whether the attempt has no result yet."""
        rows = self.db.query("SELECT id FROM attempts WHERE id = ? AND ended IS NULL", [attempt])
        return bool(rows)

    def issue(self, move: Move, attempt: int, job: str | None) -> None:
        """Write that VMM accepted a start, with the id of its job if VMM gave one. An answer that
        comes after the result was observed only adds the id."""
        self.db.update("attempts", attempt, {"job": job})
        if not self.is_open(attempt):
            return
        detail = {"attempt": attempt, "job": job}
        self.move_event(move, "attempt.issued", f"{move.vm}: VMM runs job {job or '?'}", detail)

    def end(
        self,
        move: Move,
        attempt: int,
        kind: AttemptKind,
        result: Result,
        error: str = "",
    ) -> None:
        """Write the observed result of an attempt."""
        self.db.update("attempts", attempt, self._closed(attempt, result, error))
        why = say(". {}", Quote(error)) if error else ""
        said = "completed" if result is Result.OK else f"had no effect ({result})"
        said = str(result) if result in CHARGED else said
        text = say("{}: {} {}{}", VmName(move.vm), _NAMES[kind], said, why)
        body = {"attempt": attempt, "attempt_kind": str(kind), "result": str(result)}
        self.move_event(move, "attempt.ended", text, body)

    def _closed(self, attempt: int, result: Result, error: str) -> dict[str, object]:
        (row,) = self.db.query("SELECT run FROM attempts WHERE id = ?", [attempt])
        closed = {"ended": self.now, "closed": self._newest_call(row["run"])}
        return {**closed, "result": str(result), "error": error}

    def note_times(self, attempt: int, ran_from: float, ran_to: float) -> None:
        """Write when the attempt's job ran by VMM (Unix seconds on VMFerry's clock)."""
        self.db.update("attempts", attempt, {"ran_from": ran_from, "ran_to": ran_to})

    def _newest_call(self, run: int) -> int:
        rows = self.db.query(
            """SELECT leases.calls FROM leases JOIN runs ON runs.vmm = leases.vmm
               WHERE runs.id = ?""",
            [run],
        )
        return int(rows[0]["calls"]) if rows else 0

    def hear(self, attempt: Attempt) -> None:
        """Write what both hosts have said since the job of this attempt was over, and the job that
        was found of it. Idempotent."""
        hearing = codec.to_json(attempt.hearing)
        self.db.update("attempts", attempt.id, {"found": attempt.found, "hearing": hearing})

    def let_go(self, attempt: Attempt) -> None:
        """Close an attempt whose move has ended and of which nothing runs or can start any more.
        Idempotent, because a person's ``settle`` and the engine may both close it."""
        if not self.is_open(attempt.id):
            return
        error = attempt.error or "Its job no longer runs"
        self.db.update("attempts", attempt.id, self._closed(attempt.id, Result.LOST, str(error)))
        (row,) = self.db.query("SELECT vm FROM moves WHERE id = ?", [attempt.move])
        text = say("{}: {} lost. {}", VmName(row["vm"]), _NAMES[attempt.kind], error)
        detail = {
            "vm_id": attempt.vm_id,
            "attempt": attempt.id,
            "attempt_kind": str(attempt.kind),
            "result": str(Result.LOST),
        }
        self.event("attempt.ended", text, run=attempt.run, vm=row["vm"], detail=detail)

    def doubt(self, move: Move, attempt: int, error: str) -> None:
        """Note that a start got no answer. The attempt stays open until its result is observed."""
        self.db.update("attempts", attempt, {"error": error})
        text = f"{move.vm}: no answer to the start; waiting to observe its result. {error}"
        self.move_event(move, "attempt.issued", text, {"attempt": attempt, "job": None})

    def open_migration(self, move: Move) -> Attempt | None:
        """Return the newest LIVE or COLD attempt of this move without a result, or ``None``."""
        rows = self.db.query(
            """SELECT * FROM attempts WHERE move = ? AND ended IS NULL
               AND kind IN ('live', 'cold') ORDER BY id DESC LIMIT 1""",
            [move.id],
        )
        return codec.of_row(Attempt, rows[0]) if rows else None


class CallPen(Transaction):
    """Writer of calls to VMM and Hyper-V. Their numbers only grow, and none is used twice."""

    def begin(self, vmm: str, call: OpenCall) -> int:
        """Write a call before it is made. Returns its number, which replaces ``call.id``."""
        (lease,) = self.db.query(
            "UPDATE leases SET calls = calls + 1 WHERE vmm = ? RETURNING calls", [vmm]
        )
        row = {
            "vmm": vmm,
            "id": lease["calls"],
            "kind": str(call.kind),
            "hosts": codec.dumps(call.hosts),
            "moves": codec.dumps(call.moves),
            "attempts": codec.dumps(call.attempts),
            "epoch": call.epoch,
            "begun": call.begun,
            "deadline": call.deadline,
            "not_after": call.not_after,
        }
        self.db.insert("calls", row, "id")
        return int(lease["calls"])

    def newest(self, vmm: str) -> int:
        """Return the number of the newest call; 0: there was none."""
        (row,) = self.db.query("SELECT calls FROM leases WHERE vmm = ?", [vmm])
        return int(row["calls"])

    def end(self, vmm: str, call: int, result: Result, job: str | None = None) -> None:
        """Write the result of a call, and the job that it began. An answer that comes after the
        engine stopped waiting replaces nothing but the job."""
        self.db.execute(
            """UPDATE calls SET ended = coalesce(ended, ?), result = coalesce(result, ?),
               job = coalesce(?, job) WHERE vmm = ? AND id = ?""",
            [self.now, str(result), job, vmm, call],
        )

    def note_job(self, vmm: str, call: int, job: str) -> None:
        """Write the job that a re-read has begun. The call stays open until the job has ended."""
        self.db.execute("UPDATE calls SET job = ? WHERE vmm = ? AND id = ?", [job, vmm, call])

    def drop(self, vmm: str, call: int) -> None:
        """Delete the row of a look that is over."""
        self.db.execute("DELETE FROM calls WHERE vmm = ? AND id = ?", [vmm, call])


class NetworkPen(Transaction):
    """Writer of network readings, and of the events of repairs."""

    def keep(
        self,
        run: int,
        vm_id: str,
        role: Role,
        host: str,
        network: Network,
        asked: int = 0,
        taken: float | None = None,
    ) -> None:
        """Replace the saved network of a VM, or a half of it that was read. ``asked``, ``taken``:
        number and time of the question (``None``: now)."""
        row = {
            "run": run,
            "vm_id": vm_id,
            "role": role,
            "host": host,
            "network": codec.to_json(network),
            "taken": self.now if taken is None else taken,
            "asked": asked,
        }
        self.db.upsert("networks", row, "run", "vm_id", "role")

    def note_repair(self, move: Move, adapter: str, what: str, value: str) -> None:
        """Write that one setting of an adapter was restored."""
        text = f"{move.vm}: {what} of adapter {adapter} restored: {value}"
        detail = {"adapter": adapter, "what": what, "value": value}
        self.move_event(move, "network.repaired", text, detail)
