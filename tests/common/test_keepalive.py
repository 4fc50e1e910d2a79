"""TCP options: what both ends of a connection are set to, and that other sockets are left alone."""

import asyncio
import socket

import pytest

from sherd.common.net.keepalive import IDLE_SECONDS, INTERVAL_SECONDS, PROBES, keep_alive, keep_transport_alive
from sherd.common.net.loop import loop_factory

pytestmark = pytest.mark.core


def options(sock: socket.socket) -> tuple[int, ...]:
    return (
        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
    )


def test_a_vanished_peer_is_found_in_about_a_minute() -> None:  # FAULTS 20
    with socket.socket() as sock:
        keep_alive(sock)
        assert options(sock) == (1, 1, IDLE_SECONDS, INTERVAL_SECONDS, PROBES)
    assert IDLE_SECONDS + PROBES * INTERVAL_SECONDS <= 60


def test_the_times_can_be_chosen() -> None:
    with socket.socket() as sock:
        keep_alive(sock, 15, 5)
        assert options(sock) == (1, 1, 15, 5, PROBES)


def test_unix_sockets_are_left_as_they_are() -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        keep_alive(sock)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0


def test_both_ends_of_a_transport() -> None:
    async def connect() -> list[tuple[int, ...]]:
        loop = asyncio.get_running_loop()
        found: asyncio.Queue[tuple[int, ...]] = asyncio.Queue()

        class Look(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                keep_transport_alive(transport)
                found.put_nowait(options(transport.get_extra_info("socket")))

        server = await loop.create_server(Look, "127.0.0.1", 0)
        async with server:
            transport, _ = await loop.create_connection(Look, *server.sockets[0].getsockname())
            ends = [await found.get(), await found.get()]
            transport.close()
        return ends

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        ends = runner.run(connect())
    assert ends == [(1, 1, IDLE_SECONDS, INTERVAL_SECONDS, PROBES)] * 2
