"""The time to ack a click while 20 runs are active and no host answers."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

from bot.slack.kit.buttons import APPROVE
from bot.slack.kit.ids import in_slack
from bot.standin.values import Message, buttons
from tests.bench.crowd import Crowd, Json
from tests.bench.table import Row, at_most, exactly, quantile, told
from tests.hangs import HANGS
from tests.served import OnSlack

LANES = 8
P99, MAX = 50.0, 500.0  # milliseconds


def fleet(runs: int) -> str:
    """A source and a destination for each run, with two running VMs and one powered-down VM."""
    lines = ["format = 1"]
    for number in range(1, runs + 1):
        lines += [f'[[host]]\nname = "a{number:02}"', f'[[host]]\nname = "b{number:02}"']
        for vm, status in (("web", "Running"), ("db", "Running"), ("old", "PowerOff")):
            lines.append(
                f'[[vm]]\nname = "{vm}{number:02}"\nhost = "a{number:02}"\n'
                f'status = "{status}"\nminutes = 60.0'
            )
    return "\n".join(lines)


def measure(folder: Path, seconds: float, burst: int, runs: int = 20) -> list[Row]:
    """Send 50 clicks a second for the given time, then ``burst`` clicks at once."""
    lanes = min(LANES, runs)
    (folder / "fleet.toml").write_text(fleet(runs))
    with Crowd() as slack:
        people = [slack.user(f"person{number}") for number in range(10)]
        channels = [slack.channel(f"ops{number}") for number in range(runs)]
        words = ["tests.bench.hung", str(folder), "--db", str(folder / "night.db")]
        words += ["serve", "--fleet", str(folder / "fleet.toml")]
        approvers = ",".join(map(in_slack, people))
        with OnSlack(folder, slack, *words, APPROVAL__APPROVERS=approvers) as bot:
            slack.wait_for(lambda: slack.sockets == 2 and "listening for" in bot.text, HANGS)
            (folder / "hang").touch()
            for number, channel in enumerate(channels, 1):
                begin(slack, people[0], channel, f"host a{number:02} to b{number:02} now")
            slack.wait_for(lambda: all(boards(slack, c, "Moving") for c in channels), HANGS)
            cards = slack.wait_for(lambda: open_cards(slack, runs), HANGS)
            slack.wait_for(lambda: hanging(folder) >= lanes, HANGS)
            clicks = presses(slack, people, cards)
            paced = slack.press("interactive", list(islice(clicks, round(50 * seconds))), 50.0)
            at_once = slack.press("interactive", list(islice(clicks, burst)), None)
            still = hanging(folder)
            bot.end(signal.SIGKILL)
    return rows(paced, at_once, seconds, burst, still)


def begin(slack: Crowd, person: str, channel: str, text: str) -> None:
    """Repeat a request until its board exists: on a busy machine Slack may identify people too
    late."""
    while True:
        heard = len(slack.ephemerals(person))
        slack.command(person, channel, text)

        def answered(before: int = heard) -> bool:
            return bool(boards(slack, channel, "")) or len(slack.ephemerals(person)) > before

        slack.wait_for(answered, HANGS)
        if boards(slack, channel, ""):
            return


def rows(
    paced: list[float], at_once: list[float], seconds: float, burst: int, still: int
) -> list[Row]:
    """The numbers with their targets."""
    sent = round(50 * seconds)
    return [
        told("Calls to hosts that hang meanwhile (lanes of the engine)", f"{still} of {LANES}"),
        exactly(f"Decisions acked, 50 a second for {seconds:g} s", len(paced), sent),
        told("Ack, median", f"{1000 * quantile(paced, 0.5):.1f} ms"),
        at_most("Ack, p99", 1000 * quantile(paced, 0.99), P99, "ms"),
        at_most("Ack, longest", 1000 * quantile(paced, 1.0), MAX, "ms"),
        exactly(f"Decisions acked, {burst:,} at once", len(at_once), burst),
        at_most("Ack of the last one of them", quantile(at_once, 1.0), 3.0, "s", 2),
    ]


def boards(slack: Crowd, channel: str, words: str) -> list[Message]:
    """The boards in a channel that contain these words."""
    return [m for m in slack.messages(channel) if words in m.shown]


def open_cards(slack: Crowd, number: int) -> list[Message]:
    """All open cards, or none while there are fewer than this number."""
    cards = [
        m
        for m in slack.workspace.in_order()
        if any(b.get("action_id") == APPROVE for b in buttons(m))
    ]
    return cards if len(cards) >= number else []


def hanging(folder: Path) -> int:
    """The number of calls that hang."""
    count = folder / "hangs"
    return int(count.read_text() or 0) if count.exists() else 0


def presses(slack: Crowd, people: list[str], cards: list[Message]) -> Iterator[Json]:
    """Clicks of all people on all cards, with the buttons that the cards had while open."""
    shown = {
        card.ts: next(str(b["value"]) for b in buttons(card) if b.get("action_id") == APPROVE)
        for card in cards
    }
    for number, ts in enumerate(cycle(shown)):
        user = people[number // len(shown) % len(people)]
        yield slack.click_payload(user, ts, APPROVE, shown[ts])
