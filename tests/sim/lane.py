"""One direction of a connection: bytes on their way, in order, and the end of them.

What can't arrive because the path is cut is held. TCP notices a cut by what is not acknowledged, in either direction;
if that lasts, it gives the connection up at the sender's end, and the other one is not told.
"""

import errno
import os
from collections import deque
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sim.fabric import Fabric
    from sim.transport import SimTransport


class Mark(Enum):
    """What TCP says of a connection: FIN, RST."""

    END = "end"
    RESET = "reset"


class Lane:
    """From the transport ``source`` to ``target``. ``dropped``: nothing of it will arrive any more."""

    def __init__(self, fabric: "Fabric", source: "SimTransport", target: "SimTransport") -> None:
        self.flight_bytes = 0
        self.dropped = False
        self._fabric = fabric
        self._scheduler = fabric.scheduler
        self._source = source
        self._target = target
        self._path = (source.process.host, target.process.host)
        self._name = f"{source.process.name}>{target.process.name}"
        self._flight: deque[tuple[float, bytes | Mark]] = deque()
        self._last_due = 0.0
        self._moving = False  # an arrival is scheduled, or waits for the path to heal
        self._held = False  # what is due waits for the path to heal
        self._acknowledging = False  # an acknowledgement waits for the way back to heal
        self._stalled_since: float | None = None

    @property
    def stalled(self) -> bool:
        """Whether something sent stays unacknowledged because of a cut."""
        return self._stalled_since is not None

    def send(self, item: bytes | Mark) -> None:
        """Put something on its way. Bytes may arrive in pieces."""
        if self.dropped:
            return
        dice, pace = self._fabric.dice, self._fabric.pace
        if isinstance(item, bytes) and len(item) > 1 and dice.random() < pace.split_chance:
            at = dice.randrange(1, len(item))
            self._launch(item[:at])
            item = item[at:]
        self._launch(item)

    def _launch(self, item: bytes | Mark) -> None:
        size = len(item) if isinstance(item, bytes) else 0
        due = self._scheduler.now + self._fabric.latency(*self._path, size)
        self._last_due = due = max(due, self._last_due)
        self._flight.append((due, item))
        self.flight_bytes += size
        if not self._moving:
            self._moving = True
            self._scheduler.at(due, self._arrive)

    def _arrive(self) -> None:
        """Deliver what is due."""
        source, target = self._path
        if not self._fabric.is_open(source, target):
            if not self.dropped:
                self._held = True
                self._stall()
                self._fabric.when_open(source, target, self._arrive)
            return
        self._held = False
        now = self._scheduler.now
        while self._flight and self._flight[0][0] <= now and not self.dropped:
            _, item = self._flight.popleft()
            if isinstance(item, bytes):
                self.flight_bytes -= len(item)
            self._scheduler.note(self._name, f"{len(item)} bytes" if isinstance(item, bytes) else item.value)
            self._target.arrived(item)
        self._acknowledge()
        self._moving = bool(self._flight)
        if self._moving:
            self._scheduler.at(self._flight[0][0], self._arrive)

    def _acknowledge(self) -> None:
        source, target = self._path
        if self.dropped:
            return
        if self._fabric.is_open(target, source):
            if not self._held:
                self._stalled_since = None
            return
        self._stall()
        if not self._acknowledging:
            self._acknowledging = True
            self._fabric.when_open(target, source, self._acknowledge_again)

    def _acknowledge_again(self) -> None:
        self._acknowledging = False
        self._acknowledge()

    def _stall(self) -> None:
        if self._stalled_since is None:
            since = self._stalled_since = self._scheduler.now
            pace = self._fabric.pace
            seconds = self._fabric.dice.uniform(pace.give_up_seconds_min, pace.give_up_seconds_max)
            self._scheduler.after(seconds, self._give_up, since)

    def _give_up(self, since: float) -> None:
        if self._stalled_since == since and not self.dropped:
            self._source.break_off(TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))
            self.drop()  # also where the process was done with it
            self._target.probe_later()

    def drop(self) -> None:
        """Nothing more of it arrives, nor is sent again."""
        self.dropped = True
        self._flight.clear()
        self.flight_bytes = 0
