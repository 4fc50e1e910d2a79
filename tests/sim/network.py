"""The ``Network`` of one simulated process, over the fabric that all share."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from sherd.common.net.address import Address
from sim.dial import Dial
from sim.fabric import Fabric
from sim.transport import SimTransport

if TYPE_CHECKING:
    from sim.process import Process

P = TypeVar("P", bound=asyncio.BaseProtocol)


class Listening:
    """A socket that listens, until it is closed or its process dies."""

    def __init__(
        self, fabric: Fabric, process: "Process", factory: Callable[[], asyncio.BaseProtocol], shared: bool
    ) -> None:
        self.process = process
        self.shared = shared
        self.address = Address("0.0.0.0")
        self._fabric = fabric
        self._factory = factory
        self._hold = 0
        self._open = False

    def open(self, address: Address) -> Address:
        """OSError if the address is taken."""
        self.address = self._fabric.bind(self, address)
        self._hold = self.process.on_death(self._unbind)
        self._open = True
        return self.address

    def accept(self, transport: SimTransport) -> None:
        """A connection has come; the process sees it in this turn of its loop."""
        if self._open:
            transport.begin(self._factory())
        else:
            transport.abort()

    def close(self) -> None:
        if self._open:
            self.process.keeps_no_more(self._hold)
            self._unbind()

    def _unbind(self) -> None:
        self._open = False
        self._fabric.unbind(self, self.address)


class SimNetwork:
    """See ``common/net/network.py``."""

    def __init__(self, fabric: Fabric, process: "Process") -> None:
        self._fabric = fabric
        self._process = process

    async def listen(
        self, factory: Callable[[], asyncio.BaseProtocol], address: Address, shared: bool = False
    ) -> tuple[Listening, Address]:
        listening = Listening(self._fabric, self._process, factory, shared)
        return listening, listening.open(address)

    async def connect(self, factory: Callable[[], P], address: Address) -> P:
        dial = Dial(self._fabric, self._process, address)
        try:
            transport = await dial.answer
        except asyncio.CancelledError:
            dial.give_up()
            raise
        protocol = factory()
        transport.begin(protocol)
        return protocol
