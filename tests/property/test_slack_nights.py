"""Random nights through Slack: several people, calls that fail, and kills between any statements.

In every night no safety rule is broken, everything accepted is answered once, the messages in the
channel match the rows, and no row holds a secret.
"""

from __future__ import annotations

import re
import sqlite3
import tempfile
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.slack.kit.buttons import APPROVE
from bot.slack.outbox.rate_limits import Rhythm
from bot.standin.values import Message, buttons
from engine.settings import WaitLimits
from engine.sim.fleet_file import parse
from engine.store import events, queries
from tests.patient import patient_slack
from tests.prove import REPEATABLE, size
from tests.slack.mortal import Mortal
from tests.slack.stepped import beginning
from tests.troubled_slack import TroubledSlack

PEOPLE = ("dana", "ravi", "mei", "kim")  # kim is a guest
LEE = "U0LEE"  # who may decide, and does so in the end
CALLS = ("chat.postMessage", "chat.update", "chat.postEphemeral", "users.info", "views.open")
CALLS += ("conversations.history", "conversations.replies")
TROUBLES = ("lose_answer", "lose_request", "ratelimited", "internal_error")
TEXTS = (
    "host hv01 to hv02 now", "host hv01 to hv03,hv02 now", "vm web01 to hv03 now", "status",
    "status R1", "list", "approvals", "pause R1", "resume R1", "stop R1", "retry R1", "own R1",
    "set R1 parallel 1", "set R1 backup 5m", "skip R1 web02", "approve A1", "deny A1 no",
    "withdraw A1", "report R1", "events R1", "hsot hv01", "status R99", "help",
)  # fmt: skip
QUIET = Rhythm(post=1.0, board=15.0, look=15.0)
SHORT = WaitLimits(approval=1200.0)
DAY = 86_400.0
DRAWN = ("board:", "card:", "failure:", "report:")
NOW = re.compile(r"as of <!date\^\d+\^[^>]*>|audit [0-9a-f]{8}")  # when it was drawn
ANSWERS = """
CREATE TABLE heard (inbox INTEGER, kind TEXT);
CREATE TRIGGER every_answer AFTER INSERT ON slack_outbox WHEN NEW.kind IN ('reply', 'form')
BEGIN INSERT INTO heard VALUES (NEW.inbox, NEW.kind); END;
"""


@dataclass(frozen=True)
class Act:
    """Something that happens after this many seconds. ``pick`` chooses among the possible
    targets."""

    do: str
    after: float
    who: str
    what: str
    pick: int


@st.composite
def fleets(draw: st.DrawFn) -> str:
    lines = ["format = 1"]
    lines += [f'[[host]]\nname = "hv0{n}"\nlive = {draw(st.integers(1, 3))}' for n in (1, 2, 3)]
    for number in range(1, draw(st.integers(2, 5))):
        status = draw(st.sampled_from(["Running", "Running", "PowerOff", "Saved"]))
        name = "<!here> & co" if number == 3 else f"web0{number}"
        minutes = draw(st.sampled_from([0.5, 2.0, 6.0]))
        lines.append(f'[[vm]]\nname = "{name}"\nhost = "hv01"\nstatus = "{status}"')
        lines.append(f"minutes = {minutes}")
    lies = st.sampled_from([0.0, 0.0, 0.3])
    lines.append(f"[lies]\nfailed = {draw(lies)}\nlose_acls_live = {draw(lies)}")
    return "\n".join(lines)


def acts() -> st.SearchStrategy[list[Act]]:
    waits = st.sampled_from([0.0, 0.0, 1.0, 20.0, 90.0, 400.0])
    people, texts = st.sampled_from(PEOPLE), st.sampled_from(TEXTS)
    troubles = st.tuples(st.sampled_from(TROUBLES), st.sampled_from(CALLS)).map(":".join)
    number = st.integers(0, 200)
    one = st.one_of(
        st.builds(Act, st.just("say"), waits, people, texts, number),
        st.builds(Act, st.just("click"), waits, people, st.just(""), number),
        st.builds(Act, st.just("submit"), waits, people, st.just("too late"), number),
        st.builds(Act, st.just("again"), waits, people, st.just(""), number),
        st.builds(Act, st.just("trouble"), waits, people, troubles, number),
        st.builds(Act, st.just("down"), waits, people, st.just(""), number),
        st.builds(Act, st.just("kill"), waits, people, st.just(""), st.integers(0, 40)),
        st.builds(Act, st.just("kill"), waits, people, st.just(""), st.integers(0, 40)),
        st.just(Act("trouble", 0.0, "dana", "lose_answer:chat.postMessage", 0)),
    )
    return st.lists(one, min_size=10, max_size=40)


class SlackNight(Mortal):
    """A night and its events."""

    def prepare(self) -> None:
        for name in PEOPLE:
            self.slack.user(name, **({"is_restricted": True} if name == "kim" else {}))
        self.slack.user("lee")
        self.ops = self.slack.channel("ops")
        self.sent: list[dict[str, object]] = []
        self.up_at: float | None = None
        with closing(sqlite3.connect(self.path)) as db:
            db.executescript(ANSWERS)

    def hears(self, payload: dict[str, object]) -> None:
        """Deliver an action of a person, and once more if the ack did not come."""
        self.sent.append(payload)
        for _ in range(2):
            acked = False
            with self.dying():
                self.deliver(payload)
                acked = True
            if acked:
                return

    def play(self, all_acts: list[Act]) -> None:
        workspace = self.slack.workspace
        self.hears(self.slack.command_payload("U0DANA", self.ops, TEXTS[0]))
        for act in all_acts:
            self.pass_time(act.after)
            getattr(self, f"do_{act.do}")(act, f"U0{act.who.upper()}")
        self.chosen = -1
        self.slack.up()
        for ordered in (workspace.orders, workspace.lose_answer, workspace.lose_request):
            ordered.clear()
        self.come_to_an_end()

    def pass_time(self, seconds: float) -> None:
        until = self.clock.now() + seconds
        self.step()
        while self.clock.now() < until:
            if self.up_at is not None and self.clock.now() >= self.up_at:
                self.up_at = None
                self.slack.up()
            self.step()

    def come_to_an_end(self) -> None:
        """Resume and approve what only people can, until the last message is sent."""
        until = self.clock.now() + DAY
        while not self.over():
            assert self.clock.now() < until, self.slack.workspace.dump()
            for run in queries.runs(self.store, unfinished=True):
                if run.state == "paused":
                    self.hears(self.slack.command_payload("U0DANA", self.ops, f"resume R{run.id}"))
            for card in self.cards():
                self.hears(self.slack.click_payload(LEE, card.ts, APPROVE))
            self.pass_time(600.0)

    def over(self) -> bool:
        going = queries.runs(self.store, unfinished=True) or self.side.tables.runs.watched()
        return self.quiet() and not going

    def cards(self) -> list[Message]:
        return [m for m in self.pressable() if "Approve moving" in m.shown]

    def pressable(self) -> list[Message]:
        return [m for m in self.slack.workspace.in_order() if any(True for _ in buttons(m))]

    # --- what happens -------------------------------------------------------------------------

    def do_say(self, act: Act, user: str) -> None:
        self.hears(self.slack.command_payload(user, self.ops, act.what))

    def do_click(self, act: Act, user: str) -> None:
        shown = [(m, b) for m in self.pressable() for b in buttons(m)]
        if shown:
            message, button = shown[act.pick % len(shown)]
            action = str(button["action_id"])
            self.hears(self.slack.click_payload(user, message.ts, action))

    def do_submit(self, act: Act, user: str) -> None:
        forms = [form for form in self.slack.workspace.forms if form.user == user]
        if not forms:
            return
        given: list[dict[str, object]] = []
        self.slack.deliver = lambda _, payload: given.append(payload)  # no socket is open here
        self.slack.submit(forms[-1], reason=act.what)
        del self.slack.deliver
        self.hears(given[0])

    def do_again(self, act: Act, user: str) -> None:
        self.hears(self.sent[act.pick % len(self.sent)])

    def do_trouble(self, act: Act, user: str) -> None:
        trouble, method = act.what.split(":")
        if trouble.startswith("lose"):
            getattr(self.slack, trouble)(method)
        else:
            self.slack.order(method, trouble, retry_after=1 + act.pick)

    def do_down(self, act: Act, user: str) -> None:
        self.slack.down()
        self.up_at = self.clock.now() + act.pick

    def do_kill(self, act: Act, user: str) -> None:
        """Kill the process before the statement with this number from now."""
        self.chosen = self.points + 1 + act.pick


# --- what must hold after every night -------------------------------------------------------------


def judge(night: SlackNight) -> None:
    assert night.bugs + night.side.bugs == 0
    assert night.world.violations == ()
    assert events.verify(night.store) > 0
    everything_is_answered_once(night)
    no_secret_is_in_any_row(night)
    nothing_stands_twice(night)
    what_stands_is_what_the_rows_say(night)


def everything_is_answered_once(night: SlackNight) -> None:
    db = sqlite3.connect(night.path)
    rows = db.execute("SELECT id, kind, by, body, done FROM slack_inbox").fetchall()
    answers = Counter(inbox for (inbox,) in db.execute("SELECT inbox FROM heard"))
    forms = {inbox for (inbox,) in db.execute("SELECT inbox FROM heard WHERE kind = 'form'")}
    boards = {inbox for (inbox,) in db.execute("SELECT inbox FROM slack_runs")}
    db.close()
    approvers = {e.by for e in events.since(night.store) if e.kind.startswith("approval.")}
    assert len(rows) <= len({id(payload) for payload in night.sent}), "said again, done again"
    for number, kind, by, body, done in rows:
        assert done is not None, body
        most = 2 if number in forms else 1  # a form that could not be opened is told of
        told_by_board = number in boards or (kind == "click" and by in approvers)
        assert answers[number] <= most or number in boards, (body, answers[number])
        assert answers[number] >= 1 or told_by_board, f"no answer to {by}: {body}"


def no_secret_is_in_any_row(night: SlackNight) -> None:
    with closing(sqlite3.connect(night.path)) as db:
        text = "\n".join(db.iterdump())
    secrets = ["verification-token", "/response/", night.slack.bot_token, night.slack.app_token]
    assert [secret for secret in secrets if secret in text] == []


def nothing_stands_twice(night: SlackNight) -> None:
    found = Counter(key for key, _ in marked(night.slack))
    assert [key for key, number in found.items() if number > 1] == []


def marked(slack: TroubledSlack) -> list[tuple[str, Message]]:
    """All messages with their keys."""
    return [
        (str(payload.get("key")), m)
        for m in slack.workspace.in_order()
        if isinstance(payload := m.metadata.get("event_payload"), dict)
    ]


def what_stands_is_what_the_rows_say(night: SlackNight) -> None:
    """Forget Slack's ids and render everything again: the messages must be the same as before."""
    before = dict(marked(night.slack))
    with closing(sqlite3.connect(night.path)) as db, db:
        db.execute("DELETE FROM slack_messages")
        db.execute("UPDATE slack_runs SET closed = 0")
    night.drop()
    night.begin()
    night.pass_time(60.0)
    night.until(night.quiet, DAY)
    again = {key: m for key, m in marked(night.slack) if before.get(key) != m}
    needed = {key for key in before if key.startswith(("board:", "card:"))}
    assert needed <= set(again), needed - set(again)
    for run in (board.partition(":")[2] for board in needed if board.startswith("board:")):
        # The report of its last end; those of ends before it went on again stay as they are.
        assert any(re.fullmatch(rf"report:{run}(:\d+)?", key) for key in again), run
    for key in (key for key in again if key.startswith(DRAWN)):
        assert key in before, key
        assert NOW.sub("", again[key].text) == NOW.sub("", before[key].text), key
        assert NOW.sub("", again[key].shown) == NOW.sub("", before[key].shown), key


@pytest.mark.prove
@settings(
    max_examples=size(6, 15, 300),
    deadline=None,
    # The same nights every time, unless more of them are requested.
    derandomize=REPEATABLE,
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)
@given(fleets(), acts())
def test_no_slack_night_loses_duplicates_or_leaks_anything(fleet: str, happens: list[Act]):
    clock = beginning()
    with tempfile.TemporaryDirectory() as room, patient_slack(clock, limits=True) as slack:
        approvers = ("U0RAVI", "U0MEI", LEE)
        night = SlackNight(
            Path(room), slack, clock, parse(fleet), QUIET, SHORT, approvers=approvers
        )
        night.prepare()
        try:
            night.play(happens)
            judge(night)
        finally:
            night.drop()
