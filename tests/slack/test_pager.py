"""The pager: called once for each cause, retried until it answers, and never a cause of delay."""

from __future__ import annotations

import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bot.pager import TRIES, Page, Pager, Pages
from engine.clock import VirtualClock
from engine.errors import Refused
from engine.model import MoveState
from engine.settings import from_mapping
from engine.store import queries
from engine.store.store import Store
from tests.hangs import HANGS
from tests.slack.handlers.test_run_buttons import DAMAGE

KEY = "s3cret-routing-key"


class Peer:
    """A pager on this machine. Keeps its calls, and answers with the next of these codes, or
    200."""

    def __init__(self) -> None:
        self.told: list[dict[str, str]] = []
        self.answers: list[int] = []
        self.calls = self.strays = 0
        self.called, self.holds = threading.Event(), threading.Event()
        self.holds.set()
        peer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                peer.calls += 1
                peer.called.set()
                peer.holds.wait(HANGS)
                status = peer.answers.pop(0) if peer.answers else 200
                if status == 200:
                    peer.told.append(json.loads(body))
                if status == 0:
                    self.close_connection = True
                    return
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", peer.url + "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_GET(self) -> None:
                peer.strays += 1
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/{KEY}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def peer():
    made = Peer()
    yield made
    made.holds.set()
    assert made.strays == 0
    made.server.shutdown()
    made.server.server_close()


def moving_vms(night) -> list[str]:
    record = queries.record(night.store, 1)
    return [m.move.vm for m in record.moves if m.move.state is MoveState.MOVING]


def heard(night, peer, event):
    return night.slack.wait_for(
        lambda: next((said for said in peer.told if said["event"] == event), None)
    )


def rows(store):
    return store.query("SELECT * FROM slack_pages ORDER BY key")


def damaged(make_night, **options):
    night = make_night(fleet=DAMAGE, **options)
    night.start()
    night.world.lose(night.clock.now(), "web03", nics=True)
    board = night.ask_for("host hv01 to hv02 now")
    return night, board


def state_of(night, vm):
    return next(m.move.state for m in queries.record(night.store, 1).moves if m.move.vm == vm)


def to_damage(night):
    night.step(until=lambda: state_of(night, "web03") is MoveState.DAMAGED, most=20_000)


def test_a_damaged_vm_is_paged_once(make_night, peer):
    night, _ = damaged(make_night, pager_url=peer.url)
    to_damage(night)

    said = heard(night, peer, "damaged")

    assert set(said) == {"key", "event", "run", "text"}
    assert said["run"] == "R1"
    assert said["key"].startswith("damaged:R1:")
    assert said["text"].startswith("R1 on hv02: web03")
    night.to_the_end()
    night.settled()
    assert len(peer.told) == 1


def test_an_approval_that_nobody_may_decide_is_paged_at_once(make_night, peer):
    night = make_night(approvers=("U0DANA",), pager_url=peer.url)
    night.start()
    night.card(night.ask_for())

    said = heard(night, peer, "nobody_may_decide")

    assert said["key"] == "nobody:A1"
    assert said["text"].startswith("A1 awaits a decision: 1 powered-down VM of R1, needed by ")


def test_an_open_approval_is_paged_shortly_before_its_deadline(make_night, peer):
    night = make_night(pager_url=peer.url)
    night.start()
    night.card(night.ask_for())
    night.settled()
    assert peer.told == []

    until = night.clock.now() + 400
    night.step(until=lambda: night.clock.now() >= until)

    assert heard(night, peer, "escalation")["key"] == "escalate:A1"


def test_a_host_that_stays_silent_during_a_run_is_paged_once(make_night, peer):
    night = make_night(pager_url=peer.url)
    night.start()
    night.card(night.ask_for())
    night.world.down(night.clock.now(), "hv02", 2400)
    until = night.clock.now() + 1500
    night.step(until=lambda: night.clock.now() >= until)

    said = heard(night, peer, "silent")

    assert said["key"].startswith("silent:R1:hv02:")
    assert said["text"].startswith("R1: hv02 has not answered since ")
    night.settled()
    assert [one["event"] for one in peer.told].count("silent") == 1


def test_no_page_is_stored_without_a_pager(make_night):
    night, _ = damaged(make_night)
    to_damage(night)
    night.settled()

    assert rows(night.store) == []


def test_a_hanging_pager_delays_no_message_or_click(make_night, peer):
    peer.holds.clear()
    night, board = damaged(make_night, pager_url=peer.url)
    to_damage(night)
    night.slack.wait_for(lambda: peer.calls)

    post = night.reply_with("🛑", board)
    night.slack.click(night.ravi, post.ts, "do.go-on")

    assert night.told(night.ravi, "hv02 receives VMs again.")
    peer.holds.set()
    heard(night, peer, "damaged")


@pytest.mark.parametrize("answer", [0, 302, 404, 429, 500])
def test_a_page_that_the_pager_rejects_is_retried(make_night, peer, answer):
    peer.answers += [answer, answer]
    night, _ = damaged(make_night, pager_url=peer.url)
    to_damage(night)

    heard(night, peer, "damaged")

    assert peer.calls == 3
    assert len(peer.told) == 1


def test_an_undelivered_page_is_sent_after_a_restart(make_night, peer):
    peer.answers += [500] * 1_000
    night, _ = damaged(make_night, pager_url=peer.url)
    to_damage(night)
    night.slack.wait_for(lambda: peer.calls)
    night.side.stop()
    peer.answers.clear()

    night.side = night.new_side()
    night.start()

    assert heard(night, peer, "damaged")["run"] == "R1"


@pytest.fixture
def alone(tmp_path, peer):
    """A pager on a clock of its own."""
    clock = VirtualClock(1_000.0)
    store = Store(tmp_path / "vmferry.db", durable=False)
    pages = Pages(store, clock, wanted=True)
    yield clock, pages, Pager(pages, peer.url)
    store.close()


def put(pages, page):
    with pages.store.transaction() as db:
        return pages.put(db, page)


PAGE = Page("damaged:R1:x", "damaged", "R1", "web03 is not well")


def test_a_page_is_retried_with_growing_pauses_and_finally_given_up(alone, peer, caplog):
    clock, pages, pager = alone
    peer.answers += [503] * 100
    put(pages, PAGE)

    pauses = []
    with caplog.at_level(logging.WARNING):
        while (wait := pager.send_due()) is not None:
            pauses.append(wait)
            clock.jump(clock.now() + wait)

    assert peer.calls == TRIES
    assert pauses[:4] == [5.0, 10.0, 20.0, 40.0]
    assert max(pauses) == 900.0
    assert 3 * 3_600 < sum(pauses) < 5 * 3_600
    assert "was not reached for damaged:R1:x in 20 tries: HTTP 503" in caplog.text


def test_a_rejected_page_does_not_delay_the_next(alone, peer):
    _, pages, pager = alone
    peer.answers += [500]
    put(pages, PAGE)
    put(pages, Page("damaged:R2:y", "damaged", "R2", "another"))

    assert pager.send_due() == 5.0

    assert [said["run"] for said in peer.told] == ["R2"]


def test_the_page_due_first_is_sent_first(alone, peer):
    clock, pages, pager = alone
    peer.answers += [500]
    put(pages, PAGE)
    pager.send_due()  # due again in five seconds
    for number in (2, 3):
        clock.jump(clock.now() + 1)
        put(pages, Page(f"damaged:R{number}:y", "damaged", f"R{number}", "another"))
    clock.jump(clock.now() + 10)
    put(pages, Page("damaged:R4:y", "damaged", "R4", "another"))

    assert pager.send_due() is None

    assert [said["run"] for said in peer.told] == ["R2", "R3", "R1", "R4"]


@pytest.mark.parametrize("back", [60.0, 3_600.0, 86_400.0])
def test_a_clock_set_back_delays_a_page_by_at_most_one_pause(alone, peer, back):
    clock, pages, pager = alone
    clock.jump(1_000_000.0)
    peer.answers += [500]
    put(pages, PAGE)
    pager.send_due()
    clock.time -= back

    waited = 0.0
    while (wait := pager.send_due()) is not None:
        waited += wait
        clock.jump(clock.now() + wait)

    assert waited <= 900.0
    assert [said["run"] for said in peer.told] == ["R1"]


def test_the_oldest_page_is_sent_first_after_the_clock_was_set_back(alone, peer):
    clock, pages, pager = alone
    clock.jump(1_000_000.0)
    for number in (2, 1):
        clock.jump(clock.now() + 1)
        put(pages, Page(f"damaged:R{number}:y", "damaged", f"R{number}", "text"))
    clock.time -= 86_400.0

    assert pager.send_due() is None

    assert [said["run"] for said in peer.told] == ["R2", "R1"]


def test_the_pager_thread_stops_after_the_current_page_even_if_many_wait(alone, peer):
    _, pages, pager = alone
    for number in range(50):
        put(pages, Page(f"damaged:R{number}:y", "damaged", f"R{number}", "x"))
    peer.holds.clear()
    pager.loop.start()
    assert peer.called.wait(HANGS)

    pager.loop.stop(0)
    peer.holds.set()
    pager.loop.stop(10)

    assert not pager.loop._thread.is_alive()
    assert peer.calls == 1


def test_the_same_cause_is_paged_once(alone, peer):
    _, pages, pager = alone

    assert put(pages, PAGE)
    pager.send_due()
    assert not put(pages, PAGE)
    pager.send_due()

    assert peer.calls == 1


def test_the_pager_is_not_called_every_second_if_the_row_cannot_be_written(alone, peer, caplog):
    _, pages, pager = alone
    put(pages, PAGE)
    db = pages.store.database()
    db.execute("PRAGMA query_only = 1")

    for _ in range(3):
        pager.loop.run_once()
    db.execute("PRAGMA query_only = 0")
    pager.loop.run_once()

    assert peer.calls == 1
    assert pages.next_due() is None
    assert pager.loop.bugs == 0, "a database that takes nothing for now is no bug"
    assert "slack-pager waits" in caplog.text


def test_a_kill_between_call_and_row_repeats_the_page_with_the_same_key(alone, peer):
    _, pages, pager = alone
    put(pages, PAGE)
    pager.send_due()
    with pages.store.transaction() as db:
        db.execute("UPDATE slack_pages SET done = NULL")

    Pager(pages, peer.url).send_due()

    assert [said["key"] for said in peer.told] == [PAGE.key, PAGE.key]


def test_the_pager_url_appears_in_no_row_log_or_error(make_night, peer, caplog):
    peer.answers += [500, 0]
    with caplog.at_level(logging.DEBUG):
        night, _ = damaged(make_night, pager_url=peer.url)
        to_damage(night)
        heard(night, peer, "damaged")
        night.settled()
    dump = "\n".join(night.store.database().raw.conn.iterdump())

    assert "slack_pages" in dump
    assert KEY not in dump
    assert KEY not in caplog.text
    assert KEY not in repr(night.settings)
    with pytest.raises(Refused) as refused:
        from_mapping({"slack": {"pager_url": f"http://pager.example.com/{KEY}"}}, "in a test")
    assert KEY not in f"{refused.value}"
    assert "pager.url" in f"{refused.value}"


def test_an_unreachable_pager_is_logged(alone, peer, caplog):
    _, pages, _ = alone
    put(pages, PAGE)
    dead = Pager(pages, f"http://127.0.0.1:9/{KEY}")

    with caplog.at_level(logging.WARNING):
        assert dead.send_due() == 5.0

    assert "ConnectionRefusedError" in caplog.text
    assert KEY not in caplog.text


def test_a_migration_that_stands_still_is_told_in_the_thread_and_paged_once(make_night, peer):
    night = make_night(pager_url=peer.url)
    night.start()
    board = night.ask_for()
    night.step(until=lambda: bool(moving_vms(night)))
    vm = moving_vms(night)[0]
    night.world.stall(night.clock.now(), vm, 7200)
    until = night.clock.now() + 2400
    night.step(until=lambda: night.clock.now() >= until)

    said = heard(night, peer, "stalled")
    stands = f"he migration of {vm} to hv0"

    assert stands in said["text"]
    assert "for 30 min. Look for its job in VMM" in said["text"]
    assert stands in night.reply_with("has stood at", board).shown
    night.settled()
    assert [one["event"] for one in peer.told].count("stalled") == 1
