"""Parts as rows: their ages in one table, and their answers, which seldom change, in another."""

from __future__ import annotations

from dataclasses import fields

from engine.model import (
    Age,
    Body,
    HostInventory,
    JobList,
    Part,
    PartKind,
    Pulse,
    Site,
    VmmInventory,
)
from engine.store import codec
from engine.store.database import Database, Row
from engine.store.store import Store

_SHAPES: dict[PartKind, type[Body]] = {
    PartKind.JOBS: JobList,
    PartKind.SITE: Site,
    PartKind.KNOWN: VmmInventory,
    PartKind.SHOWN: HostInventory,
    PartKind.PULSE: Pulse,
}
_AGE = tuple(field.name for field in fields(Age))
_KEEP_ANSWER = """INSERT INTO answers (vmm, kind, name, body) VALUES (?, ?, ?, ?)
    ON CONFLICT (vmm, kind, name) DO UPDATE SET body = excluded.body
    WHERE answers.body <> excluded.body"""


def write(db: Database, vmm: str, part: Part, with_answer: bool) -> None:
    """Replace a part, or only its age. An answer is written only if it differs from the row."""
    kind, name = str(part.kind), part.name
    age = {field: getattr(part.age, field) for field in _AGE}
    age |= {"ids": codec.dumps(part.age.ids), "locked": int(part.age.locked)}
    db.upsert("parts", {"vmm": vmm, "kind": kind, "name": name, **age}, "vmm", "kind", "name")
    if part.body is not None and with_answer:
        db.execute(_KEEP_ANSWER, [vmm, kind, name, codec.to_json(part.body)])


def drop(db: Database, vmm: str, part: Part) -> None:
    """Delete a part, of a host that VMM no longer knows."""
    for table in ("answers", "parts"):
        where = f"DELETE FROM {table} WHERE vmm = ? AND kind = ? AND name = ?"
        db.execute(where, [vmm, str(part.kind), part.name])


def read(store: Store, vmm: str) -> tuple[Part, ...]:
    """Return all parts of a VMM server."""
    rows = store.query(
        """SELECT parts.*, answers.body FROM parts
           LEFT JOIN answers USING (vmm, kind, name) WHERE vmm = ?""",
        [vmm],
    )
    return tuple(map(_part, rows))


def _part(row: Row) -> Part:
    kind = PartKind(row["kind"])
    age = codec.of_row(Age, {field: row[field] for field in _AGE})
    shape = _SHAPES.get(kind)
    body = codec.from_json(shape, row["body"]) if shape and row["body"] else None
    return Part(kind, row["name"], age, body)
