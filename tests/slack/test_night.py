"""A run from the command to the report, as people in the channel see it."""

from __future__ import annotations

from engine.model import RunState


def test_a_command_posts_a_board_and_starts_the_run(night):
    assert night.say("host hv01 to hv02,hv03 now") == ""

    board = night.board_shows("Moving")

    assert night.run().state is RunState.ACTIVE
    assert night.run().by == f"slack:{night.dana}"
    assert "R1 · hv01 → hv02, hv03 · Moving" in board.shown
    assert "0 of 3 moved" in board.text
    assert "▓" not in board.text


def test_the_report_is_posted_in_the_thread_and_broadcast(night):
    board = night.ask_for()
    card = night.card(board)
    night.slack.click(night.ravi, card.ts, "approve")
    night.reply_with("Approved by", board)
    night.to_the_end()

    last = night.reply_with("R1 ended", board)

    assert last.broadcast
    assert "3 of 3 moved, hv01 is empty" in last.text
    assert f"<@{night.dana}>" in last.text
    assert f"approved by <@{night.ravi}>" in last.text
    assert "Completed" in night.board_shows("Completed").shown
    night.settled()
    top = [m for m in night.slack.messages(night.ops) if m.thread_ts is None]
    assert len(top) == 1
    assert night.world.violations == ()
