"""Pens for runs, approvals, votes and reviews."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from engine.errors import Overtaken
from engine.language.sentence import Person, Quote, say
from engine.model import Approval, ApprovalState, Options, Review, Run, RunState, short
from engine.policy import states, waits
from engine.store import codec
from engine.store.transaction import Transaction

#: ``waits.INTERRUPTING`` as a list in SQL.
_INTERRUPTING = ", ".join(f"'{wait}'" for wait in sorted(waits.INTERRUPTING))


class RunPen(Transaction):
    """Writer of runs. Each change of state is checked against ``states.RUN``."""

    def open(
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
        """Write a new run. Returns its number."""
        row = {
            "vmm": vmm,
            "kind": kind,
            "request": request,
            "sources": codec.dumps(sources),
            "destinations": codec.dumps(destinations),
            "options": codec.to_json(options),
            "by": by,
            "state": str(state),
            "created": self.now,
            "started": self.now if state is RunState.ACTIVE else None,
        }
        run = self.db.insert("runs", row)
        self.event(f"run.{state}", request, run=run, by=by)
        return run

    def set_state(self, run: Run, state: RunState, text: str, by: str | None = None) -> None:
        """Change the state of a run. Raises ``IllegalTransition``."""
        states.check("run", states.RUN, run.state, state)
        change: dict[str, object] = {"state": str(state), **codec.sentence_columns("said", text)}
        if state is RunState.ACTIVE and run.started is None:
            change["started"] = self.now
        if replace(run, state=state).over or run.over:
            change["ended"] = self.now if replace(run, state=state).over else None
        self.db.update("runs", run.id, change)
        self.event(f"run.{state}", text, run=run.id, by=by)

    def resume(self, run: Run, text: str, by: str) -> None:
        """Resume a paused or ended run for a person, who may then not approve it. Earlier rights,
        breakers and grants no longer count. Raises ``IllegalTransition``."""
        states.check("run", states.RUN, run.state, RunState.ACTIVE)
        steered = tuple(dict.fromkeys((*run.steered, by)))
        change = {
            "state": str(RunState.ACTIVE),
            **codec.sentence_columns("said", text),
            "resumed": self.now,
            "steered": codec.dumps(steered),
            "ended": None,
            "quiet_since": None,
            "empty_first": None,
            "empty_calm": "{}",
            "empty_seen": "[]",
            "empty": "[]",
            "aborting": 0,
        }
        self.db.update("runs", run.id, change)
        # Waits that lasted through the pause get their full limit from now on.
        self.db.execute(
            f"""UPDATE moves SET wait_credit = wait_since - ? WHERE run = ?
               AND state = 'pending' AND wait NOT IN ({_INTERRUPTING})""",
            [self.now, run.id],
        )
        self.event(f"run.{RunState.ACTIVE}", text, run=run.id, by=by)

    def note_steered(self, run: Run, by: str) -> None:
        """Note that a person steered the run and so may not approve it. Rights and breakers are
        checked again, because the person may have repaired their cause."""
        steered = tuple(dict.fromkeys((*run.steered, by)))
        change = {"steered": codec.dumps(steered), "resumed": self.now}
        self.db.update("runs", run.id, change)

    def abort(self, run: Run) -> None:
        """Mark the run so that its migrations in flight are stopped."""
        self.db.update("runs", run.id, {"aborting": 1})

    def change_options(self, run: Run, options: Options, text: str, by: str) -> None:
        """Change the run's options from now on."""
        self.db.update("runs", run.id, {"options": codec.to_json(options)})
        self.event("run.changed", text, run=run.id, by=by)

    def hand_over(self, run: Run, owner: str, text: str) -> None:
        """Hand the run over to ``owner``, who is notified and pinged from now on."""
        self.db.update("runs", run.id, {"owner": owner})
        self.event("run.changed", text, run=run.id, by=owner)

    def note_back(self, run: int, gap: float) -> None:
        """Note the end of a gap of ``gap`` seconds, which count against no limit."""
        self.db.execute(
            "UPDATE runs SET back = ?, quiet_since = quiet_since + ? WHERE id = ?",
            [self.now, gap, run],
        )
        self.db.execute(
            f"""UPDATE moves SET down_since = down_since + ?, wait_credit = wait_credit -
               CASE WHEN wait IS NULL OR wait IN ({_INTERRUPTING}) THEN 0.0 ELSE ? END
               WHERE run = ?""",
            [gap, gap, run],
        )

    def note_quiet(self, run: int, at: float | None) -> None:
        """Note since when this run waits only for people; ``None``: it does not."""
        self.db.update("runs", run, {"quiet_since": at})

    def note_calm(self, run: int, calm: Mapping[str, int]) -> None:
        """Note the newest call when nothing was in flight to sources of this run, by host."""
        self.db.update("runs", run, {"empty_calm": codec.dumps(calm)})

    def note_empty(
        self, run: Run, hosts: tuple[str, ...], first: float | None, proven: bool
    ) -> None:
        """Write the first (``first`` is its time) or second (``proven``) observation of empty
        sources. No ``hosts`` and not ``proven``: the sources hold VMs after all."""
        if not proven:
            change = {"empty_first": first, "empty_seen": codec.dumps(hosts)}
            change["empty_calm"] = "{}"
            forgotten = {} if hosts else {"empty": "[]"}
            self.db.update("runs", run.id, {**change, **forgotten})
            return
        known = tuple(dict.fromkeys((*run.empty, *hosts)))
        change = {"empty": codec.dumps(known), "empty_first": None, "empty_seen": "[]"}
        change["empty_calm"] = "{}"
        self.db.update("runs", run.id, change)
        for host in hosts:
            if host in run.empty:
                continue
            apart = f" {round(self.now - first)} s apart" if first is not None else ""
            text = f"{short(host)} is empty: VMM and Hyper-V showed no VM in 2 observations{apart}."
            self.event("host.empty", text, run=run.id, detail={"host": host, "first": first})


class ApprovalPen(Transaction):
    """Writer of approvals, votes and reviews. Changes of state follow ``states.APPROVAL``."""

    def ask(self, run: int, vm_ids: tuple[str, ...], names: tuple[str, ...], digest: str) -> int:
        """Write a new approval. Returns its number."""
        row = {
            "run": run,
            "state": str(ApprovalState.REQUESTED),
            "digest": digest,
            "vms": codec.dumps(vm_ids),
            "requested": self.now,
        }
        approval = self.db.insert("approvals", row)
        text = f"A{approval}: approve moving powered-down {', '.join(names)}?"
        detail = {"approval": approval, "vms": list(names), "digest": digest}
        self.event("approval.requested", text, run=run, detail=detail)
        return approval

    def set_state(
        self,
        approval: Approval,
        state: ApprovalState,
        text: str,
        *,
        by: str | None = None,
        granted: tuple[str, ...] = (),
        reason: str = "",
        glass: bool = False,
    ) -> None:
        """Grant, deny, expire or withdraw an approval. ``glass``: a break-glass approval, which
        opens a review. Raises ``IllegalTransition``."""
        states.check("approval", states.APPROVAL, approval.state, state)
        change: dict[str, object] = {
            "state": str(state),
            "decided": self.now,
            "by": by,
            "granted": codec.dumps(granted),
            "reason": reason,
        }
        if glass:
            change["glass"] = 1
        self.db.update("approvals", approval.id, change)
        detail: dict[str, object] = {"approval": approval.id, "reason": reason}
        if glass:
            detail["break_glass"] = True
            self._open_review(approval, by or "", reason)
        self.event(f"approval.{state}", text, run=approval.run, by=by, detail=detail)

    def _open_review(self, approval: Approval, by: str, why: str) -> None:
        row = {"approval": approval.id, "run": approval.run, "broken_by": by, "why": why}
        self.db.insert("reviews", {**row, "broken": self.now}, "approval")
        form = '{} broke the glass for {}: "{}". A second person must review this.'
        text = say(form, Person(by), approval.label, Quote(why))
        detail = {"approval": approval.id, "reason": why}
        self.event("glass.broken", text, run=approval.run, by=by, detail=detail)

    def review(self, review: Review, text: str, *, by: str, in_order: bool, note: str) -> None:
        """Write a second person's review. Raises ``Overtaken`` if it was already reviewed."""
        if not review.is_open:
            raise Overtaken(f"{review.label} was already reviewed.")
        change = {"by": by, "at": self.now, "in_order": int(in_order), "note": note}
        self.db.update("reviews", review.approval, change, "approval")
        detail = {"approval": review.approval, "in_order": in_order, "note": note}
        self.event("glass.reviewed", text, run=review.run, by=by, detail=detail)

    def vote(self, approval: int, by: str, verdict: str, answer: str) -> None:
        """Write one vote, counted or not. ``answer`` is ``ok``, or why the vote did not count."""
        self.db.insert(
            "votes",
            {
                "approval": approval,
                "by": by,
                "verdict": verdict,
                "at": self.now,
                "counted": int(answer == "ok"),
                "answer": answer,
            },
        )
