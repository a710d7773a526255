"""Pen for moves: their states, their waits, and changes made by people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from engine.language.sentence import parts_of
from engine.model import AttemptKind, Move, MoveState, Outcome, Power, Vm, Wait, short
from engine.policy import states, waits
from engine.policy.steps import Finish
from engine.policy.verdict import tell
from engine.store import codec
from engine.store.transaction import Transaction

#: The columns of a move that waits for nothing.
_NO_WAIT: Mapping[str, object] = {
    "wait": None,
    "wait_since": None,
    "wait_text": "",
    "wait_text_parts": None,
    "needs_person": 0,
    "wait_noted": None,
    "wait_kept": None,
    "wait_credit": 0.0,
}
#: An end that names no cause leaves none of an earlier one, nor its advice.
_NO_ADVICE = {
    "cause": "",
    **codec.sentence_columns("next", ""),
    **codec.sentence_columns("after_go_on", ""),
}


class MovePen(Transaction):
    """Writer of moves. Each change of state is checked against ``states.MOVE``."""

    def open(self, run: int, vm: Vm, source: str, *, adopted: bool = False) -> int:
        """Write a new move of a VM. Returns the move's number."""
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
        move = self.db.insert("moves", row)
        if adopted:
            text = f"{vm.name} appeared on {short(source)} and joins the run."
            self.event("move.adopted", text, run=run, vm=vm.name, detail={"vm_id": vm.id})
        return move

    def note_power(self, move: Move, power: Power, down_since: float | None) -> None:
        """Write the first observed power of a VM, or a change of it."""
        self.db.update("moves", move.id, {"power": power, "down_since": down_since})

    def hold(
        self,
        move: Move,
        wait: Wait,
        text: str,
        seen: float | None = None,
        *,
        needs_person: bool = False,
    ) -> None:
        """Write that the move waits. Only a new wait code makes an event. ``seen``: time of the
        move's last observation, if it is not now."""
        said = {**codec.sentence_columns("wait_text", text), "needs_person": int(needs_person)}
        if move.wait is wait:
            if move.wait_text != text or move.needs_person is not needs_person:
                self.db.update("moves", move.id, {**said, "wait_noted": self.now})
            elif parts_of(move.wait_text) != parts_of(text):
                self.db.update("moves", move.id, said)  # older versions wrote no parts
            return
        begun = waits.begin(move, wait, self.now, seen)
        change = {
            "wait": str(wait),
            "wait_since": begun.wait_since,
            **said,
            "wait_noted": begun.wait_noted,
            "wait_kept": str(begun.wait_kept) if begun.wait_kept else None,
            "wait_credit": begun.wait_credit,
        }
        self.db.update("moves", move.id, change)
        waits_for = tell(move, "{vm} waits: {text}", text=text)
        self.move_event(move, "move.waiting", waits_for, {"wait": str(wait)})

    def end_wait(self, move: Move) -> None:
        """End the wait of a move whose state stays the same."""
        self.db.update("moves", move.id, _NO_WAIT)

    def call_out(self, move: Move, text: str) -> None:
        """Report that the move has waited long without change. It still waits."""
        self.db.update("moves", move.id, {"wait_noted": None})
        detail = {"wait": str(move.wait), "called_out": True}
        still = tell(move, "{vm} still waits: {text}", text=text)
        self.move_event(move, "move.waiting", still, detail)

    def set_state(
        self,
        move: Move,
        state: MoveState,
        text: str,
        *,
        host: str | None = None,
        destination: str | None = None,
        kind: AttemptKind | None = None,
        outcome: Outcome | None = None,
        by: str | None = None,
    ) -> None:
        """Change the state of a move and end its wait. The same state again corrects the host."""
        if state is not move.state:
            states.check("move", states.MOVE, move.state, state)
        change: dict[str, object] = {
            "state": str(state),
            "host": host or move.host,
            "destination": destination or move.destination,
            "kind": str(kind or move.kind) if kind or move.kind else None,
            **_NO_WAIT,
        }
        if state is MoveState.DAMAGED:
            change["cleared"] = None  # an earlier go-on does not cover new damage
        if state is MoveState.UNKNOWN:
            change["settled"] = None  # a person has to locate it again
        if outcome is not None:
            change |= {"outcome": str(outcome), **_NO_ADVICE}
            change |= codec.sentence_columns("sentence", text)
        self.db.update("moves", move.id, change)
        detail = {"outcome": str(outcome)} if outcome else {}
        self.move_event(move, f"move.{state}", text, {**detail, "host": host or move.host}, by)

    def finish(self, end: Finish) -> None:
        """End a move, and write what a person should do."""
        self.set_state(end.move, end.state, end.sentence, outcome=end.outcome)
        todo = {
            "cause": end.reason,
            **codec.sentence_columns("next", end.next),
            **codec.sentence_columns("after_go_on", end.after_go_on),
        }
        self.db.update("moves", end.move.id, todo)

    def return_to_pending(self, move: Move, text: str, host: str | None) -> None:
        """Return a move to pending for another attempt."""
        self.set_state(
            replace(move, state=self.read(move).state), MoveState.PENDING, text, host=host
        )

    # --- changes made by people ---------------------------------------------------------------

    def retry(self, move: Move, text: str, by: str) -> None:
        """Retry a move with a new count of attempts. A damaged VM is not moved again: its network
        is compared with the baseline on its current host."""
        damaged = move.state is MoveState.DAMAGED
        state = MoveState.RESTORING if damaged else MoveState.PENDING
        self._reopen(move, state, {"retried": self.now})
        self.move_event(move, f"move.{state}", text, {"host": move.host}, by)

    def settle(self, move: Move, text: str, by: str) -> None:
        """Settle a VM that a person has located. The next complete observation gives its location,
        and its network is checked there."""
        self.move_event(move, "move.settled", text, {"host": move.host}, by)
        self._reopen(move, MoveState.RESTORING, {"settled": self.now})
        seen = f"{move.vm} was settled: looking for the VM, then checking its network"
        self.move_event(move, f"move.{MoveState.RESTORING}", seen, {"host": move.host})

    def _reopen(self, move: Move, state: MoveState, change: Mapping[str, object]) -> None:
        """Reopen an ended move in ``state``. Raises ``IllegalTransition``."""
        states.check("move", states.MOVE, move.state, state)
        blank = {"state": str(state), "outcome": None, **codec.sentence_columns("sentence", "")}
        blank |= _NO_ADVICE
        ask = {"stop_asked": None, "down_since": None, "power": None}
        self.db.update("moves", move.id, {**blank, **ask, **change})

    def leave(self, move: Move, text: str, by: str) -> None:
        """Take a VM out of the run at a person's request. The VM stays where it is."""
        self.set_state(move, MoveState.SKIPPED, text, outcome=Outcome.EXCLUDED, by=by)

    def clear_damage(self, move: Move) -> None:
        """Clear the damage after a person's ``go-on``, so that the host takes VMs again."""
        todo = codec.sentence_columns("next", move.after_go_on)
        self.db.update("moves", move.id, {"cleared": self.now, **todo})

    def note_stop(self, move: Move, job: str, text: str) -> None:
        """Note that VMM was asked to stop the move's job. An observation shows the result."""
        self.db.update("moves", move.id, {"stop_asked": self.now})
        self.move_event(move, "attempt.stopping", text, {"job": job})

    def read(self, move: Move) -> Move:
        """Read the move anew, which may have changed since the plan."""
        (row,) = self.db.query("SELECT * FROM moves WHERE id = ?", [move.id])
        return codec.of_row(Move, row)
