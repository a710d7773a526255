"""Writing: every change of a row, its check against the state tables, and its event, together.

A :class:`Pen` lives for one transaction. Nothing else in VMFerry writes runs, moves, attempts,
networks, approvals or events. A pen of the engine carries a fence; a pen of a person does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from sqlite_utils import Database

from engine.model import (
    Approval,
    ApprovalState,
    Attempt,
    AttemptKind,
    Fleet,
    Move,
    MoveState,
    Network,
    Options,
    Outcome,
    Power,
    Result,
    Run,
    RunState,
    Vm,
    Wait,
    short,
)
from engine.policy import states
from engine.store import codec, events
from engine.store.leases import Fence
from engine.store.store import Store


@contextmanager
def writing(store: Store, now: float, fence: Fence | None = None) -> Iterator[Pen]:
    """One transaction. With a ``fence`` it raises ``Fenced`` if another engine took over."""
    with store.transaction() as db:
        if fence is not None:
            fence.check(db)
        yield Pen(db, now)


class Pen:
    """Writes one transaction's changes, each with its event."""

    def __init__(self, db: Database, now: float) -> None:
        self.db, self.now = db, now

    def event(
        self,
        kind: str,
        text: str,
        *,
        run: int | None = None,
        vm: str | None = None,
        by: str | None = None,
        detail: Mapping[str, object] | None = None,
    ) -> None:
        """Append to the audit."""
        events.append(
            self.db, at=self.now, kind=kind, text=text, run=run, vm=vm, by=by, detail=detail
        )

    # --- fleets ------------------------------------------------------------------------------

    def keep_fleet(self, fleet: Fleet) -> None:
        """The last observation, for names and views."""
        row = {"vmm": fleet.vmm, "at": fleet.at, "body": codec.fleet_to_json(fleet)}
        self.db.table("fleets").upsert(row, pk="vmm")

    # --- runs --------------------------------------------------------------------------------

    def open_run(
        self,
        *,
        vmm: str,
        kind: str,
        request: str,
        sources: tuple[str, ...],
        destinations: tuple[str, ...],
        options: Options,
        by: str,
        state: RunState,
    ) -> int:
        """A new run; returns its number."""
        row = {
            "vmm": vmm,
            "kind": kind,
            "request": request,
            "sources": codec.dumps(sources),
            "destinations": codec.dumps(destinations),
            "options": codec.options_to_json(options),
            "by": by,
            "state": str(state),
            "created": self.now,
            "started": self.now if state is RunState.ACTIVE else None,
        }
        run = _key(self.db, "runs", row)
        self.event(f"run.{state}", request, run=run, by=by)
        return run

    def turn_run(self, run: Run, state: RunState, text: str, by: str | None = None) -> None:
        """Change the state of a run."""
        states.check("run", states.RUN, run.state, state)
        change: dict[str, object] = {"state": str(state)}
        if state is RunState.ACTIVE and run.started is None:
            change["started"] = self.now
        if replace(run, state=state).over:
            change["ended"] = self.now
        self._update("runs", run.id, change)
        self.event(f"run.{state}", text, run=run.id, by=by)

    def note_quiet(self, run: int, at: float | None) -> None:
        """Since when this run waits for nothing but people."""
        self._update("runs", run, {"quiet_since": at})

    def note_empty(
        self, run: Run, hosts: tuple[str, ...], first: float | None, proven: bool
    ) -> None:
        """A first or second look at empty sources, or that they were not empty after all."""
        if not proven:
            self._update("runs", run.id, {"empty_first": first, "empty_seen": codec.dumps(hosts)})
            return
        known = tuple(dict.fromkeys((*run.empty, *hosts)))
        change = {"empty": codec.dumps(known), "empty_first": None, "empty_seen": "[]"}
        self._update("runs", run.id, change)
        for host in hosts:
            if host in run.empty:
                continue
            apart = f", {round(self.now - first)} s apart" if first is not None else ""
            text = f"{short(host)} is empty: VMM and Hyper-V showed no VM, twice{apart}."
            self.event("host.empty", text, run=run.id, detail={"host": host, "first": first})

    # --- moves -------------------------------------------------------------------------------

    def open_move(self, run: int, vm: Vm, source: str, *, adopted: bool = False) -> int:
        """A VM of a run; returns the number of its move."""
        row = {
            "run": run,
            "vm_id": vm.id,
            "vm": vm.name,
            "source": source,
            "host": source,
            "state": str(MoveState.PENDING),
            "adopted": int(adopted),
            "memory_mb": vm.memory_mb,
            "disk_mb": vm.disk_mb,
            "created": self.now,
        }
        move = _key(self.db, "moves", row)
        if adopted:
            text = f"{vm.name} appeared on {short(source)} and joins the run."
            self.event("move.adopted", text, run=run, vm=vm.name, detail={"vm_id": vm.id})
        return move

    def note_power(self, move: Move, power: Power, down_since: float | None) -> None:
        """The first look at a VM's power, or a change since."""
        self._update("moves", move.id, {"power": power, "down_since": down_since})

    def hold(self, move: Move, wait: Wait, text: str) -> None:
        """The move waits. Only a changed code makes an event."""
        if move.wait is wait:
            if move.wait_text != text:
                self._update("moves", move.id, {"wait_text": text})
            return
        change = {"wait": str(wait), "wait_since": self.now, "wait_text": text}
        self._update("moves", move.id, change)
        self._move_event(move, "move.waiting", f"{move.vm} waits: {text}", {"wait": str(wait)})

    def turn_move(
        self,
        move: Move,
        state: MoveState,
        text: str,
        *,
        host: str | None = None,
        destination: str | None = None,
        kind: AttemptKind | None = None,
        outcome: Outcome | None = None,
        next_step: str = "",
    ) -> None:
        """Change the state of a move; a wait ends with it. The same state again only corrects
        the host."""
        if state is not move.state:
            states.check("move", states.MOVE, move.state, state)
        change: dict[str, object] = {
            "state": str(state),
            "host": host or move.host,
            "destination": destination or move.destination,
            "kind": str(kind or move.kind) if kind or move.kind else None,
            "wait": None,
            "wait_since": None,
            "wait_text": "",
        }
        if outcome is not None:
            change |= {"outcome": str(outcome), "sentence": text, "next": next_step}
        self._update("moves", move.id, change)
        detail = {"outcome": str(outcome)} if outcome else {}
        self._move_event(move, f"move.{state}", text, {**detail, "host": host or move.host})

    def return_move(self, move: Move, text: str, host: str | None) -> None:
        """Back to pending, to be tried again."""
        now = replace(move, state=self._state_of(move))
        self.turn_move(now, MoveState.PENDING, text, host=host)

    def _state_of(self, move: Move) -> MoveState:
        """A move turned earlier in this step is no longer in the state that the plan saw."""
        row = next(self.db.query("SELECT state FROM moves WHERE id = ?", [move.id]))
        return MoveState(row["state"])

    def _move_event(self, move: Move, kind: str, text: str, detail: Mapping[str, object]) -> None:
        body = {"vm_id": move.vm_id, **detail}
        self.event(kind, text, run=move.run, vm=move.vm, detail=body)

    # --- attempts ----------------------------------------------------------------------------

    def begin_attempt(
        self,
        move: Move,
        kind: AttemptKind,
        source: str,
        destination: str | None = None,
        not_after: float | None = None,
    ) -> int:
        """Written before it is done; returns the attempt's number."""
        row = {
            "run": move.run,
            "move": move.id,
            "vm_id": move.vm_id,
            "kind": str(kind),
            "source": source,
            "destination": destination,
            "begun": self.now,
            "not_after": not_after,
        }
        attempt = _key(self.db, "attempts", row)
        detail = {"attempt": attempt, "attempt_kind": str(kind), "destination": destination}
        where = (
            f" {short(source)} → {short(destination)}" if destination else f" on {short(source)}"
        )
        self._move_event(move, "attempt.begun", f"{move.vm}: {kind}{where}", detail)
        return attempt

    def issue_attempt(self, move: Move, attempt: int, job: str | None) -> None:
        """The start was accepted; VMM's job, where it said one."""
        self._update("attempts", attempt, {"job": job})
        detail = {"attempt": attempt, "job": job}
        self._move_event(move, "attempt.issued", f"{move.vm}: VMM runs job {job or '?'}", detail)

    def end_attempt(
        self,
        move: Move,
        attempt: int,
        kind: AttemptKind,
        result: Result,
        error: str = "",
        detail: Mapping[str, object] | None = None,
    ) -> None:
        """The outcome of an attempt, as observed."""
        change = {"ended": self.now, "result": str(result), "error": error}
        self._update("attempts", attempt, {**change, "detail": codec.dumps(detail or {})})
        text = f"{move.vm}: {kind} {result}" + (f". {error}" if error else "")
        body = {"attempt": attempt, "attempt_kind": str(kind), "result": str(result)}
        self._move_event(move, "attempt.ended", text, body)

    def let_go(self, attempt: Attempt) -> None:
        """Close a start that outlived its move: nothing of it runs or can begin any more."""
        error = attempt.error or "Nothing of it runs any more"
        change = {"ended": self.now, "result": str(Result.LOST), "error": error}
        self._update("attempts", attempt.id, change)
        row = next(self.db.query("SELECT vm FROM moves WHERE id = ?", [attempt.move]))
        text = f"{row['vm']}: {attempt.kind} lost. {error}"
        detail = {
            "vm_id": attempt.vm_id,
            "attempt": attempt.id,
            "attempt_kind": str(attempt.kind),
            "result": str(Result.LOST),
        }
        self.event("attempt.ended", text, run=attempt.run, vm=row["vm"], detail=detail)

    def doubt_attempt(self, move: Move, attempt: int, error: str) -> None:
        """A start that nobody answered: it stays open until it is seen what became of it."""
        self._update("attempts", attempt, {"error": error})
        text = f"{move.vm}: no answer to the start; looking what became of it. {error}"
        self._move_event(move, "attempt.issued", text, {"attempt": attempt, "job": None})

    def open_attempt(self, move: Move) -> Attempt | None:
        """The LIVE or COLD attempt of this move whose outcome is open."""
        rows = self.db.query(
            """SELECT * FROM attempts WHERE move = ? AND ended IS NULL
               AND kind IN ('live', 'cold') ORDER BY id DESC LIMIT 1""",
            [move.id],
        )
        row = next(rows, None)
        return codec.attempt(row) if row else None

    def note_repair(self, move: Move, adapter: str, what: str, value: str) -> None:
        """One thing of the network that was put back."""
        text = f"{move.vm}: {what} of adapter {adapter} put back: {value}"
        detail = {"adapter": adapter, "what": what, "value": value}
        self._move_event(move, "network.repaired", text, detail)

    # --- networks ----------------------------------------------------------------------------

    def keep_network(self, run: int, vm_id: str, role: str, host: str, network: Network) -> None:
        """The saved (``baseline``) or last read (``reading``) network of a VM."""
        row = {
            "run": run,
            "vm_id": vm_id,
            "role": role,
            "host": host,
            "network": codec.network_to_json(network),
            "taken": self.now,
        }
        self.db.table("networks").upsert(row, pk=("run", "vm_id", "role"))

    # --- approvals ---------------------------------------------------------------------------

    def ask(self, run: int, vm_ids: tuple[str, ...], names: tuple[str, ...], digest: str) -> int:
        """A question to on-call engineers; returns its number."""
        row = {
            "run": run,
            "state": str(ApprovalState.REQUESTED),
            "digest": digest,
            "vms": codec.dumps(vm_ids),
            "requested": self.now,
        }
        approval = _key(self.db, "approvals", row)
        text = f"A{approval}: approve moving powered-down {', '.join(names)}?"
        detail = {"approval": approval, "vms": list(names), "digest": digest}
        self.event("approval.requested", text, run=run, detail=detail)
        return approval

    def turn_approval(
        self,
        approval: Approval,
        state: ApprovalState,
        text: str,
        *,
        by: str | None = None,
        granted: tuple[str, ...] = (),
        reason: str = "",
    ) -> None:
        """Decide, expire or withdraw."""
        states.check("approval", states.APPROVAL, approval.state, state)
        change = {
            "state": str(state),
            "decided": self.now,
            "by": by,
            "granted": codec.dumps(granted),
            "reason": reason,
        }
        self._update("approvals", approval.id, change)
        detail = {"approval": approval.id, "reason": reason}
        self.event(f"approval.{state}", text, run=approval.run, by=by, detail=detail)

    def is_still(self, approval: Approval) -> bool:
        """Is it in the state that was read?"""
        row = next(self.db.query("SELECT state FROM approvals WHERE id = ?", [approval.id]), None)
        return row is not None and row["state"] == str(approval.state)

    def vote(self, approval: int, by: str, verdict: str, answer: str) -> None:
        """One click; ``answer`` is ``ok`` or why it changed nothing. Both are kept."""
        self.db.table("votes").insert(
            {
                "approval": approval,
                "by": by,
                "verdict": verdict,
                "at": self.now,
                "counted": int(answer == "ok"),
                "answer": answer,
            }
        )

    def _update(self, table: str, key: int, change: Mapping[str, object]) -> None:
        self.db.table(table).update(key, dict(change))


def _key(db: Database, table: str, row: Mapping[str, object]) -> int:
    """Insert and say the new row's number."""
    key = db.table(table).insert(dict(row)).last_pk
    if not isinstance(key, int):
        raise TypeError(f"{table} gave no number for a new row")
    return key
