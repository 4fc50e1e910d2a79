"""The network, handed in: listening and connecting by address, whatever carries the bytes.

What it gives are asyncio's transports and protocols, so that a simulation can put an in-memory network beneath the same
code.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar

from sherd.common.net.address import Address
from sherd.common.net.listening import bind

P = TypeVar("P", bound=asyncio.BaseProtocol)


class Server(Protocol):
    """Something that listens."""

    def close(self) -> None:
        """Accept no more; connections that are open stay."""
        ...


class Network(Protocol):
    """Connections to and from other processes."""

    async def listen(
        self, factory: Callable[[], asyncio.BaseProtocol], address: Address, shared: bool = False
    ) -> tuple[Server, Address]:
        """Accept connections at ``address``; with it as it turned out (a port of 0 is chosen). OSError if it is taken.

        ``shared``: other processes of this host may accept at the same TCP address.
        """
        ...

    async def connect(self, factory: Callable[[], P], address: Address) -> P:
        """A connection to ``address``: its protocol. OSError if there is none to be had."""
        ...


class SystemNetwork:
    """TCP and unix sockets, in the running event loop."""

    __slots__ = ()

    async def listen(
        self, factory: Callable[[], asyncio.BaseProtocol], address: Address, shared: bool = False
    ) -> tuple[Server, Address]:
        loop = asyncio.get_running_loop()
        sock, bound = bind(address, shared)
        if address.is_unix:
            return await loop.create_unix_server(factory, sock=sock), bound
        return await loop.create_server(factory, sock=sock), bound

    async def connect(self, factory: Callable[[], P], address: Address) -> P:
        loop = asyncio.get_running_loop()
        if address.is_unix:
            return (await loop.create_unix_connection(factory, address.path))[1]
        return (await loop.create_connection(factory, address.host, address.port))[1]
