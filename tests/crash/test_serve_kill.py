"""The real process of ``vmferry serve``, killed during a burst of commands and clicks.

Everything that was acked is in the rows and is answered after the restart. Nothing is carried out
twice, and nothing without a row has had an effect.
"""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bot.slack.kit.blocks import fingerprint
from bot.slack.kit.buttons import APPROVE
from bot.slack.kit.ids import in_slack
from bot.slack.outbox.rate_limits import RATES
from bot.slack.setup.manifest import SCOPES
from bot.standin.slack import NotAcked
from bot.standin.values import Message, buttons
from engine.store import events, queries
from engine.store.store import Store
from tests.hangs import HANGS
from tests.prove import size
from tests.served import Served
from tests.troubled_slack import TroubledSlack

KILLS = size(2, 5, 100)
ANSWERS = RATES["chat.postEphemeral"]  # how answers go out once their response URLs are lost
STATUS, VERB, RUN, CLICK = "status", "verb", "run", "click"
CHANNELS, PEOPLE, DECIDERS = 4, 8, 4


def fleet(vms: int) -> str:
    """``long`` moves all night, so that there is a run to steer. ``cold`` and every second one
    of the rest is powered down and needs an approval."""
    lines = ["format = 1"]
    lines += [f'[[host]]\nname = "hv0{n}"\nlive = 30\nstorage = 30' for n in (1, 2)]
    lines.append('[[vm]]\nname = "long"\nhost = "hv01"\nminutes = 100000.0')
    lines.append('[[vm]]\nname = "cold"\nhost = "hv01"\nstatus = "PowerOff"')
    for number in range(vms):
        status = "PowerOff" if number % 2 else "Running"
        lines.append(
            f'[[vm]]\nname = "vm{number:04}"\nhost = "hv01"\nstatus = "{status}"\n'
            "minutes = 1.0\nmemory_gb = 0.1\ndisk_gb = 0.1"
        )
    return "\n".join(lines)


@dataclass(frozen=True)
class Deed:
    """One action of a person: its subject, and the key of its row."""

    kind: str
    user: str
    about: str
    key: str
    envelope: str
    payload: dict[str, Any] = field(hash=False)


class Crowd:
    """The people, their actions, and the results."""

    def __init__(self, slack: TroubledSlack, seed: int) -> None:
        self.slack, self.chance = slack, random.Random(seed)
        self.channels = [slack.channel(f"ops{number}") for number in range(CHANNELS)]
        self.people = [slack.user(f"person{number}") for number in range(PEOPLE)]
        self.deeds: list[Deed] = []
        self._numbers = iter(range(1000, 80_000))
        self._vms = iter(range(10_000))

    def deed(self, kind: str, user: str, about: str, payload: dict[str, Any]) -> Deed:
        if kind == CLICK:
            (pressed,) = payload["actions"]
            key = f"click:{APPROVE}:{pressed['value']}:{in_slack(user)}:{pressed['action_ts']}"
        else:
            key = f"command:{fingerprint(payload['trigger_id'])}"
        made = Deed(kind, user, about, key, f"burst-{len(self.deeds)}", payload)
        self.deeds.append(made)
        return made

    def types(self, kind: str, user: str, about: str, text: str) -> Deed:
        payload = self.slack.command_payload(user, self.chance.choice(self.channels), text)
        return self.deed(kind, user, about, payload)

    def burst(self) -> list[Deed]:
        """Actions of every kind in random order. Several people click every open button."""
        deeds = []
        for number in (next(self._numbers) for _ in range(24)):
            user = self.chance.choice(self.people)
            deeds.append(self.types(STATUS, user, f"R{number}", f"status R{number}"))
        for number in (next(self._numbers) for _ in range(8)):
            user = self.chance.choice(self.people)
            deeds.append(self.types(VERB, user, f"{number}s", f"set R1 backup {number}s"))
        for vm in (f"vm{next(self._vms):04}" for _ in range(2)):
            user = self.chance.choice(self.people)
            deeds.append(self.types(RUN, user, vm, f"vm {vm} to hv02 now"))
        for card in self.open_cards()[:3]:
            shown = next(b for b in buttons(card) if b.get("action_id") == APPROVE)
            for user in self.chance.sample(self.people, 6):
                payload = self.slack.click_payload(user, card.ts, APPROVE)
                about = str(shown["value"]).partition(".")[0]
                deeds.append(self.deed(CLICK, user, about, payload))
        self.chance.shuffle(deeds)
        return deeds

    def open_cards(self) -> list[Message]:
        return [
            m
            for m in self.slack.workspace.in_order()
            if any(b.get("action_id") == APPROVE for b in buttons(m))
        ]

    def does(self, deed: Deed) -> None:
        kind = "interactive" if deed.kind == CLICK else "slash_commands"
        try:
            self.slack.deliver(kind, deed.payload, deed.envelope)
        except NotAcked:
            return

    def acked(self) -> list[Deed]:
        """Actions that were acked, even if late: their authors saw no error."""
        return [deed for deed in self.deeds if self.slack.acks(deed.envelope)]


class Rows:
    """The database, read beside the process."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False)

    def keys(self) -> list[str]:
        return [key for (key,) in self._db.execute("SELECT key FROM slack_inbox")]

    def unanswered(self) -> int:
        """Rows that are not done, and answers that are not sent."""
        todo = "SELECT count(*) FROM slack_inbox WHERE done IS NULL"
        unsaid = "SELECT count(*) FROM slack_outbox WHERE kind = 'reply'"
        return sum(self._db.execute(query).fetchone()[0] for query in (todo, unsaid))

    def close(self) -> None:
        self._db.close()


@dataclass
class Night:
    """The results of the kills."""

    in_mid_burst: int = 0
    waited: list[float] = field(default_factory=list)  # beyond what Slack's limit costs


@pytest.mark.prove
def test_kills_during_a_burst_lose_and_duplicate_nothing(tmp_path, capsys):
    (tmp_path / "fleet.toml").write_text(fleet(2 * KILLS + 2))
    night = Night()
    with TroubledSlack(ack_within=0.5, patience=HANGS, scopes=SCOPES) as slack:
        crowd = Crowd(slack, seed=KILLS)
        first = [
            crowd.types(RUN, crowd.people[0], vm, f"vm {vm} to hv02 now") for vm in ("long", "cold")
        ]
        for number in range(KILLS):
            with heard(tmp_path, slack, crowd) as bot:
                if number == 0:
                    for deed in first:
                        crowd.does(deed)
                    slack.wait_for(crowd.open_cards)
                catches_up(tmp_path, slack, crowd, night)
                is_killed_in_mid_burst(bot, crowd, night)
            if number % 4 == 3 or number == KILLS - 1:
                is_killed_at_its_start(tmp_path, slack, crowd)
        with heard(tmp_path, slack, crowd) as bot:
            catches_up(tmp_path, slack, crowd, night)
            slack.wait_for(lambda: not unsaid(tmp_path))
            assert bot.end(signal.SIGTERM) == 0, bot.text
        judge(tmp_path, slack, crowd)
        doubles = posted_twice(slack)
    acked = len(crowd.acked())
    with capsys.disabled():
        print(
            f"\n{KILLS} kills, {night.in_mid_burst} of them in mid-burst: {acked} of "
            f"{len(crowd.deeds)} deeds acked, none lost, none carried out twice; "
            f"answered after at most {max(night.waited):.2f} s; {len(doubles)} posts stand twice"
        )
    assert night.in_mid_burst >= KILLS / 2, "the kills came too late to prove anything"
    assert any(of(crowd.acked(), CLICK)), "no click was stored: nothing about clicks is proven"
    assert doubles == []


def served(folder: Path, slack: TroubledSlack, crowd: Crowd) -> Served:
    words = ("--fleet", str(folder / "fleet.toml"), "--speed", "30")
    approvers = ",".join(map(in_slack, crowd.people[:DECIDERS]))
    return Served(folder, slack, *words, APPROVAL__APPROVERS=approvers)


def heard(folder: Path, slack: TroubledSlack, crowd: Crowd) -> Served:
    """A process that accepts commands."""
    bot = served(folder, slack, crowd)
    bot.says("listening for")
    return bot


def is_killed_at_its_start(folder: Path, slack: TroubledSlack, crowd: Crowd) -> None:
    """Kill the process while it carries out the rows of the previous one."""
    with served(folder, slack, crowd) as bot:
        threading.Event().wait(crowd.chance.uniform(0.5, 2.0))
        bot.end(signal.SIGKILL)


def is_killed_in_mid_burst(bot: Served, crowd: Crowd, night: Night) -> None:
    """Let everybody act at once, and send SIGKILL during the burst."""
    deeds = crowd.burst()
    slack, enough = crowd.slack, crowd.chance.randrange(1, len(deeds) // 2)

    def acked() -> int:
        return sum(bool(slack.acks(deed.envelope)) for deed in deeds)

    with ThreadPoolExecutor(len(crowd.people)) as people:
        for deed in deeds:
            people.submit(crowd.does, deed)
        slack.wait_for(lambda: acked() >= enough)
        threading.Event().wait(crowd.chance.uniform(0.0, 0.03))
        bot.end(signal.SIGKILL)
    night.in_mid_burst += acked() < len(deeds)


def catches_up(folder: Path, slack: TroubledSlack, crowd: Crowd, night: Night) -> None:
    """Check that everything acked before the kill is in the rows and is answered, as fast as
    Slack's limit for such answers allows."""
    begun = time.monotonic()
    rows = Rows(folder / "night.db")
    try:
        assert {deed.key for deed in crowd.acked()} <= set(rows.keys())
        left = rows.unanswered()
        while rows.unanswered():
            assert time.monotonic() - begun < HANGS, slack.workspace.dump()
            threading.Event().wait(0.02)
    finally:
        rows.close()
    queued = max(0, left - ANSWERS.at_once) * 60.0 / ANSWERS.per_minute
    night.waited.append(time.monotonic() - begun - queued)


def unsaid(folder: Path) -> bool:
    """Check whether the outbox holds a message or a run has no board yet."""
    with closing(sqlite3.connect(f"file:{folder / 'night.db'}?mode=ro", uri=True)) as db:
        left = "SELECT count(*) FROM slack_outbox"
        unshown = "SELECT count(*) FROM runs WHERE state = 'scheduled'"
        return any(db.execute(query).fetchone()[0] for query in (left, unshown))


def boards(slack: TroubledSlack) -> list[Message]:
    """The messages in the channels themselves."""
    return [m for m in slack.workspace.in_order() if m.thread_ts is None]


# --- what came of it ------------------------------------------------------------------------------


def judge(folder: Path, slack: TroubledSlack, crowd: Crowd) -> None:
    """Check the night after everything has settled."""
    rows = Rows(folder / "night.db")
    keys = Counter(rows.keys())
    rows.close()
    assert set(keys) <= {deed.key for deed in crowd.deeds}, "a row of nothing that anybody did"
    assert max(keys.values()) == 1
    accepted = [deed for deed in crowd.deeds if deed.key in keys]
    store = Store(folder / "night.db")
    try:
        assert events.verify(store) > 0
        accepted = [deed for deed in accepted if not not_sure(store, slack, deed)]
        assert accepted
        one_run_per_command(store, slack, accepted)
        one_event_per_verb(store, slack, accepted)
        one_decision_per_card(store, slack, accepted)
    finally:
        store.close()
    for deed in of(accepted, STATUS):
        assert told(slack, deed.user, deed.about), deed
    world = json.loads((folder / "night.db.world.json").read_text())["world"]
    assert world["violations"] == []


def not_sure(store: Store, slack: TroubledSlack, deed: Deed) -> bool:
    """Check whether the refusal says that Slack did not identify the person in time. On a busy
    machine that happens."""
    for event in events.since(store):
        words = str(event.detail.get("text")).split()
        about = deed.about in words or f"A{deed.about}" in words
        if event.kind == "refused" and event.by == f"slack:{deed.user}" and about:
            return told(slack, deed.user, "I cannot check")
    return False


def of(deeds: Sequence[Deed], kind: str) -> Iterator[Deed]:
    return (deed for deed in deeds if deed.kind == kind)


def told(slack: TroubledSlack, user: str, words: str) -> bool:
    return any(words in e.text for e in slack.ephemerals(user))


def one_run_per_command(store: Store, slack: TroubledSlack, accepted: Sequence[Deed]) -> None:
    runs = queries.runs(store)
    asked = Counter(run.request for run in runs)

    assert asked == {f"vm {deed.about} to hv02": 1 for deed in of(accepted, RUN)}
    for run in runs:
        standing = [m for m in boards(slack) if m.shown.startswith(f"*{run.label} ")]
        assert standing, f"no board of {run.label}"


def one_event_per_verb(store: Store, slack: TroubledSlack, accepted: Sequence[Deed]) -> None:
    changed = [e for e in events.since(store) if e.kind == "run.changed"]

    for deed in of(accepted, VERB):
        did = [e for e in changed if deed.about in e.text.split(" to ", 1)[-1]]
        assert [e.by for e in did] == [f"slack:{deed.user}"], (deed, did)
        heard = [e.text for e in slack.ephemerals(deed.user) if deed.about in e.text]
        assert heard, deed
        assert not any("Nothing changed" in text for text in heard), (deed, heard)
    assert len(changed) == len(list(of(accepted, VERB)))


def one_decision_per_card(store: Store, slack: TroubledSlack, accepted: Sequence[Deed]) -> None:
    made = [e for e in events.since(store) if e.kind == "approval.granted"]
    winners = {str(e.detail["approval"]): e.by for e in made}
    clicks = list(of(accepted, CLICK))
    owed: Counter[str] = Counter()

    assert len(made) == len(winners), "decided twice"
    for deed in clicks:
        won = winners.get(deed.about) == f"slack:{deed.user}"
        owed[deed.user] += not won
    assert set(winners) <= {deed.about for deed in clicks}
    for user, number in owed.items():
        answers = [e for e in slack.ephemerals(user) if says_why(e.text)]
        assert len(answers) >= number, (user, number, answers)


def says_why(text: str) -> bool:
    """Check whether this is the answer to a click that decided nothing."""
    why = (
        "before your click",
        "while your click was in flight",
        "You are not allowed to decide",
        "cannot decide",
    )
    return any(words in text for words in why)


def posted_twice(slack: TroubledSlack) -> list[str]:
    """The keys of messages that were posted twice."""
    keys = Counter(
        str(payload.get("key"))
        for m in slack.workspace.in_order()
        if isinstance(payload := m.metadata.get("event_payload"), dict)
    )
    return [key for key, number in keys.items() if number > 1]
