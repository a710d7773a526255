"""The tables, as migrations. New migrations are added at the end; old ones are never edited.

Every table is STRICT. Times are REAL Unix seconds UTC. Lists and options are JSON text. The index
``one_move_in_flight`` is the last safeguard against a double move: it allows one row per VM in
``moving`` or ``restoring``.
"""

from __future__ import annotations

import re

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from engine.language.sentence import Command, Part, Person, Sentence
from engine.model.ids import OLD_ID, read_id

migrations = Migrations("vmferry")


@migrations()
def m001_runs_and_moves(db: Database) -> None:
    """Create runs, moves, attempts, saved and read networks, approvals, votes."""
    for statement in _FIRST:
        db.execute(statement)


@migrations()
def m002_events(db: Database) -> None:
    """Create the audit, a hash chain of events."""
    db.execute(
        """CREATE TABLE events (
             seq INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, run INTEGER,
             vm TEXT, by TEXT, text TEXT NOT NULL, detail TEXT NOT NULL,
             prev TEXT NOT NULL, hash TEXT NOT NULL UNIQUE) STRICT"""
    )
    db.execute("CREATE INDEX events_of_run ON events (run, seq)")


@migrations()
def m003_leases_and_fleets(db: Database) -> None:
    """Create the leases of VMM servers, and the last observation of each."""
    db.execute(
        """CREATE TABLE leases (
             vmm TEXT PRIMARY KEY, epoch INTEGER NOT NULL, holder TEXT NOT NULL,
             lease_until REAL NOT NULL, wake_at REAL) STRICT"""
    )
    db.execute(
        """CREATE TABLE fleets (
             vmm TEXT PRIMARY KEY, at REAL NOT NULL, body TEXT NOT NULL) STRICT"""
    )


@migrations()
def m004_steering(db: Database) -> None:
    """Add columns for steering runs and for limits across gaps, and the table of rights."""
    for table, columns in _STEERING.items():
        for column in columns:
            db.execute(f"ALTER TABLE {table} ADD COLUMN {column}")
    db.execute(
        """CREATE TABLE rights (
             vmm TEXT NOT NULL, host TEXT NOT NULL, at REAL NOT NULL, ok INTEGER,
             why TEXT NOT NULL DEFAULT '', PRIMARY KEY (vmm, host)) STRICT"""
    )


@migrations()
def m005_broken_glass(db: Database) -> None:
    """Add the mark of a break-glass approval."""
    db.execute("ALTER TABLE approvals ADD COLUMN glass INTEGER NOT NULL DEFAULT 0")


@migrations()
def m006_reviews(db: Database) -> None:
    """Create the reviews of break-glass approvals, and open one for each earlier approval."""
    db.execute(
        """CREATE TABLE reviews (
             approval INTEGER PRIMARY KEY REFERENCES approvals (id),
             run INTEGER NOT NULL REFERENCES runs (id), broken_by TEXT NOT NULL,
             broken REAL NOT NULL, why TEXT NOT NULL, by TEXT, at REAL, in_order INTEGER,
             note TEXT NOT NULL DEFAULT '') STRICT"""
    )
    db.execute(
        """INSERT INTO reviews (approval, run, broken_by, broken, why)
             SELECT json_extract(detail, '$.approval'), run, by, at,
                    json_extract(detail, '$.reason')
             FROM events
             WHERE kind = 'approval.granted' AND json_extract(detail, '$.break_glass')"""
    )


@migrations()
def m007_causes(db: Database) -> None:
    """Add the cause of an event: ``inbox:17``, ``terminal:ann``, ``tick``. Older events have no
    cause and keep their hashes."""
    db.execute("ALTER TABLE events ADD COLUMN cause TEXT")
    db.execute("CREATE INDEX events_of_cause ON events (cause) WHERE cause IS NOT NULL")


@migrations()
def m008_doors(db: Database) -> None:
    """Add the door to each id: ``@U0123`` becomes ``slack:U0123``. Events are never rewritten;
    :func:`engine.model.ids.read_id` converts their ids when they are read."""
    for table, column in _PEOPLE:
        db.execute(
            f"UPDATE {table} SET {column} = 'slack:' || substr({column}, 2)"
            f" WHERE substr({column}, 1, 1) = '@'"
        )
    db.execute("""UPDATE runs SET steered = replace(steered, '"@', '"slack:')""")


@migrations()
def m009_sentences(db: Database) -> None:
    """Add columns for the parts of sentences, and for facts that older versions searched for in
    texts: whether a person is needed, the cause, what remains to do after ``go-on``."""
    for table, columns in _SENTENCES.items():
        for column in columns:
            db.execute(f"ALTER TABLE {table} ADD COLUMN {column}")
    for statement in _ONCE_SEARCHED:
        db.execute(statement)
    for table, column, pattern in _ONCE_SPELLED:
        for number, text in db.execute(f"SELECT id, {column} FROM {table}").fetchall():
            parts = Sentence(*map(_part, re.split(pattern, text))).as_json()
            db.execute(f"UPDATE {table} SET {column}_parts = ? WHERE id = ?", [parts, number])


@migrations()
def m010_parts(db: Database) -> None:
    """Keep the last observation in parts. Before, each observation rewrote one row for the whole
    site."""
    db.execute(
        """CREATE TABLE parts (
             vmm TEXT NOT NULL REFERENCES fleets (vmm), name TEXT NOT NULL, body TEXT NOT NULL,
             PRIMARY KEY (vmm, name)) STRICT"""
    )


@migrations()
def m011_calls(db: Database) -> None:
    """Create the calls to VMM and Hyper-V, each written before it is made."""
    db.execute(
        """CREATE TABLE calls (
             vmm TEXT NOT NULL, id INTEGER NOT NULL, kind TEXT NOT NULL, hosts TEXT NOT NULL,
             moves TEXT NOT NULL, attempts TEXT NOT NULL, epoch INTEGER NOT NULL,
             begun REAL NOT NULL, deadline REAL NOT NULL, not_after REAL, job TEXT, ended REAL,
             result TEXT, PRIMARY KEY (vmm, id)) STRICT"""
    )
    db.execute("ALTER TABLE leases ADD COLUMN calls INTEGER NOT NULL DEFAULT 0")
    db.execute("CREATE INDEX open_calls ON calls (vmm) WHERE ended IS NULL")


@migrations()
def m012_ages(db: Database) -> None:
    """Keep what is known of a VMM server in parts with ages. What earlier versions kept is dropped:
    it was an observation, and the next one comes at once."""
    db.execute("DROP TABLE parts")
    db.execute("DROP TABLE fleets")
    db.execute(
        """CREATE TABLE parts (
             vmm TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, asked INTEGER NOT NULL,
             answered INTEGER NOT NULL, asked_at REAL, answered_at REAL, ids TEXT NOT NULL,
             error TEXT NOT NULL, tries INTEGER NOT NULL, tried INTEGER NOT NULL, tried_at REAL,
             locked INTEGER NOT NULL, PRIMARY KEY (vmm, kind, name)) STRICT"""
    )
    db.execute(
        """CREATE TABLE answers (
             vmm TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL,
             PRIMARY KEY (vmm, kind, name)) STRICT"""
    )
    db.execute("ALTER TABLE attempts ADD COLUMN closed INTEGER NOT NULL DEFAULT 0")
    db.execute("ALTER TABLE networks ADD COLUMN asked INTEGER NOT NULL DEFAULT 0")


@migrations()
def m013_halves(db: Database) -> None:
    """Keep the two halves of a network that was read apart. Before, one row held both."""
    db.execute(
        """INSERT INTO networks (run, vm_id, role, host, network, taken, asked)
           SELECT run, vm_id, 'models', host, network, taken, asked FROM networks
           WHERE role = 'reading'"""
    )
    db.execute("UPDATE networks SET role = 'ports' WHERE role = 'reading'")


@migrations()
def m014_hearings(db: Database) -> None:
    """Keep what both Hyper-Vs said of a VM after its job was over, the job that was found of a
    start without an answer, VMM's own times of a job, and since when nothing is in flight to the
    sources of a run. Attempts that are open now are taken as begun before any question."""
    db.execute("ALTER TABLE attempts ADD COLUMN opened INTEGER NOT NULL DEFAULT 0")
    db.execute("ALTER TABLE attempts ADD COLUMN found TEXT")
    db.execute("ALTER TABLE attempts ADD COLUMN hearing TEXT NOT NULL DEFAULT '{}'")
    # What earlier versions read of VMM's half may be older than VMM's re-read: read it again.
    db.execute("UPDATE networks SET asked = 0 WHERE role = 'models'")
    db.execute("ALTER TABLE attempts ADD COLUMN ran_from REAL")
    db.execute("ALTER TABLE attempts ADD COLUMN ran_to REAL")
    db.execute("ALTER TABLE runs ADD COLUMN empty_calm TEXT NOT NULL DEFAULT '{}'")


_COMMAND = r"(?<=: )(?:retry|resume|settle|go-on|reviewed) R\d+"
_DID = "left it out|said no|took the approval back|approved others only"
_ONCE_SPELLED = (
    ("runs", "said", f"({_COMMAND}|{OLD_ID})"),
    ("moves", "wait_text", f"({_COMMAND})"),
    ("moves", "next", f"({_COMMAND})"),
    ("moves", "after_go_on", f"({_COMMAND})"),
    ("moves", "sentence", f"(?<=: )({OLD_ID})(?= (?:{_DID}))"),
)
"""Table, column and pattern by which older versions found a command or a person in a text."""


def _part(words: str) -> Part:
    if re.fullmatch(OLD_ID, words):
        return Person(read_id(words))
    return Command(words) if re.match(_COMMAND.removeprefix("(?<=: )"), words) else words


_SENTENCES = {
    "runs": ("said_parts TEXT",),
    "moves": (
        "wait_text_parts TEXT",
        "needs_person INTEGER NOT NULL DEFAULT 0",
        "sentence_parts TEXT",
        "next_parts TEXT",
        "cause TEXT NOT NULL DEFAULT ''",
        "after_go_on TEXT NOT NULL DEFAULT ''",
        "after_go_on_parts TEXT",
    ),
    "events": ("text_parts TEXT",),
}
_ONCE_SEARCHED = (
    "UPDATE moves SET needs_person = 1 WHERE wait IN ('DAMAGE', 'OTHER_RUN')"
    " AND wait_text LIKE '%somebody%'",
    "UPDATE moves SET cause = replace(replace(sentence || next, vm_id, ''), vm, '')"
    " WHERE state <> 'damaged'",
    "UPDATE moves SET cause = replace(replace(substr(sentence, instr(sentence, ' Hyper-V said: ')"
    " + 15), vm_id, ''), vm, '') WHERE sentence LIKE '% Hyper-V said: %' AND state = 'damaged'",
    "UPDATE runs SET said = replace(said, ' Go on with: resume R' || id, '')",
    "UPDATE runs SET said = replace(said, ', then: resume R' || id, '.')",
    "UPDATE moves SET after_go_on = rtrim(substr(next, 1, instr(next, 'No further VM is') - 1))"
    " WHERE state = 'damaged' AND next LIKE '%No further VM is%'",
)

_PEOPLE = (
    ("runs", "by"),
    ("runs", "owner"),
    ("approvals", "by"),
    ("votes", "by"),
    ("reviews", "broken_by"),
    ("reviews", "by"),
)

_STEERING = {
    "runs": (
        "owner TEXT",
        "steered TEXT NOT NULL DEFAULT '[]'",
        "resumed REAL",
        "back REAL",
        "aborting INTEGER NOT NULL DEFAULT 0",
        "said TEXT NOT NULL DEFAULT ''",
    ),
    "moves": (
        "wait_noted REAL",
        "wait_credit REAL NOT NULL DEFAULT 0",
        "wait_kept TEXT",
        "retried REAL",
        "settled REAL",
        "cleared REAL",
        "stop_asked REAL",
    ),
    "leases": ("beat REAL",),
}

_FIRST = (
    """CREATE TABLE runs (
         id INTEGER PRIMARY KEY AUTOINCREMENT, vmm TEXT NOT NULL, kind TEXT NOT NULL,
         request TEXT NOT NULL, sources TEXT NOT NULL, destinations TEXT NOT NULL,
         options TEXT NOT NULL, by TEXT NOT NULL, state TEXT NOT NULL, created REAL NOT NULL,
         started REAL, ended REAL, quiet_since REAL, empty_first REAL,
         empty_seen TEXT NOT NULL DEFAULT '[]', empty TEXT NOT NULL DEFAULT '[]') STRICT""",
    """CREATE TABLE moves (
         id INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER NOT NULL REFERENCES runs (id),
         vm_id TEXT NOT NULL, vm TEXT NOT NULL, source TEXT NOT NULL, destination TEXT,
         host TEXT, state TEXT NOT NULL, kind TEXT, power TEXT, down_since REAL, wait TEXT,
         wait_since REAL, wait_text TEXT NOT NULL DEFAULT '', outcome TEXT,
         sentence TEXT NOT NULL DEFAULT '', next TEXT NOT NULL DEFAULT '',
         adopted INTEGER NOT NULL DEFAULT 0, memory_mb INTEGER NOT NULL DEFAULT 0,
         disk_mb INTEGER NOT NULL DEFAULT 0, created REAL NOT NULL,
         UNIQUE (run, vm_id)) STRICT""",
    """CREATE UNIQUE INDEX one_move_in_flight ON moves (vm_id)
         WHERE state IN ('moving', 'restoring')""",
    """CREATE TABLE attempts (
         id INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER NOT NULL REFERENCES runs (id),
         move INTEGER NOT NULL REFERENCES moves (id), vm_id TEXT NOT NULL, kind TEXT NOT NULL,
         source TEXT NOT NULL, destination TEXT, begun REAL NOT NULL, not_after REAL, job TEXT,
         ended REAL, result TEXT, error TEXT NOT NULL DEFAULT '',
         detail TEXT NOT NULL DEFAULT '{}') STRICT""",
    "CREATE INDEX attempts_of_move ON attempts (move, id)",
    """CREATE TABLE networks (
         run INTEGER NOT NULL REFERENCES runs (id), vm_id TEXT NOT NULL, role TEXT NOT NULL,
         host TEXT NOT NULL, network TEXT NOT NULL, taken REAL NOT NULL,
         PRIMARY KEY (run, vm_id, role)) STRICT""",
    """CREATE TABLE approvals (
         id INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER NOT NULL REFERENCES runs (id),
         state TEXT NOT NULL, digest TEXT NOT NULL, vms TEXT NOT NULL, granted TEXT NOT NULL
         DEFAULT '[]', requested REAL NOT NULL, decided REAL, by TEXT,
         reason TEXT NOT NULL DEFAULT '') STRICT""",
    """CREATE TABLE votes (
         id INTEGER PRIMARY KEY AUTOINCREMENT,
         approval INTEGER NOT NULL REFERENCES approvals (id), by TEXT NOT NULL,
         verdict TEXT NOT NULL, at REAL NOT NULL, counted INTEGER NOT NULL,
         answer TEXT NOT NULL) STRICT""",
)
