"""One end of a connection: asyncio's ``Transport`` for the process, and beneath it the kernel's socket.

The process's part (buffer, protocol, reading or not) moves only in turns of its loop. The kernel's part (``arrived``,
``inbox``, what is in the lane) goes on while the process is stopped, and ends with the socket (``gone``): closed,
reset, given up, or lost with its process. What then still arrives is answered by a reset.
"""

import asyncio
import errno
import os
from collections import deque
from typing import TYPE_CHECKING, Any

from sherd.common.net.address import Address
from sim.lane import Lane, Mark

if TYPE_CHECKING:
    from sim.fabric import Fabric
    from sim.process import Process

READ_BYTES_MAX = 256 << 10
HIGH_BYTES = 64 << 10
RESET_CHANCE = 0.5
"""That the connection of a killed process ends by a reset although it had read everything."""


class SimTransport(asyncio.Transport):
    """An end that belongs to ``process``; ``join`` gives it its ``peer``, ``begin`` its protocol."""

    peer: "SimTransport"
    outgoing: Lane

    def __init__(self, fabric: "Fabric", process: "Process", here: Address, there: Address) -> None:
        names = {"sockname": _name(here), "peername": _name(there)}
        super().__init__(names)
        self.process = process
        self.gone = False
        self._serial = fabric.next_serial()
        self._fabric = fabric
        self._loop = process.loop
        self._protocol: Any = None
        self._buffer: deque[bytes] = deque()
        self._buffer_bytes = 0
        self._inbox = bytearray()
        self._ended = self._end_seen = False
        self._broken: OSError | None = None
        self._closing = self._lost = False
        self._end_wanted = False  # write_eof
        self._reading = True
        self._read_due = self._write_due = False
        self._writing_paused = False
        self._high, self._low = HIGH_BYTES, HIGH_BYTES // 4
        self._hold = process.on_death(self._orphaned)
        fabric.ends[self] = None

    def __hash__(self) -> int:
        return self._serial

    def begin(self, protocol: Any) -> None:
        """The process takes the connection up."""
        self._protocol = protocol
        protocol.connection_made(self)
        self._look()

    # -- reading -------------------------------------------------------------------------------------------------------

    def arrived(self, item: bytes | Mark) -> None:
        """Of the kernel: something has come."""
        if self.gone:
            if isinstance(item, bytes):
                back = self._fabric.latency(self.process.host, self.peer.process.host)
                self._fabric.scheduler.after(back, self.peer.refused)
        elif isinstance(item, bytes):
            self._inbox += item
        elif item is Mark.END:
            self._ended = True
        else:
            self.reset()
        self._look()

    def refused(self) -> None:
        """Of the kernel: the peer's host knows nothing of this connection, and says so if its word gets here."""
        if self._fabric.is_open(self.peer.process.host, self.process.host):
            self.reset()

    def reset(self) -> None:
        self.break_off(ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)))

    def break_off(self, error: OSError) -> None:
        """Of the kernel: the connection is no more. The process learns it when it reads or writes."""
        if self.gone:
            return
        self.gone = True
        self._broken = error
        self.outgoing.drop()
        self.peer.probe_later()
        self._look()

    def probe_later(self) -> None:
        """Something may be wrong with the other end: keepalive will tell."""
        pace = self._fabric.pace
        seconds = self._fabric.dice.uniform(pace.probe_seconds_min, pace.probe_seconds_max)
        self._fabric.scheduler.after(seconds, self._probe)

    def _probe(self) -> None:
        here, there = self.process.host, self.peer.process.host
        if self.gone or self.outgoing.stalled:
            return
        if not (self._fabric.is_open(here, there) and self._fabric.is_open(there, here)):
            self.break_off(TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))
        elif self.peer.gone and self.peer.outgoing.dropped:
            self.reset()

    def _look(self) -> None:
        """Have the loop read what there is, if it wants to."""
        if self._read_due or self._protocol is None or self._lost or (self._closing and not self._broken):
            return
        if (self._reading and (self._inbox or (self._ended and not self._end_seen) or self._broken)) or (
            self._broken and self._buffer
        ):
            self._read_due = True
            self._loop.call_soon(self._read)

    def _read(self) -> None:
        self._read_due = False
        if self._closing:
            if self._broken is not None:
                self._fail(self._broken)  # what was still to be written never arrives
            return
        if self._inbox and self._reading:
            data = bytes(self._inbox[:READ_BYTES_MAX])
            del self._inbox[:READ_BYTES_MAX]
            self._tell_room()
            self._hand_over(data)
        elif self._broken is not None:
            self._fail(self._broken)
        elif self._ended and self._reading and not self._end_seen:
            self._end_seen = True
            if not self._protocol.eof_received():
                self.close()
        self._look()

    def _hand_over(self, data: bytes) -> None:
        try:
            self._protocol.data_received(data)
        except Exception as error:  # noqa: BLE001 - as asyncio's transports do: told, and the connection ended
            context = {"message": "data_received failed", "exception": error, "transport": self}
            self._loop.call_exception_handler(context)
            self._fail(error)

    def _tell_room(self) -> None:
        if not self.peer.gone:
            seconds = self._fabric.latency(self.process.host, self.peer.process.host)
            self._fabric.scheduler.after(seconds, self.peer.room_made)

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self._look()

    def is_reading(self) -> bool:
        return self._reading and not self._closing

    # -- writing -------------------------------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._end_wanted:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not data or self._closing or not self.process.alive:
            return
        self._buffer.append(bytes(data))
        self._buffer_bytes += len(data)
        self._push()
        self._look()  # whoever writes to what is broken learns it
        if self._buffer_bytes > self._high and not self._writing_paused:
            self._writing_paused = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def room_made(self) -> None:
        """Of the kernel: the peer has read, so there may be room for more."""
        if (self._buffer or self._end_wanted) and not self._write_due and not self._lost:
            self._write_due = True
            self._loop.call_soon(self._write_ready)

    def _write_ready(self) -> None:
        self._write_due = False
        self._push()
        if self._writing_paused and self._buffer_bytes <= self._low and not self._lost:
            self._writing_paused = False
            self._protocol.resume_writing()
        if self._closing and not self._buffer:
            self._end()

    def _push(self) -> None:
        """Hand to the kernel what it takes."""
        if self.gone:
            return
        window = self._fabric.pace.window_bytes
        while self._buffer:
            room = window - self.outgoing.flight_bytes - len(self.peer._inbox)
            if room <= 0:
                return
            data = self._buffer.popleft()
            if len(data) > room:
                self._buffer.appendleft(data[room:])
                data = data[:room]
            self._buffer_bytes -= len(data)
            self.outgoing.send(data)
        if self._end_wanted:
            self._end_wanted = False
            self.outgoing.send(Mark.END)

    def write_eof(self) -> None:
        self._end_wanted = True
        self._push()

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return self._buffer_bytes

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is None:
            high = HIGH_BYTES if low is None else 4 * low
        self._high, self._low = high, high // 4 if low is None else low

    # -- the end -------------------------------------------------------------------------------------------------------

    def is_closing(self) -> bool:
        return self._closing

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        found: asyncio.BaseProtocol = self._protocol
        return found

    def close(self) -> None:
        """Send what is buffered, then end."""
        if not self._closing:
            self._closing = True
            if not self._buffer:
                self._end()

    def abort(self) -> None:
        if self._lost or not self.process.alive:
            return
        self._closing = True
        self._drop_buffer()
        self._end()

    def _end(self, error: Exception | None = None) -> None:
        if not self._lost:
            self._lost = True
            self._hang_up(Mark.RESET if self._inbox else Mark.END)
            self._forget()
            if self._protocol is not None:
                self._loop.call_soon(self._protocol.connection_lost, error)

    def _fail(self, error: Exception) -> None:
        self._closing = True
        self._drop_buffer()
        self._end(error)

    def _drop_buffer(self) -> None:
        self._buffer.clear()
        self._buffer_bytes = 0

    def _hang_up(self, mark: Mark) -> None:
        if not self.gone:
            self.gone = True
            self.outgoing.send(mark)

    def _forget(self) -> None:
        self.process.keeps_no_more(self._hold)
        self._fabric.ends.pop(self, None)

    def _orphaned(self) -> None:
        """The process has died: its kernel closes the connection, if there still is one that runs."""
        self._fabric.ends.pop(self, None)
        self._drop_buffer()
        if not self._fabric.is_up(self.process.host):
            self.gone = True
            self.outgoing.drop()
        elif self._inbox or self._fabric.dice.random() < RESET_CHANCE:
            self._hang_up(Mark.RESET)
        else:
            self._hang_up(Mark.END)


def join(fabric: "Fabric", one: SimTransport, other: SimTransport) -> None:
    """Make two ends one connection."""
    one.peer, other.peer = other, one
    one.outgoing, other.outgoing = Lane(fabric, one, other), Lane(fabric, other, one)


def _name(address: Address) -> Any:
    return address.path if address.is_unix else (address.host, address.port)
