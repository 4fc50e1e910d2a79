"""One connection of the load generator: its socket, its requests in flight, its end of the protocol.

Bytes that the socket did not take wait in ``unsent``; while there are any, the loop watches for room to send.
"""

import errno
import os
import socket

import cython

from sherd.common.net.address import Address
from sherd.common.net.keepalive import keep_alive

if cython.compiled:
    from cython.cimports.cpython.bytes import PyBytes_FromStringAndSize
    from cython.cimports.libc.errno import EAGAIN, EINTR
    from cython.cimports.libc.errno import errno as c_errno
    from cython.cimports.posix.unistd import read, write
    from cython.cimports.sherd.cli.bench.dialect import Dialect
    from cython.cimports.sherd.cli.bench.outgoing import Outgoing
    from cython.cimports.sherd.cli.bench.slots import Slots
else:
    from sherd.cli.bench.dialect import Dialect
    from sherd.cli.bench.outgoing import Outgoing
    from sherd.cli.bench.slots import Slots

CONNECT_SECONDS = 10.0


def connect(address: Address) -> socket.socket:
    """A connected socket that does not block. OSError that names the address if nobody answers there."""
    try:
        if address.is_unix:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(CONNECT_SECONDS)
            try:
                sock.connect(address.path)
            except BaseException:
                sock.close()
                raise
        else:
            sock = socket.create_connection((address.host, address.port), CONNECT_SECONDS)
            keep_alive(sock)
    except OSError as error:
        raise ConnectionError(f"no connection to {address}: {error.strerror or error}") from error
    sock.setblocking(False)
    return sock


@cython.final
@cython.cclass
class Lane:
    """A connection in use. ``due`` and ``begun`` count requests that are due by a schedule, and those of them begun."""

    def __init__(self, sock: socket.socket, index: int, slots: Slots, dialect: Dialect, room: bytearray) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.index = index
        self.slots = slots
        self.dialect = dialect
        self.unsent = b""
        self._room = room
        self.due = self.begun = 0

    @cython.cfunc
    def receive(self) -> bytes:
        """What has arrived, as far as it fits into the shared room. ConnectionError at the end."""
        if cython.compiled:
            got: cython.Py_ssize_t = read(self.fd, cython.address(self._room[0]), len(self._room))
            if got > 0:
                return PyBytes_FromStringAndSize(cython.cast(cython.p_char, cython.address(self._room[0])), got)
            if got < 0 and (c_errno in (EAGAIN, EINTR)):
                return b""
            failure: cython.int = c_errno if got < 0 else 0
        else:
            try:
                data = os.read(self.fd, len(self._room))
            except (BlockingIOError, InterruptedError):
                return b""
            except OSError as error:
                failure = error.errno or errno.EIO
            else:
                if data:
                    return data
                failure = 0
        reason = os.strerror(failure) if failure else "the server closed it"
        raise ConnectionError(f"a connection was lost: {reason}")

    @cython.cfunc
    @cython.exceptval(-1)
    def send(self, out: Outgoing) -> cython.int:
        """Send what ``out`` holds after what waits; 1 if now something waits that did not before, else 0."""
        waited: cython.int = len(self.unsent) > 0
        if waited:
            self.unsent += out.content()
            return 0
        sent: cython.Py_ssize_t = self._write(out)
        if sent < out.used:
            self.unsent = out.content()[sent:]
            return 1
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _write(self, out: Outgoing) -> cython.Py_ssize_t:
        """How many bytes of ``out`` the socket took."""
        if cython.compiled:
            sent: cython.Py_ssize_t = write(self.fd, cython.address(out._data[0]), out.used)
            if sent >= 0:
                return sent
            if c_errno in (EAGAIN, EINTR):
                return 0
            raise ConnectionError(f"a connection was lost: {os.strerror(c_errno)}")
        else:
            return _write_some(self.fd, out.content())

    @cython.cfunc
    @cython.exceptval(-1)
    def push(self) -> cython.int:
        """The socket has room: send of what waits; 1 if nothing waits any more."""
        self.unsent = self.unsent[_write_some(self.fd, self.unsent) :]
        return len(self.unsent) == 0


def _write_some(fd: int, data: bytes) -> int:
    """How many bytes of ``data`` the socket took."""
    try:
        return os.write(fd, data)
    except (BlockingIOError, InterruptedError):
        return 0
    except OSError as error:
        raise ConnectionError(f"a connection was lost: {error.strerror}") from error
