"""Approval of powered-down VMs at the terminal.

The engine never waits for the answer. A thread reads the keyboard, and the loop that shows the
board takes the answer.
"""

from __future__ import annotations

import queue
import sys
import threading
from dataclasses import dataclass
from typing import Literal, TextIO

from engine.model import Approval, Fleet, Move, RunRecord, short

Verdict = Literal["approve", "deny"]
Policy = Literal["ask", "yes", "no"]

NO_TERMINAL = "nobody could be asked: there is no terminal, nor --approve yes"
SAID_NO = "--approve no was given"
CLOSED = "the terminal was closed before an answer"


@dataclass(frozen=True)
class ApprovalAnswer:
    """Answer to an approval, with its reason."""

    verdict: Verdict
    reason: str = ""


def card_lines(approval: Approval, record: RunRecord, fleet: Fleet | None) -> list[str]:
    """Return the lines of an approval, with every VM and the facts for the decision."""
    run = record.run
    moves = {one.move.vm_id: one.move for one in record.moves}
    asked = [moves[vm_id] for vm_id in approval.vms if vm_id in moves]
    sources = ", ".join(dict.fromkeys(short(move.source) for move in asked))
    places = " or ".join(short(host) for host in run.destinations)
    names = max((len(move.vm) for move in asked), default=0)
    stay = "They stay" if len(asked) != 1 else "It stays"
    noun = "VM" if len(approval.vms) == 1 else "VMs"
    path = f" · {run.options.path}" if run.options.path else ""
    return [
        f"{approval.label}: approve moving {len(approval.vms)} powered-down {noun}?",
        f"{run.label} · {sources} → {places}{path}",
        *(_vm_line(move, fleet, names) for move in asked),
        f"{stay} powered down. Network and extended ACLs are saved first, checked after.",
        f"Without approval {stay.lower()} on {sources}; the others still move.",
    ]


def prompt(approval: Approval) -> str:
    """Return the line below which the answer is typed."""
    return f"Approve {len(approval.vms)}? Type y, or n and a reason, then Enter:"


def _vm_line(move: Move, fleet: Fleet | None, width: int) -> str:
    vm = fleet.vm(move.vm_id) if fleet else None
    state = str(vm.hyperv_state) if vm and vm.hyperv_state else "?"
    adapters = vm.adapters if vm else 0
    noun = "adapter" if adapters == 1 else "adapters"
    size = f"{move.size_mb / 1024:.0f} GB"
    return f"  • {move.vm:<{width}}  {state:<6}  {adapters} {noun:<8}  {size:>7}"


def read_answer(line: str) -> ApprovalAnswer | None:
    """Parse ``y``, ``yes``, ``n`` or ``no REASON``. Returns ``None`` for any other line."""
    word, _, rest = line.strip().partition(" ")
    if word.casefold() in ("y", "yes") and not rest:
        return ApprovalAnswer("approve")
    if word.casefold() in ("n", "no"):
        return ApprovalAnswer("deny", rest.strip())
    return None


def answer_by_policy(policy: Policy, is_terminal: bool) -> ApprovalAnswer | None:
    """Return the answer that ``--approve`` gives, or ``None`` if a person must be asked. Without a
    terminal the answer is deny."""
    if policy == "yes":
        return ApprovalAnswer("approve")
    if policy == "no":
        return ApprovalAnswer("deny", SAID_NO)
    return None if is_terminal else ApprovalAnswer("deny", NO_TERMINAL)


class Typed:
    """Lines from the keyboard, read by a thread and taken without blocking."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdin
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.closed = False

    def listen(self) -> None:
        """Start the reading thread."""
        threading.Thread(target=self._read, name="keyboard", daemon=True).start()

    def forget(self) -> None:
        """Drop the lines typed so far. They do not answer a question that was not shown yet."""
        while not self._lines.empty():
            self.closed = self._lines.get() is None or self.closed

    def answer(self, seconds: float = 0.0) -> ApprovalAnswer | str | None:
        """Wait up to ``seconds`` for a line. Returns an answer, the text of any other line, or
        ``None`` if nothing was typed. A closed keyboard answers deny."""
        if self.closed:
            return ApprovalAnswer("deny", CLOSED)
        try:
            line = self._lines.get(timeout=seconds) if seconds else self._lines.get_nowait()
        except queue.Empty:
            return None
        if line is None:
            self.closed = True
            return ApprovalAnswer("deny", CLOSED)
        return read_answer(line) or line.strip()

    def _read(self) -> None:
        for line in self.stream:
            self._lines.put(line)
        self._lines.put(None)
