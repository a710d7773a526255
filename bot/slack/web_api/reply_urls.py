"""Response URLs: for each inbox row, the URL of its replies and how long it is valid."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

REPLIES, REPLIES_FOR = 5, 29 * 60.0


@dataclass
class _Url:
    address: str
    until: float
    left: int = REPLIES


class ReplyUrls:
    """The response URLs of the last interactions, in memory only, since they are secrets.

    Slack allows five uses within 30 minutes; VMFerry stops after 29. After a restart replies go
    through ``chat.postEphemeral``.
    """

    def __init__(self, most: int = 2_000) -> None:
        self._urls: OrderedDict[int, _Url] = OrderedDict()
        self._lock = threading.Lock()
        self._most = most

    def keep(self, inbox: int, address: str, now: float) -> None:
        """Remember the URL for replies to this row. ``now``: monotonic seconds."""
        with self._lock:
            self._urls[inbox] = _Url(address, now + REPLIES_FOR)
            while len(self._urls) > self._most:
                self._urls.popitem(last=False)

    def has(self, inbox: int | None, now: float) -> bool:
        """Tell whether this row has a usable URL."""
        with self._lock:
            return self._usable(inbox, now) is not None

    def drop(self, inbox: int | None) -> None:
        """Drop a URL that does not work. Idempotent."""
        with self._lock:
            self._urls.pop(inbox or 0, None)

    def use(self, inbox: int | None, now: float) -> str | None:
        """A usable URL, counted as used once more; ``None``: there is none."""
        with self._lock:
            url = self._usable(inbox, now)
            if url is None:
                return None
            url.left -= 1
            return url.address

    def _usable(self, inbox: int | None, now: float) -> _Url | None:
        url = self._urls.get(inbox or 0)
        return url if url is not None and url.left > 0 and url.until >= now else None
