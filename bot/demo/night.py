"""The demo: one night as a conversation in a channel, with a simulated fleet and a stand-in for
Slack.

The real Bolt app speaks Socket Mode with the stand-in in this process; the real engine moves VMs of
a simulated fleet, sixty times faster than real time. The demo prints what the channel shows, then
checks the result. It exits with 1 if the night did not go as described here.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from bot.demo.transcript import Telling
from bot.slack.kit import buttons
from bot.slack.outbox.rate_limits import Rhythm
from bot.slack.setup.manifest import SCOPES
from bot.slack.slack_side import SlackSide
from bot.standin.slack import Standin
from bot.terminal.reading import Installation
from bot.terminal.running import Session, Wish, at_work, opened
from engine.errors import VMFerryError
from engine.settings import Settings, from_mapping
from engine.sim.world import World
from engine.store import events, queries
from engine.views import report

SPEED = 60.0
PATIENCE = 100.0
HURRIED = Rhythm(post=0.05, board=0.15, look=0.03)
REQUEST = "host HV01 to HV02"


class NotAsTold(VMFerryError):
    """The night did not go as described: something is broken."""


def main() -> int:
    """Play the night; returns the exit code."""
    try:
        with _night() as night:
            _play(night)
            problems = _check(night)
    except (NotAsTold, AssertionError, VMFerryError) as error:
        print(f"\nThe demo broke off: {error}", file=sys.stderr)
        return 1
    for problem in problems:
        print(f"\nThe demo went wrong: {problem}", file=sys.stderr)
    return 1 if problems else 0


@dataclass
class Night:
    """The channel, its people, and the world and engine behind it."""

    slack: Standin
    telling: Telling
    session: Session
    world: World
    ops: str
    people: dict[str, str]
    broken: list[BaseException] = field(default_factory=list)
    heard: int = 0

    def wait_for(self, seen: Callable[[], Any], what: str) -> None:
        """Print what the channel shows until ``seen`` is true. Raises ``NotAsTold``."""

        def look() -> Any:
            if self.broken:
                raise NotAsTold(f"the engine ended: {self.broken[0]}")
            self.tell()
            return seen()

        try:
            self.slack.wait_for(look, PATIENCE)
        except AssertionError:
            raise NotAsTold(f"the channel never showed {what}") from None
        self.tell()

    def tell(self) -> None:
        """Print everything new in the channel and behind it."""
        news = events.since(self.session.store, self.heard)
        self.heard = news[-1].seq if news else self.heard
        self.telling.aside(news)
        self.telling.tell(self.now())

    def now(self) -> float:
        """The world's time."""
        return self.session.world.clock.now()

    def thread_has(self, words: str) -> bool:
        """Tell whether a reply in the run's thread says this."""
        board = self.slack.messages(self.ops)[0]
        return any(words in m.text for m in self.slack.thread(self.ops, board.ts))


@contextmanager
def _night() -> Iterator[Night]:
    """Set up everything, and close it at the end."""
    with ExitStack() as left:
        room = left.enter_context(tempfile.TemporaryDirectory(prefix="vmferry-demo-"))
        patient = Standin(
            ack_within=PATIENCE, trigger_life=PATIENCE, patience=PATIENCE, scopes=SCOPES
        )
        slack = left.enter_context(patient)
        ops = slack.channel("ops-migrations")
        people = {name: slack.user(name) for name in ("dana", "eve", "ravi")}
        settings = _settings(slack, people["ravi"])
        fleet = left.enter_context(as_file(files("bot.demo") / "demo_fleet.toml"))
        place = Installation(Path(room) / "vmferry.db", settings)
        session = left.enter_context(opened(place, Wish(None, fleet, SPEED)))
        world = session.world.opened
        assert world is not None
        night = Night(slack, Telling(slack, ops, people), session, world.world, ops, people)
        left.enter_context(at_work(session, night.broken.append))
        clock, service = session.world.clock, session.service
        side = SlackSide(
            session.store, service, settings, clock, base_url=slack.base_url, rhythm=HURRIED
        )
        left.enter_context(side)
        if not side.connection.connected.wait(PATIENCE):
            raise NotAsTold("the bot could not connect to the stand-in")
        yield night


def _settings(slack: Standin, approver: str) -> Settings:
    slack_side = {"bot_token": slack.bot_token, "app_token": slack.app_token}
    approval = {"approvers": f"slack:{approver}"}
    return from_mapping({"slack": slack_side, "approval": approval}, "the demo")


# --- the night --------------------------------------------------------------------------------


def _play(night: Night) -> None:
    """Play the night: people type and click, and the world changes."""
    dana, eve, ravi = (night.people[name] for name in ("dana", "eve", "ravi"))
    world, slack, telling = night.world, night.slack, night.telling
    now = night.now()
    telling.opening(now)
    world.foreign(now, "guest07", "HV03")
    world.outcome(now, "erp01", "failed", "source")
    world.lose(now, "shop01", acls="all")
    world.lose(now, "old-crm", acls="all", nics=True)
    _types(night, dana, "host HV0I to HV02")
    night.wait_for(lambda: any("No host" in e.text for e in slack.ephemerals(dana)), "a refusal")
    _types(night, dana, REQUEST)
    night.wait_for(lambda: any("would move" in e.text for e in slack.ephemerals(dana)), "a preview")
    night.telling.person(slack.name(dana), "clicks [Start]", night.now())
    slack.click_private(dana, buttons.YES)
    night.wait_for(lambda: slack.messages(night.ops), "the board")
    night.wait_for(lambda: _card(night), "the question")
    _clicks(night, eve, "Approve 2")
    night.wait_for(lambda: slack.ephemerals(eve), "an answer to a click by somebody else")
    _clicks(night, dana, "Approve 2")
    night.wait_for(lambda: len(slack.ephemerals(dana)) > 3, "an answer to the requester's click")
    _clicks(night, ravi, "Approve 2")
    night.wait_for(lambda: night.thread_has("Approved by"), "the decision")
    night.wait_for(lambda: night.thread_has("R1 ended"), "the final report")
    night.wait_for(lambda: "Completed" in slack.messages(night.ops)[0].shown, "the last board")


def _types(night: Night, user: str, text: str) -> None:
    night.telling.person(night.slack.name(user), f"/migrate {text}", night.now())
    night.slack.command(user, night.ops, text)


def _card(night: Night) -> str:
    """The ts of the approval card, or nothing yet."""
    boards = night.slack.messages(night.ops)
    replies = night.slack.thread(night.ops, boards[0].ts) if boards else ()
    return next((m.ts for m in replies if m.text.startswith("Approve moving")), "")


def _clicks(night: Night, user: str, label: str) -> None:
    night.telling.person(night.slack.name(user), f"clicks [{label}]", night.now())
    night.slack.click(user, _card(night), "approve")


# --- did it come out? ---------------------------------------------------------------------------


def _check(night: Night) -> list[str]:
    """Claims that did not come true; prints the closing lines."""
    document = report.document(night.session.store, "vmm01", night.now())
    run = document["runs"][0]
    moves = {m["vm"]: m for m in run["moves"]}
    history = events.since(night.session.store)
    kinds = [e.kind for e in history]
    clicks = [e for e in history if e.kind == "refused" and "approval" in e.detail]
    verified = events.verify(night.session.store)
    checks = {
        "every VM moved": run["exit"] == 0 and all(m["state"] == "done" for m in moves.values()),
        "HV01 proven empty by two observations": "host.empty" in kinds,
        "no start without a free slot, no VM moved twice": not night.world.violations,
        "problem 1, the limit: VMs waited for a slot": any(
            "SLOT" in m["waited"] for m in moves.values()
        ),
        "problem 2, extended ACLs: shop01's were restored": _repairs(moves["shop01"]) == {"acl"},
        "problem 3, powered-down networks: old-crm's was restored": _repairs(moves["old-crm"])
        == {"acl", "network", "switch", "vlan"},
        "problem 4, the backup: sql02 waited for it": "BACKUP" in moves["sql02"]["waited"],
        "a failure and its retry: erp01": len(_tries(moves["erp01"])) == 2,
        "powered-down VMs moved only with ravi's approval": _granted_by(night)
        == [f"slack:{night.people['ravi']}"],
        "two clicks by people who may not approve were refused and recorded": len(clicks) == 2,
    }
    to_slack = len(night.slack.calls("chat.postMessage")) + len(night.slack.calls("chat.update"))
    night.telling.closing(run, checks, verified, len(night.session.world.calls), to_slack)
    return [what for what, is_so in checks.items() if not is_so]


def _repairs(move: dict[str, Any]) -> set[str]:
    return {repair["what"] for repair in move["repairs"]}


def _tries(move: dict[str, Any]) -> list[dict[str, Any]]:
    return [a for a in move["attempts"] if a["kind"] in ("live", "cold")]


def _granted_by(night: Night) -> list[str | None]:
    record = queries.record(night.session.store, 1)
    return [a.by for a in record.approvals if a.granted] if record else []
