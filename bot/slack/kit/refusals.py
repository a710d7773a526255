"""Sentences for refusals and internal errors."""

from __future__ import annotations

from bot.slack.kit.blocks import escape, fit
from bot.slack.kit.mentions import render
from bot.slack.kit.phrases import as_code
from engine.errors import Refused, UsageError
from engine.language.sentence import join

NOTHING = "Nothing changed."
NOT_STARTED = "Nothing started."


def usage(error: UsageError, command: str) -> str:
    """Explain a wrong word: which word, what was typed, and what to type instead."""
    shown = f"\n```{escape(_pointer(error))}```" if error.at >= 0 and error.text else ""
    return fit(refused(error, command), 2_000) + shown


def refused(error: Refused, command: str, nothing: str = NOT_STARTED) -> str:
    """Refusal in full: what is wrong, that nothing happened (``nothing``; empty for a look), and
    what to do."""
    if error.says_nothing:
        nothing = ""
    return render(join(" ", [error.sentence, nothing, error.hint]), command)


def _pointer(error: UsageError) -> str:
    """The text with a caret under the wrong word, cut so that the caret stays in view."""
    start = max(0, error.at - 60)
    shown = error.text[start : start + 120].replace("\n", " ").replace("`", "'")
    return f"{shown}\n{' ' * (error.at - start)}{'^' * max(1, min(len(error.what), 60))}"


def too_long(longest: int) -> str:
    """Refusal of a text longer than ``longest`` characters."""
    return f"That is longer than {longest} characters. {NOT_STARTED}"


def as_typed(text: str, command: str) -> str:
    """A typed command, quoted for use within a sentence."""
    return as_code(command, escape(fit(text, 300).replace("`", "'")))


def unknown_button(command: str) -> str:
    """Answer to a button of another version, or with a value that VMFerry did not make."""
    return f"This button is from another version of VMFerry. {NOTHING} Type: {command} status"


def review_is_typed(command: str, run: str) -> str:
    """Answer to a review button of an earlier version: reviews are typed now."""
    return (
        f"This button no longer works. {NOTHING} If all was in order, type: {command} reviewed "
        f"{run}\nIf not, add the finding to this command."
    )


def failed_inside(inbox: int, command: str) -> str:
    """Answer after an internal error; ``inbox`` is the number of the row."""
    return (
        f"VMFerry has failed internally (inbox {inbox} in its log). "
        f"Check with {command} status before you repeat this."
    )


NOT_SAVED = f"I could not save this, so I will not do it. {NOT_STARTED} Type it again in a minute."
