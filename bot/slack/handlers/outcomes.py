"""What a row of the inbox comes to: words, buttons, a form, a run that is told about."""

from __future__ import annotations

from dataclasses import dataclass

from bot.slack.handlers.confirmations import Draft, Settled
from bot.slack.kit.blocks import Block
from engine.model import Run


@dataclass(frozen=True)
class Outcome:
    """What is said to the person (empty: nothing), the run to tell about from now on, and the
    form that is opened.

    ``blocks``: what is said, with buttons. ``draft``: what waits for the person's own yes.
    ``settled``: what such a yes or no came to; the question is then replaced by the answer.
    ``done``: it was carried out, or was so before; not: refused. ``refused``: what of, for the
    audit, where nobody else writes it there.
    """

    reply: str = ""
    run: Run | None = None
    form: Block | None = None
    blocks: tuple[Block, ...] = ()
    draft: Draft | None = None
    settled: Settled | None = None
    done: bool = True
    refused: str = ""
