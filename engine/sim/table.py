"""One table of a TOML file, read key by key: wrong types and unknown keys are refused by name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NoReturn

from engine.errors import Refused
from engine.language.grammar import duration, nearest


def suggestion(word: str, known: Sequence[str]) -> str:
    """``Did you mean "x"?`` for the nearest known word, or nothing."""
    near = nearest(word, known)
    return f'Did you mean "{near}"?' if near else ""


class Table:
    """A TOML table that remembers which keys were asked for."""

    def __init__(self, values: Mapping[str, object], where: str, mark: str = ": ") -> None:
        self._values, self._where, self._mark = values, where, mark
        self._known: list[str] = []

    def path(self, key: str) -> str:
        """Path of this key in the file, for messages."""
        return f"{self._where}{self._mark}{key}"

    @property
    def place(self) -> str:
        """Name of this table in the file, for messages."""
        return self._where

    def has(self, key: str) -> bool:
        """Tell whether this key is in the file."""
        return key in self._values

    def done(self) -> None:
        """Refuse keys that nobody asked for, with the nearest one that is known."""
        for key in self._values:
            if key not in self._known:
                near = suggestion(key, self._known)
                raise Refused(f"{self.path(key)} is not a key of format 1.", what=key, hint=near)

    def missing(self, key: str) -> NoReturn:
        """Refuse for the lack of this key, with the key that looks like it."""
        near = nearest(key, [one for one in self._values if one not in self._known])
        hint = f'Is "{near}" meant to be it?' if near else ""
        raise Refused(f"{self.path(key)} is required.", what=near or key, hint=hint)

    def text(self, key: str, default: str) -> str:
        """A string."""
        value = self._get(key, default)
        return value if isinstance(value, str) else self._wrong(key, "a text in quotes", value)

    def required(self, key: str) -> str:
        """A string that must be there and not be empty."""
        value = self.text(key, "")
        return value if value.strip() else self.missing(key)

    def optional(self, key: str) -> str | None:
        """A string, or ``None`` where the file is silent or empty."""
        return self.text(key, "") or None

    def word(self, key: str, default: str) -> str:
        """A string, or a bare number as one: ``local_port = 443``."""
        value = self._get(key, default)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return str(value)
        return value if isinstance(value, str) else self._wrong(key, "a text or a number", value)

    def choice(self, key: str, default: str | None, choices: Sequence[str]) -> str:
        """One of these words, exactly as spelled; required where there is no default."""
        value = self.required(key) if default is None else self.text(key, default)
        if value in choices:
            return value
        hint = suggestion(value, choices) or f"Known: {', '.join(choices)}."
        raise Refused(f'{self.path(key)} cannot be "{value}".', what=value, hint=hint)

    def flag(self, key: str, default: bool) -> bool:
        """A truth value."""
        value = self._get(key, default)
        return value if isinstance(value, bool) else self._wrong(key, "true or false", value)

    def flag_or_text(self, key: str) -> bool | str:
        """A truth value or a string; false where the file is silent."""
        value = self._get(key, False)
        if isinstance(value, bool) or (isinstance(value, str) and value.strip()):
            return value
        return self._wrong(key, "true or a name in quotes", value)

    def count(self, key: str, default: int | None, most: int | None = None) -> int:
        """A whole number from 0 (to ``most``); required where there is no default."""
        value = self._get(key, default)
        return self.missing(key) if value is None else self._whole(key, value, most)

    def counts(self, key: str, most: int) -> tuple[int, ...]:
        """A list of whole numbers; empty where the file is silent."""
        return tuple(self._whole(key, value, most) for value in self._list(key, ()))

    def number(self, key: str, default: float, positive: bool = False) -> float:
        """A number from 0, or above 0."""
        return self._number(key, self._get(key, default), positive)

    def numbers(self, key: str, default: Mapping[str, float]) -> dict[str, float]:
        """A table of numbers: ``volumes = { "D:" = 8000 }``."""
        value = self._get(key, default)
        if not isinstance(value, Mapping):
            return self._wrong(key, "a table of numbers", value)
        return {name: self._number(f"{key}.{name}", one) for name, one in value.items()}

    def chance(self, key: str) -> float:
        """A number from 0 to 1, by default 0."""
        value = self.number(key, 0.0)
        if value > 1:
            raise Refused(f"{self.path(key)} is a chance from 0 to 1, not {value:g}.", what=key)
        return value

    def texts(self, key: str, default: Sequence[str]) -> tuple[str, ...]:
        """A list of strings."""
        values = self._list(key, default)
        wrong = [one for one in values if not isinstance(one, str)]
        return self._wrong(key, "a list of texts", wrong[0]) if wrong else tuple(map(str, values))

    def seconds(self, key: str, default: float, negative: bool = False) -> float:
        """A duration such as ``"25m"``."""
        return self._seconds(key, self._get(key, f"{default:g}s"), negative)

    def range(self, key: str) -> tuple[float, float]:
        """Two durations, shortest first; ``("0s", "0s")`` where the file is silent."""
        return self._pair(key, self._get(key, ("0s", "0s")), empty=True)

    def windows(self, key: str) -> tuple[tuple[float, float], ...]:
        """A list of [from, until] pairs of durations."""
        return tuple(self._pair(key, value, empty=False) for value in self._list(key, ()))

    def instant(self, key: str, default: float) -> float:
        """A date and time with its zone, as Unix seconds."""
        value = self._get(key, default)
        if isinstance(value, float) and not self.has(key):
            return value
        if isinstance(value, datetime) and value.tzinfo is not None:
            return value.timestamp()
        return self._wrong(key, "a time with its zone, such as 2026-01-05T22:00:00Z", value)

    def table(self, key: str) -> Table:
        """A table inside this one; empty where the file is silent."""
        value = self._get(key, {})
        if not isinstance(value, Mapping):
            return self._wrong(key, f"a table: [{key}]", value)
        return Table(value, self.path(key), ".")

    def mapping(self, key: str) -> Mapping[str, object]:
        """The keys of a table inside this one, read later by somebody else."""
        value = self._get(key, None)
        if value is None:
            self.missing(key)
        return value if isinstance(value, Mapping) else self._wrong(key, "a table: { ... }", value)

    def tables(self, key: str, named: bool = False) -> tuple[Table, ...]:
        """A list of tables, each with its position (and its name) as its place."""
        return tuple(
            self._nested(key, position, value, named)
            for position, value in enumerate(self._list(key, (), f"tables: [[{key}]]"))
        )

    def _nested(self, key: str, position: int, value: object, named: bool) -> Table:
        if not isinstance(value, Mapping):
            return self._wrong(key, f"tables: [[{key}]]", value)
        name = value.get("name")
        label = f' "{name}"' if named and isinstance(name, str) else ""
        return Table(value, f"{self.path(f'{key}[{position}]')}{label}")

    def _get(self, key: str, default: object) -> object:
        self._known.append(key)
        return self._values.get(key, default)

    def _list(self, key: str, default: Sequence[object], kind: str = "a list") -> Sequence[object]:
        value = self._get(key, default)
        return value if isinstance(value, list | tuple) else self._wrong(key, kind, value)

    def _whole(self, key: str, value: object, most: int | None) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            return self._wrong(key, "a whole number", value)
        if value < 0:
            raise Refused(f"{self.path(key)} must not be negative, not {value}.", what=key)
        if most is not None and value > most:
            raise Refused(f"{self.path(key)} is at most {most}, not {value}.", what=key)
        return value

    def _number(self, key: str, value: object, positive: bool = False) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return self._wrong(key, "a number", value)
        if not math.isfinite(value):
            return self._wrong(key, "a finite number", value)
        if value < 0:
            raise Refused(f"{self.path(key)} must not be negative, not {value:g}.", what=key)
        if positive and not value:
            raise Refused(f"{self.path(key)} must be more than 0.", what=key)
        return float(value)

    def _seconds(self, key: str, value: object, negative: bool = False) -> float:
        if not isinstance(value, str):
            return self._wrong(key, 'a duration such as "90s"', value)
        sign = -1.0 if value.startswith("-") else 1.0
        if sign < 0 and not negative:
            raise Refused(f'{self.path(key)} must not be negative, not "{value}".', what=key)
        try:
            return sign * duration(value.removeprefix("-"))
        except Refused as error:
            hint = error.hint or 'Write it as "90s", "10m", "1h" or "1d".'
            raise Refused(
                f'{self.path(key)} is not a duration: "{value}".', what=value, hint=hint
            ) from None

    def _pair(self, key: str, value: object, empty: bool) -> tuple[float, float]:
        if not isinstance(value, list | tuple) or len(value) != 2:
            return self._wrong(key, 'a pair of durations such as ["0s", "25m"]', value)
        first, last = (self._seconds(key, one) for one in value)
        if last < first or (last == first and not empty):
            raise Refused(f"{self.path(key)} ends before it begins.", what=key)
        return first, last

    def _wrong(self, key: str, wanted: str, value: object) -> NoReturn:
        shown = f'"{value}"' if isinstance(value, str) else _spelled(value)
        raise Refused(f"{self.path(key)} must be {wanted}, not {shown}.", what=key)


def _spelled(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "a table" if isinstance(value, Mapping) else str(value)
