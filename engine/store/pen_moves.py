"""Writing moves: their states, their waits, and what people do to them."""

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


class MovePen(Transaction):
    """Every change of a move, checked against ``states.MOVE``."""

    def open(self, run: int, vm: Vm, source: str, *, adopted: bool = False) -> int:
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
        move = self.db.insert("moves", row)
        if adopted:
            text = f"{vm.name} appeared on {short(source)} and joins the run."
            self.event("move.adopted", text, run=run, vm=vm.name, detail={"vm_id": vm.id})
        return move

    def note_power(self, move: Move, power: Power, down_since: float | None) -> None:
        """The first look at a VM's power, or a change since."""
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
        """The move waits. Only a changed code makes an event. ``seen``: when it was last looked
        at, where that was not now."""
        said = {**codec.sentence_columns("wait_text", text), "needs_person": int(needs_person)}
        if move.wait is wait:
            if move.wait_text != text or move.needs_person is not needs_person:
                self.db.update("moves", move.id, {**said, "wait_noted": self.now})
            elif parts_of(move.wait_text) != parts_of(text):
                self.db.update("moves", move.id, said)  # the same words, of a version without parts
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
        """End the wait of a move that goes on as before."""
        self.db.update("moves", move.id, _NO_WAIT)

    def call_out(self, move: Move, text: str) -> None:
        """Note once for people that the move has waited long without change, and still waits."""
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
        """Change the state of a move; a wait ends. The same state again corrects the host."""
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
            change["cleared"] = None  # go on was said about what was known then
        if state is MoveState.UNKNOWN:
            change["settled"] = None  # somebody has to look once more
        if outcome is not None:
            change |= {"outcome": str(outcome), **codec.sentence_columns("sentence", text)}
        self.db.update("moves", move.id, change)
        detail = {"outcome": str(outcome)} if outcome else {}
        self.move_event(move, f"move.{state}", text, {**detail, "host": host or move.host}, by)

    def finish(self, end: Finish) -> None:
        """End a move, with what a person should do."""
        self.set_state(end.move, end.state, end.sentence, outcome=end.outcome)
        todo = {
            "cause": end.reason,
            **codec.sentence_columns("next", end.next),
            **codec.sentence_columns("after_go_on", end.after_go_on),
        }
        self.db.update("moves", end.move.id, todo)

    def return_to_pending(self, move: Move, text: str, host: str | None) -> None:
        """Return a move to pending, to be tried again."""
        now = replace(move, state=self._state_of(move))
        self.set_state(now, MoveState.PENDING, text, host=host)

    # --- what people do -----------------------------------------------------------------------

    def retry(self, move: Move, text: str, by: str) -> None:
        """Retry a move with a new count of attempts. A damaged VM is looked at again where it is,
        against the network that was saved; it is never moved again."""
        damaged = move.state is MoveState.DAMAGED
        state = MoveState.RESTORING if damaged else MoveState.PENDING
        self._reopen(move, state, {"retried": self.now})
        self.move_event(move, f"move.{state}", text, {"host": move.host}, by)

    def settle(self, move: Move, text: str, by: str) -> None:
        """Settle a VM whose location was unknown, after a person has looked: what the next complete
        observation shows is believed, and its network is checked where it is then."""
        self.move_event(move, "move.settled", text, {"host": move.host}, by)
        self._reopen(move, MoveState.RESTORING, {"settled": self.now})
        seen = f"{move.vm} is looked for, and its network checked where it is"
        self.move_event(move, f"move.{MoveState.RESTORING}", seen, {"host": move.host})

    def _reopen(self, move: Move, state: MoveState, change: Mapping[str, object]) -> None:
        """A move that had ended goes on."""
        states.check("move", states.MOVE, move.state, state)
        blank = {"state": str(state), "outcome": None, "cause": ""}
        for name in ("sentence", "next", "after_go_on"):
            blank |= codec.sentence_columns(name, "")
        ask = {"stop_asked": None, "down_since": None, "power": None}
        self.db.update("moves", move.id, {**blank, **ask, **change})

    def leave(self, move: Move, text: str, by: str) -> None:
        """Leave it where it is: a person takes it out of the run."""
        self.set_state(move, MoveState.SKIPPED, text, outcome=Outcome.EXCLUDED, by=by)

    def clear_damage(self, move: Move) -> None:
        """Clear the damage: a person said go on, and the host takes VMs again."""
        todo = codec.sentence_columns("next", move.after_go_on)
        self.db.update("moves", move.id, {"cleared": self.now, **todo})

    def note_stop(self, move: Move, job: str, text: str) -> None:
        """Note that VMM was asked to stop the move's job; whether it did is observed."""
        self.db.update("moves", move.id, {"stop_asked": self.now})
        self.move_event(move, "attempt.stopping", text, {"job": job})

    def _state_of(self, move: Move) -> MoveState:
        """A move turned earlier in this step is no longer in the state that the plan saw."""
        (row,) = self.db.query("SELECT state FROM moves WHERE id = ?", [move.id])
        return MoveState(row["state"])
