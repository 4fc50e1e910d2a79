"""What lies between processes: hosts, the paths between them, who listens where.

A path leads from one host to another, one way. Cut, it holds what is sent, as TCP does by sending it again and again,
until it heals or TCP gives up. A host that is down answers nothing, and whoever was connected to it is not told.
Within a host all paths are open.
"""

import errno
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from sherd.common.net.address import Address
from sim.pace import Pace
from sim.scheduler import Scheduler

if TYPE_CHECKING:
    from sim.network import Listening
    from sim.transport import SimTransport

LOOPBACK = ("127.0.0.1", "localhost", "::1")
ANYWHERE = ("0.0.0.0", "::")
PORT_FIRST = 20_000

Path = tuple[str, str]
"""The names of two hosts: from, to."""
Place = tuple[str, str, int]
"""A host, and there an address and port, or a unix path and 0."""


class Fabric:
    """One for a simulation. ``delays`` are extra seconds of a path, ``rates`` its bytes a second."""

    def __init__(self, scheduler: Scheduler, pace: Pace | None = None) -> None:
        self.scheduler = scheduler
        self.pace = Pace() if pace is None else pace
        self.dice = scheduler.dice("fabric")
        self.delays: dict[Path, float] = {}
        self.rates: dict[Path, float] = {}
        self.ends: dict[SimTransport, None] = {}
        """Ends of connections that their processes hold."""
        self._hosts: dict[str, bool] = {}  # whether it is up
        self._cuts: dict[Path, float] = {}  # since when
        self._waiting: dict[Path, list[Callable[[], None]]] = {}
        self._listening: dict[Place, list[Listening]] = {}
        self._next_port = PORT_FIRST
        self._serial = 0

    def next_serial(self) -> int:
        self._serial += 1
        return self._serial

    # -- hosts and paths -----------------------------------------------------------------------------------------------

    def add_host(self, name: str) -> None:
        self._hosts[name] = True

    def is_up(self, host: str) -> bool:
        return self._hosts[host]

    def is_open(self, source: str, target: str) -> bool:
        """Whether something sent from one host now reaches the other."""
        if source == target:
            return self._hosts[source]
        return (source, target) not in self._cuts and self._hosts[source] and self._hosts[target]

    def latency(self, source: str, target: str, size: int = 0) -> float:
        """Seconds that ``size`` bytes take on a path, this time."""
        pace, dice, path = self.pace, self.dice, (source, target)
        base = pace.near_seconds if source == target else pace.far_seconds
        seconds = base + dice.expovariate(1.0 / base) + self.delays.get(path, 0.0)
        if dice.random() < pace.straggle_chance:
            seconds += dice.uniform(0.0, pace.straggle_seconds_max)
        rate = self.rates.get(path)
        return seconds if rate is None else seconds + size / rate

    def cut(self, source: str, target: str) -> None:
        """Let nothing through this way from now on."""
        if (source, target) not in self._cuts:
            self.scheduler.note("fabric", f"cut {source} {target}")
            self._cuts[source, target] = self.scheduler.now
            self._probe_soon(lambda a, b: {a, b} == {source, target})

    def cut_between(self, one: str, other: str) -> None:
        self.cut(one, other)
        self.cut(other, one)

    def isolate(self, host: str) -> None:
        """Cut a host off from all others."""
        for other in self._hosts:
            if other != host:
                self.cut_between(host, other)

    def heal(self, source: str, target: str) -> None:
        since = self._cuts.pop((source, target), None)
        if since is not None:
            self.scheduler.note("fabric", f"heal {source} {target}")
            self._release((source, target), self.scheduler.now - since)

    def heal_between(self, one: str, other: str) -> None:
        self.heal(one, other)
        self.heal(other, one)

    def heal_all(self) -> None:
        for source, target in list(self._cuts):
            self.heal(source, target)

    def reset_between(self, one: str, other: str) -> None:
        """Break the connections between two hosts at both ends, as a firewall does that forgets them."""
        self.scheduler.note("fabric", f"reset {one} {other}")
        for end in list(self.ends):
            if {end.process.host, end.peer.process.host} == {one, other}:
                end.reset()

    def go_down(self, host: str) -> None:
        """Of a host that loses power: from here on it is silent."""
        self._hosts[host] = False
        self._probe_soon(lambda a, b: host in (a, b))

    def come_up(self, host: str) -> None:
        self._hosts[host] = True
        for path in list(self._waiting):
            if host in path and path not in self._cuts:
                self._release(path, self.pace.resend_seconds_max)

    def when_open(self, source: str, target: str, act: Callable[[], None]) -> None:
        """Have ``act`` called once a path that is not open has healed, which may by then be cut again."""
        self._waiting.setdefault((source, target), []).append(act)

    def _release(self, path: Path, closed_seconds: float) -> None:
        for act in self._waiting.pop(path, []):
            self.scheduler.after(self.dice.uniform(0.0, min(closed_seconds, self.pace.resend_seconds_max)), act)

    def _probe_soon(self, concerns: Callable[[str, str], bool]) -> None:
        for end in self.ends:
            if end.peer.process.host != end.process.host and concerns(end.process.host, end.peer.process.host):
                end.probe_later()

    # -- who listens ---------------------------------------------------------------------------------------------------

    def host_of(self, address: Address, seen_from: str) -> str:
        """The host that an address names; OSError (gaierror) if there is none of that name."""
        if address.is_unix or address.host in LOOPBACK:
            return seen_from
        if address.host not in self._hosts:
            raise socket.gaierror(socket.EAI_NONAME, f"no host {address.host}")
        return address.host

    def bind(self, listening: "Listening", address: Address) -> Address:
        """Take up an address; as it turned out. OSError if it is another's."""
        host = listening.process.host
        if not address.is_unix:
            if address.host not in (*LOOPBACK, *ANYWHERE, host):
                raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
            if not address.port:
                self._next_port += 1
                address = address.with_port(self._next_port)
        present = self._listening.setdefault(_place(host, address), [])
        if present and not (listening.shared and all(other.shared for other in present)):
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), str(address))
        present.append(listening)
        return address

    def unbind(self, listening: "Listening", address: Address) -> None:
        self._listening[_place(listening.process.host, address)].remove(listening)

    def listening_at(self, host: str, address: Address) -> "Listening | None":
        """Who gets the next connection to ``address`` on ``host``."""
        hosts = (address.host,) if address.is_unix else (address.host, *ANYWHERE)
        found = [one for name in hosts for one in self._listening.get((host, name or address.path, address.port), [])]
        return self.dice.choice(found) if found else None


def _place(host: str, address: Address) -> Place:
    return host, address.host or address.path, address.port
