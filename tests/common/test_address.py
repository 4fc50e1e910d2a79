"""Addresses: what is accepted, what is refused with which words, and that the text comes back."""

import socket

import pytest

from sherd.common.errors import ConfigError
from sherd.common.net.address import Address, parse_address, parse_addresses

pytestmark = pytest.mark.core


@pytest.mark.parametrize(
    ("text", "address", "canonical"),
    [
        ("127.0.0.1:7701", Address("127.0.0.1", 7701), "127.0.0.1:7701"),
        ("db.example", Address("db.example", 7700), "db.example:7700"),
        (" localhost:0 ", Address("localhost", 0), "localhost:0"),
        ("[::1]:7702", Address("::1", 7702), "[::1]:7702"),
        ("[::1]", Address("::1", 7700), "[::1]:7700"),
        ("unix:/tmp/a b.sock", Address(path="/tmp/a b.sock"), "unix:/tmp/a b.sock"),
        ("unix:relative.sock", Address(path="relative.sock"), "unix:relative.sock"),
    ],
)
def test_accepted(text: str, address: Address, canonical: str) -> None:
    assert parse_address(text) == address
    assert str(address) == canonical
    assert parse_address(canonical) == address


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "HOST:PORT"),
        (":7700", "HOST:PORT"),
        ("host:", "port"),
        ("host:x", "port"),
        ("host:-1", "port"),
        ("host:65536", "port"),
        ("host:٣", "port"),
        ("host:+1", "port"),
        ("::1", "IPv6"),
        ("::1:7700", "IPv6"),
        ("[::1", "IPv6"),
        ("[]:1", "IPv6"),
        ("[::1]x", "IPv6"),
        ("unix:", "path"),
        ("unix:" + "x" * 108, "107"),
        ("unix:a\0b", "zero byte"),
        ("sherd://host:1", "colons"),
        ("a b:1", "HOST:PORT"),
    ],
)
def test_refused(text: str, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        parse_address(text)


def test_both_kinds_at_once_are_refused() -> None:
    with pytest.raises(ConfigError):
        Address("host", 1, "/path")
    with pytest.raises(ConfigError):
        Address()


def test_families() -> None:
    assert parse_address("unix:/x").family is socket.AF_UNIX
    assert parse_address("unix:/x").is_unix
    assert parse_address("[::1]:1").family is socket.AF_INET6
    assert parse_address("127.0.0.1:1").family is None
    assert parse_address("host:0").with_port(9) == Address("host", 9)


def test_several() -> None:
    wanted = (Address("a", 1), Address("b", 7700), Address(path="/s"))
    assert parse_addresses("a:1, b,unix:/s,") == wanted
    assert parse_addresses(["a:1", "b", "unix:/s"]) == wanted
    with pytest.raises(ConfigError, match="no address"):
        parse_addresses(" , ")
