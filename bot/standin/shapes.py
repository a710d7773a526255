"""Checks of Slack's Block Kit, composed of small functions.

A check yields the errors of a value, in Slack's words and with a JSON pointer to the place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Check = Callable[[Any, str], Iterator[str]]


def wrong(words: str, where: str) -> str:
    """Write an error as Slack does."""
    return f"{words} [json-pointer:{where}]"


def fits(test: Callable[[Any], object], words: str) -> Check:
    """Check that the test is true of a value."""

    def check(value: Any, where: str) -> Iterator[str]:
        if not test(value):
            yield wrong(words, where)

    return check


def then(*checks: Check) -> Check:
    """Run the checks in order, up to the first that finds an error."""

    def check(value: Any, where: str) -> Iterator[str]:
        for one in checks:
            found = list(one(value, where))
            yield from found
            if found:
                return

    return check


flag = fits(lambda value: isinstance(value, bool), "must be a boolean")
an_object = fits(lambda value: isinstance(value, Mapping), "must be an object")
a_list = fits(
    lambda value: isinstance(value, Sequence) and not isinstance(value, str), "must be a list"
)


def string(most: int, least: int = 1) -> Check:
    """Check for a text of ``least`` to ``most`` characters."""
    return then(
        fits(lambda value: isinstance(value, str), "must be a string"),
        fits(lambda value: len(value) >= least, f"must be more than {least - 1} characters"),
        fits(lambda value: len(value) <= most, f"must be less than {most + 1} characters"),
    )


def whole(least: int, most: int) -> Check:
    """Check for an integer from ``least`` to ``most``."""
    return then(
        fits(lambda value: type(value) is int, "must be an integer"),
        fits(lambda value: least <= value <= most, f"must be between {least} and {most}"),
    )


def one_of(*words: str) -> Check:
    """Check for one of these words."""
    return fits(lambda value: value in words, f"must be one of {', '.join(words)}")


def either(*names: str) -> Check:
    """Check for an object with exactly one of these fields."""
    return fits(
        lambda value: sum(name in value for name in names) == 1,
        f"exactly one of {', '.join(names)} is required",
    )


def listed(each: Check, least: int, most: int) -> Check:
    """Check for a list of ``least`` to ``most`` items."""

    def check(value: Sequence[object], where: str) -> Iterator[str]:
        if len(value) < least:
            yield wrong(f"must have at least {least} items", where)
        if len(value) > most:
            yield wrong(f"no more than {most} items allowed", where)
        for number, one in enumerate(value):
            yield from each(one, f"{where}/{number}")

    return then(a_list, check)


def shape(required: str = "", /, **fields: Check) -> Check:
    """Check for an object with no fields but these."""

    def check(value: Mapping[str, object], where: str) -> Iterator[str]:
        for name in required.split():
            if name not in value:
                yield wrong(f"missing required field: {name}", where)
        for name, part in value.items():
            if name in fields:
                yield from fields[name](part, f"{where}/{name}")
            else:
                yield wrong(f"invalid additional property: {name}", where)

    return then(an_object, check)


def typed(kinds: Mapping[str, Check]) -> Check:
    """Check for an object of one of these types."""

    def check(value: Mapping[str, object], where: str) -> Iterator[str]:
        kind = value.get("type")
        if not isinstance(kind, str):
            yield wrong("missing required field: type", where)
        elif kind not in kinds:
            yield wrong(f"unsupported type: {kind}", f"{where}/type")
        else:
            rest = {name: part for name, part in value.items() if name != "type"}
            yield from kinds[kind](rest, where)

    return then(an_object, check)


def distinct(name: str) -> Check:
    """Check that no two objects of a list have the same value in this field."""

    def check(things: Sequence[Mapping[str, object]], where: str) -> Iterator[str]:
        ids = [str(one[name]) for one in things if name in one]
        for twice in sorted({one for one in ids if ids.count(one) > 1}):
            yield wrong(f"{name} {twice} already exists", where)

    return check
