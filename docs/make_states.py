"""Draw docs/states.md from the tables in engine/policy/states.py: ``make docs``."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from engine.model import ApprovalState, MoveState, RunState
from engine.policy import states

TARGET = Path(__file__).with_name("states.md")

#: Steps that only a person makes, and the verb.
BY_PEOPLE = {
    ("run", "incomplete", "active"): "retry",
    ("run", "stopped", "active"): "retry",
    ("run", "stopped", "stopping"): "settle",
    ("run", "incomplete", "stopping"): "settle",
    ("run", "paused", "active"): "resume",
    ("move", "failed", "pending"): "retry",
    ("move", "failed", "skipped"): "skip",
    ("move", "skipped", "pending"): "retry",
    ("move", "damaged", "restoring"): "retry",
    ("move", "unknown", "restoring"): "settle",
}

ABOUT = {
    "run": "A run is one request with its sources, destinations and options.",
    "move": "A move is one VM in one run.",
    "approval": "An approval is one question about powered-down VMs.",
}


def diagram(noun: str, first: StrEnum, table: Mapping[StrEnum, frozenset[StrEnum]]) -> list[str]:
    """One state machine as a Mermaid diagram, in the order of its enumeration."""
    kind = type(first)
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {first}"]
    for old in kind:
        for new in kind:
            if new in table.get(old, ()):
                verb = BY_PEOPLE.get((noun, str(old), str(new)))
                lines.append(f"    {old} --> {new}" + (f": {verb}" if verb else ""))
    lines += [f"    {state} --> [*]" for state in kind if state not in table]
    return [*lines, "```"]


def page() -> str:
    """The whole page."""
    lines = [
        "# States",
        "",
        "After reading this page you know the states of a run, a move and an approval, and which",
        "state may follow which. An arrow with a verb on it needs a person who types that verb.",
        "`make docs` draws this page from `engine/policy/states.py`: do not edit the page.",
    ]
    nouns: tuple[tuple[str, StrEnum, Mapping[StrEnum, frozenset[StrEnum]]], ...] = (
        ("run", RunState.SCHEDULED, dict(states.RUN)),
        ("move", MoveState.PENDING, dict(states.MOVE)),
        ("approval", ApprovalState.REQUESTED, dict(states.APPROVAL)),
    )
    for noun, first, table in nouns:
        lines += ["", f"## {noun.capitalize()}", "", ABOUT[noun], ""]
        lines += diagram(noun, first, table)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
