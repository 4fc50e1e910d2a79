"""What proxies say of themselves: taken whole or not at all, and of each the latest."""

import pytest

from sherd.shard.linked_proxies import TEXT_BYTES_MAX, LinkedProxy, latest_of_each

pytestmark = pytest.mark.core

WHOLE = {b"name": b"proxy-1", b"pid": 7, b"address": b"127.0.0.1:7700", b"connections": 3, b"told_ms": 100}


def test_a_whole_one_is_taken() -> None:
    assert LinkedProxy.of_hello(WHOLE) == LinkedProxy("proxy-1", 7, "127.0.0.1:7700", 3, 100)
    assert LinkedProxy.of_hello({**WHOLE, b"more": 1}) == LinkedProxy("proxy-1", 7, "127.0.0.1:7700", 3, 100)
    long = LinkedProxy.of_hello({**WHOLE, b"address": b"\xff" * 1000})
    assert long is not None
    assert len(long.address) == TEXT_BYTES_MAX


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("wrong", [None, True, 1.5, [], {}])
def test_nothing_else_is(name: bytes, wrong: object) -> None:
    assert LinkedProxy.of_hello({**WHOLE, name: wrong}) is None
    assert LinkedProxy.of_hello({key: value for key, value in WHOLE.items() if key != name}) is None
    assert LinkedProxy.of_hello(wrong) is None


def test_the_latest_of_each_is_told() -> None:
    """Every proxy has two links, and greets again on one of them. In containers all may have the same pid."""
    found = [
        LinkedProxy("p2", 1, "a", 1, 50),
        None,
        LinkedProxy("p1", 1, "a", 5, 90),
        LinkedProxy("p1", 1, "a", 6, 100),
        LinkedProxy("p1", 1, "a", 4, 80),
    ]
    assert latest_of_each(found) == [
        {"name": "p1", "pid": 1, "address": "a", "connections": 6, "told_ms": 100},
        {"name": "p2", "pid": 1, "address": "a", "connections": 1, "told_ms": 50},
    ]
    assert latest_of_each([]) == []
