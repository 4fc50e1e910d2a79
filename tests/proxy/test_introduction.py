"""What a proxy tells shards of itself, when, and how the list of all proxies comes of it."""

import os

import msgpack
import pytest
from support.proxy_core import Rig

from sherd.proxy.introduction import AGAIN_S, CHANGED_S, all_proxies

pytestmark = pytest.mark.core


class Told:
    """A rig whose shards note the greetings they get."""

    def __init__(self) -> None:
        self.rig = Rig(shards=2)
        self.rig.introduction.address = "127.0.0.1:7700"
        self.heard: dict[int, list[dict[bytes, object]]] = {1: [], 2: []}
        for number, shard in self.rig.shards.items():
            shard.do_hello = self._listen(number)  # type: ignore[method-assign]

    def _listen(self, number: int):
        def hello(peer: dict[bytes, object]) -> bytes:
            assert peer[b"purpose"] == b"scan"
            about = peer[b"proxy"]
            assert isinstance(about, dict)
            self.heard[number].append(about)
            packed: bytes = msgpack.packb({"shard": number})
            return packed

        return hello

    def after(self, seconds: float) -> list[int]:
        """How many each shard has heard once so much time has passed."""
        self.rig.now += seconds
        self.rig.clock.advance(seconds)
        self.rig.introduction.repeat(self.rig.routes, self.rig.now)
        self.rig.serve()
        return [len(found) for found in self.heard.values()]


def test_a_change_is_told_soon_and_nothing_now_and_then() -> None:
    told = Told()
    assert told.after(0) == [1, 1]
    assert told.after(CHANGED_S) == [1, 1]
    told.rig.connections = 5
    assert told.after(0.01) == [2, 2]
    told.rig.connections = 6
    assert told.after(CHANGED_S / 2) == [2, 2]  # not at every change
    assert told.after(CHANGED_S / 2) == [3, 3]
    assert told.after(AGAIN_S - 0.01) == [3, 3]
    assert told.after(0.01) == [4, 4]
    assert [about[b"connections"] for about in told.heard[1]] == [1, 5, 6, 6]
    assert {about[b"pid"] for about in told.heard[2]} == {os.getpid()}
    times = [about[b"told_ms"] for about in told.heard[1]]
    assert times == sorted(times)
    assert told.heard[1][0][b"address"] == b"127.0.0.1:7700"


def test_a_link_that_is_down_hears_at_its_next_greeting() -> None:
    told = Told()
    link = told.rig.link(2, "scan")
    told.rig.lose(link)
    assert told.after(0) == [1, 0]
    assert link.held == 0
    told.rig.open(link)
    assert told.after(AGAIN_S) == [2, 1]


def test_a_shard_that_does_not_answer_holds_nothing_up() -> None:
    told = Told()
    told.rig.shards[2].mute = True
    for _ in range(20):
        told.after(AGAIN_S)
        told.rig.tick(0.01)
    assert told.rig.link(2, "scan").live <= 2


OWN = {"name": "proxy-1", "pid": 1, "address": "127.0.0.1:7700", "connections": 3}


def linked(name: str, connections: int, told_ms: int) -> dict[str, object]:
    return {"name": name, "pid": 1, "address": "127.0.0.1:7700", "connections": connections, "told_ms": told_ms}


def test_the_latest_that_any_shard_has_heard_counts() -> None:
    answers = [
        {"proxies": [linked("proxy-2", 1, 10), linked("proxy-3", 5, 30)]},
        {"proxies": [linked("proxy-3", 4, 20), linked("proxy-2", 2, 11)]},
    ]
    assert all_proxies(OWN, answers) == [
        OWN,
        {"name": "proxy-2", "pid": 1, "address": "127.0.0.1:7700", "connections": 2},
        {"name": "proxy-3", "pid": 1, "address": "127.0.0.1:7700", "connections": 5},
    ]


def test_of_itself_a_proxy_knows_better() -> None:
    assert all_proxies(OWN, [{"proxies": [linked("proxy-1", 100, 1 << 50)]}]) == [OWN]


@pytest.mark.parametrize("answer", [{}, {"proxies": None}, {"proxies": 7}, {"proxies": [7, {}, {"name": 7}]}])
def test_shards_that_say_nothing_of_proxies(answer: dict[str, object]) -> None:
    assert all_proxies(OWN, [answer]) == [OWN]


def test_status_lists_all() -> None:
    rig = Rig(shards=2)
    rig.introduction.address = "127.0.0.1:7700"
    rig.connections = 4
    rig.shards[2].told = {"proxies": [linked("proxy-0", 9, 5)]}
    status = rig.call("status")
    assert isinstance(status, dict)
    assert status[b"proxies"] == [
        {b"name": b"proxy-0", b"pid": 1, b"address": b"127.0.0.1:7700", b"connections": 9},
        {b"name": b"proxy-1", b"pid": os.getpid(), b"address": b"127.0.0.1:7700", b"connections": 4},
    ]
