"""The opening of a connection: there and back again, as often as it takes."""

import asyncio
import errno
import os
from typing import TYPE_CHECKING

from sherd.common.net.address import Address
from sim.transport import SimTransport, join

if TYPE_CHECKING:
    from sim.fabric import Fabric
    from sim.network import Listening
    from sim.process import Process

RETRY_SECONDS = 1.0
"""Before the second attempt; twice as long before each further one."""
PORT_OF_CLIENT = 40_000


class Dial:
    """One attempt of ``process`` to reach ``address``: ``answer`` gets its end of the connection, or an OSError."""

    def __init__(self, fabric: "Fabric", process: "Process", address: Address) -> None:
        self.answer: asyncio.Future[SimTransport] = process.loop.create_future()
        self._fabric = fabric
        self._scheduler = fabric.scheduler
        self._process = process
        self._address = address
        self._began = self._scheduler.now
        self._pause = RETRY_SECONDS
        self._given_up = False
        self._target = fabric.host_of(address, process.host)
        self._call()

    def _call(self) -> None:
        self._scheduler.after(self._fabric.latency(self._process.host, self._target), self._reach)

    def _reach(self) -> None:
        """The request has come to the other host, or has not."""
        fabric, here, there = self._fabric, self._process.host, self._target
        if self._given_up or not self._process.alive:
            return
        if not (fabric.is_open(here, there) and fabric.is_open(there, here)):
            if self._scheduler.now - self._began > fabric.pace.syn_seconds_max:
                self._tell(TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))
            else:
                self._scheduler.after(self._pause, self._call)
                self._pause *= 2
            return
        listening = fabric.listening_at(there, self._address)
        back = fabric.latency(there, here)
        if listening is None:
            refusal = ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED), str(self._address))
            self._scheduler.after(back, self._tell, refusal)
            return
        self._scheduler.after(back, self._tell, self._connect(listening))

    def _connect(self, listening: "Listening") -> SimTransport:
        fabric, process, address = self._fabric, self._process, self._address
        caller = address if address.is_unix else Address(process.host, PORT_OF_CLIENT + fabric.next_serial() % 20_000)
        near = SimTransport(fabric, process, caller, address)
        far = SimTransport(fabric, listening.process, address, caller)
        join(fabric, near, far)
        self._scheduler.note(process.name, f"connected to {listening.process.name}")
        listening.process.loop.call_soon(listening.accept, far)
        return near

    def _tell(self, outcome: "SimTransport | OSError") -> None:
        self._process.loop.call_soon(self._settle, outcome)

    def _settle(self, outcome: "SimTransport | OSError") -> None:
        if self._given_up or self.answer.done():
            if isinstance(outcome, SimTransport):
                outcome.abort()
        elif isinstance(outcome, SimTransport):
            self.answer.set_result(outcome)
        else:
            self.answer.set_exception(outcome)

    def give_up(self) -> None:
        """Nobody waits any more."""
        self._given_up = True
        if self.answer.done() and not self.answer.cancelled() and self.answer.exception() is None:
            self.answer.result().abort()
