"""The one connection of an ``AsyncClient``, opened when it is needed and again when it was lost.

All calls that find none wait for the same attempt to open one. The connection belongs to the running loop: under
another loop, or after a fork, it is let go and a new one is opened. After a fork nothing of the parent's is touched,
since its event loop's selector is shared with the child.
"""

import asyncio
import math
import os

from sherd.client.addresses import Addresses
from sherd.client.link import Link
from sherd.client.retry import NotSent
from sherd.common.errors import StoreClosed
from sherd.common.net.address import Address


class Links:
    """Gives the present connection. ``connect_seconds``: for one address."""

    __slots__ = ("_addresses", "_connect_seconds", "_inherited", "_link", "_opening", "_pid", "closed")

    def __init__(self, addresses: Addresses, connect_seconds: float) -> None:
        self._addresses = addresses
        self._connect_seconds = connect_seconds
        self.closed = False
        self._link: Link | None = None
        self._opening: asyncio.Task[Link] | None = None
        self._pid = os.getpid()
        self._inherited: list[object] = []  # kept, so that no finalizer closes what the parent uses

    async def usable(self, deadline: float) -> Link:
        """A connection that takes requests; NotSent if there is none by the deadline or no server answers."""
        loop = asyncio.get_running_loop()
        link = self._link
        if link is None or link.loop is not loop or self._pid != os.getpid() or not link.is_open:
            self._leave_foreign(loop)
            link = await self._connected(loop, deadline)
        if not link.is_writable:
            await link.writable(deadline)
        return link

    def failed(self, link: Link) -> None:
        """The connection broke: other addresses come first for a while."""
        self._addresses.failed(link.address, link.loop.time())

    async def close(self) -> None:
        """Close the connection, and give up opening one."""
        self.closed = True
        self._leave_foreign(asyncio.get_running_loop())
        opening, link, self._link = self._opening, self._link, None
        if opening is not None:
            opening.cancel()
            await asyncio.wait([opening])
        if link is not None:
            await link.close()

    def _leave_foreign(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let go of a connection of another process or another loop."""
        link = self._link
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._inherited += [link, self._opening]
            self._link = self._opening = None
        elif link is not None and link.loop is not loop:
            if not link.loop.is_closed():
                link.loop.call_soon_threadsafe(link.abort)
            self._link = None
        if self._opening is not None and self._opening.get_loop() is not loop:
            self._opening = None

    async def _connected(self, loop: asyncio.AbstractEventLoop, deadline: float) -> Link:
        """A new connection; all that ask while one is being opened wait for that one."""
        if self.closed:
            raise StoreClosed("the client is closed")
        opening = self._opening
        if opening is None:
            opening = self._opening = loop.create_task(self._open(loop), name="sherd: connect")
            opening.add_done_callback(self._opened)
        try:
            async with asyncio.timeout_at(None if deadline == math.inf else deadline):
                return await asyncio.shield(opening)
        except TimeoutError:
            raise NotSent(f"no connection to {self._addresses} in time") from None
        except asyncio.CancelledError:
            if opening.cancelled() and self.closed:
                raise StoreClosed("the client was closed") from None
            raise

    async def _open(self, loop: asyncio.AbstractEventLoop) -> Link:
        problems: list[str] = []
        for address in self._addresses.in_order(loop.time()):
            try:
                async with asyncio.timeout(self._connect_seconds):
                    link = await _connect(address, loop)
            except OSError as error:
                problems.append(f"{address}: {error.strerror or error or 'no answer in time'}")
                self._addresses.failed(address, loop.time())
                continue
            self._addresses.reached(address)
            return link
        raise self._addresses.unreachable(problems)

    def _opened(self, opening: "asyncio.Task[Link]") -> None:
        if self._opening is opening:
            self._opening = None
        if opening.cancelled() or opening.exception() is not None:
            return
        if self.closed:
            opening.result().abort()
        else:
            self._link = opening.result()


async def _connect(address: Address, loop: asyncio.AbstractEventLoop) -> Link:
    link = Link(address, loop)
    if address.is_unix:
        await loop.create_unix_connection(lambda: link, address.path)
    else:
        await loop.create_connection(lambda: link, address.host, address.port)
    return link
