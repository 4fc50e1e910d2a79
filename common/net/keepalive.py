"""What a TCP connection is set to, whoever opened it: small writes leave at once, and a vanished peer is found.

A peer whose machine is gone says nothing; the kernel's probes end the connection ``IDLE_SECONDS`` and ``PROBES``
intervals after the last thing that was heard. Unix sockets need none of it: there the kernel knows both ends.
"""

import asyncio
import socket

IDLE_SECONDS = 30
INTERVAL_SECONDS = 10
PROBES = 3


def keep_alive(sock: socket.socket, idle_seconds: int = IDLE_SECONDS, interval_seconds: int = INTERVAL_SECONDS) -> None:
    """Set the options on ``sock``; nothing for what is not TCP. The first probe goes out after ``idle_seconds``."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", idle_seconds), ("TCP_KEEPINTVL", interval_seconds), ("TCP_KEEPCNT", PROBES)):
        option = getattr(socket, name, None)  # not every system has them
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def keep_transport_alive(transport: asyncio.BaseTransport) -> None:
    """``keep_alive`` for a transport's socket."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        keep_alive(sock)
