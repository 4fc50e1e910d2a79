"""What a proxy says of itself to every shard, so that any proxy can tell of all of them.

The proxies of a host share a port, and no client can choose which it asks; they know nothing of each other, but every
shard knows who is linked to it. So the greeting of each link says how many clients this proxy has. On scan links it is
sent again when that has changed, at most every ``CHANGED_S``, and every ``AGAIN_S`` in any case. Shards give it back in
their status for as long as the link is there. What is told of another proxy is therefore true as of a moment ago, and
of one that is gone nothing is.
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgpack

from sherd.common.clock import Clock
from sherd.common.errors import WireError
from sherd.proxy.asking import Ask
from sherd.proxy.follower_links import READ, READ_SCAN
from sherd.proxy.routes import Routes

CHANGED_S = 0.5
AGAIN_S = 5.0


class Introduction:
    """Of the proxy ``name``, reached by clients at ``address`` (set once known); ``connections`` counts them."""

    def __init__(self, name: str, connections: Callable[[], int], clock: Clock) -> None:
        self._name = name
        self._connections = connections
        self._clock = clock
        self._told = -1
        self._told_at = float("-inf")
        self.address = ""

    def entry(self) -> dict[str, object]:
        """This proxy in the list of a status, as it is now."""
        return {"name": self._name, "pid": os.getpid(), "address": self.address, "connections": self._connections()}

    def hello(self, routes: Routes, purpose: str) -> dict[str, object]:
        """The greeting of a link. ``told_ms`` is when it was said, on this process's monotonic clock."""
        about = {**self.entry(), "told_ms": int(self._clock.monotonic() * 1000)}
        hello = {"link": self._name, "layout": routes.topology.layout.counter, "purpose": purpose, "proxy": about}
        if routes.stale_ms and purpose in (READ, READ_SCAN):
            hello["stale_ms"] = routes.stale_ms
        return hello

    def repeat(self, routes: Routes, now: float) -> None:
        """To be called regularly: greet again where it is due."""
        connections = self._connections()
        if now - self._told_at < (AGAIN_S if connections == self._told else CHANGED_S):
            return
        self._told, self._told_at = connections, now
        params: bytes = msgpack.packb([self.hello(routes, "scan")])
        for link in routes.links:
            if link.purpose == "scan" and link.up:
                link.submit(Ask(b"hello", params, now + AGAIN_S, _ignore), now)


def _ignore(result: bytes, error: WireError | None) -> None:
    """Whether the shard has heard it shows at the next repetition."""


def all_proxies(own: dict[str, Any], answers: Sequence[Mapping[str, object]]) -> list[dict[str, Any]]:
    """The proxies of a status, by name: this one as it is now, and what shards have heard of the others last."""
    latest: dict[str, tuple[float, dict[str, Any]]] = {own["name"]: (math.inf, own)}
    for answer in answers:
        found = answer.get("proxies")
        for about in found if isinstance(found, list) else []:
            proxy, told_ms = (about.get("name"), about.get("told_ms")) if isinstance(about, dict) else (None, None)
            if isinstance(proxy, str) and isinstance(told_ms, int) and told_ms >= latest.get(proxy, (0, {}))[0]:
                latest[proxy] = (told_ms, {field: about.get(field) for field in own})
    return [about for _, (_, about) in sorted(latest.items())]
