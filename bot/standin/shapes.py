"""Shapes of Slack's Block Kit, put together from small checks.

A check yields what is wrong about a value, in Slack's words and with a JSON pointer to the place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

Check = Callable[[object, str], Iterator[str]]


def wrong(words: str, where: str) -> str:
    """One complaint as Slack writes it."""
    return f"{words} [json-pointer:{where}]"


def string(most: int, least: int = 1) -> Check:
    """A text of so many characters."""

    def check(value: object, where: str) -> Iterator[str]:
        if not isinstance(value, str):
            yield wrong("must be a string", where)
        elif len(value) < least:
            yield wrong(f"must be more than {least - 1} characters", where)
        elif len(value) > most:
            yield wrong(f"must be less than {most + 1} characters", where)

    return check


def flag(value: object, where: str) -> Iterator[str]:
    """Yes or no."""
    if not isinstance(value, bool):
        yield wrong("must be a boolean", where)


def whole(least: int, most: int) -> Check:
    """A number between these, both allowed."""

    def check(value: object, where: str) -> Iterator[str]:
        if not isinstance(value, int) or isinstance(value, bool):
            yield wrong("must be an integer", where)
        elif not least <= value <= most:
            yield wrong(f"must be between {least} and {most}", where)

    return check


def one_of(*words: str) -> Check:
    """One of these words."""

    def check(value: object, where: str) -> Iterator[str]:
        if value not in words:
            yield wrong(f"must be one of {', '.join(words)}", where)

    return check


def listed(each: Check, least: int, most: int) -> Check:
    """A list of so many."""

    def check(value: object, where: str) -> Iterator[str]:
        if not isinstance(value, Sequence) or isinstance(value, str):
            yield wrong("must be a list", where)
            return
        if len(value) < least:
            yield wrong(f"must have at least {least} items", where)
        if len(value) > most:
            yield wrong(f"no more than {most} items allowed", where)
        for number, one in enumerate(value):
            yield from each(one, f"{where}/{number}")

    return check


def shape(required: str = "", /, **fields: Check) -> Check:
    """An object with these fields and no others."""

    def check(value: object, where: str) -> Iterator[str]:
        if not isinstance(value, Mapping):
            yield wrong("must be an object", where)
            return
        for name in required.split():
            if name not in value:
                yield wrong(f"missing required field: {name}", where)
        for name, part in value.items():
            if name in fields:
                yield from fields[name](part, f"{where}/{name}")
            elif name != "type":
                yield wrong(f"invalid additional property: {name}", where)

    return check


def typed(kinds: Mapping[str, Check]) -> Check:
    """An object of one of these types."""

    def check(value: object, where: str) -> Iterator[str]:
        if not isinstance(value, Mapping):
            yield wrong("must be an object", where)
            return
        kind = value.get("type")
        if not isinstance(kind, str):
            yield wrong("missing required field: type", where)
        elif kind not in kinds:
            yield wrong(f"unsupported type: {kind}", f"{where}/type")
        else:
            yield from kinds[kind](value, where)

    return check


def then(*checks: Check) -> Check:
    """Each check where those before it found nothing."""

    def check(value: object, where: str) -> Iterator[str]:
        for one in checks:
            found = list(one(value, where))
            yield from found
            if found:
                return

    return check


def either(*names: str) -> Check:
    """Exactly one of these fields."""

    def check(value: object, where: str) -> Iterator[str]:
        if isinstance(value, Mapping) and sum(name in value for name in names) != 1:
            yield wrong(f"exactly one of {', '.join(names)} is required", where)

    return check


def some_of(*names: str) -> Check:
    """At least one of these fields."""

    def check(value: object, where: str) -> Iterator[str]:
        if isinstance(value, Mapping) and not any(name in value for name in names):
            yield wrong(f"missing required field: {names[0]}", where)

    return check


def distinct(name: str, parts: str = "") -> Check:
    """No two things in this list, or in the list of this field, have the same id."""

    def check(value: object, where: str) -> Iterator[str]:
        things = value.get(parts) if parts and isinstance(value, Mapping) else value
        if not isinstance(things, Sequence):
            return
        ids = [one.get(name) for one in things if isinstance(one, Mapping) and name in one]
        for twice in sorted({str(one) for one in ids if ids.count(one) > 1}):
            yield wrong(f"{name} {twice} already exists", f"{where}/{parts}".rstrip("/"))

    return check
