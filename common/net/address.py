"""Where a process listens or is reached: ``HOST:PORT``, ``[IPv6]:PORT`` or ``unix:/path``.

An ``Address`` is either of the internet (``host`` and ``port`` set, ``path`` empty) or a unix socket (``path`` set).
``str(address)`` is the canonical text, and ``parse_address`` of it gives an equal address.
"""

import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from sherd.common.errors import ConfigError

DEFAULT_PORT = 7700
UNIX_PREFIX = "unix:"
UNIX_PATH_BYTES_MAX = 107
"""What fits in Linux's sockaddr_un beside the closing zero byte."""


@dataclass(frozen=True, slots=True)
class Address:
    """One address. ``port`` 0 asks a listener for any free port; it can't be connected to."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __post_init__(self) -> None:
        if self.path:
            if self.host or self.port:
                raise ConfigError(f"an address is a unix socket or HOST:PORT, not both: {self.path!r}, {self.host!r}")
            if "\0" in self.path:
                raise ConfigError(f"the unix socket path {self.path!r} holds a zero byte")
            if len(os.fsencode(self.path)) > UNIX_PATH_BYTES_MAX:
                raise ConfigError(
                    f"the unix socket path {self.path!r} is longer than {UNIX_PATH_BYTES_MAX} bytes; use a shorter one"
                )
            return
        if not self.host:
            raise ConfigError("an address needs a host or a unix socket path")
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"the port of {self.host!r} must be 0 to 65535, not {self.port}")

    @property
    def is_unix(self) -> bool:
        return bool(self.path)

    @property
    def is_everywhere(self) -> bool:
        """Whether it stands for all of this host's addresses: to listen at, and for nobody to connect to."""
        return self.host in ("0.0.0.0", "::")

    @property
    def family(self) -> socket.AddressFamily | None:
        """The socket family, or None where the host's name has to be looked up to know it."""
        if self.path:
            return socket.AF_UNIX
        return socket.AF_INET6 if ":" in self.host else None

    def with_port(self, port: int) -> "Address":
        """The same host with the port that a listener was given."""
        return Address(self.host, port)

    def __str__(self) -> str:
        if self.path:
            return UNIX_PREFIX + self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str, default_port: int = DEFAULT_PORT) -> Address:
    """The address that ``text`` names; ConfigError says what is wrong with it.

    ``HOST``, ``HOST:PORT``, ``[IPv6]``, ``[IPv6]:PORT`` (a bare IPv6 address is ambiguous and refused), ``unix:PATH``.
    """
    text = text.strip()
    if text.startswith(UNIX_PREFIX):
        path = text.removeprefix(UNIX_PREFIX)
        if not path:
            raise ConfigError(f"the address {text!r} names no path; write unix:/path/of/socket")
        return Address(path=path)
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or not host or (rest and not rest.startswith(":")):
            raise ConfigError(f"the address {text!r} is not [IPv6]:PORT")
        port_text = rest[1:] if rest else None
    else:
        if text.count(":") > 1:
            raise ConfigError(f"the address {text!r} has several colons; write an IPv6 host as [HOST]:PORT")
        host, colon, rest = text.partition(":")
        port_text = rest if colon else None
    if not host or any(mark in host for mark in "/@ ,"):
        raise ConfigError(f"the address {text!r} is not HOST:PORT or unix:/path")
    return Address(host, default_port if port_text is None else _parse_port(port_text, text))


def _parse_port(port_text: str, text: str) -> int:
    if not (port_text.isascii() and port_text.isdigit() and len(port_text) <= 5) or int(port_text) > 65535:
        raise ConfigError(f"the port {port_text!r} in the address {text!r} must be a number from 0 to 65535")
    return int(port_text)


def parse_addresses(text: str | Iterable[str], default_port: int = DEFAULT_PORT) -> tuple[Address, ...]:
    """Several addresses: a list of texts, or one text with commas between them. At least one; ConfigError if not."""
    parts = text.split(",") if isinstance(text, str) else list(text)
    found = tuple(parse_address(part, default_port) for part in parts if part.strip())
    if not found:
        raise ConfigError("no address given; write HOST:PORT or unix:/path")
    return found
